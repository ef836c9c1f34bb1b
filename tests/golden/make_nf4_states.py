"""What the GPU's embeddings are held against, for tests/test_cuda_embedder.c.

Writes tests/golden/nf4_states/NAME_{float64,bf16}.npy (texts, hidden size), float32: the last token's
state after the final norm, of the first texts of demo/headlines_en.tsv, by transformers with the
weights of all layers' matrices quantised to NF4 by bitsandbytes (double quantisation) and dequantised.

- float64: everything in float64, the embeddings rounded to bfloat16, as midashi keeps them. What is
  right.
- bf16: weights and arithmetic in bfloat16, as torch does it on this CPU. How near that comes.

The token ids are `midashi tokenize`'s, which tests/golden/make_tokenizer.py holds against the
originals.

Made with transformers 5.24.0, torch 2.15.0 (CPU), bitsandbytes 0.50.2, gguf 0.19.0, numpy 2.4.6:
    python tests/golden/make_nf4_states.py build/midashi ../shared/data/models models/smollm2-135m
"""
import os
import struct
import subprocess
import sys

import bitsandbytes.functional
import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
OUTPUT = os.path.join(HERE, "nf4_states")


def headlines(n):
    lines = open(os.path.join(HERE, "..", "..", "demo", "headlines_en.tsv"), encoding="utf-8")
    rows = [line.rstrip("\n").split("\t")[1] for line in lines]
    return rows[1 : n + 1]


def tokenize(program, model, texts):
    lines = subprocess.run(
        [program, "tokenize", "--model", model, "--quiet"],
        input="\n".join(texts) + "\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [[int(word) for word in line.split()] for line in lines]


def quantise(model):
    """Every matrix of the layers through NF4 and back, in place; the embeddings through bfloat16."""
    for name, module in model.named_modules():
        if ".layers." in name and isinstance(module, torch.nn.Linear):
            packed, state = bitsandbytes.functional.quantize_4bit(
                module.weight.data.float().contiguous(), quant_type="nf4", compress_statistics=True
            )
            module.weight.data = bitsandbytes.functional.dequantize_4bit(packed, state).float()
    table = model.get_input_embeddings()
    table.weight.data = table.weight.data.to(torch.bfloat16).float()


def states(model, ids, frequencies):
    model.model.rotary_emb.inv_freq = frequencies  # as loading in that type leaves them: float32
    rows = []
    with torch.no_grad():
        for tokens in ids:
            out = model.model(torch.tensor([tokens])).last_hidden_state
            rows.append(out[0, -1].float().numpy())
    return np.array(rows, np.float32)


def run(name, model, ids):
    model.eval()
    quantise(model)
    frequencies = model.model.rotary_emb.inv_freq.clone()
    exact = states(model.double(), ids, frequencies)
    rounded = states(model.bfloat16(), ids, frequencies)
    np.save(os.path.join(OUTPUT, name + "_float64.npy"), exact)
    np.save(os.path.join(OUTPUT, name + "_bf16.npy"), rounded)
    error = np.linalg.norm(rounded - exact, axis=1) / np.linalg.norm(exact, axis=1)
    rms = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    print(f"{name}: {len(ids)} texts, bf16 differs by {rms:.5f} in all, {error.max():.5f} at most")


def tinystories(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    # The file holds lm_head.weight only; the two are tied.
    table = load_file(os.path.join(folder, "model.safetensors"))["lm_head.weight"].float()
    model.model.embed_tokens.weight.data.copy_(table)
    return model


def stories260k(path):
    """llama2.c's format: a kind of tensor for all layers, then the next; neighbours are rotated."""
    data = open(path, "rb").read()
    d, f, n, heads, kv_heads, vocabulary, length = struct.unpack("7i", data[:28])
    config = LlamaConfig(
        hidden_size=d,
        intermediate_size=f,
        num_hidden_layers=n,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocabulary,
        max_position_embeddings=length,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).float()
    values = torch.frombuffer(bytearray(data[28:]), dtype=torch.float32)
    at = 0

    def take(*shape):
        nonlocal at
        size = int(np.prod(shape))
        at += size
        return values[at - size : at].reshape(shape).clone()

    def turned(w, n_heads):
        """Rows of neighbours to rotate-half order."""
        dim = d // heads
        return w.view(n_heads, dim // 2, 2, d).transpose(1, 2).reshape(n_heads * dim, d)

    kv = kv_heads * d // heads
    layers = model.model.layers
    model.model.embed_tokens.weight.data = take(vocabulary, d)
    for layer in layers:
        layer.input_layernorm.weight.data = take(d)
    for layer in layers:
        layer.self_attn.q_proj.weight.data = turned(take(d, d), heads)
    for layer in layers:
        layer.self_attn.k_proj.weight.data = turned(take(kv, d), kv_heads)
    for layer in layers:
        layer.self_attn.v_proj.weight.data = take(kv, d)
    for layer in layers:
        layer.self_attn.o_proj.weight.data = take(d, d)
    for layer in layers:
        layer.post_attention_layernorm.weight.data = take(d)
    for layer in layers:
        layer.mlp.gate_proj.weight.data = take(f, d)
    for layer in layers:
        layer.mlp.down_proj.weight.data = take(d, f)
    for layer in layers:
        layer.mlp.up_proj.weight.data = take(f, d)
    model.model.norm.weight.data = take(d)
    return model


def main(program, models, smollm2):
    os.makedirs(OUTPUT, exist_ok=True)
    folder = os.path.join(models, "tinystories-656k")
    run("tinystories", tinystories(folder), tokenize(program, folder, headlines(200)))
    folder = os.path.join(models, "stories260K")
    ids = tokenize(program, os.path.join(folder, "tok512.model"), headlines(200))
    run("stories260k", stories260k(os.path.join(folder, "stories260K.bin")), ids)
    file = next(f for f in os.listdir(smollm2) if f.endswith(".gguf"))
    model = AutoModelForCausalLM.from_pretrained(smollm2, gguf_file=file, dtype=torch.float32)
    run("smollm2", model, tokenize(program, smollm2, headlines(24)))


main(*sys.argv[1:4])
