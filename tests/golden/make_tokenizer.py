"""Token ids by the original tools, for tests/test_tokenizer.c.

Writes tests/golden/tokenizer/: strings.jsonl (odd strings from a seeded walk through Unicode, a JSON
string a line), NAME.ids (a line of ids for each of them), and mistral_titles.hash (FNV-1a of the
ids of each of the first 400 livedoor titles; the titles themselves are not kept).

The names of special tokens inside a text are plain text for midashi; the oracles are told so
(encode_special_tokens). Qwen3 brings text to NFC first, and the originals' Unicode tables are older
than ICU's, so the walk keeps to characters of Unicode 13.

Made with tokenizers 0.23.3, sentencepiece 0.2.3, transformers 5.23.0, gguf 0.19.0:
    python tests/golden/make_tokenizer.py SHARED_DATA SMOLLM2_FOLDER
"""
import json
import os
import random
import sys
import unicodedata

import sentencepiece
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoTokenizer

FOLDER = os.path.join(os.path.dirname(__file__), "tokenizer")

BLOCKS = [(0, 0x20), (0x20, 0x7F), (0x80, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700),
          (0x900, 0xE00), (0xE00, 0x1000), (0x1100, 0x1200), (0x2000, 0x2070), (0x2100, 0x2190),
          (0x3000, 0x3100), (0x4E00, 0xA000), (0xAC00, 0xD7A4), (0xE000, 0xE100), (0xFB00, 0xFB50),
          (0xFE00, 0xFE10), (0xFF00, 0xFFF0), (0x10000, 0x10900), (0x1D100, 0x1D800),
          (0x1F300, 0x1FB00), (0x20000, 0x2A6D0), (0xE0000, 0xE01F0), (0xF0000, 0xF0100)]

PIECES = ["<s>", "</s>", "<unk>", "<|begin_of_text|>", "<|im_start|>", "<0x0A>", "▁", "▁▁",
          "👩‍👩‍👧", "🏳️‍🌈", "é", "が", "'s", "'S", "'LL", "'re", "  ", "   ", "\t", "\n", "\r\n",
          "\n\n \n", "\u00a0", "\u3000", "\u200b", "\u2028", "\x85", "\x1c", "\x00", "123456789", "²",
          "½", "Ⅷ", "a" * 30, "あ" * 12, " " * 20, "日本語", "見出し", "hello", "World", " the"]


def walk(seed, n):
    rnd = random.Random(seed)
    out = ["", " ", "Hello world", "I'm here, aren't I?", "    indented\n\n  code();\n", "3.14159 + 42",
           "新生活には目覚めのよい朝を", "Ünïcödé ﬁne", "don't STOP'S", "\ufeffmark"]
    while len(out) < n:
        length, text = rnd.choice([1, 2, 3, 5, 8, 13, 30]), ""
        while len(text) < length:
            m = rnd.random()
            if m < 0.3:
                text += rnd.choice(PIECES)
            elif m < 0.4:
                text += " " * rnd.randint(1, 4)
            elif m < 0.6:
                text += "".join(chr(rnd.randint(0x61, 0x7A)) for _ in range(rnd.randint(1, 9)))
            else:
                low, high = rnd.choice(BLOCKS)
                for _ in range(rnd.randint(1, 4)):
                    c = chr(rnd.randrange(low, high))
                    if unicodedata.category(c) != "Cn":
                        text += c
        out.append(text)
    return out


def fnv(ids):
    h = 0xCBF29CE484222325
    for i in ids:
        for byte in i.to_bytes(4, "little"):
            h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def main(shared, smollm2):
    os.makedirs(FOLDER, exist_ok=True)
    strings = walk(20261124, 160)
    with open(os.path.join(FOLDER, "strings.jsonl"), "w") as f:
        f.writelines(json.dumps(s) + "\n" for s in strings)

    def fast(tokenizer):
        tokenizer.encode_special_tokens = True
        return lambda s: tokenizer.encode(s, add_special_tokens=False).ids

    folder = os.path.join(shared, "tokenizers")
    file = next(f for f in os.listdir(smollm2) if f.endswith(".gguf"))
    # transformers 5.23 drops the split that the file names ("smollm": digits one by one, as in
    # SmolLM2's own tokenizer.json) when it converts a GGUF; it differs for ² and its like only.
    smollm2_tokenizer = AutoTokenizer.from_pretrained(smollm2, gguf_file=file).backend_tokenizer
    smollm2_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    kinds = {
        "llama3": fast(Tokenizer.from_file(os.path.join(folder, "llama3_tokenizer.json"))),
        "qwen3": fast(Tokenizer.from_file(os.path.join(folder, "qwen3_tokenizer.json"))),
        "mistral": fast(Tokenizer.from_file(os.path.join(folder, "mistral_v0.1_tokenizer.json"))),
        "tinystories": fast(Tokenizer.from_file(
            os.path.join(shared, "models/tinystories-656k/tokenizer.json"))),
        "llama2": sentencepiece.SentencePieceProcessor(
            model_file=os.path.join(folder, "llama2_spm.model")).encode,
        "smollm2": fast(smollm2_tokenizer),
    }
    for name, encode in kinds.items():
        with open(os.path.join(FOLDER, name + ".ids"), "w") as f:
            f.writelines(" ".join(map(str, encode(s))) + "\n" for s in strings)
    lines = open(os.path.join(shared, "corpora/livedoor_titles.tsv"), encoding="utf-8")
    titles = lines.read().split("\n")[1:401]
    with open(os.path.join(FOLDER, "mistral_titles.hash"), "w") as f:
        f.writelines(f"{fnv(kinds['mistral'](t.split(chr(9))[1])):016x}\n" for t in titles)


main(*sys.argv[1:3])
