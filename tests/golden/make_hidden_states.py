"""Hidden states of real models by transformers in float32, for tests/test_embedder.c.

Writes tests/golden/hidden_states/NAME_{ids.txt,last.npy,mean.npy,mean-all.npy} for the texts of
texts.txt: the token ids, and the pooled hidden states (texts * layers, hidden size), text by text,
for the layers listed below. `last` is the last token's state; `mean` the mean over the tokens of the
text without position 0, `mean-all` with it, as sentence-transformers pools. Layer l is transformers' hidden_states[l]: 0 the embeddings, the last one with
the final norm.

Made with transformers 5.23.0, torch 2.15.0 (CPU), gguf 0.19.0, numpy 2.4.6:
    python tests/golden/make_hidden_states.py TINYSTORIES_FOLDER SMOLLM2_FOLDER
"""
import os
import sys

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = os.path.join(os.path.dirname(__file__), "hidden_states")


def run(name, model, encode, layers):
    model.eval()
    lines = open(os.path.join(FOLDER, "texts.txt"), encoding="utf-8").read().splitlines()
    last, mean, mean_all, ids = [], [], [], []
    for text in lines:
        tokens = encode(text)
        ids.append(" ".join(map(str, tokens)))
        with torch.no_grad():
            states = model(torch.tensor([tokens]), output_hidden_states=True).hidden_states
        for layer in layers:
            h = states[layer][0].double().numpy()
            last.append(h[-1])
            mean.append(h[1:].mean(0) if len(h) > 1 else h[0])
            mean_all.append(h.mean(0))
    np.save(os.path.join(FOLDER, name + "_last.npy"), np.array(last, np.float32))
    np.save(os.path.join(FOLDER, name + "_mean.npy"), np.array(mean, np.float32))
    np.save(os.path.join(FOLDER, name + "_mean-all.npy"), np.array(mean_all, np.float32))
    with open(os.path.join(FOLDER, name + "_ids.txt"), "w") as f:
        f.write("\n".join(ids) + "\n")
    print(name, len(lines), "texts, layers", layers)


def main(tinystories, smollm2):
    model = AutoModelForCausalLM.from_pretrained(tinystories, dtype=torch.float32)
    # The file holds lm_head.weight only; the two are tied.
    from safetensors.torch import load_file

    table = load_file(os.path.join(tinystories, "model.safetensors"))["lm_head.weight"].float()
    model.model.embed_tokens.weight.data.copy_(table)
    tokenizer = Tokenizer.from_file(os.path.join(tinystories, "tokenizer.json"))
    run("tinystories", model, lambda t: tokenizer.encode(t).ids, [0, 1, 2])

    file = next(f for f in os.listdir(smollm2) if f.endswith(".gguf"))
    model = AutoModelForCausalLM.from_pretrained(smollm2, gguf_file=file, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(smollm2, gguf_file=file)
    run("smollm2", model, lambda t: tokenizer(t).input_ids, [0, 20, 30])


main(*sys.argv[1:3])
