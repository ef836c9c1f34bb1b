"""LoRA training beside PEFT and bitsandbytes' NF4 on torch, on the CPU.

    python3 bench/peers/run_peft.py [--texts FILE] [--steps N] [--threads N] [--turns N]

Both train the report's adapter (rank 32, alpha 32, dropout 0.1, all seven matrices, a head for the
labels; AdamW, 5e-5 falling linearly, clip 1; batch 4, accumulated 4 times) on the same folder that
`midashi quantize` writes and on the same texts, each once; the order in which they are drawn, and
the random initial values, are each side's own. midashi packs its texts; PEFT pads each micro-batch
to its longest, as transformers' Trainer does. A further row sorts the 16 texts of a step by length
first, which changes no sum over the step and pads less. What PEFT computes in (float32; bfloat16
by autocast, as Trainer has it) and its number of threads are tried on a micro-batch, and the best
are used. No gradient checkpointing: nothing is computed twice.
"""

import contextlib
import csv
import json
import os
import random

import common

NAME = "peft"
REQUIREMENTS = [
    "peft==0.21.2",
    "transformers==5.24.0",
    "bitsandbytes==0.50.2",
    "torch==2.15.0",
    "accelerate==1.15.0",
    "numpy==2.4.6",
]

if __name__ == "__main__":
    common.enter(NAME, REQUIREMENTS)

import bitsandbytes
import peft
import torch
import transformers

import embedding

BATCH, ACCUMULATE = 4, 4
STEP = BATCH * ACCUMULATE
RANK, ALPHA, DROPOUT, LEARNING_RATE, CLIP = 32, 32, 0.1, 5e-5, 1.0
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
OURS = "midashi NF4"


# ---- texts -----------------------------------------------------------------------------------


class Corpus(embedding.Corpus):
    """So many texts, taken evenly from a .tsv with the columns label and text."""

    def __init__(self, path, n_steps, model):
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
        self.n_steps = min(n_steps, len(rows) // STEP)
        n = self.n_steps * STEP
        if n == 0:
            raise SystemExit(f"{path}: fewer than {STEP} texts")
        rows = [rows[i * len(rows) // n] for i in range(n)]
        super().__init__(path.stem, [text for _, text in rows], model)
        names = sorted({label for label, _ in rows})
        self.n_labels = len(names)
        self.labels = [names.index(label) for label, _ in rows]
        self.labelled = common.WORK / "labelled.tsv"
        lines = "".join(f"{label}\t{text}\n" for label, text in rows)
        self.labelled.write_text("label\ttext\n" + lines, encoding="utf-8")

    def describe(self):
        return f"{super().describe()}, {self.n_labels} labels; {self.n_steps} steps of {STEP}"


def corpora(options):
    """Paths: --texts, or what lies in the shared data, or the demo's headlines."""
    if options.texts:
        return [common.Path(options.texts)]
    shared = os.environ.get("MIDASHI_SHARED_DATA", common.ROOT.parent / "shared" / "data")
    folder = common.Path(shared) / "corpora"
    found = [folder / name for name in ("clinc150_train.tsv", "livedoor_titles.tsv")]
    found = [path for path in found if path.exists()]
    return found or [common.ROOT / "demo" / "headlines_en.tsv"]


# ---- the two sides ---------------------------------------------------------------------------


class Midashi:
    """midashi's side: a process a run, of which the steps alone count."""

    def __init__(self, corpus, folder, threads):
        self.corpus = corpus
        self.output = common.WORK / "adapter"
        self.command = ["train", corpus.labelled, "--model", folder, "--output", self.output]
        self.command += ["--steps", corpus.n_steps, "--batch", BATCH, "--accumulate", ACCUMULATE]
        self.command += ["--rank", RANK, "--alpha", ALPHA, "--dropout", DROPOUT]
        self.command += ["--learning-rate", LEARNING_RATE, "--schedule", "linear", "--clip", CLIP]
        self.command += ["--validation", 0, "--threads", threads, "--force"]
        self.losses = []

    def run(self):
        """Wall-clock seconds of the steps; processor seconds of all."""
        report, processor = common.midashi_report(*self.command)
        log = (self.output / "training.jsonl").read_text().splitlines()
        steps = [step for step in map(json.loads, log) if "seconds" in step]
        tokens = sum(step["tokens"] for step in steps)
        if not tokens == report["tokens"] == self.corpus.tokens:
            raise SystemExit(f"midashi ran {tokens} tokens, not {self.corpus.tokens}")
        self.losses = [step["loss"] for step in steps]
        return sum(step["seconds"] for step in steps), processor


class Peft:
    """A model with an adapter, and how it trains."""

    def __init__(self, folder, n_labels, type_name):
        self.type = TYPES[type_name]
        load = transformers.AutoConfig.from_pretrained
        config = load(folder, num_labels=n_labels, pad_token_id=0)
        # Else the head would be NF4 too.
        config.quantization_config["llm_int8_skip_modules"] = ["lm_head", "score"]
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=self.type, device_map="cpu", attn_implementation="sdpa"
        )
        for module in model.modules():
            if isinstance(module, bitsandbytes.nn.Linear4bit):
                module.compute_dtype, module.compute_type_is_set = self.type, True
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(self.type)
        lora = peft.LoraConfig(
            r=RANK,
            lora_alpha=ALPHA,
            lora_dropout=DROPOUT,
            target_modules=TARGETS,
            task_type="SEQ_CLS",
        )
        self.model = peft.get_peft_model(model, lora).train()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.initial = [parameter.detach().clone() for parameter in self.parameters]
        self.losses = []

    def loss(self, texts):
        """The mean over a micro-batch of (label, ids), padded on the right."""
        longest = max(len(ids) for _, ids in texts)
        padded = torch.tensor([ids + [0] * (longest - len(ids)) for _, ids in texts])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for _, ids in texts])
        labels = torch.tensor([label for label, _ in texts])
        computed = contextlib.nullcontext()
        if self.type == torch.bfloat16:
            computed = torch.autocast("cpu", torch.bfloat16)
        with computed:
            return self.model(input_ids=padded, attention_mask=mask, labels=labels).loss

    def run(self, steps):
        """Trains from the initial values; steps: lists of micro-batches."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters, self.initial):
                parameter.copy_(value)
        optimiser = torch.optim.AdamW(
            self.parameters, lr=LEARNING_RATE, weight_decay=0.0, fused=True
        )
        schedule = transformers.get_linear_schedule_with_warmup(optimiser, 0, len(steps))
        self.losses = []
        for micro_batches in steps:
            total = 0
            for texts in micro_batches:
                loss = self.loss(texts) / ACCUMULATE
                loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            self.losses.append(total)


def steps_of(corpus, sort):
    """The texts in random order, as lists of micro-batches; sort: each step's by length."""
    texts = list(zip(corpus.labels, corpus.ids))
    random.Random(0).shuffle(texts)
    steps = []
    for first in range(0, len(texts), STEP):
        step = texts[first : first + STEP]
        if sort:
            step.sort(key=lambda text: len(text[1]))
        steps.append([step[i : i + BATCH] for i in range(0, STEP, BATCH)])
    return steps


def padding(steps):
    """How many times as many tokens it computes as the texts have."""
    batches = [[len(ids) for _, ids in texts] for step in steps for texts in step]
    return sum(len(batch) * max(batch) for batch in batches) / sum(map(sum, batches))


# ---- the bound -------------------------------------------------------------------------------


def operations_of(model):
    """Floating-point operations of a token's training, by part: products with the layers' matrices,
    each once. Those of attention and head are left out, which are few for short texts."""
    sizes = [
        (module.in_features, module.out_features)
        for module in model.modules()
        if isinstance(module, bitsandbytes.nn.Linear4bit)
    ]
    base = sum(2 * columns * rows for columns, rows in sizes)
    lora = sum(6 * RANK * (columns + rows) for columns, rows in sizes)
    return {"base forward": base, "base input gradients": base, "LoRA": lora}


def arithmetic(threads):
    """Operations a second that the processor does at best, now."""
    command = ["bench", "residual_add", "--seconds", 0.1, "--threads", threads]
    report, _ = common.midashi_report(*command)
    return report["limits"][f"cpu x{threads}"]["flops_per_second"]


# ---- a case ----------------------------------------------------------------------------------


def choose(models, steps, threads):
    """Tries types and numbers of threads on a micro-batch: the best, and all that was tried."""

    def trial(settings):
        torch.set_num_threads(settings["threads"])
        return common.trial_seconds(threads, models[settings["type"]].run, [steps[0][:1]])

    choices = {"type": list(models), "threads": sorted({1, threads}, reverse=True)}
    return embedding.climb(trial, choices, {name: values[0] for name, values in choices.items()})


def measure(corpus, folder, threads, n_turns):
    """A case: midashi and PEFT in turns."""
    ours = Midashi(corpus, folder, threads)
    models = {name: Peft(folder, corpus.n_labels, name) for name in TYPES}
    drawn, by_length = steps_of(corpus, False), steps_of(corpus, True)
    best, tried = choose(models, drawn, threads)
    model = models[best["type"]]
    torch.set_num_threads(best["threads"])
    name = f"PEFT, {best['type']}, {best['threads']} thread{'s' * (best['threads'] > 1)}"
    orders = {name: drawn, f"{name}, steps sorted by length": by_length}
    runners = {OURS: ours.run}
    losses = {}

    def train(order):
        model.run(orders[order])
        losses[order] = model.losses

    for order in orders:
        runners[order] = lambda order=order: common.timed(train, order)
    limit = arithmetic(threads)
    times = common.take_turns(runners, n_turns)
    limit = max(limit, arithmetic(threads))
    rows = common.compare(times, OURS, corpus.tokens)
    operations = operations_of(model.model)
    bound = limit / sum(operations.values())
    for row in rows:
        row["step"] = common.spread([s / corpus.n_steps for s in row["seconds"]])
        row["padding"] = padding(orders[row["name"]]) if row["name"] in orders else 1.0
        row["losses"] = losses.get(row["name"], ours.losses)
        row["share"] = row["rate"]["median"] / bound
    return {
        "corpus": corpus.describe(),
        "threads": threads,
        "rows": rows,
        "tried": tried,
        "operations": operations,
        "arithmetic": limit,
        "bound": bound,
    }


def report(case):
    """Prints a case."""
    print(f"{case['corpus']}; {case['threads']} thread{'s' * (case['threads'] > 1)}\n")
    parts = ", ".join(f"{name} {n / 1e6:.0f}" for name, n in case["operations"].items())
    print(
        f"Bound: {case['bound']:.0f} tokens/s: {case['arithmetic'] / 1e9:.0f} GFLOP/s for the "
        f"MFLOP of a token: {parts}.\n"
    )
    header = ["", "tokens/s", "of the bound", "seconds a step", "tokens computed for one"]
    header += ["midashi is so many times as fast", "by processor time", "losses: first, last"]
    rows = []
    for row in case["rows"]:
        cells = [row["name"], common.in_words(row["rate"], 0), f"{row['share']:.0%}"]
        cells += [common.in_words(row["step"]), f"{row['padding']:.2f}"]
        if "ratio" in row:
            cells += [common.in_words(row["ratio"]), common.in_words(row["processor_ratio"])]
        else:
            cells += ["", ""]
        rows.append(cells + [f"{row['losses'][0]:.2f}, {row['losses'][-1]:.2f}"])
    common.print_table(header, rows)


def main():
    """Measures all cases."""
    parser = common.arguments(__doc__)
    parser.add_argument("--texts", help="a .tsv of labels and texts (clinc150 and livedoor)")
    parser.add_argument("--model", default="models/smollm2-135m", help="(models/smollm2-135m)")
    parser.add_argument("--steps", type=int, default=4, help="of each run (4)")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    folder = embedding.quantised(options.model)
    modules = [peft, transformers, bitsandbytes, torch]
    where = common.machine({module.__name__: module.__version__ for module in modules})
    common.print_machine(where)
    cases = []
    for path in corpora(options):
        corpus = Corpus(path, options.steps, options.model)
        for threads in common.thread_counts(options):
            cases.append(measure(corpus, folder, threads, options.turns))
            report(cases[-1])
    common.store(NAME, where, cases)


if __name__ == "__main__":
    main()
