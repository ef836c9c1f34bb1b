"""Does transformers, with bitsandbytes, load what `midashi quantize` wrote? By hand, from the root:

    build/midashi quantize MODEL --output FOLDER
    build/midashi tokenize --model FOLDER TEXTS.txt > IDS.txt
    build/midashi embed TEXTS.txt --model FOLDER --pool last --output E.npy
    python tests/golden/check_quantize.py FOLDER IDS.txt E.npy

Prints how many matrices bitsandbytes dequantises to the values that docs/formats.md's formulas give
from the file's bytes, which must be all, bit for bit; and the largest relative error of the hidden
states, computed by transformers in float32. Exits 1 where a matrix differs, or an error is above
1e-4. (For matrices whose columns are a multiple of 16 but not of 64, bitsandbytes' AVX-512 product
takes wrong scales: give it a model without such.) docs/numerics.md keeps the result.
"""
import json
import os
import struct
import sys

import bitsandbytes
import numpy as np
import torch
from bitsandbytes.functional import dequantize_4bit
from transformers import AutoModelForCausalLM


def read_safetensors(path):
    types = {"F32": np.float32, "U8": np.uint8, "BF16": np.uint16}
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    return {name: np.frombuffer(data[slice(*t["data_offsets"])], types[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items() if name != "__metadata__"}


def by_formula(tensors, name):
    state = json.loads(bytes(tensors[name + ".quant_state.bitsandbytes__nf4"]))
    codes = tensors[name].ravel()
    nibbles = np.stack([codes >> 4, codes & 15], 1).ravel()
    scale = (tensors[name + ".nested_quant_map"][tensors[name + ".absmax"]]
             * np.repeat(tensors[name + ".nested_absmax"], 256)[: len(tensors[name + ".absmax"])])
    scale = scale + np.float32(state["nested_offset"])
    n = state["shape"][0] * state["shape"][1]
    return tensors[name + ".quant_map"][nibbles[:n]] * np.repeat(scale, 64)[:n]


def main(folder, ids_path, embeddings_path):
    tensors = read_safetensors(os.path.join(folder, "model.safetensors"))
    model = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu")
    with torch.no_grad():
        model.train()  # no packing for the CPU's product in BF16; there is no dropout
        model(torch.tensor([[1, 2, 3]]))  # in the types of the file
    for parameter in model.parameters():  # from here on in float32, where midashi computes
        if parameter.is_floating_point():
            parameter.data = parameter.data.float()
    same = matrices = 0
    for name, module in model.named_modules():
        if not isinstance(module, bitsandbytes.nn.Linear4bit):
            continue
        module.compute_dtype = torch.float32
        weight, want = module.weight, by_formula(tensors, name + ".weight")
        state = weight.quant_state
        shape, state.shape = state.shape, torch.Size([state.shape.numel()])  # see make_bitsandbytes.py
        got = dequantize_4bit(weight.data, state).numpy().ravel()
        state.shape = shape
        assert tuple(shape) == (module.out_features, module.in_features)
        matrices += 1
        same += got.tobytes() == want.tobytes()
    worst = 0
    embeddings = np.load(embeddings_path)
    with open(ids_path) as f:
        lines = f.read().splitlines()
    assert len(lines) == len(embeddings)
    for line, got in zip(lines, embeddings):
        with torch.no_grad():
            want = model(torch.tensor([[int(i) for i in line.split()]]),
                         output_hidden_states=True).hidden_states[-1][0, -1].double().numpy()
        worst = max(worst, np.linalg.norm(got - want) / np.linalg.norm(want))
    print(f"{same} of {matrices} matrices the same; hidden states of {len(lines)} texts within {worst:.1e}")
    return 0 if matrices and same == matrices and worst <= 1e-4 else 1


sys.exit(main(*sys.argv[1:4]))
