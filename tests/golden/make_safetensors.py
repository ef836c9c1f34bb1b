"""Small tensors as the safetensors library writes them, for tests/test_safetensors.c.

Made with safetensors 0.8 and torch 2.15:
    python3 tests/golden/make_safetensors.py
"""

import pathlib

import torch
from safetensors.torch import save_file

# Value i is (i - 3) / 8: exact in all types.
values = lambda *shape: ((torch.arange(torch.Size(shape).numel()) - 3) / 8).reshape(shape)

save_file(
    {
        "matrix.f32": values(5, 3),
        "matrix.f16": values(4, 7).half(),
        "matrix.bf16": values(3, 9).bfloat16(),
        "vector.f32": values(11),
        "scalar.f32": values(),
        "empty.f32": torch.zeros(0, 4),
        "cube.f16": values(2, 3, 4).half(),
        "positions": torch.arange(6),
        "ünïcode": values(2),
    },
    pathlib.Path(__file__).parent / "mixed.safetensors",
    metadata={"format": "pt"},
)
