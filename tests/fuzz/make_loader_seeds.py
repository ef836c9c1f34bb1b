"""Seeds for the fuzzers of model files: small valid files, one for each feature.

Needs Python alone: python3 tests/fuzz/make_loader_seeds.py
"""

import json
import pathlib
import struct

seeds = pathlib.Path(__file__).parent / "seeds"


def write(fuzzer, name, data):
    (seeds / fuzzer).mkdir(parents=True, exist_ok=True)
    (seeds / fuzzer / name).write_bytes(data)


def safetensors(header, n_data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(range(n_data))


def tensor(kind, shape, begin, end):
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


write("safetensors", "three_types", safetensors({
    "__metadata__": {"format": "pt"},
    "lm_head.weight": tensor("F32", [2, 3], 0, 24),
    "b": tensor("F16", [4], 24, 32),
    "c": tensor("BF16", [1, 2, 2], 32, 40),
}, 40))
write("safetensors", "odd_shapes", safetensors({
    "scalar": tensor("F32", [], 0, 4),
    "empty": tensor("F32", [0, 7], 4, 4),
    "deep": tensor("U8", [1, 1, 1, 1, 1, 1, 1, 3], 4, 7),
    "wide": tensor("I64", [1], 7, 15),
}, 15))
write("safetensors", "empty", safetensors({}, 0))


def nf4(nested, dtype):
    """A matrix of 3 x 50 weights as bitsandbytes saves it: 75 bytes of codes, 3 blocks."""
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": dtype, "shape": [3, 50]}
    levels = [-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0,
              0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]
    parts = {"": ("U8", [75, 1], bytes(range(75))),
             ".quant_map": ("F32", [16], struct.pack("<16f", *levels)),
             ".absmax": ("F32", [3], struct.pack("<3f", 1, 0, 70000))}
    if nested:
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.25}
        parts |= {".absmax": ("U8", [3], b"\x00\x80\xff"),
                  ".nested_absmax": ("F32", [1], struct.pack("<f", 0.5)),
                  ".nested_quant_map": ("F32", [256], struct.pack(
                      "<256f", *(i / 255 * 2 - 1 for i in range(256))))}
    text = json.dumps(state).encode()
    parts[".quant_state.bitsandbytes__nf4"] = ("U8", [len(text)], text)
    header, data = {}, b""
    for part, (kind, shape, content) in parts.items():
        header["w" + part] = tensor(kind, shape, len(data), len(data) + len(content))
        data += content
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + data


write("safetensors", "nf4_nested", nf4(True, "bfloat16"))
write("safetensors", "nf4_flat", nf4(False, "float16"))


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def key(name, kind, value):
    return text(name) + struct.pack("<I", kind) + value


def array(kind, values):
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


u32 = lambda value: struct.pack("<I", value)
f32 = lambda value: struct.pack("<f", value)


def gguf(keys, tensors, alignment=32):
    """tensors: (name, dims, type, bytes)"""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys)
    data = b""
    for name, dims, kind, size in tensors:
        out += text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        out += struct.pack("<IQ", kind, len(data))
        data += bytes(i % 256 for i in range(size))
        data += bytes(-len(data) % alignment)
    return out + bytes(-len(out) % alignment) + data


def family(name):
    return [
        key("general.architecture", 8, text(name)),
        key(f"{name}.embedding_length", 4, u32(8)),
        key(f"{name}.feed_forward_length", 4, u32(32)),
        key(f"{name}.block_count", 4, u32(1)),
        key(f"{name}.attention.head_count", 4, u32(2)),
        key(f"{name}.context_length", 4, u32(64)),
        key(f"{name}.attention.layer_norm_rms_epsilon", 6, f32(1e-5)),
        key(f"{name}.rope.freq_base", 6, f32(10000)),
    ]


LLAMA = family("llama")
TOKENS = key("tokenizer.ggml.tokens", 9, array(8, [text("a"), text(""), text("bc")]))

write("gguf", "metadata", gguf([
    key("general.alignment", 4, u32(8)),
    key("a", 9, array(9, [array(5, [u32(1), u32(2)]), array(6, [f32(1)])])),
    TOKENS,
    key("tokenizer.ggml.scores", 9, array(6, [f32(-1), f32(0), f32(2)])),
    key("split.count", 2, struct.pack("<H", 1)),
], [("x", [2, 2], 0, 16)], 8))
write("gguf", "types", gguf([], [
    ("f32", [4], 0, 16), ("f16", [4], 1, 8), ("q4_0", [32], 2, 18), ("q4_1", [32], 3, 20),
    ("q8_0", [32], 8, 34), ("bf16", [2, 2, 2, 2], 30, 32), ("q6_k", [256], 14, 210),
    ("q5_0", [32], 6, 22), ("q5_1", [32], 7, 24), ("q2_k", [256], 10, 84),
    ("q3_k", [256], 11, 110), ("q4_k", [256], 12, 144), ("q5_k", [256], 13, 176),
]))
write("gguf", "llama", gguf(LLAMA, [
    ("token_embd.weight", [8, 3], 0, 96),
    ("blk.0.attn_q.weight", [32, 8], 8, 272),
    ("blk.0.attn_k.weight", [8, 8], 1, 128),
    ("blk.0.attn_k.bias", [8], 1, 16),
    ("output_norm.weight", [8], 0, 32),
]))
write("model_config", "gguf", gguf(LLAMA + [TOKENS], []))
write("model_config", "gguf_divisors", gguf(LLAMA + [key("llama.vocab_size", 4, u32(9))], [
    ("rope_freqs.weight", [2], 0, 8),
]))
write("model_config", "gguf_linear", gguf(LLAMA + [
    key("llama.vocab_size", 4, u32(9)),
    key("llama.rope.scaling.type", 8, text("linear")),
    key("llama.rope.scaling.factor", 6, f32(2)),
], []))
write("model_config", "gguf_window", gguf(family("qwen3") + [
    key("qwen3.vocab_size", 4, u32(9)),
    key("qwen3.attention.sliding_window", 4, u32(7)),
    key("qwen3.attention.causal", 7, bytes([1])),
], []))

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 256}
for name, more in {
    "json": {"rope_scaling": None},
    "json_linear": {"rope_scaling": {"type": "linear", "factor": 2.0}},
    "json_llama3": {"rope_scaling": LLAMA3},
    "json_parameters": {"rope_parameters": LLAMA3 | {"rope_theta": 5e5}},
    "json_mistral": {"architectures": ["MistralModel"], "sliding_window": 7},
    "json_qwen": {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True,
                  "sliding_window": 7, "max_window_layers": 1, "num_key_value_heads": None,
                  "layer_types": ["full_attention"] + 2 * ["sliding_attention"]},
}.items():
    write("model_config", name, json.dumps(CONFIG | more).encode())


ADAPTER = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1,
    "bias": "none", "target_modules": ["q_proj", "mlp.down_proj"], "use_dora": False,
    "fan_in_fan_out": False, "init_lora_weights": True, "modules_to_save": None,
}
for name, more in {
    "plain": {},
    "pattern": {"target_modules": r".*\.(q|down)_proj", "exclude_modules": r".*\.1\..*"},
    "patterns": {"use_rslora": True, "rank_pattern": {"^model.layers.0.self_attn.q_proj": 2},
                 "alpha_pattern": {"q_proj|up_proj": 2.5}},
    "layers": {"layers_to_transform": [0, 1], "layers_pattern": ["h", "layers"],
               "exclude_modules": ["k_proj"]},
    "classifier": {"task_type": "SEQ_CLS", "modules_to_save": ["classifier", "score"],
                   "target_modules": "all-linear", "layers_to_transform": None},
}.items():
    write("adapter_config", name, json.dumps(ADAPTER | more).encode())


for name, shards in (("two", ("a.safetensors", "b.safetensors", "a.safetensors")),
                     ("climbing", ("../a.safetensors",))):
    write("shards", name, json.dumps({"metadata": {"total_size": 12}, "weight_map": {
        f"t{i}": shard for i, shard in enumerate(shards)}}).encode())


def npy(version, header, n_data):
    lengths = "<H" if version == 1 else "<I"
    start = 8 + struct.calcsize(lengths)
    header += " " * (-(start + len(header) + 1) % 64) + "\n"
    return (b"\x93NUMPY" + bytes([version, 0]) + struct.pack(lengths, len(header)) +
            header.encode() + bytes(i % 256 for i in range(n_data)))


for version, kind, shape, n_data in ((1, "f4", "(3, 2)", 24), (1, "f2", "(5,)", 10),
                                     (2, "i4", "(0, 4)", 0), (3, "f2", "(2, 3,)", 12)):
    header = f"{{'descr': '<{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    write("npy", f"v{version}_{kind}", npy(version, header, n_data))
