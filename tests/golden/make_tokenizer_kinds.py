"""Small tokenizers of every kind and what the original libraries make of texts with them, for
tests/test_tokenizer_kinds.c, and seeds for tests/fuzz/fuzz_tokenizer.c.

Writes tests/golden/tokenizer_kinds/: texts.jsonl (a JSON string a line), and for each kind its file
(.json, .model or .gguf) and NAME.ids: a line with the special tokens before and behind a text
("1 | 2"), then a line of ids for each text, without them. The pieces are trained here on a few
sentences of our own.

The originals are tokenizers and sentencepiece; a GGUF is held to the tokenizer that it was made
from. Names of special tokens inside a text are plain text (encode_special_tokens).

Made with tokenizers 0.23.3, sentencepiece 0.2.3, gguf 0.19.0:
    python tests/golden/make_tokenizer_kinds.py
"""

import copy
import json
import pathlib
import shutil

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
FOLDER = HERE / "tokenizer_kinds"
SEEDS = HERE.parent / "fuzz" / "seeds" / "tokenizer"

CORPUS = """The harbour town hall opens its doors for the autumn market, and the bakers sell bread.
The rain stopped at noon; by two the streets were dry and the children were playing again.
Readers of the evening paper wrote in about the new bus line: 12 letters for it, 7 against.
Ein neuer Fahrplan, ein alter Bahnhof, and there they wait, here and there and everywhere.
港の市場は朝から人でいっぱいです。朝の市場で魚を買う人、魚を売る人。日本の朝、日本の港。
""" * 4

TEXTS = [
    "", " ", "  ", "   ", "a", "the market", " the market", "the  market", "the market ", "  the  ",
    "The rain stopped at 12:30, then 1234567 again.", "A,B,,C, D", "IBM PC and USB-C", "aBcDeF",
    "港の市場", "日本の朝、日本の港", "日本日本人", "魚魚魚x魚", "x魚y", "éèê", "é vs e\u0301",
    "Ångström A\u030angstro\u0308m", "a<tool>b", "a <tool> b", "<tool><tool>", "<tool>",
    "x  [left]  y", "x  [right]  y", "x  [both]\t\n y", "[left][right]", "[both]", "x \u3000[both]\u00a0y",
    "the <|end|> of <s> it </s> all <unk>", "<s>", "▁", "▁the▁ ▁", "the▁market", " ▁ ", "\tthe\n\nmarket",
    "\u00a0the\u3000market\u2003", "the\u0000market", "\u0000", "0x0A <0x0A> <0xE6>", "€ 5 ½ ² Ⅷ ४२",
    "👩‍👩‍👧 and 🏳️‍🌈", "don't DON'T we'll'S", "...!!!???", "a" * 60, "there" * 30, "the " * 40, " " * 50,
    "魚" * 50, "abab ab abc", "user<user>user", "<user>", " <user> ", "ab", "ababab cab", "人人",
    "zq zq", "qz", "Ǆ\u0345\u180e", "market,market;market", "1 22 333 4444 55555", "\r\n\r\n the",
    "thethere", "there there", "whenever wherever", "new line:\n  indented\n", "x" * 5 + " " * 5 + "y",
]


# ---- pieces ----------------------------------------------------------------------------------


def train(pre_tokenizer, alphabet, size, text):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(text.split("\n"), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return [piece for piece, _ in sorted(model["vocab"].items(), key=lambda item: item[1])], [
        tuple(merge) if isinstance(merge, list) else tuple(merge.split(" "))
        for merge in model["merges"]]


def json_file(pieces, merges, pairs=False, **parts):
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
             "ignore_merges": False}
    model.update(parts.pop("model", {}))
    model["vocab"] = {piece: i for i, piece in enumerate(pieces)}
    model["merges"] = [list(m) if pairs else " ".join(m) for m in merges]
    added = parts.pop("added", [])
    next_id = len(pieces)
    tokens = []
    for content, options in added:
        known = content in model["vocab"]
        token = {"id": model["vocab"][content] if known else next_id, "content": content,
                 "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                 "special": False}
        next_id += not known
        token.update(options)
        tokens.append(token)
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens,
            "normalizer": parts.get("normalizer"), "pre_tokenizer": parts.get("pre_tokenizer"),
            "post_processor": parts.get("post_processor"), "decoder": None, "model": model}


def template(before, behind, ids):
    item = [{"SpecialToken": {"id": name, "type_id": 0}} for name in before]
    item.append({"Sequence": {"id": "A", "type_id": 0}})
    item += [{"SpecialToken": {"id": name, "type_id": 0}} for name in behind]
    names = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in before + behind}
    return {"type": "TemplateProcessing", "single": item, "pair": item + [
        {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": names}


def split(pattern, behaviour, invert=False, literal=False):
    return {"type": "Split", "pattern": {"String" if literal else "Regex": pattern},
            "behavior": behaviour, "invert": invert}


def byte_level(prefix, use_regex):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True,
            "use_regex": use_regex}


def sequence(kind, *parts):
    return {"type": "Sequence", kind: list(parts)}


def metaspace(scheme, split_words):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split_words}


SPECIAL = {"special": True}
LLAMA_NORMALISER = sequence("normalizers", {"type": "Prepend", "prepend": "▁"},
                            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"})


def json_kinds():
    every_byte = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces, merges = train(pre_tokenizers.ByteLevel(add_prefix_space=False), every_byte, 256 + 90,
                           CORPUS)
    ascii_bytes = [c for c in every_byte if ord(c) < 0x7F] + ["Ġ"]
    few, few_merges = train(pre_tokenizers.ByteLevel(add_prefix_space=False), ascii_bytes,
                            len(ascii_bytes) + 60, "\n".join(CORPUS.split("\n")[:4]))
    few = ["<unk>"] + few
    characters, character_merges = train(pre_tokenizers.Metaspace(), [], 190, CORPUS)
    special = ["<unk>", "<s>", "</s>"]
    all_bytes = ["<0x%02X>" % b for b in range(256)]
    some_bytes = ["<0x%02X>" % b for b in range(128)] + ["<0xC3>", "<0xA9>", "<0xE6>"]
    llama = special + all_bytes + characters
    yield "bytes_prefix", json_file(
        pieces, merges, normalizer={"type": "NFC"}, pre_tokenizer=byte_level(True, True),
        added=[("<|end|>", SPECIAL), ("<tool>", {}), ("[left]", {"lstrip": True}),
               ("[right]", {"rstrip": True}), ("[both]", {"lstrip": True, "rstrip": True}),
               ("A\u030angstro\u0308m", {"normalized": True}), ("<tool", SPECIAL)],
        post_processor=template(["<|end|>"], ["<|end|>"], {"<|end|>": len(pieces)}))
    yield "bytes_split", json_file(
        pieces, merges, pairs=True, added=[("<s>", SPECIAL), ("</s>", SPECIAL)],
        pre_tokenizer=sequence(
            "pretokenizers", split(r"\s+", "MergedWithNext"), split(",", "Removed", literal=True),
            sequence("pretokenizers", split(r"\p{N}{1,3}", "Contiguous")),
            split(r"[A-Z]", "MergedWithPrevious"), byte_level(False, False)),
        post_processor=sequence("processors", byte_level(True, True),
                                template(["<s>", "</s>"], ["</s>"],
                                         {"<s>": len(pieces), "</s>": len(pieces) + 1})))
    yield "bytes_inverted", json_file(
        few, few_merges, model={"unk_token": "<unk>"},
        pre_tokenizer=sequence("pretokenizers", {"type": "Digits", "individual_digits": False},
                               split(r"(?:[^\s,.]|\S|\d)+|[\x{20}-\x2c]", "Removed", invert=True),
                               byte_level(False, True)))
    yield "bytes_fused", json_file(
        few + ["qz", "魚"], few_merges,
        model={"unk_token": "<unk>", "fuse_unk": True, "ignore_merges": True},
        pre_tokenizer=sequence("pretokenizers", {"type": "Digits", "individual_digits": True},
                               byte_level(False, True)))
    yield "bytes_dropped", json_file(few, few_merges, pre_tokenizer=byte_level(False, True))
    yield "metaspace_always", json_file(
        llama, character_merges, model={"unk_token": "<unk>", "byte_fallback": True},
        added=[("<unk>", SPECIAL), ("<s>", SPECIAL), ("<tool>", {})],
        pre_tokenizer=metaspace("always", True))
    yield "metaspace_first", json_file(
        llama, character_merges, pairs=True,
        model={"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True},
        added=[("<s>", SPECIAL), ("<tool>", {}), ("[left]", {"lstrip": True, "normalized": True}),
               ("there", {"normalized": True})],
        pre_tokenizer=metaspace("first", False),
        post_processor=template(["<s>"], [], {"<s>": 1}))
    yield "metaspace_never", json_file(
        special + characters, character_merges, model={"unk_token": "<unk>", "fuse_unk": True},
        pre_tokenizer=metaspace("never", True))
    yield "characters", json_file(
        special + characters, character_merges, model={"unk_token": "<unk>"},
        normalizer=LLAMA_NORMALISER,
        added=[("<unk>", SPECIAL), ("<s>", {"special": True, "normalized": True}),
               ("<tool>", {}), ("[both]", {"normalized": True, "lstrip": True, "rstrip": True})])
    yield "characters_some_bytes", json_file(
        special + some_bytes + characters, character_merges,
        model={"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True},
        normalizer=LLAMA_NORMALISER)
    joined = [("<0xE6>", "a"), ("<unk>", "<unk>"), ("y", "<0xE6>")]
    yield "characters_joined", json_file(
        special + some_bytes + characters + ["".join(m) for m in joined], joined + character_merges,
        model={"unk_token": "<unk>", "byte_fallback": True}, normalizer=LLAMA_NORMALISER)


# ---- SentencePiece ---------------------------------------------------------------------------


def spm_model(pieces, byte_fallback=True, **normaliser):
    model = sentencepiece_model_pb2.ModelProto()
    types = sentencepiece_model_pb2.ModelProto.SentencePiece
    for text, kind in (("<unk>", types.UNKNOWN), ("<s>", types.CONTROL), ("</s>", types.CONTROL)):
        model.pieces.add(piece=text, score=0, type=kind)
    if byte_fallback:
        for byte in range(256):
            model.pieces.add(piece="<0x%02X>" % byte, score=0, type=types.BYTE)
    for text, score, kind in pieces:
        model.pieces.add(piece=text, score=score, type=kind)
    model.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = byte_fallback
    model.normalizer_spec.name = "identity"
    for key, value in normaliser.items():
        setattr(model.normalizer_spec, key, value)
    return model


def spm_kinds():
    types = sentencepiece_model_pb2.ModelProto.SentencePiece
    characters, merges = train(pre_tokenizers.Metaspace(), [], 190, CORPUS)
    singles = [c for c in characters if len(c) == 1]
    joined = ["".join(m) for m in merges]
    normal = [(text, -float(i), types.NORMAL) for i, text in enumerate(joined)]
    normal += [(text, -float(len(joined) + i), types.NORMAL) for i, text in enumerate(singles)]
    user = [("<user>", 0.0, types.USER_DEFINED), ("▁▁", 0.0, types.USER_DEFINED),
            ("日本", 0.0, types.USER_DEFINED), ("ab", 0.0, types.USER_DEFINED),
            ("\t", 0.0, types.USER_DEFINED)]
    yield "spm_user_defined", spm_model(user + [p for p in normal if p[0] not in ("ab", "日本", "▁▁")])
    yield "spm_kept_spaces", spm_model(normal, remove_extra_whitespaces=False)
    tied = [(text, -float(i // 8), kind) for i, (text, _, kind) in enumerate(normal)]
    without = [p for p in tied if p[0] not in ("h", "港", "a", "\u3002")]
    yield "spm_unknown", spm_model(without + [("zq", -1.0, types.NORMAL), ("𠮷x", -1.0, types.NORMAL)],
                                   byte_fallback=False, remove_extra_whitespaces=False)
    yield "spm_no_prefix", spm_model(normal, add_dummy_prefix=False, remove_extra_whitespaces=False)
    spaced = [(text.replace("▁", " "), score, kind) for text, score, kind in normal]
    yield "spm_plain_spaces", spm_model(spaced, escape_whitespaces=False)


# ---- GGUF ------------------------------------------------------------------------------------


def write_gguf(path, model, tokens, types, **rest):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    for key, value in rest.items():
        getattr(writer, key)(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def gguf_bytes(path, kind, pre, steps, normalizer=None, ignore_merges=False):
    """A byte-level file, and the tokenizer.json that says the same."""
    pieces = list(kind["model"]["vocab"])
    merges = kind["model"]["merges"]
    added = [("<|end|>", SPECIAL), ("<tool>", {})]
    write_gguf(path, "gpt2", pieces + [name for name, _ in added] + ["[PAD0]"],
               [1] * len(pieces) + [3, 4, 5], add_tokenizer_pre=pre, add_token_merges=merges,
               add_bos_token_id=len(pieces), add_eos_token_id=len(pieces), add_add_bos_token=False,
               add_add_eos_token=True)
    same = json_file(pieces, [tuple(m.split(" ")) for m in merges], added=added,
                     normalizer=normalizer, pre_tokenizer=sequence("pretokenizers", *steps),
                     model={"ignore_merges": ignore_merges},
                     post_processor=template([], ["<|end|>"], {"<|end|>": len(pieces)}))
    return Tokenizer.from_str(json.dumps(same))


# ---- the whole -------------------------------------------------------------------------------


def write_ids(name, before, behind, encode):
    lines = [" ".join(map(str, before)) + " | " + " ".join(map(str, behind))]
    lines += [" ".join(map(str, encode(text))) for text in TEXTS]
    (FOLDER / (name + ".ids")).write_text("\n".join(lines) + "\n")


def write_tokenizers_ids(name, tokenizer):
    tokenizer.encode_special_tokens = True
    plain = tokenizer.encode("there", add_special_tokens=False).ids
    whole = tokenizer.encode("there", add_special_tokens=True).ids
    at = next(i for i in range(len(whole)) if whole[i:i + len(plain)] == plain)
    write_ids(name, whole[:at], whole[at + len(plain):],
              lambda text: tokenizer.encode(text, add_special_tokens=False).ids)


def write_spm_ids(name, data):
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    write_ids(name, [processor.bos_id()], [], processor.encode)


def main():
    for folder in (FOLDER, SEEDS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    (FOLDER / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in TEXTS))
    kinds = dict(json_kinds())
    for name, kind in kinds.items():
        text = json.dumps(kind, ensure_ascii=False, separators=(",", ":"))
        (FOLDER / (name + ".json")).write_text(text + "\n")
        write_tokenizers_ids(name, Tokenizer.from_str(text))
    models_of_spm = dict(spm_kinds())
    for name, model in models_of_spm.items():
        data = model.SerializeToString()
        (FOLDER / (name + ".model")).write_bytes(data)
        write_spm_ids(name, data)

    base = copy.deepcopy(kinds["bytes_prefix"])
    digits = {"type": "Digits", "individual_digits": True}
    llama3 = split(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
                   r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+", "Isolated")
    qwen2 = copy.deepcopy(llama3)
    qwen2["pattern"]["Regex"] = qwen2["pattern"]["Regex"].replace(r"\p{N}{1,3}", r"\p{N}")
    for name, arguments in {
            "gguf_smollm": ("smollm", [digits, byte_level(False, True)]),
            "gguf_llama_bpe": ("llama-bpe", [llama3, byte_level(False, False)], None, True),
            "gguf_qwen2": ("qwen2", [qwen2, byte_level(False, False)], {"type": "NFC"})}.items():
        write_tokenizers_ids(name, gguf_bytes(FOLDER / (name + ".gguf"), base, *arguments))
    model = models_of_spm["spm_no_prefix"]
    write_gguf(FOLDER / "gguf_spm.gguf", "llama", [p.piece for p in model.pieces],
               [p.type for p in model.pieces],
               add_token_scores=[p.score for p in model.pieces], add_add_space_prefix=False,
               add_bos_token_id=1, add_eos_token_id=2, add_unk_token_id=0)
    write_spm_ids("gguf_spm", model.SerializeToString())

    for name in ("bytes_prefix.json", "bytes_split.json", "metaspace_first.json", "characters.json",
                 "spm_user_defined.model", "spm_unknown.model", "gguf_smollm.gguf", "gguf_spm.gguf"):
        shutil.copy(FOLDER / name, SEEDS / name.replace(".", "_"))


if __name__ == "__main__":
    main()
