"""Embedding beside transformers on the CPU: NF4 by bitsandbytes; float32 and bfloat16 as context.

    python3 bench/peers/run_transformers.py [--texts FILE] [--threads N] [--turns N]

All load the folder that `midashi quantize` writes, so the weights are the same NF4, dequantised
where the row says so. Texts run in batches of like length, padded on the right, where the causal
mask makes padding harmless; how many tokens a batch may hold is tried for each row. Eager PyTorch,
its own attention (sdpa), no output matrix.
"""

import common

NAME = "transformers"
REQUIREMENTS = [
    "transformers==5.24.0",
    "bitsandbytes==0.50.2",
    "torch==2.15.0",
    "accelerate==1.15.0",
    "numpy==2.4.6",
]

if __name__ == "__main__":
    common.enter(NAME, REQUIREMENTS)

import bitsandbytes
import numpy
import torch
import transformers

import embedding

BATCH_TOKENS = [256, 512, 1024, 2048]
# bitsandbytes has a product of its own for bfloat16, which it takes in evaluation mode.
MODES = {
    "NF4, bfloat16, bitsandbytes' product": {"dtype": torch.bfloat16, "packed": True},
    "NF4, bfloat16, dequantised for each product": {"dtype": torch.bfloat16},
    "NF4, float32, dequantised for each product": {"dtype": torch.float32},
    "bfloat16": {"dtype": torch.bfloat16, "plain": True},
    "float32": {"dtype": torch.float32, "plain": True},
}


class Embedder:
    """A model, and how it runs over texts."""

    def __init__(self, folder, dtype, packed=False, plain=False):
        load = transformers.AutoModelForCausalLM.from_pretrained
        model = load(folder, dtype=dtype, device_map="cpu", attn_implementation="sdpa")
        if plain:
            model = model.dequantize()
        for module in model.modules():
            if isinstance(module, bitsandbytes.nn.Linear4bit):
                module.compute_dtype, module.compute_type_is_set = dtype, True
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(dtype)
        self.model = model.model.eval() if packed or plain else model.model.train()
        self.batch_tokens = None

    @torch.inference_mode()
    def run(self, ids):
        """The vectors (texts, width)."""
        vectors = numpy.zeros((len(ids), self.model.config.hidden_size), numpy.float32)
        for chosen in embedding.batches(ids, self.batch_tokens, 1024, padded=True):
            texts = [ids[index] for index in chosen]
            lengths = [len(text) for text in texts]
            padded = [text + [0] * (max(lengths) - len(text)) for text in texts]
            hidden = self.model(torch.tensor(padded), use_cache=False).last_hidden_state
            last = hidden[torch.arange(len(texts)), torch.tensor(lengths) - 1]
            vectors[chosen] = last.float().numpy()
        return vectors

    def choose_batch(self, ids, threads):
        """Tries the sizes on a part of the texts and keeps the best."""

        def trial(settings):
            self.batch_tokens = settings["batch_tokens"]
            return common.trial_seconds(threads, self.run, ids)

        best, tried = embedding.climb(
            trial, {"batch_tokens": BATCH_TOKENS}, {"batch_tokens": BATCH_TOKENS[0]}
        )
        self.batch_tokens = best["batch_tokens"]
        return tried


def measure(corpus, embedders, threads, n_turns, folder):
    """A case: midashi and all modes in turns."""
    torch.set_num_threads(threads)
    ours = embedding.Midashi(corpus, folder, threads)
    part = corpus.part()
    tried = {name: embedder.choose_batch(part, threads) for name, embedder in embedders.items()}
    runners = {"midashi NF4": ours.run}
    for name, embedder in embedders.items():
        runners[name] = lambda e=embedder: common.timed(e.run, corpus.ids)
    rows = common.compare(common.take_turns(runners, n_turns), "midashi NF4", corpus.tokens)
    vectors = ours.vectors()
    for row in rows:
        if row["name"] in embedders:
            embedder = embedders[row["name"]]
            row["tried"] = tried[row["name"]]
            row["cosine"] = embedding.cosines(vectors, embedder.run(corpus.ids))
            row["name"] += f" (batches of {embedder.batch_tokens})"
    return {"corpus": corpus.describe(), "threads": threads, "rows": rows}


def main():
    """Measures all cases."""
    parser = common.arguments(__doc__)
    embedding.add_arguments(parser)
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    folder = embedding.quantised(options.model)
    modules = [transformers, bitsandbytes, torch]
    where = common.machine({module.__name__: module.__version__ for module in modules})
    common.print_machine(where)
    embedders = {name: Embedder(folder, **mode) for name, mode in MODES.items()}
    cases = []
    for name, texts in embedding.corpora(options).items():
        corpus = embedding.Corpus(name, texts, options.model)
        for threads in common.thread_counts(options):
            cases.append(measure(corpus, embedders, threads, options.turns, folder))
            embedding.report(cases[-1])
    common.store(NAME, where, cases)


if __name__ == "__main__":
    main()
