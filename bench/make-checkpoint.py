#!/usr/bin/env python3
"""Writes a Llama checkpoint of random weights, for measuring load time and memory.

    python3 bench/make-checkpoint.py FOLDER [7b|1b|7b-2]   (7b: Llama-2-7B's shapes, 13.5 GB of BF16;
                                                            7b-2: its first two layers)

Needs Python alone. The weights are bfloat16 between 2^-8 and 2^-5 in size, from one random block
that every tensor starts reading at another place.
"""
import json
import os
import random
import struct
import sys

SHAPES = {
    "7b": dict(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
               num_attention_heads=32, num_key_value_heads=32, vocab_size=32000),
    "1b": dict(hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
               num_attention_heads=32, num_key_value_heads=4, vocab_size=32000),
}
SHAPES["7b-2"] = dict(SHAPES["7b"], num_hidden_layers=2)


def tensors(c):
    d, f = c["hidden_size"], c["intermediate_size"]
    kv = d // c["num_attention_heads"] * c["num_key_value_heads"]
    yield "model.embed_tokens.weight", [c["vocab_size"], d]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", [d]
        yield p + "self_attn.q_proj.weight", [d, d]
        yield p + "self_attn.k_proj.weight", [kv, d]
        yield p + "self_attn.v_proj.weight", [kv, d]
        yield p + "self_attn.o_proj.weight", [d, d]
        yield p + "post_attention_layernorm.weight", [d]
        yield p + "mlp.gate_proj.weight", [f, d]
        yield p + "mlp.up_proj.weight", [f, d]
        yield p + "mlp.down_proj.weight", [d, f]
    yield "model.norm.weight", [d]
    yield "lm_head.weight", [c["vocab_size"], d]


def random_block(size):
    """bfloat16: a random sign and fraction, an exponent byte from 119 to 122."""
    raw = bytearray(random.Random(0).randbytes(size))
    table = bytes((b & 0x80) | 0x3B | (b & 1) for b in range(256))
    raw[1::2] = raw[1::2].translate(table)
    return bytes(raw)


def main(folder, name="7b"):
    c = SHAPES[name]
    os.makedirs(folder, exist_ok=True)
    config = dict(c, architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
                  max_position_embeddings=4096, rms_norm_eps=1e-5, rope_theta=10000.0,
                  tie_word_embeddings=False, torch_dtype="bfloat16")
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f, indent=1)
    header, offset = {}, 0
    for tensor, shape in tensors(c):
        size = 2
        for n in shape:
            size *= n
        header[tensor] = dict(dtype="BF16", shape=shape, data_offsets=[offset, offset + size])
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = random_block(1 << 25)
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        place = 0
        for entry in header.values():
            left = entry["data_offsets"][1] - entry["data_offsets"][0]
            while left:
                piece = block[place:place + left]
                f.write(piece)
                left -= len(piece)
                place = (place + len(piece) + 2 * 7919) % len(block)
    print(f"{folder}: {offset / 1e9:.1f} GB; put a tokenizer.json or tokenizer.model beside it")


if len(sys.argv) not in (2, 3) or sys.argv[-1] in ("-h", "--help"):
    sys.exit(__doc__)
main(*sys.argv[1:])
