"""Hidden states of tiny random models of each family by transformers in float32, for
tests/test_families.c.

Made with transformers 5.24.0, torch 2.15.0 (CPU), gguf 0.19.0, safetensors 0.8.0, NumPy 2.4:
    python3 tests/golden/make_families.py

families/NAME/config.json, model.safetensors   a model; its weights are bfloat16
families/NAME.gguf        the same weights as llama.cpp's converter lays them out, by the gguf package
families/VARIANT/config.json                   another configuration for the same weights
families/NAME.npy, VARIANT.npy                 the last hidden states (after the final norm) of six
                          texts of 1, 2, W-1, W, W+1 and 3W tokens, one text behind the other
"""
import json
import pathlib
import shutil

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

FOLDER = pathlib.Path(__file__).parent / "families"
SIZES = {
    "hidden_size": 32, "intermediate_size": 40, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 256, "rms_norm_eps": 1e-5, "hidden_act": "silu",
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}

# W, the prefix of the tensors' names, the configuration in the way of transformers 4 or 5, and
# variants. llama: each frequency is either kept or divided by 8, which a GGUF's float32 divisors
# say exactly; mistral_llama3 has one in between. 3W goes beyond the 32 original positions.
MODELS = {
    "llama": (24, "model.", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2,
        "attention_bias": True, "mlp_bias": True, "max_position_embeddings": 256,
        "rope_theta": 10000.0, "rope_scaling": LLAMA3, "tie_word_embeddings": True,
    }, {}),
    "mistral": (48, "", {
        "architectures": ["MistralModel"], "model_type": "mistral", "num_hidden_layers": 2,
        "head_dim": 16, "sliding_window": 48, "rope_theta": 10000.0,
        "max_position_embeddings": 256,
    }, {
        "mistral_llama3": {"rope_theta": None, "rope_parameters": LLAMA3 | {"rope_theta": 10000.0}},
        "mistral_full": {"sliding_window": None},
    }),
    "qwen2": (16, "model.", {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "num_hidden_layers": 3,
        "use_sliding_window": False, "sliding_window": 16, "max_window_layers": 1,
        "max_position_embeddings": 128, "rope_theta": 1000000.0, "tie_word_embeddings": True,
    }, {
        "qwen2_window": {"use_sliding_window": True},
    }),
    "qwen3": (16, "", {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_hidden_layers": 3,
        "head_dim": 16, "max_position_embeddings": 128, "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    }, {
        "qwen3_layers": {"use_sliding_window": True, "sliding_window": 16,
                         "layer_types": ["full_attention", "full_attention", "sliding_attention"]},
    }),
}

GGUF_NAMES = {
    "embed_tokens": "token_embd", "norm": "output_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def text(length):
    return [(7 * i * i + 13 * i + 31 * length + 5) % 256 for i in range(length)]


def fill(model, seed):
    """Weights that keep the size of what they multiply, and attention that is not uniform."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("norm.weight"):
            noise = 1 + 0.2 * noise
        elif name.endswith("bias"):
            noise = 0.5 * noise
        elif "embed" not in name:
            noise = noise * (2 if "q_proj" in name else 1) / value.shape[1] ** 0.5
        value.data.copy_(noise.bfloat16().float())


def states(name, w):
    config = AutoConfig.from_pretrained(FOLDER / name)
    model = AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    base = name.split("_")[0]
    weights = load_file(FOLDER / base / "model.safetensors")
    weights = {key.removeprefix("model."): value.float() for key, value in weights.items()}
    model.load_state_dict(weights, strict=True)
    out = []
    for length in (1, 2, w - 1, w, w + 1, 3 * w):
        with torch.no_grad():
            out.append(model(torch.tensor([text(length)])).last_hidden_state[0].numpy())
    np.save(FOLDER / (name + ".npy"), np.concatenate(out).astype(np.float32))


def write_config(name, config):
    (FOLDER / name).mkdir(parents=True, exist_ok=True)
    (FOLDER / name / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def permute(values, heads):
    """As llama.cpp's converter does for architecture llama."""
    return (values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
            .swapaxes(1, 2).reshape(values.shape))


def write_gguf(name, config):
    family = config["model_type"]
    arch = "llama" if family == "mistral" else family
    head_dim = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    writer = gguf.GGUFWriter(FOLDER / (name + ".gguf"), arch)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta", 1000000.0))
    writer.add_vocab_size(config["vocab_size"])
    if "head_dim" in config:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if family == "mistral":
        writer.add_sliding_window(config["sliding_window"])
    for key, value in load_file(FOLDER / name / "model.safetensors").items():
        key = key.removeprefix("model.")
        stem, suffix = key.rsplit(".", 1)
        place = ""
        if stem.startswith("layers."):
            _, layer, stem = stem.split(".", 2)
            place = f"blk.{layer}."
        values = value.float().numpy()
        heads = {"self_attn.q_proj": config["num_attention_heads"],
                 "self_attn.k_proj": config["num_key_value_heads"]}.get(stem)
        if arch == "llama" and heads:
            values = permute(values, heads)
        target = f"{place}{GGUF_NAMES[stem]}.{suffix}"
        if values.ndim == 2:
            kind = gguf.GGMLQuantizationType.BF16
            writer.add_tensor(target, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, np.ascontiguousarray(values))
    if "rope_scaling" in config:
        frequencies = config["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim)
        turns = LLAMA3["original_max_position_embeddings"] * frequencies / (2 * np.pi)
        assert ((turns < 1) | (turns > 4)).all()
        writer.add_tensor("rope_freqs.weight", np.where(turns < 1, 8, 1).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


shutil.rmtree(FOLDER, ignore_errors=True)
for seed, (name, (w, prefix, config, variants)) in enumerate(MODELS.items()):
    config = SIZES | config
    write_config(name, config)
    model = AutoModel.from_config(AutoConfig.from_pretrained(FOLDER / name), dtype=torch.float32)
    fill(model, seed)
    save_file({prefix + key: value.bfloat16() for key, value in model.state_dict().items()},
              FOLDER / name / "model.safetensors")
    (FOLDER / name / "model.safetensors").chmod(0o644)
    write_gguf(name, config)
    states(name, w)
    for variant, changes in variants.items():
        changed = config | changes
        write_config(variant, {k: v for k, v in changed.items()
                               if v is not None or k == "sliding_window"})
        states(variant, w)
