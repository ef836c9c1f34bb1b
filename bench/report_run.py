#!/usr/bin/env python3
"""Projects the report's fine-tuning, 500 steps of Llama-2-7B, from one counted step of two layers.

    python3 bench/report_run.py --titles livedoor_titles.tsv --tokenizer llama2_spm.model \\
        [--work /tmp/report-run] [--tokens 352,624,704] [--cards rtx4090,rtx3080] \\
        [--passes 512,1024]

`midashi train` runs on softcuda, with the report's settings, a model of two layers in a 7B's shapes
and titles with so many tokens together, one pass; a run that was counted is kept in the work folder.
Of the two layers one has everything, and the first lacks the way back through q, k and v: so 32
layers are 31 of the one and the other. At other numbers of tokens the products are what their tiles
say, which is checked at the counted ones; all else is interpolated. docs/speed.md has results and
what they leave out. Needs Python alone, and the build.
"""
import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MIDASHI, SOFTCUDA = os.path.join(HERE, "build/midashi"), os.path.join(HERE, "build/softcuda/softcuda")
LAYERS, HIDDEN, FEED_FORWARD, RANK, LABELS = 32, 4096, 11008, 32, 9
STEPS, EVALUATIONS, VALIDATION, BATCH, ACCUMULATE = 500, 5, 0.1, 4, 4
DRAM = {"rtx3080": 760e9, "rtx4090": 1008e9, "h100": 3.35e12}  # tools/softcuda/card.c
LAUNCH = {"rtx3080": 2.0e-6, "rtx4090": 1.6e-6, "h100": 2.5e-6}
SHAPES = []  # forward, back: read_shapes
TERMS = ["tensor", "issue", "shared", "l2", "dram", "latency"]


# ---- counting -----------------------------------------------------------------------------------

def read_titles(path, tokenizer):
    """[(line, label, tokens)]: the last field of a line is the title."""
    with open(path) as f:
        lines = f.read().splitlines()[1:]
    titles = "\n".join(line.split("\t")[1] for line in lines) + "\n"
    ids = subprocess.run([MIDASHI, "tokenize", "--model", tokenizer, "--quiet"], input=titles,
                         text=True, capture_output=True, check=True).stdout.splitlines()
    return [(line, len(i.split())) for line, i in zip(lines, ids)]


def titles_of(titles, tokens):
    """Whole units of titles, at most 16, with so many tokens together."""
    rng = random.Random(tokens)
    n = min(BATCH * ACCUMULATE, max(BATCH, BATCH * round(tokens / 175)))
    chosen = rng.sample(titles, n)
    while (total := sum(t[1] for t in chosen)) != tokens:
        i, other = rng.randrange(n), rng.choice(titles)
        if abs(total - chosen[i][1] + other[1] - tokens) < abs(total - tokens):
            chosen[i] = other
    return chosen


def make_model(folder, tokenizer):
    raw = folder + ".raw"
    subprocess.run([sys.executable, os.path.join(HERE, "bench/make-checkpoint.py"), raw, "7b-2"],
                   check=True)
    shutil.copy(tokenizer, os.path.join(raw, "tokenizer.model"))
    subprocess.run([MIDASHI, "quantize", raw, "--output", folder, "--device", "cpu"], check=True)
    shutil.rmtree(raw)


def count(work, titles, tokens, card):
    """The report of one step, counted if it is not there yet."""
    report = os.path.join(work, f"{card}-{tokens}.json")
    if not os.path.exists(report):
        chosen = titles_of(titles, tokens)
        corpus = os.path.join(work, f"{tokens}.tsv")
        with open(corpus, "w") as f:
            f.write("\n".join(["label\ttext"] + [line for line, _ in chosen]) + "\n")
        subprocess.run(
            [SOFTCUDA, "run", "--card", card, "--report", report + ".part", "--", MIDASHI, "train",
             corpus, "--model", os.path.join(work, "model"), "--output",
             report + ".adapter", "--force", "--device", "cuda", "--objective", "classify",
             "--steps", "1", "--batch", str(BATCH), "--accumulate", str(len(chosen) // BATCH),
             "--rank", str(RANK), "--dropout", "0.1", "--validation", "0"], check=True)
        os.rename(report + ".part", report)
    with open(report) as f:
        return json.load(f)


# ---- a launch, by what it does ------------------------------------------------------------------

FORWARD, BACKWARD = ["q, k, v", "o", "gate, up", "down"], ["down", "gate, up", "o", "q, k, v"]
NAMES = {  # beginning of a kernel's name: what it is called here, and its matrices in order
    "nf4_matmul_bwd": ("dX = dY W", BACKWARD),
    "nf4_matmul": ("Y = X Wᵀ", FORWARD),
    "lora_s": ("s = drop(X) Aᵀ", None),
    "lora_ds": ("ds = dY B", None),
    "weight_gradient": ("dA, dB", None),
    "attention_bwd": ("attention, back", None),
    "attention": ("attention", None),
    "rope": ("RoPE, both ways", None),
    "swiglu_bwd": ("SwiGLU, back", None),
    "swiglu": ("SwiGLU", None),
    "rmsnorm_bwd_bf16": ("RMSNorm, back", None),
    "rmsnorm_bf16": ("RMSNorm", None),
    "gradient_": ("norm, AdamW, working copies", None),
    "adamw": ("norm, AdamW, working copies", None),
    "lora_copy": ("norm, AdamW, working copies", None),
}
COPIES, UPDATE, REST = "copies of the stream", "norm, AdamW, working copies", "embedding, pooling, head"


class Sum:
    """Launches of one kind: how many, and seconds by term."""

    def __init__(self):
        self.launches, self.seconds, self.serial = 0.0, 0.0, 0.0
        self.terms, self.bounds, self.kernels = dict.fromkeys(TERMS, 0.0), {}, set()

    def add(self, other, times=1.0):
        self.launches += times * other.launches
        self.seconds += times * other.seconds
        self.serial += times * other.serial
        for t in TERMS:
            self.terms[t] += times * other.terms[t]
        for bound, seconds in other.bounds.items():
            self.bounds[bound] = self.bounds.get(bound, 0) + times * seconds
        self.kernels |= other.kernels

    @staticmethod
    def of(kernel, projection, more=1.0):
        """more: so many times the work, of a kernel that only moves bytes."""
        one, fixed = Sum(), projection["launch"] + projection["epilogue"]
        one.launches, one.kernels = 1, {kernel}
        one.seconds = fixed + more * (projection["seconds"] - fixed)
        one.serial = fixed + more * (projection["seconds_without_overlap"] - fixed)
        one.terms = {t: more * projection["terms"][t] for t in TERMS}
        bound = projection["bound"]
        one.bounds[bound if bound != "issue" else projection["issue_pipe"]] = one.seconds
        return one


def sums_add(sums, more, times=1.0):
    for name, one in more.items():
        sums.setdefault(name, Sum()).add(one, times)


def parameters(layers):
    """Of the adapter: rank 32 on seven matrices a layer, and the head."""
    return layers * RANK * (8 * HIDDEN + 3 * (HIDDEN + FEED_FORWARD)) + LABELS * HIDDEN


def copy_of_stream(tokens, card):
    """By arithmetic: softcuda does not count copies."""
    one = Sum()
    one.launches, one.kernels = 1, {"cuMemcpyDtoDAsync"}
    one.terms["dram"] = 2 * 2 * tokens * HIDDEN / DRAM[card]
    one.seconds = one.serial = one.terms["dram"] + LAUNCH[card]
    one.bounds["dram"] = one.seconds
    return one


def split(report, tokens):
    """(forward, back, update) of all 32 layers, by kind, of a counted step of two."""
    card, names = report["card"], [kernel["name"] for kernel in report["kernels"]]
    launches = [(names[launch["kernel"]], launch["projection"]) for launch in report["launches"]]
    begin = next(i for i, l in enumerate(launches) if l[0].startswith("embedding"))
    launches = launches[begin:]
    pool = next(i for i, l in enumerate(launches) if l[0].startswith("pooling_"))
    back = next(i for i, l in enumerate(launches) if l[0].startswith("pooling_bwd")) + 1
    end = next(i for i, l in enumerate(launches) if l[0].startswith("gradient_"))
    layer = (pool - 1) // 2
    norms = [i for i in range(back, end) if launches[i][0].startswith("rmsnorm_bf16")]
    assert pool == 1 + 2 * layer and norms[0] == back and len(norms) == 4
    assert norms[2] - back == end - norms[2] + 2
    more = parameters(LAYERS) / parameters(2)
    seen = {}

    def sums_of(part):
        sums = {}
        for kernel, projection in part:
            prefix = max((p for p in NAMES if kernel.startswith(p)), key=len, default=None)
            name, matrices = NAMES.get(prefix, (REST, None))
            if matrices:
                seen[name] = seen.get(name, -1) + 1
                name += ", " + matrices[seen[name] % 4]
            times = more if name == UPDATE else 1.0
            sums.setdefault(name, Sum()).add(Sum.of(kernel, projection, times))
        return sums

    forward, backward = sums_of(launches[:1]), {}
    sums_add(forward, sums_of(launches[1:1 + layer]), LAYERS)
    loss = next(i for i, l in enumerate(launches) if l[0].startswith("losses_total")) + 1
    sums_add(forward, sums_of(launches[pool:loss]))
    sums_add(forward, {COPIES: copy_of_stream(tokens, card)}, LAYERS)
    sums_add(backward, sums_of(launches[loss:back]))
    seen.clear()
    sums_add(backward, sums_of(launches[back:norms[2]]), LAYERS - 1)
    sums_add(backward, sums_of(launches[norms[2]:end]))
    sums_add(backward, {COPIES: copy_of_stream(tokens, card)}, LAYERS)  # a layer's input, kept
    return forward, backward, sums_of(launches[end:])


# ---- products at any number of tokens -----------------------------------------------------------

# Rows, columns and parts with adapters; what kernels/product_shape.c knows of cards.
MATRICES = {"q, k, v": (3 * HIDDEN, HIDDEN, 3), "o": (HIDDEN, HIDDEN, 1),
            "gate, up": (2 * FEED_FORWARD, HIDDEN, 2), "down": (HIDDEN, FEED_FORWARD, 1)}
MULTIPROCESSORS = {"rtx3080": 68, "rtx4090": 128}
MACS, L2_BYTES, SHARED = 256, 16, 100 << 10
TENSOR = {"rtx3080": 59.5e12, "rtx4090": 165.2e12}  # tools/softcuda/card.c


def read_shapes(path):
    """The tiles of a product, and what its weights cost, from its C file."""
    with open(os.path.join(HERE, path)) as f:
        text = f.read()
    shapes = [[int(n) for n in m.split(",")] for m in
              re.findall(r'\{"nf4_matmul_(?:bwd_)?\d+x\d+", ([\d, ]+)\}', text)]
    cost = [float(n) for n in re.search(r"weight_cost = \{([^}]+)\}", text)[1].split(",")]
    return shapes, cost


def product(shapes, cost, card, tokens, width, depth):
    """(tile, seconds of its tensor term): the tile that product_shape_choose takes, and its waves,
    each as long as a full one. Held against every counted product by check_products."""
    places, best = MULTIPROCESSORS[card], None
    for rows, columns, high, wide, stages, most in shapes:
        ctas = -(-tokens // rows) * -(-width // columns)
        bytes_ = stages * (128 * rows + cost[3] * columns) + cost[4] * columns
        side = min(-(-ctas // places), most, int(SHARED // (bytes_ + 1024)))
        waves = -(-ctas // (side * places))
        parts = [rows * columns * 64 / MACS, rows * (1 + wide) + columns * (cost[1] + cost[2] * high),
                 (128 * rows + cost[0] * columns) / L2_BYTES]
        rest = 0.25 * (sum(parts) - max(parts)) * (2 if side * high * wide < 8 else 1)
        clocks = waves * max(side * (max(parts) + rest + 60), 250)
        if best is None or clocks < best[0]:
            macs = waves * side * places * rows * columns * depth
            best = clocks, f"{rows}x{columns}", 2 * macs / TENSOR[card]
    return best[1:]


def products(card, tokens):
    """{name: (tile, seconds)}; adapters lengthen the sum by their ranks."""
    found = {}
    for name, (rows, columns, parts) in MATRICES.items():
        found["Y = X Wᵀ, " + name] = product(*SHAPES[0], card, tokens, rows, columns + RANK)
        found["dX = dY W, " + name] = product(*SHAPES[1], card, tokens, columns,
                                              rows + parts * RANK)
    return found


def check_products(card, tokens, parts):
    for name, (tile, seconds) in products(card, tokens).items():
        one = next(p[name] for p in parts if name in p)
        assert all(kernel.endswith("_" + tile) for kernel in one.kernels), (name, tile, one.kernels)
        counted = one.terms["tensor"] / one.launches
        assert abs(counted / seconds - 1) < 0.002, (name, counted, seconds)
        assert set(one.bounds) == {"tensor"}, one.bounds


# ---- between counted numbers of tokens ----------------------------------------------------------

def shares(points, tokens):
    """[(point, share)]: on the line through the two around it, or the nearest two, or the one."""
    for low, high in zip(points, points[1:]):
        if tokens <= high or high == points[-1]:
            share = (tokens - low) / (high - low)
            return [(low, 1 - share), (high, share)]
    return [(points[0], 1.0)]


def draw(titles, rng):
    """Steps' units' tokens: epochs of nine tenths of the titles, each in an order of its own."""
    lengths = [t[1] for t in titles]
    rng.shuffle(lengths)
    held_out = lengths[:round(VALIDATION * len(lengths))]
    training, order, steps = lengths[len(held_out):], [], []
    for _ in range(STEPS):
        if len(order) < BATCH * ACCUMULATE:
            order += rng.sample(training, len(training))
        step, order = order[:BATCH * ACCUMULATE], order[BATCH * ACCUMULATE:]
        steps.append([sum(step[i:i + BATCH]) for i in range(0, len(step), BATCH)])
    n = BATCH * ACCUMULATE
    return steps, [held_out[i:i + n] for i in range(0, len(held_out), n)]


def cut(units, most):
    """As train_batch_fill does: whole units while they fit."""
    passes = [units[0]]
    for unit in units[1:]:
        if passes[-1] + unit <= most:
            passes[-1] += unit
        else:
            passes.append(unit)
    return passes


# ---- output -------------------------------------------------------------------------------------

def table(sums):
    total = sum(one.seconds for one in sums.values())
    print("| kernel | launches | µs each | ms | share | bound | " + " | ".join(TERMS) + " |")
    print("| --- " * (6 + len(TERMS)) + "|")
    for name, one in sorted(sums.items(), key=lambda item: -item[1].seconds):
        each = 1e6 / one.launches
        terms = " | ".join(f"{one.terms[t] * each:.1f}" for t in TERMS)
        print(f"| {name} | {one.launches:.0f} | {one.seconds * each:.1f} | {1e3 * one.seconds:.2f} "
              f"| {100 * one.seconds / total:.1f} % | {max(one.bounds, key=one.bounds.get)} "
              f"| {terms} |")
    launches = sum(one.launches for one in sums.values())
    print(f"| all | {launches:.0f} | | {1e3 * total:.1f} | | | "
          + " | ".join(f"{1e3 * sum(o.terms[t] for o in sums.values()):.1f} ms" for t in TERMS)
          + " |")


def pass_of(counted, card, points, tokens, back):
    """A pass: products by their tiles, bound by tensor cores as every counted one is; all else on
    the line through the counted ones."""
    sums = {}
    for point, share in shares(points, tokens):
        for part in counted[card, point][:2 if back else 1]:
            sums_add(sums, part, share)
    for name, (_, seconds) in products(card, tokens).items():
        if name in sums:
            one = sums[name]
            more = seconds * one.launches - one.terms["tensor"]
            one.terms["tensor"] += more
            one.seconds += more
            one.serial += more
            one.bounds["tensor"] += more
    return sums


def run_of(counted, card, steps, held_out, most):
    """Prints and returns a run's seconds with passes of at most so many tokens."""
    points = sorted(t for c, t in counted if c == card)
    step, evaluation, n_passes, lengths = {}, {}, 0, []
    for units in steps:
        for tokens in cut(units, most):
            n_passes += 1
            lengths.append(tokens)
            sums_add(step, pass_of(counted, card, points, tokens, True), 1 / STEPS)
    sums_add(step, counted[card, points[-1]][2])
    for texts in held_out:
        for tokens in cut(texts, most):
            sums_add(evaluation, pass_of(counted, card, points, tokens, False))
    a_step, serial = (sum(getattr(o, key) for o in step.values()) for key in ("seconds", "serial"))
    evaluated = sum(o.seconds for o in evaluation.values())
    print(f"\n### {card}, passes of at most {most} tokens\n")
    print(f"{n_passes / STEPS:.2f} passes a step of {statistics.mean(lengths):.0f} tokens "
          f"({min(lengths)} to {max(lengths)}); a step {1e3 * a_step:.1f} ms, without overlap "
          f"{1e3 * serial:.1f}; {STEPS} steps {STEPS * a_step:.1f} s, without overlap "
          f"{STEPS * serial:.1f} s; an evaluation {evaluated:.2f} s; with {EVALUATIONS} "
          f"{STEPS * a_step + EVALUATIONS * evaluated:.1f} s\n")
    table(step)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--titles", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--work", default="/tmp/report-run")
    parser.add_argument("--tokens", default="352,624,704")
    parser.add_argument("--cards", default="rtx4090,rtx3080")
    parser.add_argument("--passes", default="512,1024", help="of at most so many tokens each")
    parser.add_argument("--count-only", action="store_true")
    return parser.parse_args()


def main():
    args = arguments()
    os.makedirs(args.work, exist_ok=True)
    titles = read_titles(args.titles, args.tokenizer)
    if not os.path.exists(os.path.join(args.work, "model")):
        make_model(os.path.join(args.work, "model"), args.tokenizer)
    tokens = sorted(int(t) for t in args.tokens.split(","))
    counted = {(card, t): split(count(args.work, titles, t, card), t)
               for card in args.cards.split(",") for t in tokens}
    if args.count_only:
        return
    SHAPES.extend(map(read_shapes, ["kernels/nf4_matmul.c", "kernels/nf4_matmul_bwd.c"]))
    for (card, t), parts in counted.items():
        check_products(card, t, parts)
        tiles = {name: k.split("_")[-1] for p in parts for name, one in p.items()
                 for k in one.kernels if k.startswith("nf4_matmul")}
        print(f"{card}, {t} tokens: forward, back, update "
              + ", ".join(f"{1e3 * sum(o.seconds for o in p.values()):.1f}" for p in parts)
              + " ms; " + ", ".join(f"{name} {tile}" for name, tile in tiles.items()))
    steps, held_out = draw(titles, random.Random(0))
    for card in args.cards.split(","):
        for most in args.passes.split(","):
            run_of(counted, card, steps, held_out, int(most))


main()
