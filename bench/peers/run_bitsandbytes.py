"""Products with a 4-bit weight beside bitsandbytes' fused kernels, counted on softcuda; no GPU.

    python3 bench/peers/run_bitsandbytes.py CHECKOUT [--card NAME] [--shape NxK] [--rows M]

CHECKOUT is a folder with bitsandbytes' sources. Its CUDA files are compiled for each card as its
own build does (PTX of the card's architecture, fast math), into build/peers/bitsandbytes; needs
nvcc and c++filt. Its host code runs with a stand-in for the CUDA runtime, so that it chooses the
kernel, tile and grid itself. Both sides: bfloat16, NF4 in blocks of 64 whose sizes are quantised
too. A result that differs from a float64 reference ends the script.

What is printed are counters of one run with cold caches, and a projection from them, which is no
measurement: docs/softcuda.md says what it cannot tell. Where bitsandbytes itself would not take its
fused kernel but decode the weight and call cuBLAS, the row says so.
"""

import common

NAME = "bitsandbytes"
REQUIREMENTS = ["numpy==2.4.6"]

if __name__ == "__main__":
    common.enter(NAME, REQUIREMENTS)

import argparse
import ast
import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import types

sys.path.insert(0, str(common.ROOT / "tests" / "softcuda" / "peers"))
import bitsandbytes_kernels as peer
import host_code
from device import Device

SOFTCUDA = common.ROOT / "build" / "softcuda"
DRIVER = SOFTCUDA / "libcuda.so.1"
CARDS = {"rtx3080": 86, "rtx4090": 89, "h100": 90}
SHAPES = ["4096x4096", "11008x4096", "4096x11008", "1536x576"]  # Llama 2 7B; SmolLM2 135M
ROWS = [1, 16, 64, 256]
FEW = 8  # up to so many rows, midashi has a kernel of its own
ATTRIBUTES = {"multiprocessors": 16, "major": 75, "minor": 76}  # CU_DEVICE_ATTRIBUTE_...
SOURCES = ["gemm_4bit.cu", "gemm_4bit_simt.cu", "gemm_4bit_sm80.cu"]
TERMS = ["tensor", "issue", "shared", "l2", "dram", "latency"]


# ---- bitsandbytes ----------------------------------------------------------------------------


def compile_peer(checkout, architecture):
    """The folder of its library for an architecture, and of what ptxas says; made where needed."""
    folder = common.OUT / NAME / f"sm_{architecture}"
    csrc = checkout / "csrc"
    flags = ["-std=c++17", "--use_fast_math", "-DBNB_HAS_GEMM4BIT_SM80", "-I", str(csrc)]
    compiler = [os.environ.get("NVCC", "nvcc"), "--version"]
    version = subprocess.run(compiler, capture_output=True, text=True, check=True).stdout
    state = hashlib.sha256(f"{flags} {version}".encode())
    own = common.Path(host_code.HERE)
    for path in sorted([*csrc.glob("*.cu*"), own / "runtime.c", own / "host_code.py"]):
        state.update(path.read_bytes())
    stamp = folder / "made"
    if stamp.exists() and stamp.read_text() == state.hexdigest():
        return folder
    print(f"Compiling for sm_{architecture}.", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    sources = [str(csrc / name) for name in SOURCES]
    said = host_code.compile_host_code(
        str(folder / "gemm.so"), sources, str(SOFTCUDA), architecture, flags
    )
    with open(folder / "resources.json", "w", encoding="utf-8") as out:
        script = common.ROOT / "tools" / "softcuda" / "ptxas_resources.sh"
        subprocess.run(["sh", script, "-"], input=said, text=True, stdout=out, check=True)
    stamp.write_text(state.hexdigest())
    return folder


def its_choice(checkout, driver):
    """Its rule for taking the fused kernel on this card: a function of M, N, K. It stands in a
    module that wants torch; of this the rule asks for names of types only."""
    source = (checkout / "bitsandbytes" / "backends" / "cuda" / "ops.py").read_text()
    wanted = {"_gemm_4bit_use_custom_cuda", "_GEMM_4BIT_CUSTOM_FLOOR_M"}
    body = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name in wanted:
            node.decorator_list = []
            body.append(node)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in wanted:
            body.append(node)
    card = tuple(attribute(driver, name) for name in ATTRIBUTES)
    kinds = types.SimpleNamespace(float32="f32", float16="f16", bfloat16="bf16")
    names = {"torch": kinds, "_gpu_dispatch_props": lambda index: card}
    exec(compile(ast.Module(body, []), "ops.py", "exec"), names)
    return lambda m, n, k: names["_gemm_4bit_use_custom_cuda"](0, kinds.bfloat16, m, n, k)


def attribute(driver, name):
    """A number that the driver knows of the card."""
    value = peer.ctypes.c_int()
    if driver.cuDeviceGetAttribute(peer.ctypes.byref(value), ATTRIBUTES[name], 0) != 0:
        raise SystemExit(f"{name}: the driver does not say")
    return value.value


def short_name(mangled):
    """gemm_4bit_sm80_m16n8k16<__nv_bfloat16, 64, 64, 128> -> sm80 64 × 64 × 128"""
    name = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=True).stdout
    kernel, numbers = name.split("(anonymous")[0].removeprefix("void ").split("<", 1)
    numbers = numbers.split(">")[0].split(", ")[1:]
    kind = kernel.removeprefix("gemm_4bit_").split("_")[0]
    return kernel, f"{kind} {' × '.join(number.replace('(int)', '') for number in numbers)}"


def count_peer(checkout, card, folder, shapes, rows):
    """{(N, K, M): entry}. In a process of its own: a driver is one card."""
    os.environ["SOFTCUDA_CARD"] = card
    os.environ["SOFTCUDA_RESOURCES"] = str(folder / "resources.json")
    resources = json.loads((folder / "resources.json").read_text())
    counted = {}
    with Device(str(DRIVER)) as device:
        library = host_code.HostCode(str(folder / "gemm.so"))
        takes = its_choice(checkout, device.driver)
        for n, k in shapes:
            weight = peer.Weight(device, (n, k), 64, "nf4", True)
            for m in rows:
                problem = peer.Problem(device, "bf16", (m, n, k), 64, "nf4", True, False, weight)
                with device.counted() as report:
                    library.call("cgemm_4bit_bf16", *problem.arguments, None)
                (kernel,) = report["kernels"]
                (of_card,) = [entry for entry in kernel["cards"] if entry["card"] == card]
                name, short = short_name(kernel["name"])
                row = peer.Row()
                problem.compare(row, *peer.ROUNDINGS[name])
                if not row.good():
                    raise SystemExit(f"{short}, {m} × {n} × {k}: a wrong result: {row.text()}")
                entry = {**kernel, "projection": of_card["projection"]}
                made = summary(card, [entry], resources)
                counted[n, k, m] = {
                    **made,
                    "name": f"bitsandbytes {short}",
                    "instead": not takes(m, n, k),
                    "grid": report["launches"][0]["grid"],
                    "of_bound": row.share,
                }
            device.free()
    return counted


# ---- midashi ---------------------------------------------------------------------------------


def count_midashi(card, n, k, m):
    """Entries: its kernel for all numbers of rows, and that for few."""
    os.environ["SOFTCUDA_CARD"] = card
    os.environ["MIDASHI_CUDA_DRIVER"] = str(DRIVER)
    path = common.ROOT / "build" / "ptx" / "resources.json"
    os.environ["SOFTCUDA_RESOURCES"] = str(path)
    resources, entries = json.loads(path.read_text()), []
    for operation, rows in [("nf4_matmul_fwd", "m"), ("nf4_matmul_few_fwd", "few")]:
        if rows == "few" and m > FEW:
            continue
        shape = f"{rows}={m},n={n},k={k}"
        report, _ = common.midashi_report(
            "bench", operation, "--device", "cuda", "--shape", shape
        )
        (row,) = report["rows"]
        names = ", ".join(kernel["name"] for kernel in row["kernels"])
        made = summary(card, row["kernels"], resources)
        entries.append({**made, "name": f"midashi {names}", "least_bytes": row["bytes"]})
    return entries


# ---- the table -------------------------------------------------------------------------------


def summary(card, kernels, resources):
    """What the counters of all launches of a product come to. kernels: as in softcuda's reports,
    each with the projection for the card."""
    counters, terms = {}, dict.fromkeys(TERMS, 0.0)
    for kernel in kernels:
        for name, value in kernel["counters"].items():
            counters[name] = counters.get(name, 0) + value
        for term in TERMS:
            terms[term] += kernel["projection"]["terms"][term]
    of = [resources[kernel["name"]][f"sm_{CARDS[card]}"] for kernel in kernels]

    def total(before, kinds, after):
        return sum(counters.get(f"{before}_{kind}_{after}", 0) for kind in kinds)

    parts, spaces = ("load", "store", "atomic", "async"), ("load", "store", "ldmatrix", "async")
    wavefronts = total("shared", spaces, "wavefronts")
    least = total("shared", spaces, "least_wavefronts")
    return {
        "seconds": sum(kernel["projection"]["seconds"] for kernel in kernels),
        "waves": sum(kernel["projection"]["waves"] for kernel in kernels),
        "filled": kernels[0]["projection"]["filled"],
        "apart": sum(kernel["projection"]["seconds_without_overlap"] for kernel in kernels),
        "bound": max(terms, key=terms.get),
        "pipe": kernels[0]["projection"]["issue_pipe"],
        "terms": terms,
        "mma": counters.get("mma_instructions", 0),
        "conflicts": wavefronts - least,
        "wavefronts": wavefronts,
        "coalescing": total("global", parts, "least_sectors") / total("global", parts, "sectors"),
        "dram_bytes": counters.get("dram_read_bytes", 0) + counters.get("dram_write_bytes", 0),
        "registers": max(entry["registers"] for entry in of),
        "spill_bytes": sum(entry["spill_stores"] + entry["spill_loads"] for entry in of),
        "counters": counters,
    }


HEADER = ["N × K", "M", "card", "kernel", "waves", "filled", "µs", "×", *TERMS, "sum", "bound"]
HEADER += ["mma", "conflicts", "coalescing", "DRAM ÷ least", "registers", "spills"]


def cells(case, entry):
    """A line of the table."""
    theirs = case["peer"]["seconds"]
    ours = "least_bytes" in entry
    bound = entry["bound"] + (f" ({entry['pipe']})" if entry["bound"] == "issue" else "")
    return [
        f"{case['n']} × {case['k']}" if not ours else "",
        case["m"] if not ours else "",
        case["card"] if not ours else "",
        entry["name"] + (" (c)" if entry.get("instead") else ""),
        entry["waves"],
        f"{100 * entry['filled']:.0f} %",
        f"{entry['seconds'] * 1e6:.1f}",
        f"{theirs / entry['seconds']:.2f}" if ours else "",
        *(f"{entry['terms'][term] * 1e6:.1f}" for term in TERMS),
        f"{entry['apart'] * 1e6:.1f}",
        bound,
        entry["mma"],
        f"{100 * entry['conflicts'] / max(entry['wavefronts'], 1):.0f} %",
        f"{100 * entry['coalescing']:.1f} %",
        f"{entry['dram_bytes'] / case['least_bytes']:.2f}",
        entry["registers"],
        entry["spill_bytes"],
    ]


def report(cases):
    """Prints all cases."""
    lines = [cells(case, entry) for case in cases for entry in [case["peer"], *case["midashi"]]]
    common.print_table(HEADER, lines)
    print("Projected µs, no measurement; × above 1: midashi's projection is shorter.")
    print("Terms in µs, sum: one after another. filled: CTAs by places for them in all waves.")
    print("(c): at that M bitsandbytes would decode the weight and call cuBLAS instead.")
    print("conflicts: of the wavefronts of shared memory; spills in bytes.\n")


def version_of(checkout):
    """Version and commit, as far as the folder tells."""
    for line in (checkout / "bitsandbytes" / "__init__.py").read_text().splitlines():
        if line.startswith("__version__"):
            number = line.split('"')[1]
    described = subprocess.run(
        ["git", "-C", checkout, "rev-parse", "--show-toplevel", "HEAD"],
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    there = described[0] and common.Path(described[0]).samefile(checkout)
    return f"{number} ({described[1][:8]})" if there else number


def main():
    """Counts all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=common.Path, help="bitsandbytes' sources")
    parser.add_argument("--card", action="append", choices=CARDS, help="(all)")
    parser.add_argument("--shape", action="append", help=f"NxK ({', '.join(SHAPES)})")
    parser.add_argument("--rows", action="append", type=int, help="M (1, 16, 64, 256)")
    options = parser.parse_args()
    checkout, rows = options.checkout.resolve(), options.rows or ROWS
    shapes = [tuple(map(int, text.split("x"))) for text in options.shape or SHAPES]
    where = common.machine({NAME: version_of(checkout)})
    common.print_machine(where)
    cases = []
    for card in options.card or CARDS:
        folder = compile_peer(checkout, CARDS[card])
        with concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("fork")
        ) as process:
            counted = process.submit(count_peer, checkout, card, folder, shapes, rows).result()
        for (n, k, m), entry in counted.items():
            case = {"card": card, "n": n, "k": k, "m": m, "peer": entry}
            case["midashi"] = count_midashi(card, n, k, m)
            case["least_bytes"] = case["midashi"][0]["least_bytes"]
            cases.append(case)
            print(f"{card}, {m} × {n} × {k}: done", file=sys.stderr, flush=True)
    order = {(n, k): place for place, (n, k) in enumerate(shapes)}
    cases.sort(key=lambda case: (order[case["n"], case["k"]], case["m"]))
    report(cases)
    common.store(NAME, where, cases)


if __name__ == "__main__":
    main()
