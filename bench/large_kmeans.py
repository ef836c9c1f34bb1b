#!/usr/bin/env python3
"""k-means over more rows than it may keep in memory: how much it takes, and how long.

    python3 bench/large_kmeans.py [--rows 5000000] [--width 576] [--topics 100] [--iterations 3]
                                  [--memory 900M] [--parts 4] [--work /tmp/large-kmeans] [--keep]

Writes float16 parts of random numbers into the work folder (5.8 GB by default), clusters them, and
prints what `midashi cluster --json` says beside the most memory that the process had. docs/speed.md
has results. Needs Python alone, and the build.
"""
import argparse
import json
import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MIDASHI = os.path.join(HERE, "build/midashi")
PIECE = 1 << 22  # numbers that are made at once
# The high byte of a float16: any sign, the exponent of 0.5 to 1, any two first bits of the fraction.
HIGH = bytes(byte & 0x83 | 0x38 for byte in range(256))


def numbers(count, generator):
    """count float16 numbers, each between 0.5 and 1 or between their negatives."""
    data = bytearray(generator.randbytes(2 * count))
    data[1::2] = bytes(data[1::2]).translate(HIGH)
    return data


def write_part(path, rows, width, seed):
    """A .npy of float16 (rows, width)."""
    generator = random.Random(seed)
    header = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little"))
        file.write(header.ljust(117).encode() + b"\n")
        left = rows * width
        while left > 0:
            count = min(left, PIECE)
            file.write(numbers(count, generator))
            left -= count


def make_parts(options):
    """The paths of the parts."""
    os.makedirs(options.work, exist_ok=True)
    paths, first = [], 0
    for part in range(options.parts):
        last = options.rows * (part + 1) // options.parts
        paths.append(os.path.join(options.work, f"part{part}.npy"))
        write_part(paths[-1], last - first, options.width, part)
        first = last
    return paths


def remove(paths, folder):
    """What was written, and the folder if nothing else lies in it."""
    for path in filter(os.path.exists, paths):
        os.remove(path)
    if not os.listdir(folder):
        os.rmdir(folder)


def run(command):
    """The report of a command, and the most bytes that were resident at any time, which the kernel
    keeps for wait4. Pages of the mapped parts count like the command's own, as in VmHWM. So does
    what this script had when it started the command: numbers below that, some 40 MB, say nothing."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        report = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(1)
    return json.loads(report), usage.ru_maxrss << 10


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--topics", type=int, default=100)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--memory", default="900M")
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--work", default="/tmp/large-kmeans")
    parser.add_argument("--keep", action="store_true", help="leave the parts there")
    options = parser.parse_args()
    paths = make_parts(options)
    bytes_on_disk = sum(os.path.getsize(path) for path in paths)
    labels = os.path.join(options.work, "labels.npy")
    command = [MIDASHI, "cluster", *paths, "--topics", str(options.topics), "--output", labels,
               "--max-iterations", str(options.iterations), "--memory", options.memory, "--json"]
    try:
        report, largest = run(command)
    finally:
        if not options.keep:
            remove([*paths, labels], options.work)
    print(f"{options.rows:,} x {options.width} float16, {bytes_on_disk / 1e9:.1f} GB on disk, "
          f"k = {options.topics}, {report['iterations']} iterations, --memory {options.memory}")
    print(f"at most {largest / 1e6:.0f} MB of memory; {report['seconds']:.1f} s, "
          f"of which {report['seeding_seconds']:.1f} s chose the centres to start from")
    print(f"inertia {report['inertia']:.9g}, {100 * report['rechecked']:.2f} % rechecked, "
          f"{'read anew for each pass' if report['streamed'] else 'kept in memory'}")


if __name__ == "__main__":
    main()
