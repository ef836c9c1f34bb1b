"""A tiny Llama as GGUF, the same tensors in float32 as safetensors, and checksums of SmolLM2's.

Made with gguf 0.19, transformers 5.23, safetensors 0.8 and NumPy 2.4:
    python3 tests/golden/make_gguf.py [SmolLM2-135M-Instruct.Q4_1.gguf]

gguf/tiny.gguf          blocks of random bits in every type that midashi reads; q and k rows permuted
                        as llama.cpp has them; Llama 3's scaling as rope_freqs.weight
gguf/tiny.safetensors   what gguf.quants.dequantize makes of them, under Hugging Face's names, q and k
                        rows put back by transformers' own loader
gguf/types.gguf         every type that is read, 8 rows of 256 values: rows of edge scales (zeros,
                        subnormal, largest and negative halves), then random bits
gguf/types.safetensors  what gguf.quants.dequantize makes of them
gguf/smollm2.txt        for each tensor of the real file: name, rows, columns, crc32 of the float32
                        values as transformers has them. Only with the file as argument.
"""

import pathlib
import sys
import zlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file
from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

folder = pathlib.Path(__file__).parent / "gguf"
folder.mkdir(exist_ok=True)

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN, VOCAB, LAYERS = 32, 2, 1, 16, 64, 24, 2

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

SHAPES = {
    "attn_norm": (HIDDEN,),
    "attn_q": (HEADS * HEAD_DIM, HIDDEN),
    "attn_k": (KV_HEADS * HEAD_DIM, HIDDEN),
    "attn_v": (KV_HEADS * HEAD_DIM, HIDDEN),
    "attn_output": (HIDDEN, HEADS * HEAD_DIM),
    "ffn_norm": (HIDDEN,),
    "ffn_gate": (FFN, HIDDEN),
    "ffn_up": (FFN, HIDDEN),
    "ffn_down": (HIDDEN, FFN),
}

TYPES = [
    {"attn_q": Type.Q4_1, "attn_k": Type.Q4_0, "attn_v": Type.F16, "attn_output": Type.BF16,
     "ffn_gate": Type.Q4_1, "ffn_up": Type.Q8_0, "ffn_down": Type.Q4_0},
    {"attn_q": Type.F16, "attn_k": Type.Q8_0, "attn_v": Type.Q4_1, "attn_output": Type.Q4_0,
     "ffn_gate": Type.F32, "ffn_up": Type.BF16, "ffn_down": Type.Q4_1},
]

random = np.random.default_rng(2)


def random_tensor(shape, kind):
    """Random bits as the file holds them. Finite, so that equal values mean equal bits."""
    while True:
        raw = random.integers(0, 256, gguf.quant_shape_to_byte_shape(shape, kind), dtype=np.uint8)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        if block == 1:
            values = gguf.quants.dequantize(raw, kind)
            bad = ~np.isfinite(values)
            raw.reshape(*shape, size)[bad] = 0
            return raw, gguf.quants.dequantize(raw, kind).reshape(shape)
        # Scales anywhere in half's range: clear the top exponent bit where it would be infinite.
        blocks = raw.reshape(-1, size)
        for column in (1, 3) if kind == Type.Q4_1 else (1,):
            infinite = (blocks[:, column] & 0x7C) == 0x7C
            blocks[infinite, column] &= 0xBF
        return raw, gguf.quants.dequantize(raw, kind).reshape(shape)


def unpermute(values, heads):
    return LlamaTensorProcessor()._reverse_permute_weights(values, heads, heads)


def tiny():
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_vocab_size(VOCAB)
    writer.add_token_list([f"token {i}" for i in range(VOCAB)])
    writer.add_token_scores([-0.5 * i for i in range(VOCAB)])
    writer.add_token_types([1] * VOCAB)
    writer.add_add_bos_token(True)
    writer.add_array("midashi.nested", [[1, 2], [3, 4, 5]])
    expected = {}

    def add(name, shape, kind, layer=None):
        raw, values = random_tensor(shape, kind)
        prefix = "" if layer is None else f"blk.{layer}."
        writer.add_tensor(f"{prefix}{name}.weight", raw if kind != Type.F32 else values,
                          raw_dtype=None if kind == Type.F32 else kind)
        heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(name)
        if heads:
            values = unpermute(values, heads)
        place = "" if layer is None else f"model.layers.{layer}."
        expected[f"{place}{NAMES[name]}.weight"] = np.ascontiguousarray(values, dtype=np.float32)

    add("token_embd", (VOCAB, HIDDEN), Type.Q8_0)
    add("output_norm", (HIDDEN,), Type.F32)
    for layer in range(LAYERS):
        for name, shape in SHAPES.items():
            add(name, shape, TYPES[layer].get(name, Type.F32), layer)
    divisors = np.array([1, 1, 1, 1.5, 2.5, 6, 8, 8], dtype=np.float32)
    writer.add_tensor("rope_freqs.weight", divisors)
    expected["rope_freqs.weight"] = divisors
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, folder / "tiny.safetensors")


# Where the halves of a block stand: d, and m or dmin.
HALVES = {
    Type.F16: (0,), Type.Q4_0: (0,), Type.Q4_1: (0, 2), Type.Q5_0: (0,), Type.Q5_1: (0, 2),
    Type.Q8_0: (0,), Type.Q2_K: (80, 82), Type.Q3_K: (108,), Type.Q4_K: (0, 2), Type.Q5_K: (0, 2),
    Type.Q6_K: (208,), Type.BF16: (), Type.F32: (),
}
# (d, the other) of rows 0 to 4; None: random bits. Row 4 has all other bits set.
EDGES = [(0x0000, 0x8000), (0x0001, 0x03FF), (0x7BFF, 0xFBFF), (0xFBFF, 0x8001), (0x7BFF, 0x7BFF)]


def types():
    bits = np.random.default_rng(3)
    writer = gguf.GGUFWriter(folder / "types.gguf", "llama")
    expected = {}
    for kind, halves in HALVES.items():
        size = gguf.GGML_QUANT_SIZES[kind][1]
        raw = bits.integers(0, 256, gguf.quant_shape_to_byte_shape((8, 256), kind), dtype=np.uint8)
        rows = raw.reshape(8, -1, size)
        rows[4] = 0xFF
        for i, at in enumerate(halves):
            column = rows[:, :, at:at + 2].copy().view(np.uint16)
            column &= np.where((column & 0x7C00) == 0x7C00, np.uint16(0xBFFF), np.uint16(0xFFFF))
            for row, edge in enumerate(EDGES):
                column[row] = edge[i]
            rows[:, :, at:at + 2] = column.view(np.uint8)
        if kind in (Type.F32, Type.BF16):  # finite: clear an exponent bit
            rows[:, :, -1] &= 0xBF
        values = gguf.quants.dequantize(raw, kind).astype(np.float32).reshape(8, 256)
        assert np.isfinite(values).all(), kind
        name = kind.name.lower()
        if kind == Type.F32:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, raw, raw_dtype=kind)
        expected[name] = values
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, folder / "types.safetensors")


def smollm2(path):
    import torch
    from transformers import AutoModelForCausalLM

    path = pathlib.Path(path)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name,
                                                 dtype=torch.float32)
    with open(folder / "smollm2.txt", "w") as out:
        for name, values in model.state_dict().items():
            values = values.numpy()
            rows = values.shape[0] if values.ndim == 2 else 1
            print(name, rows, values.shape[-1], f"{zlib.crc32(values.tobytes()):08x}", file=out)


tiny()
types()
if len(sys.argv) > 1:
    smollm2(sys.argv[1])
