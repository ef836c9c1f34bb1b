"""Checkpoints in NF4 by transformers and bitsandbytes, for tests/test_bitsandbytes.c.

Writes tests/golden/bitsandbytes/NAME/{config.json,model.safetensors}, a tiny random Llama quantised
and saved in each of the ways of CASES, and values.txt: a line for each matrix of each, NAME, tensor,
rows, columns, and the CRC-32 of its float32 values as bitsandbytes dequantises them.

With the folder of tinystories-656k it also writes tinystories_{last,mean}.npy: what
make_hidden_states.py writes, of that model quantised by bitsandbytes (nested, float32).

Made with bitsandbytes 0.50.2, transformers 5.24.0 and torch 2.15.0 on an x86-64 CPU:
    python tests/golden/make_bitsandbytes.py [TINYSTORIES_FOLDER]
"""
import os
import sys
import tempfile
import zlib

import bitsandbytes
import numpy as np
import torch
from bitsandbytes.functional import dequantize_4bit
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "bitsandbytes")

# Hidden size 48: blocks straddle rows. 400 x 48 weights: 300 blocks, two nested ones.
SIZES = dict(vocab_size=32, hidden_size=48, intermediate_size=400, num_hidden_layers=1,
             num_attention_heads=4, num_key_value_heads=2, head_dim=12, max_position_embeddings=64)
CASES = {
    "nested": (torch.float32, dict(bnb_4bit_use_double_quant=True)),
    "flat": (torch.float32, dict()),
    "bf16": (torch.bfloat16, dict(bnb_4bit_use_double_quant=True,
                                  bnb_4bit_quant_storage=torch.bfloat16)),
    "f16": (torch.float16, dict(bnb_4bit_quant_storage=torch.float32,
                                llm_int8_skip_modules=["lm_head", "down_proj"])),
}


def load(path, dtype, **settings):
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", **settings)
    return AutoModelForCausalLM.from_pretrained(path, quantization_config=config, dtype=dtype,
                                                device_map="cpu")


def dequantized(weight):
    """As a vector: the CPU code's AVX-512 path takes wrong scales from matrices whose columns are a
    multiple of 16 but not of 64."""
    state = weight.quant_state
    shape, state.shape = state.shape, torch.Size([state.shape.numel()])
    values = dequantize_4bit(weight.data, state).reshape(shape)
    state.shape = shape
    return values.float().contiguous().numpy()


def make_tiny():
    torch.manual_seed(0)
    lines = []
    with tempfile.TemporaryDirectory() as plain:
        model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **SIZES))
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.data += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(plain)
        for case, (dtype, settings) in CASES.items():
            load(plain, dtype, **settings).save_pretrained(os.path.join(FOLDER, case))
            os.remove(os.path.join(FOLDER, case, "generation_config.json"))
            # What is compared is what a reader of the file gets, not what was saved.
            model = AutoModelForCausalLM.from_pretrained(os.path.join(FOLDER, case), dtype=dtype,
                                                         device_map="cpu")
            for name, module in model.named_modules():
                if not isinstance(module, torch.nn.Linear) or name == "lm_head":
                    continue
                quantised = isinstance(module, bitsandbytes.nn.Linear4bit)
                values = (dequantized(module.weight) if quantised
                          else module.weight.data.float().numpy())
                lines.append(f"{case} {name}.weight {values.shape[0]} {values.shape[1]} "
                             f"{'NF4' if quantised else 'F16'} {zlib.crc32(values.tobytes()):08x}")
    with open(os.path.join(FOLDER, "values.txt"), "w") as f:
        f.write("\n".join(lines) + "\n")


def make_tinystories(path):
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    model = load(path, torch.float32, bnb_4bit_use_double_quant=True)
    # The file holds lm_head.weight only; the two are tied. midashi keeps embeddings in BF16.
    table = load_file(os.path.join(path, "model.safetensors"))["lm_head.weight"].float()
    model.model.embed_tokens.weight.data.copy_(table.bfloat16().float())
    # Else bitsandbytes packs the weights for its AVX-512 product, whose inputs are BF16. There is no
    # dropout.
    model.train()
    tokenizer = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
    last, mean = [], []
    with open(os.path.join(HERE, "hidden_states", "texts.txt"), encoding="utf-8") as f:
        for text in f.read().splitlines():
            ids = torch.tensor([tokenizer.encode(text).ids])
            with torch.no_grad():
                states = model(ids, output_hidden_states=True).hidden_states
            for layer in (0, 1, 2):
                h = states[layer][0].double().numpy()
                last.append(h[-1])
                mean.append(h[1:].mean(0) if len(h) > 1 else h[0])
    np.save(os.path.join(FOLDER, "tinystories_last.npy"), np.array(last, np.float32))
    np.save(os.path.join(FOLDER, "tinystories_mean.npy"), np.array(mean, np.float32))


make_tiny()
if len(sys.argv) > 1:
    make_tinystories(sys.argv[1])
