"""Embedding beside llama.cpp, in its 4-bit types.

    python3 bench/peers/run_llama_cpp.py [--texts FILE] [--threads N] [--turns N]

llama-cpp-python is built from source for this processor. llama.cpp's own quantiser makes the types
out of a float32 GGUF, which it makes of the model's own. It is driven by its C interface with the
same token ids, many texts in a batch, and what suits it best of these settings, tried for each
type, corpus and number of threads:

- architecture: `llama` multiplies every token with the output matrix even where embeddings are
  asked for; the same file under the name `llama-embed` does not, and attends without a cache;
- n_ubatch, how many tokens run at once; attention is over all of a batch, so more is not better;
- flash attention.
"""

import common

NAME = "llama_cpp"
REQUIREMENTS = ["llama-cpp-python==0.3.36", "gguf==0.19.0", "numpy==2.4.6"]
BUILD = {"CMAKE_ARGS": "-DGGML_NATIVE=ON", "CMAKE_BUILD_PARALLEL_LEVEL": str(common.processors())}

if __name__ == "__main__":
    common.enter(NAME, REQUIREMENTS, BUILD, ["--no-binary", "llama-cpp-python"])

import ctypes
from importlib.metadata import version

import gguf
import llama_cpp
import numpy

import embedding

TYPES = {"Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, "Q4_K_S": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_S}
SETTINGS = {
    "architecture": ["llama-embed", "llama"],
    "n_ubatch": [64, 128, 256, 512],
    "flash_attention": [True, False],
}


# ---- model files -----------------------------------------------------------------------------


def quantise(source, target, file_type):
    """By llama.cpp's quantiser."""
    if target.exists():
        return
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = file_type
    params.allow_requantize = True
    code = llama_cpp.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(params))
    if code != 0:
        raise SystemExit(f"{target}: llama.cpp cannot make it of {source}")


def rename_architecture(source, target):
    """The same model as `llama-embed`."""
    if target.exists():
        return
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama-embed")
    for field in reader.fields.values():
        name = field.name
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        if name.startswith("llama."):
            name = "llama-embed" + name[len("llama") :]
        kind = field.types[0]
        part = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, part)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def matrix_types(path):
    """{type: how many matrices have it}."""
    matrices = [tensor for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) == 2]
    names = [tensor.tensor_type.name for tensor in matrices]
    return {name: names.count(name) for name in sorted(set(names), key=names.count)}


def packaged_file(model):
    """The model's GGUF."""
    path = common.Path(model)
    files = [path] if path.is_file() else sorted(path.glob("*.gguf"))
    if not files:
        raise SystemExit(f"{model}: holds no .gguf, which llama.cpp needs")
    return files[0]


def model_files(model):
    """{(type, architecture): file}, and {type: matrix_types}."""
    packaged = packaged_file(model)
    folder = common.WORK / "models" / packaged.stem
    folder.mkdir(parents=True, exist_ok=True)
    quantise(packaged, folder / "F32.gguf", llama_cpp.LLAMA_FTYPE_ALL_F32)
    plain = {"F32": folder / "F32.gguf"}
    for name, file_type in TYPES.items():
        plain[name] = folder / f"{name}.gguf"
        quantise(plain["F32"], plain[name], file_type)
    plain[f"{list(matrix_types(packaged))[-1]} as packaged"] = packaged
    files = {}
    for name, path in plain.items():
        renamed = folder / f"{name.replace(' ', '-')}-embed.gguf"
        rename_architecture(path, renamed)
        files[name, "llama"], files[name, "llama-embed"] = path, renamed
    return files, {name: matrix_types(path) for name, path in plain.items()}


# ---- running ---------------------------------------------------------------------------------


class Embedder:
    """A model in a context that packs texts into batches."""

    def __init__(self, path, settings, threads, longest):
        model_params = llama_cpp.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(bytes(path), model_params)
        self.n_batch = max(settings["n_ubatch"], longest)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = self.n_batch
        params.n_seq_max = self.n_texts = min(64, self.n_batch)
        params.n_threads = params.n_threads_batch = threads
        params.embeddings = True
        params.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_LAST
        params.attention_type = llama_cpp.LLAMA_ATTENTION_TYPE_CAUSAL
        params.flash_attn_type = int(settings["flash_attention"])
        params.kv_unified = True
        params.no_perf = True
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.model or not self.context:
            raise SystemExit(f"{path}: llama.cpp cannot open it")
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.width = llama_cpp.llama_model_n_embd(self.model)
        self.batch = llama_cpp.llama_batch_init(self.n_batch, 0, 1)
        self.filled = {
            name: numpy.ctypeslib.as_array(getattr(self.batch, name), (self.n_batch,))
            for name in ("token", "pos", "n_seq_id", "logits")
        }

    def run(self, ids):
        """The vectors (texts, width)."""
        vectors = numpy.zeros((len(ids), self.width), numpy.float32)
        for chosen in embedding.batches(ids, self.n_batch, self.n_texts):
            self.fill([ids[index] for index in chosen])
            llama_cpp.llama_memory_clear(self.memory, False)
            if llama_cpp.llama_decode(self.context, self.batch) != 0:
                raise SystemExit("llama_decode failed")
            for place, index in enumerate(chosen):
                pointer = llama_cpp.llama_get_embeddings_seq(self.context, place)
                vectors[index] = numpy.ctypeslib.as_array(pointer, (self.width,))
        return vectors

    def fill(self, texts):
        """Puts texts into the batch, each a sequence of its own."""
        tokens = [token for ids in texts for token in ids]
        self.batch.n_tokens = n = len(tokens)
        self.filled["token"][:n] = tokens
        self.filled["pos"][:n] = [position for ids in texts for position in range(len(ids))]
        self.filled["n_seq_id"][:n] = 1
        self.filled["logits"][:n] = 1
        sequences = [sequence for sequence, ids in enumerate(texts) for _ in ids]
        for place, sequence in enumerate(sequences):
            self.batch.seq_id[place][0] = sequence

    def close(self):
        """Releases all."""
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)


def best_settings(files, name, corpus, threads):
    """Tries settings on a part of the texts."""
    part = corpus.part()

    def trial(settings):
        path = files[name, settings["architecture"]]
        embedder = Embedder(path, settings, threads, corpus.longest)
        seconds = common.trial_seconds(threads, embedder.run, part)
        embedder.close()
        return seconds

    start = {key: values[0] for key, values in SETTINGS.items()} | {"n_ubatch": 256}
    return embedding.climb(trial, SETTINGS, start)


def in_short(settings):
    """For the table."""
    flash = ", flash attention" if settings["flash_attention"] else ""
    return f"{settings['architecture']}, n_ubatch {settings['n_ubatch']}{flash}"


def measure(corpus, files, threads, n_turns, model, exact):
    """A case: midashi and all types in turns. exact: the vectors in float32."""
    ours = embedding.Midashi(corpus, embedding.quantised(model), threads)
    runners, chosen, embedders = {"midashi NF4": ours.run}, {}, {}
    for name in sorted({name for name, _ in files} - {"F32"}):
        settings, tried = best_settings(files, name, corpus, threads)
        path = files[name, settings["architecture"]]
        embedder = embedders[name] = Embedder(path, settings, threads, corpus.longest)
        runners[name] = lambda e=embedder: common.timed(e.run, corpus.ids)
        chosen[name] = {"settings": settings, "tried": tried}
    rows = common.compare(common.take_turns(runners, n_turns), "midashi NF4", corpus.tokens)
    for row in rows:
        if row["name"] in chosen:
            embedder = embedders[row["name"]]
            row["cosine"] = embedding.cosines(exact, embedder.run(corpus.ids))
            row.update(chosen[row["name"]])
            row["name"] += f" ({in_short(row['settings'])})"
            embedder.close()
        else:
            row["cosine"] = embedding.cosines(exact, ours.vectors())
    return {"corpus": corpus.describe(), "threads": threads, "rows": rows}


def check_same_work(corpus, files, model):
    """In float32, both from the same weights, the vectors must be the same but for rounding.

    Returns midashi's, and the cosines with llama.cpp's.
    """
    threads = common.processors()
    ours = embedding.Midashi(corpus, model, threads, "f32").vectors()
    cosines = {}
    for architecture in SETTINGS["architecture"]:
        settings = {"n_ubatch": 256, "flash_attention": False}
        embedder = Embedder(files["F32", architecture], settings, threads, corpus.longest)
        cosines[architecture] = embedding.cosines(ours, embedder.run(corpus.ids))
        embedder.close()
        if not cosines[architecture]["least"] > 0.9999:
            raise SystemExit(f"not the same work: cosines in float32 {cosines}")
    return ours, cosines


def main():
    """Measures all cases."""
    parser = common.arguments(__doc__)
    embedding.add_arguments(parser)
    options = parser.parse_args()
    llama_cpp.llama_log_set(silence, None)
    llama_cpp.llama_backend_init()
    files, kinds = model_files(options.model)
    where = common.machine({"llama-cpp-python": version("llama-cpp-python")})
    where["built_for"] = llama_cpp.llama_print_system_info().decode()
    common.print_machine(where)
    print(where["built_for"], *(f"{name}: {kind}" for name, kind in kinds.items()), "", sep="\n")
    cases = []
    for name, texts in embedding.corpora(options).items():
        corpus = embedding.Corpus(name, texts, options.model)
        exact, same = check_same_work(corpus, files, options.model)
        print(f"{name}, both in float32: cosine {same}\n")
        for threads in common.thread_counts(options):
            case = measure(corpus, files, threads, options.turns, options.model, exact)
            cases.append({**case, "float32_cosine": same, "tensors": kinds})
            embedding.report(case)
    common.store(NAME, where, cases)


@llama_cpp.llama_log_callback
def silence(level, text, data):
    """llama.cpp's messages go nowhere."""


if __name__ == "__main__":
    main()
