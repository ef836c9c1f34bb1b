#!/usr/bin/env python3
"""Counts a whole k-means run on a GPU with softcuda, and projects what it takes.

    python3 bench/report_kmeans.py ROWS.npy [--cards rtx4090,rtx3080] [--work /tmp/report-kmeans]
                                   [--each] [--midashi PROGRAM] [-- OPTIONS of midashi cluster]

`midashi cluster ROWS.npy OPTIONS --device cuda` runs on softcuda; a run that was counted is kept in
the work folder. Kernels are projected by softcuda, each launch by itself. What it does not count is
added by arithmetic: rows over PCIe, clearing (a launch each), and the host's waits, at what the
constants below say. docs/speed.md has results and what they leave out. Needs Python alone, and the
build.
"""
import argparse
import ast
import json
import math
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOFTCUDA = os.path.join(HERE, "build/softcuda/softcuda")
PCIE = 25e9  # bytes a second: what cards reach of 4.0 x16, from page-locked memory. Not measured
WAIT = 10e-6  # from a kernel over the host, which reads a few numbers, to the next one. Assumed
LAUNCH = {"rtx3080": 2.0e-6, "rtx4090": 1.6e-6, "h100": 2.5e-6}  # tools/softcuda/card.c
SEEDING = ("potential_", "candidate_distance_")
FIRST, LAST = "nearest_centres", "own_distance"  # of an iteration; of all


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows")
    parser.add_argument("--cards", default="rtx4090,rtx3080")
    parser.add_argument("--work", default="/tmp/report-kmeans")
    parser.add_argument("--each", action="store_true", help="print iterations, one a line")
    parser.add_argument("--midashi", default=os.path.join(HERE, "build/midashi"))
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:at])
    args.options = words[at + 1:]
    return args


def count(args, card):
    """(softcuda's report, what midashi says)."""
    words = [os.path.basename(args.rows), *args.options, card]
    stem = os.path.join(args.work, "_".join(w.strip("-").replace("/", "_") for w in words))
    if not os.path.exists(stem + ".json"):
        os.makedirs(args.work, exist_ok=True)
        said = subprocess.run(
            [SOFTCUDA, "run", "--card", card, "--report", stem + ".part", "--", args.midashi,
             "cluster", args.rows, "--output", stem + ".npy", "--device", "cuda", "--quiet",
             "--json", *args.options], check=True, capture_output=True, text=True).stdout
        with open(stem + ".said", "w") as f:
            f.write(said)
        os.rename(stem + ".part", stem + ".json")
    with open(stem + ".json") as report, open(stem + ".said") as said:
        return json.load(report), json.load(said)


def shape_of(path):
    with open(path, "rb") as f:
        f.seek(10)
        return ast.literal_eval(f.read(118).decode())["shape"]


class Kernel:
    """Launches of one kernel."""

    def __init__(self):
        self.launches, self.seconds, self.terms, self.dram, self.bounds = 0, 0.0, {}, 0, {}

    def add(self, launch):
        p, counters = launch["projection"], launch["counters"]
        self.launches += 1
        self.seconds += p["seconds"]
        self.dram += counters.get("dram_read_bytes", 0) + counters.get("dram_write_bytes", 0)
        for term, seconds in p["terms"].items():
            self.terms[term] = self.terms.get(term, 0) + seconds
        bound = p["bound"] if p["bound"] != "issue" else p["issue_pipe"]
        self.bounds[bound] = self.bounds.get(bound, 0) + p["seconds"]


def phases_of(launches):
    """{phase: [(name, launch)]}; and the iterations, a list of those each."""
    first = next(i for i, (name, _) in enumerate(launches) if name == FIRST)
    end = len(launches)
    while launches[end - 1][0] == LAST:
        end -= 1
    before, iterations = launches[:first], []
    for launch in launches[first:end]:
        if launch[0] == FIRST:
            iterations.append([])
        iterations[-1].append(launch)
    return {"rows": [l for l in before if not l[0].startswith(SEEDING)],
            "seeding": [l for l in before if l[0].startswith(SEEDING)],
            "iterations": launches[first:end], "inertia": launches[end:]}, iterations


def number_of(launches, *names):
    return sum(name.startswith(names) for name, _ in launches)


def clearing_and_waits(phase, launches):
    """What host/lloyd_cuda.c and host/kmeans_seed.c ask for besides launches."""
    if phase == "rows":
        return 3, 3
    if phase == "seeding":
        return 0, number_of(launches, "potential_sums")
    if phase == "inertia":
        return 0, 2 * number_of(launches, LAST)
    steps = number_of(launches, FIRST)
    return steps + number_of(launches, "nearest_decide") + (2 if steps else 0), steps


def table(launches, card, clears, waits, total):
    kernels = {}
    for name, launch in launches:
        kernels.setdefault(name, Kernel()).add(launch)
    for name, k in sorted(kernels.items(), key=lambda item: -item[1].seconds):
        terms = " | ".join(f"{1e6 * k.terms[t] / k.launches:.1f}"
                           for t in ("tensor", "issue", "shared", "l2", "dram", "latency"))
        each = 1e6 * k.seconds / k.launches
        print(f"| {name} | {k.launches} | {each:.1f} | {1e3 * k.seconds:.3f} "
              f"| {100 * k.seconds / total:.1f} % | {max(k.bounds, key=k.bounds.get)} | {terms} "
              f"| {k.dram / 1e6:.1f} |")
    for what, n, each in (("clearing", clears, LAUNCH[card]), ("waits", waits, WAIT)):
        if n:
            print(f"| {what} | {n} | {1e6 * each:.1f} | {1e3 * n * each:.3f} "
                  f"| {100 * n * each / total:.1f} % | | | | | | | | |")


def show(args, card, report, said):
    names = [kernel["name"] for kernel in report["kernels"]]
    launches = [(names[l["kernel"]], l) for l in report["launches"]]
    if report["n_launches"] > len(launches):
        raise SystemExit(f"{report['n_launches']} launches, of which the report has {len(launches)}"
                         ": ask for fewer iterations")
    phases, iterations = phases_of(launches)
    kernels = {phase: sum(l["projection"]["seconds"] for _, l in part)
               for phase, part in phases.items()}
    beside = {phase: clearing_and_waits(phase, part) for phase, part in phases.items()}
    whole = {phase: kernels[phase] + beside[phase][0] * LAUNCH[card] + beside[phase][1] * WAIT
             for phase in phases}
    total = sum(whole.values())
    bytes_ = 4 * math.prod(shape_of(args.rows))
    print(f"\n### {card}: {' '.join(args.options)}\n")
    print(f"{said['iterations']} iterations of the best, {len(iterations)} steps in all, "
          f"{100 * said['rechecked']:.2f} % rechecked; {len(launches)} launches; projected "
          f"{1e3 * total:.2f} ms, of which kernels {1e3 * sum(kernels.values()):.2f}; beside it "
          f"the rows once over PCIe: {bytes_ / 1e6:.1f} MB, {1e3 * bytes_ / PCIE:.2f} ms")
    for phase, part in phases.items():
        if not part:
            continue
        print(f"\n{phase}: {1e3 * whole[phase]:.3f} ms, kernels {1e3 * kernels[phase]:.3f}\n")
        print("| kernel | launches | µs each | ms | share | bound | tensor | issue | shared | l2 "
              "| dram | latency | DRAM, MB |\n" + "| --- " * 13 + "|")
        table(part, card, *beside[phase], total)
    for i, part in enumerate(iterations if args.each else []):
        print(f"{i + 1}: {1e6 * sum(l['projection']['seconds'] for _, l in part):.1f} µs: "
              + ", ".join(f"{name} {1e6 * l['projection']['seconds']:.1f}" for name, l in part))


def main():
    args = arguments()
    for card in args.cards.split(","):
        show(args, card, *count(args, card))


main()
