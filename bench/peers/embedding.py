"""What the scripts that compare embeddings share: texts, their tokens, midashi's side, the report.

All sides get the same token ids, run all layers, and give the last token's hidden state after the
final norm, which every one of them can pool.
"""

import numpy

import common


def add_arguments(parser):
    """What to embed, with which model."""
    parser.add_argument(
        "--texts", help="a .tsv (last column) or a text a line (headlines, and documents of them)"
    )
    parser.add_argument("--model", default="models/smollm2-135m", help="(models/smollm2-135m)")


def read_texts(path):
    """The texts of a .tsv with a header, or of a file with a text a line."""
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    if path.suffix == ".tsv":
        lines = [line.split("\t")[-1] for line in lines[1:]]
    return lines


def corpora(options):
    """{name: texts}: those of --texts, or short texts and long ones."""
    if options.texts:
        path = common.Path(options.texts)
        return {path.name: read_texts(path)}
    headlines = read_texts(common.ROOT / "demo" / "headlines_en.tsv")
    documents = [". ".join(headlines[i : i + 27]) for i in range(0, 108, 27)]
    return {"short texts": headlines[::6], "long texts": documents}


class Corpus:
    """Texts, their token ids, and where midashi finds them."""

    def __init__(self, name, texts, model):
        self.name = name
        self.path = common.WORK / "texts.txt"
        self.path.write_text("".join(text + "\n" for text in texts))
        lines = common.midashi("tokenize", "--model", model, self.path).splitlines()
        self.ids = [list(map(int, line.split())) for line in lines]
        self.tokens = sum(map(len, self.ids))
        self.longest = max(map(len, self.ids))

    def describe(self):
        """One line."""
        return f"{self.name}: {len(self.ids)} of {self.tokens / len(self.ids):.0f} tokens"

    def part(self):
        """Some of the texts, of about 500 tokens together, for trials."""
        return self.ids[:: max(1, self.tokens // 500)]


def quantised(model):
    """The model's folder in NF4, as `midashi quantize` makes it: it loads at once."""
    folder = common.WORK / f"nf4-{common.Path(model).stem}"
    if not folder.exists():
        common.midashi("quantize", model, "--output", folder, "--quiet")
    return folder


class Midashi:
    """midashi's side: a process a run; its loading is not counted."""

    def __init__(self, corpus, model, threads, precision="nf4"):
        self.corpus = corpus
        self.output = common.WORK / "midashi.npy"
        options = ["--pool", "last", "--layer", -1, "--prompt", "none", "--threads", threads]
        limits = ["--max-tokens", corpus.longest, "--precision", precision]
        self.command = ["embed", corpus.path, "--model", model, "--output", self.output]
        self.command += options + limits

    def run(self):
        """Wall-clock seconds of embedding alone; processor seconds of all."""
        report, processor = common.midashi_report(*self.command)
        if report["tokens"] != self.corpus.tokens:
            raise SystemExit(f"midashi ran {report['tokens']} tokens, not {self.corpus.tokens}")
        return report["embed_seconds"], processor

    def vectors(self):
        """What it gives: (texts, width)."""
        self.run()
        return numpy.load(self.output)


def batches(ids, most_tokens, most_texts, padded=False):
    """Indices of texts, shortest first, in batches of at most so many tokens and texts.

    padded: a text counts as many tokens as the longest of its batch.
    """
    batch, tokens = [], 0
    for index in sorted(range(len(ids)), key=lambda i: len(ids[i])):
        length = len(ids[index])
        after = length * (len(batch) + 1) if padded else tokens + length
        if batch and (after > most_tokens or len(batch) == most_texts):
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += length
    if batch:
        yield batch


def cosines(a, b):
    """Of the rows of two arrays: median and least."""
    a, b = a.astype(float), b.astype(float)
    values = (a * b).sum(1) / numpy.linalg.norm(a, axis=1) / numpy.linalg.norm(b, axis=1)
    return {"median": float(numpy.median(values)), "least": float(values.min())}


def climb(trial, settings, start):
    """The best of settings by changing one at a time.

    trial: settings -> seconds. settings: {name: values}. Returns the best and all that was tried.
    """
    seen = {}

    def seconds(point):
        key = tuple(point.items())
        if key not in seen:
            seen[key] = trial(point)
        return seen[key]

    best, before = dict(start), None
    while best != before:
        before = best
        for name, values in settings.items():
            best = min(({**best, name: value} for value in values), key=seconds)
    return best, [{**dict(key), "seconds": value} for key, value in seen.items()]


def report(case):
    """Prints a case: {"corpus", "threads", "rows", ...}."""
    print(f"{case['corpus']}; {case['threads']} thread{'s' * (case['threads'] > 1)}\n")
    header = ["", "tokens/s", "midashi is so many times as fast", "by processor time", "cosine"]
    rows = []
    for row in case["rows"]:
        cells = [row["name"], common.in_words(row["rate"], 0)]
        if "ratio" in row:
            cells += [common.in_words(row["ratio"]), common.in_words(row["processor_ratio"])]
        else:
            cells += ["", ""]
        cosine = row.get("cosine")
        cells.append(f"{cosine['median']:.4f}, least {cosine['least']:.4f}" if cosine else "")
        rows.append(cells)
    common.print_table(header, rows)
