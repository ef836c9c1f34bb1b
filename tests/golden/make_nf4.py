#!/usr/bin/env python3
"""Golden numbers for kernels/nf4, from bitsandbytes' CPU code: writes tests/golden/nf4.h.

Made with bitsandbytes 0.50.2, torch 2.15.0 and numpy on an x86-64 CPU. Run from the project's root:

    python3 tests/golden/make_nf4.py [../shared/data] > tests/golden/nf4.h

Inputs are not stored: the kinds below are computed again, bit for bit, by tests/test_nf4.c. Packed
codes and absmax are stored as hashes (64-bit FNV-1a over their bytes), for short inputs whole. The
tensors of tinystories-656k are included where the folder of test data is given.

Where bitsandbytes' CPU code is not what its CUDA code does, and not what nf4.h says, no golden is
made: a last block that is short is divided by absmax there, not multiplied by its reciprocal, and
gets absmax 1e-38 if its own is less. The kinds below keep clear of both: the short blocks of `zeros`
hold a value, those of `ties` have absmax 1, where both ways agree, and `subnormal` has full blocks.
"""
import json
import os
import struct
import sys

import bitsandbytes
import bitsandbytes.functional as F
import numpy as np
import torch

MASK = np.uint64(0xFFFFFFFFFFFFFFFF)


def mix64(seed, n):
    """tests/support.c, for indices 0 .. n-1."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.arange(1, n + 1, dtype=np.uint64)
        z = z * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return z ^ z >> np.uint64(31)


def uniform(n, seed):
    """fill_uniform(x, n, seed, -1, 1)"""
    unit = ((mix64(seed, n) >> np.uint64(11)).astype(np.float64) * 2.0**-53).astype(np.float32)
    return np.float32(-1) + np.float32(2) * unit


def make_input(kind, n):
    u, index = uniform(n, n), np.arange(n)
    if kind == "uniform":
        return u
    if kind == "cubes":  # many small values, as weights have; float32 products
        return u * u * u
    if kind == "zeros":  # -0, 0, and a block of nothing else
        x = np.where(index % 3 == 0, np.float32(0), np.where(index % 3 == 1, np.float32(-0.0), u))
        return np.where((index // 64 == 1) & (n >= 192), np.float32(0), x)
    if kind == "subnormal":
        return u * np.float32(2.0**-130)
    if kind == "huge":
        return u * np.float32(3e38)
    if kind == "ties":  # absmax 1 in each block; values on the midpoints and next to them
        code = F.get_4bit_type("nf4", device="cpu").numpy()
        middle = (code[:-1] + code[1:]) / np.float32(2)
        x = middle[index % 15]
        step = index // 15 % 3
        x = np.where(step == 1, np.nextafter(x, np.float32(-2)), x)
        x = np.where(step == 2, np.nextafter(x, np.float32(2)), x)
        return np.where(index % 64 == 0, np.float32(1), x)
    raise ValueError(kind)


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def golden(name, n, x):
    x = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    packed, state = F.quantize_4bit(x, blocksize=64, quant_type="nf4")
    codes, absmax = packed.numpy().tobytes(), state.absmax.numpy()
    decoded = F.dequantize_4bit(packed, state).numpy().ravel()
    packed2, nested = F.quantize_4bit(x, blocksize=64, quant_type="nf4", compress_statistics=True)
    assert packed2.numpy().tobytes() == codes
    decoded2 = F.dequantize_4bit(packed2, nested).numpy().ravel()
    assert decoded.shape == decoded2.shape == (n,)
    offset = np.float32(nested.offset.item())
    print(f'    {{"{name}", {n}, 0x{fnv(codes):016X}, 0x{fnv(absmax.tobytes()):016X},')
    print(f"     0x{fnv(decoded.tobytes()):016X}, 0x{offset.view(np.uint32):08X},")
    print(f"     0x{fnv(nested.absmax.numpy().tobytes()):016X},", end=" ")
    print(f"0x{fnv(nested.state2.absmax.numpy().tobytes()):016X}, 0x{fnv(decoded2.tobytes()):016X},")
    print(f'     "{codes.hex().upper() if len(codes) <= 33 else ""}"}},')


def main():
    print("/* Made by make_nf4.py from bitsandbytes", bitsandbytes.__version__, "on the CPU. Not edited. */")
    print("/* clang-format off */")
    print("static const struct nf4_golden nf4_goldens[] = {")
    for kind in ("uniform", "cubes", "zeros", "subnormal", "huge", "ties"):
        for n in (1, 2, 15, 63, 64, 65, 191, 700, 4097, 64 * 257, 100000):
            x = make_input(kind, n)
            if n % 64 and not np.abs(x[n // 64 * 64 :]).max() >= 1e-37:
                continue
            golden(kind, n, x)
    print("};")
    print("static const struct nf4_golden nf4_goldens_tinystories[] = {")
    path = os.path.join(sys.argv[1] if len(sys.argv) > 1 else "", "models/tinystories-656k/model.safetensors")
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        for name, tensor in sorted(header.items()):
            if name == "__metadata__" or "norm" in name:
                continue
            assert tensor["dtype"] == "F32"
            begin, end = tensor["data_offsets"]
            file.seek(8 + size + begin)
            golden(name, (end - begin) // 4, np.frombuffer(file.read(end - begin), dtype=np.float32))
    print("};")
    print("/* clang-format on */")


main()
