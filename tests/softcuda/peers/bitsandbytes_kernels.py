#!/usr/bin/env python3
"""Runs the CUDA kernels of bitsandbytes on softcuda and compares what they compute with numpy.

    make
    python3 tests/softcuda/peers/bitsandbytes_kernels.py CHECKOUT [WORD]

CHECKOUT: a folder with bitsandbytes' sources (github.com/bitsandbytes-foundation/bitsandbytes, of
which this project holds nothing). WORD: only kernels whose name has it. Needs nvcc, c++filt and
numpy; where the package bitsandbytes can be imported, its results on the CPU are compared too.

Each row of the table is a process of its own with all checks of softcuda on; what they report is
printed below the table, and the row is then computed again without them, each allocation as large
as a card's pages, so that reads a little behind an array find memory there. Exit code 1: a result
is wrong. BUILD names the build's folder, NVCC the compiler; PTX a folder to keep what it makes.
"""
import ctypes
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import reference as ref  # noqa: E402
from device import Device, DriverError  # noqa: E402

BUILD = os.environ.get("BUILD", "build")
# -arch: kernels of sm75 are empty for others.
SOURCES = {"kernels": 80, "gemm_4bit_simt": 80, "gemm_4bit_sm80": 80, "gemm_4bit_sm75": 75}
TYPES = {"float": "float", "half": "__half", "bf16": "__nv_bfloat16"}
FORMATS = {"8bit": 0, "fp4": 1, "nf4": 2}
OPTIMIZERS = {"adam": 0, "momentum": 1, "rmsprop": 2, "adagrad": 4, "lion": 5, "ademamix": 6}
# Of the products' kernels: roundings to the type that a weight goes through (table, size and their
# product; of the tensor cores' one, table times size), and whether its product with A is rounded.
ROUNDINGS = {"kgemm_4bit_inference_naive": (3, 1), "gemm_4bit_simt": (3, 1),
             "gemm_4bit_sm80_m16n8k16": (1, 0), "gemm_4bit_sm75_m16n8k8": (1, 0)}
GRANULARITY = 2 << 20  # bytes: a page of the card
random = np.random.default_rng(2024)


class Row:
    """What a row of the table has come to: the largest error as a share of what is allowed."""

    def __init__(self):
        self.share, self.equal, self.different, self.near_ties, self.peers = 0.0, 0, 0, 0, None
        self.peer_zeros = 0

    def near(self, got, want, allowed):
        got, want = np.asarray(got, "f8").ravel(), np.asarray(want, "f8").ravel()
        error = np.abs(got - want) / np.broadcast_to(np.ravel(allowed), got.shape)
        error[np.isnan(error) & (got == want)] = 0
        self.share = max(self.share, float(np.nan_to_num(error, nan=np.inf).max()))

    def same(self, got, want, ties=None):
        """ties: where a value lies so near the middle of two codes that either is right."""
        differs = np.asarray(got).ravel() != np.asarray(want).ravel()
        if ties is not None:
            self.near_ties += int((differs & ties.ravel()).sum())
            differs &= ~ties.ravel()
        self.equal += int((~differs).sum())
        self.different += int(differs.sum())

    def compare_peer(self, theirs, want, x):
        """What the package's own code for the CPU makes of x; of zeros apart."""
        differs = theirs != want
        self.peers = (self.peers or 0) + int((differs & (x != 0)).sum())
        self.peer_zeros += int((differs & (x == 0)).sum())

    def good(self):
        return self.different == 0 and self.share <= 1

    def text(self):
        parts = []
        if self.equal or self.different:
            parts.append(f"{self.different} of {self.equal + self.different} differ")
        if self.near_ties:
            parts.append(f"{self.near_ties} at a middle")
        if self.share:
            parts.append(f"{self.share:.3f} of the bound")
        if self.peers is not None:
            parts.append(f"its CPU code: {self.peers} differ"
                         + (f", and {self.peer_zeros} zeros" if self.peer_zeros else ""))
        return ", ".join(parts) or "equal"


# ---- quantisation --------------------------------------------------------------------------------

def values(n, kind):
    """Normal numbers, among them zeros, both ends and numbers at the middles of codes."""
    x = random.standard_normal(n).astype("f4")
    x[:: max(n // 7, 1)] = 0
    return ref.store(x, kind)


def package():
    try:
        import bitsandbytes.functional
        return bitsandbytes.functional
    except ImportError:
        return None


def peer_quantize(x, kind, form, block, code):
    """(codes, absmax) by the package's own code for the CPU; None: it is not there."""
    functional = package()
    if not functional:
        return None
    import torch
    tensor = torch.from_numpy(ref.load(x, kind).copy()).to(
        {"float": torch.float32, "half": torch.float16, "bf16": torch.bfloat16}[kind])
    if form == "8bit":
        out, state = functional.quantize_blockwise(tensor, code=torch.from_numpy(code.copy()),
                                                   blocksize=block)
    else:
        out, state = functional.quantize_4bit(tensor, blocksize=block, quant_type=form)
    return out.numpy().ravel(), state.absmax.numpy()


def quantize(device, modules, row, kind, form):
    code = ref.codes(form)
    for block in (32, 64, 128, 256, 512, 1024, 2048, 4096):
        if block == 32 and form == "8bit":
            continue
        for n in (3 * block, 2 * block + block // 2 + 3, 5):
            x = values(n, kind)
            if n == 3 * block:
                x[block:2 * block] = 0
            per = 2 if form != "8bit" else 1
            blocks = -(-n // block)
            absmax, out = device.empty(blocks, "f4"), device.empty(-(-n // per), "u1")
            arguments = [device.upload(code), device.upload(x), absmax, out, None, 0, n]
            if form != "8bit" and block <= 64:
                name, threads = f"kQuantizeBlockwiseSmall<{TYPES[kind]}, {block}, " \
                    f"{FORMATS[form]}>", 32
                grid = -(-blocks // (64 // block))
            else:
                each = 4 if block >= 1024 else 2
                name = f"kQuantizeBlockwise<{TYPES[kind]}, {block}, {each}, 0, {FORMATS[form]}>"
                grid, threads = blocks, block // each
            modules["kernels"].launch(name, grid, threads, arguments)
            want, maxima, ties = ref.quantize(ref.load(x, kind), block, code, form)
            got = out.download()
            unpacked = got if per == 1 else np.stack([got >> 4, got & 15], 1).ravel()[:n]
            row.same(unpacked, want, ties)
            row.same(absmax.download(), maxima)
            peer = peer_quantize(x, kind, form, block, code) if n == 3 * block else None
            if peer:
                theirs = peer[0] if per == 1 else np.stack([peer[0] >> 4, peer[0] & 15], 1).ravel()
                live = np.repeat(maxima, block)[:n] != 0  # its CPU code differs on blocks of zeros
                row.compare_peer(code[theirs[live]], code[want[live]], ref.load(x, kind)[live])
                row.compare_peer(peer[1], maxima, maxima + 1)
            device.free()


def dequantize(device, modules, row, kind, form, sizes=(4096 * 3, 4096 + 1024)):
    code = ref.codes(form)
    per = 2 if form != "8bit" else 1
    for block in (64, 256, 4096):
        for n in sizes:
            packed = random.integers(0, 256, n // per, "u1")
            absmax = np.abs(random.standard_normal(-(-n // block))).astype("f4")
            out = device.empty(n, ref.STORED[kind])
            modules["kernels"].launch(
                f"kDequantizeBlockwise<{TYPES[kind]}, 512, 64, 8, {FORMATS[form]}>",
                -(-n // (512 * per)), 64,
                [device.upload(code), device.upload(packed), device.upload(absmax), out,
                 block // per, n])
            numbers = packed if per == 1 else np.stack([packed >> 4, packed & 15], 1).ravel()
            want = code[numbers] * np.repeat(absmax, block)[:n]
            got = out.download()
            row.same(got, ref.store(want, kind))
            device.free()


def short_dequantize(device, modules, row):
    dequantize(device, modules, row, "float", "nf4", sizes=(100,))


# ---- products with 4-bit weights -----------------------------------------------------------------

class Weight:
    """B (N, K) in 4 bits, the sizes of its blocks plain or nested."""

    def __init__(self, device, shape, block, form, nested):
        n, k = self.shape = shape
        self.block, self.form = block, form
        self.packed = random.integers(0, 256, (n, k // 2), "u1")
        blocks = n * k // block
        if nested:
            codes8 = random.integers(128, 256, blocks).astype("u1")
            outer = random.uniform(0.5, 2, -(-blocks // 256)).astype("f4")
            table, offset = ref.codes("8bit"), np.array([0.25], "f4")
            self.absmax = table[codes8] * outer[np.arange(blocks) // 256] + offset[0]
            scales = [device.upload(outer), device.upload(codes8), device.upload(table),
                      device.upload(offset)]
        else:
            self.absmax = random.uniform(0.5, 2, blocks).astype("f4")
            scales = [device.upload(self.absmax), None, None, None]
        self.arguments = [device.upload(self.packed), *scales]
        self.values = None

    def exact(self):
        """(N, K), float64."""
        if self.values is None:
            numbers = np.stack([self.packed >> 4, self.packed & 15], -1).reshape(self.shape)
            sizes = self.absmax.astype("f8").reshape(self.shape[0], -1)
            self.values = ref.codes(self.form).astype("f8")[numbers]
            self.values *= sizes.repeat(self.block, 1)
        return self.values


class Problem:
    """out (M, N) = A (M, K) B (N, K)^T + bias, B in 4 bits: a weight, or one that is made."""

    def __init__(self, device, kind, shape, block, form, nested, bias, weight=None):
        self.kind, self.shape = kind, shape
        m, n, k = shape
        self.a = ref.store(random.standard_normal((m, k)).astype("f4"), kind)
        self.weight = weight or Weight(device, (n, k), block, form, nested)
        self.bias = ref.store(random.standard_normal(n).astype("f4"), kind) if bias else None
        self.out = device.empty((m, n), ref.STORED[kind])
        self.arguments = [device.upload(self.a), *self.weight.arguments, self.out,
                          None if self.bias is None else device.upload(self.bias), m, n, k, block,
                          FORMATS[form]]

    def compare(self, row, b_roundings, product_rounded):
        b = self.weight.exact()
        a = ref.load(self.a, self.kind).astype("f8")
        bias = 0 if self.bias is None else ref.load(self.bias, self.kind).astype("f8")
        want = a @ b.T + bias
        unit, least = ref.UNIT[self.kind], ref.LEAST[self.kind]
        size = np.abs(a) @ np.abs(b).T + np.abs(bias)
        roundings = b_roundings + product_rounded
        allowed = size * (roundings * unit * 1.01 + (self.shape[2] + 4) * 2.0**-24) \
            + np.abs(want) * unit + least
        if self.kind == "half":  # products below the normal numbers lose absolutely
            allowed += self.shape[2] * product_rounded * 2.0**-25
            allowed += np.abs(a).sum(1)[:, None] * b_roundings * 2.0**-25
        row.near(ref.load(self.out.download(), self.kind), want, allowed)


def gemv_naive(device, modules, row, kind, sizes=(8, 64)):
    for n in sizes:
        for k, block, form in ((64, 64, "nf4"), (1024, 64, "fp4"), (2112, 32, "nf4")):
            problem = Problem(device, kind, (1, n, k), block, form, False, False)
            a, b, absmax = problem.arguments[:3]
            modules["kernels"].launch(
                f"kgemm_4bit_inference_naive<{TYPES[kind]}, 128, {32 if kind == 'float' else 16}>",
                -(-n // 4), 128, [n, 1, k, a, b, absmax, device.upload(ref.codes(form)),
                                  problem.out, n, (k + 1) // 2, n, block])
            problem.compare(row, *ROUNDINGS["kgemm_4bit_inference_naive"])
            device.free()


def ragged_gemv(device, modules, row):
    gemv_naive(device, modules, row, "bf16", sizes=(10,))


def simt(device, modules, row, kind):
    for m in (1, 2, 3, 4, 5, 6, 7, 8, 11):
        block_m = min(m, 8)
        for k, n, block, form, nested, bias in ((96, 10, 32, "nf4", False, True),
                                                (2176, 7, 64, "fp4", True, False),
                                                (1024, 12, 128, "nf4", True, True)):
            problem = Problem(device, kind, (m, n, k), block, form, nested, bias)
            modules["gemm_4bit_simt"].launch(f"gemm_4bit_simt<{TYPES[kind]}, {block_m}>",
                                             (-(-n // 4), -(-m // block_m)), 128,
                                             problem.arguments)
            problem.compare(row, *ROUNDINGS["gemm_4bit_simt"])
            device.free()


def matrix_units(device, modules, row, module, name, kind, tile, ragged_bias=False):
    mt, nt, kc = tile
    shared = 2 * (mt + nt) * (kc + 8) * 2
    shapes = ((mt, nt, kc, 64, "nf4", True, True),
              (mt + 5, nt + 6, 3 * kc, 32, "fp4", False, False),
              (3, 2 * nt, 4 * kc, kc, "nf4", True, True))
    if ragged_bias:
        shapes = ((mt, nt - 6, kc, 64, "nf4", False, True),)
    for m, n, k, block, form, nested, bias in shapes:
        problem = Problem(device, kind, (m, n, k), block, form, nested, bias)
        modules[module].launch(name, (-(-m // mt), -(-n // nt)), 256, problem.arguments,
                               shared=shared)
        problem.compare(row, *ROUNDINGS[name.split("<")[0]])
        device.free()


SM80_TILES = ((32, 64, 64), (32, 128, 64), (64, 64, 64), (64, 128, 64), (128, 64, 64),
              (128, 128, 64), (32, 64, 128), (32, 128, 128), (32, 256, 128), (64, 32, 128),
              (64, 64, 128))


def sm80(device, modules, row, kind):
    for mt, nt, kc in SM80_TILES:
        matrix_units(device, modules, row, "gemm_4bit_sm80",
                     f"gemm_4bit_sm80_m16n8k16<{TYPES[kind]}, {mt}, {nt}, {kc}>", kind,
                     (mt, nt, kc))


def sm80_ragged_bias(device, modules, row):
    matrix_units(device, modules, row, "gemm_4bit_sm80",
                 f"gemm_4bit_sm80_m16n8k16<{TYPES['bf16']}, 32, 64, 64>", "bf16", (32, 64, 64),
                 ragged_bias=True)


def sm75(device, modules, row):
    for mt, nt in ((32, 64), (32, 128), (64, 64), (64, 128)):
        matrix_units(device, modules, row, "gemm_4bit_sm75",
                     f"gemm_4bit_sm75_m16n8k8<{TYPES['half']}, {mt}, {nt}>", "half", (mt, nt, 64))


# ---- optimisers ----------------------------------------------------------------------------------

HYPER = dict(beta1=0.9, beta2=0.999, beta3=0.95, alpha=3.0, eps=1e-8, lr=0.01, scale=0.5, step=7)


def optimizer32(device, modules, row, name, kind):
    two, number = name in ("adam", "ademamix"), OPTIMIZERS[name]
    for n, decay, skip, clip in ((4096, 0.0, False, 0.0), (9000, 0.125, True, 0.0),
                                 (5000, 0.0, False, 0.5)):
        if clip and name == "ademamix":  # it has no norm
            continue
        state = ref.Optimizer(name, kind, n, random, decay, skip, clip, **HYPER)
        h = {key: np.float32(v) if key != "step" else v for key, v in HYPER.items()}
        g, p = device.upload(state.g), device.upload(state.p)
        s1, norm = device.upload(state.s1), device.upload(np.zeros(1, "f4"))
        states = [s1, device.upload(state.s2)] if two else [s1]
        grid, kernel = -(-n // 4096), "2" if two else "1"

        def precondition():
            modules["kernels"].launch(
                f"kPreconditionOptimizer32bit{kernel}State<{TYPES[kind]}, {number}, 4096, 8>",
                grid, 512, [g, p, *states, norm, h["beta1"], h["beta2"], h["eps"],
                            np.float32(decay), h["step"], h["lr"], h["scale"], n])

        if clip and name != "lion":
            precondition()
            row.near(norm.download(), state.norm(), state.norm() * 2.0**-14)
            state.measured = float(norm.download()[0])
        arguments = [g, p, *states, norm, np.float32(clip), np.float32(state.param_norm),
                     h["beta1"], h["beta2"]]
        arguments += [h["beta3"], h["alpha"]] if two else []
        arguments += [h["eps"], np.float32(decay), h["step"], h["lr"], h["scale"], int(skip), n]
        modules["kernels"].launch(f"kOptimizer32bit{kernel}State<{TYPES[kind]}, {number}>", grid,
                                  1024, arguments)
        state.update()
        row.near(s1.download(), state.new_s1, state.allowed_s1)
        if two:
            row.near(states[1].download(), state.new_s2, state.allowed_s2)
        row.near(ref.load(p.download(), kind), state.new_p, state.allowed_p)
        device.free()


def optimizer8(device, modules, row, name, kind):
    two, number = name in ("adam", "ademamix"), OPTIMIZERS[name]
    for n, decay in ((256 * 3, 0.0), (256 * 4 if name == "ademamix" else 256 * 4 + 100, 0.125)):
        state = ref.Optimizer8(name, kind, n, random, decay, **HYPER)
        h = {key: np.float32(v) if key != "step" else v for key, v in HYPER.items()}
        p, g = device.upload(state.p), device.upload(state.g)
        c1, a1 = device.upload(state.c1), device.upload(state.a1)
        q1 = device.upload(ref.codes("8bit"))
        if two:
            c2, a2 = device.upload(state.c2), device.upload(state.a2)
            q2 = device.upload(ref.codes("unsigned"))
            arguments = [p, g, c1, c2, h["beta1"], h["beta2"], h["beta3"], h["alpha"], h["eps"],
                         h["step"], h["lr"], q1, q2, a1, a2]
        else:
            arguments = [p, g, c1, h["beta1"], h["beta2"], h["eps"], h["step"], h["lr"], q1, a1]
        modules["kernels"].launch(
            f"kOptimizerStatic8bit{2 if two else 1}StateBlockwise<{TYPES[kind]}, {number}, 256, 1>",
            -(-n // 256), 256, arguments + [np.float32(decay), h["scale"], 0, n])
        state.update()
        row.near(a1.download(), state.new_a1, state.new_a1 * 2.0**-20)
        row.same(c1.download(), state.new_c1, state.ties1)
        if two:
            row.near(a2.download(), state.new_a2, state.new_a2 * 2.0**-20)
            row.same(c2.download(), state.new_c2, state.ties2)
        row.near(ref.load(p.download(), kind), state.new_p, state.allowed_p)
        device.free()


# ---- 8-bit integers, fills -----------------------------------------------------------------------

def int8_quant(device, modules, row):
    for sparse in (0, 1):
        for rows, columns in ((3, 64), (2, 1024), (4, 2500)):
            x = random.standard_normal((rows, columns)).astype("f2")
            x[:, ::97] *= 4
            threshold = np.float32(3.0)
            out, stats = device.empty((rows, columns), "i1"), device.empty(rows, "f4")
            modules["kernels"].launch(f"kInt8VectorQuant<__half, 1024, {sparse}>", rows, 1024,
                                      [device.upload(x), out, stats, threshold, rows, columns])
            size = np.abs(x.astype("f8"))
            inside = size < threshold if sparse else np.ones_like(size, bool)
            maxima = np.where(inside, size, 0).max(1)
            row.same(stats.download(), maxima)
            scaled = np.where(inside, x.astype("f8") * 127 / maxima[:, None], 0)
            row.same(out.download(), np.rint(scaled),
                     np.abs(np.abs(scaled - np.floor(scaled)) - 0.5) < 127 * 2.0**-21)
            device.free()


def int8_dequant(device, modules, row):
    for rows, columns, bias in ((5, 16, False), (7, 300, True), (64, 64, True)):
        a = random.integers(-2**20, 2**20, (rows, columns)).astype("i4")
        row_stats = random.uniform(0.5, 2, rows).astype("f4")
        column_stats = random.uniform(0.01, 0.1, columns).astype("f4")
        b = random.standard_normal(columns).astype("f2")
        out = device.empty((rows, columns), "f2")
        modules["kernels"].launch(
            "kdequant_mm_int32_fp16<4, 512>", -(-rows * columns // 2048), 512,
            [device.upload(a), device.upload(row_stats), device.upload(column_stats), out,
             device.upload(b) if bias else None, rows, columns, rows * columns])
        exact = a.astype("f8") * row_stats[:, None] * column_stats * float(np.float32(6.200012e-05))
        want = exact + (b.astype("f8") if bias else 0)
        row.near(out.download(), want, np.abs(want) * 2.0**-11 + np.abs(exact) * 2.0**-22
                 + 2.0**-25)
        device.free()


def fills(device, modules, row):
    for n in (1, 1000):
        x, y = (random.standard_normal(n).astype("f4") for _ in range(2))
        for function, kind, value, want in (
                (0, "float", np.float32(2.5), np.full(n, 2.5, "f4")),
                (0, "unsigned char", 7, np.full(n, 7, "u1")),
                (1, "float", np.float32(0), np.arange(n, dtype="f4")),
                (2, "float", np.float32(0), x * y)):
            out = device.upload(x) if function == 2 else device.empty(n, want.dtype)
            modules["kernels"].launch(f"kfunc<{kind}, {function}>", -(-n // 512), 512,
                                      [out, device.upload(y), value, n])
            row.same(out.download(), want)
        device.free()


# ---- the table -----------------------------------------------------------------------------------

def rows():
    """(kernel, types and formats, function, its arguments)"""
    for form in FORMATS:
        for kind in TYPES:
            yield "kQuantizeBlockwise", f"{form} {kind}", quantize, (kind, form)
    for form in FORMATS:
        for kind in TYPES:
            yield "kDequantizeBlockwise", f"{form} {kind}", dequantize, (kind, form)
    yield "kDequantizeBlockwise", "nf4 float, 100 values", short_dequantize, ()
    for kind in TYPES:
        yield "kgemm_4bit_inference_naive", kind, gemv_naive, (kind,)
    yield "kgemm_4bit_inference_naive", "bf16, 10 rows", ragged_gemv, ()
    for kind in TYPES:
        yield "gemm_4bit_simt", kind, simt, (kind,)
    for kind in ("half", "bf16"):
        yield "gemm_4bit_sm80_m16n8k16", f"{kind}, {len(SM80_TILES)} tiles", sm80, (kind,)
    yield "gemm_4bit_sm80_m16n8k16", "bf16, 58 columns, bias", sm80_ragged_bias, ()
    yield "gemm_4bit_sm75_m16n8k8", "half, 4 tiles", sm75, ()
    for name in OPTIMIZERS:
        for kind in TYPES:
            yield "kOptimizer32bit", f"{name} {kind}", optimizer32, (name, kind)
    for name in OPTIMIZERS:
        for kind in TYPES:
            yield "kOptimizerStatic8bit", f"{name} {kind}", optimizer8, (name, kind)
    yield "kInt8VectorQuant", "half", int8_quant, ()
    yield "kdequant_mm_int32_fp16", "half", int8_dequant, ()
    yield "kfunc", "float, unsigned char", fills, ()


def compile_all(checkout, folder):
    paths = {}
    for name, arch in SOURCES.items():
        paths[name] = os.path.join(folder, name + ".ptx")
        source = os.path.join(checkout, "csrc", name + ".cu")
        if not os.path.exists(paths[name]):
            subprocess.run([os.environ.get("NVCC", "nvcc"), "-ptx", "-lineinfo", "-std=c++17",
                            f"-arch=compute_{arch}", "-I", os.path.join(checkout, "csrc"), source,
                            "-o", paths[name]], check=True)
    return paths


def run_row(paths, function, arguments, checks, granularity=1):
    """In a process of its own: (text, good, reports). text None: a check has ended it."""
    answer = tempfile.TemporaryFile("w+")
    reports = tempfile.TemporaryFile("w+")
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.dup2(reports.fileno(), 2)
        os.environ["SOFTCUDA_CHECK"] = checks
        os.environ.setdefault("SOFTCUDA_CARD", "h100")  # one tile asks for 153 KB of shared memory
        row = Row()
        try:
            with Device(os.path.join(BUILD, "softcuda", "libcuda.so.1"),
                        granularity) as device:
                function(device, {name: device.load(path) for name, path in paths.items()}, row,
                         *arguments)
            answer.write(f"{int(row.good())}{row.text()}")
        except DriverError as error:
            answer.write(f"0{error}")
        answer.flush()
        ctypes.CDLL(None).exit(0)  # softcuda looks for leaks
    os.waitpid(child, 0)
    answer.seek(0)
    reports.seek(0)
    text = answer.read()
    return text[1:] or None, text[:1] == "1", reports.read()


def main(checkout, word=""):
    all_good, findings = True, []
    package()
    with tempfile.TemporaryDirectory() as temporary:
        paths = compile_all(checkout, os.environ.get("PTX", temporary))
        print(f"{'kernel':28} {'of what':24} {'checks':10} results")
        for kernel, what, function, arguments in rows():
            if word not in kernel:
                continue
            text, good, reports = run_row(paths, function, arguments, "all")
            if reports:
                findings.append(f"{kernel}, {what}:\n{reports}")
                text, good, _ = run_row(paths, function, arguments, "none", GRANULARITY)
            all_good &= good
            print(f"{kernel:28} {what:24} {'reported' if reports else 'silent':10} {text}"
                  f"{'' if good else '   WRONG'}", flush=True)
    print("\n" + "\n".join(findings) if findings else "")
    return 0 if all_good else 1


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: " + __doc__.split("\n\n")[1].strip().split("\n")[-1].strip())
    sys.exit(main(*sys.argv[1:]))
