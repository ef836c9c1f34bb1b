"""What the scripts of this folder share: environments, turns, statistics, printing.

A script starts with the system's Python, calls enter(), and goes on in an environment of its own in
build/peers/NAME, which is made when it is missing or when its pinned versions have changed.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "peers"
MIDASHI = ROOT / "build" / "midashi"
WORK = Path(sys.prefix)  # after enter(), the environment's folder, where files lie that are made


# ---- environments ----------------------------------------------------------------------------


def enter(name, requirements, variables=None, options=()):
    """Goes on in the environment `name`, with these packages.

    requirements: pip's lines, pinned. variables: its environment's, for a build from source.
    options: more of pip's.
    """
    folder = OUT / name
    python = folder / "bin" / "python"
    if Path(sys.prefix) == folder:
        return
    stamp = folder / "made.json"
    wanted = json.dumps([requirements, variables or {}, list(options)])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Making the environment {folder.relative_to(ROOT)}.", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        environment = {**os.environ, **(variables or {})}
        if subprocess.run([*pip, *options, *requirements], env=environment).returncode != 0:
            sys.exit(f"{folder}: pip cannot install {', '.join(requirements)}; why is above")
        stamp.write_text(wanted)
    os.execv(python, [str(python), *sys.argv])


def arguments(description):
    """The parser with what all scripts take."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--turns", type=int, default=6, help="runs of each, at least 5 (6)")
    parser.add_argument(
        "--threads", type=int, help="threads (first one, then as many as there are processors)"
    )
    return parser


def processors():
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def thread_counts(options):
    """The numbers of threads to measure with."""
    return [options.threads] if options.threads else sorted({1, processors()})


def midashi(*words):
    """Runs a command of midashi; what it prints. Ends where it fails, which it says itself."""
    if not MIDASHI.exists():
        sys.exit("build/midashi is missing; run make")
    result = subprocess.run([MIDASHI, *map(str, words)], stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(1)
    return result.stdout


def midashi_report(*words):
    """Runs a command with --json; its report, and its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(midashi(*words, "--json", "--quiet"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return report, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# ---- turns -----------------------------------------------------------------------------------


def timed(function, *arguments):
    """Calls the function: wall-clock and processor seconds."""
    processor, start = time.process_time(), time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start, time.process_time() - processor


def trial_seconds(threads, function, *arguments):
    """The better of two calls. Of one thread processor time, which other work disturbs least."""
    times = [timed(function, *arguments) for _ in range(2)]
    return min(processor if threads == 1 else wall for wall, processor in times)


def take_turns(runners, n_turns):
    """Runs each once a turn, in the given order and then in the opposite one, after one warm-up.

    runners: {name: function that returns (seconds, processor seconds or None)}.
    Returns {name: [(seconds, processor seconds), ...]}.
    """
    times = {name: [] for name in runners}
    for runner in runners.values():
        runner()
    for turn in range(n_turns):
        order = list(runners.items())
        for name, runner in order if turn % 2 == 0 else reversed(order):
            times[name].append(runner())
    return times


def spread(values):
    """Median and range. Of six or more values, the range holds the true median in 97 % of cases."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def compare(times, base, items):
    """A row a runner: items a second, and how many times as fast as it `base` is, turn by turn."""
    rows = []
    for name, pairs in times.items():
        seconds = [pair[0] for pair in pairs]
        row = {"name": name, "seconds": seconds, "rate": spread([items / s for s in seconds])}
        row["processor_seconds"] = [pair[1] for pair in pairs]
        if name != base:
            both = list(zip(pairs, times[base]))
            row["ratio"] = spread([a[0] / b[0] for a, b in both])
            if times[base][0][1] is not None:
                row["processor_ratio"] = spread([a[1] / b[1] for a, b in both])
        rows.append(row)
    return rows


# ---- printing --------------------------------------------------------------------------------


def in_words(value, digits=2):
    """1.23 (1.10 .. 1.31)"""
    numbers = [f"{value[key]:.{digits}f}" for key in ("median", "least", "most")]
    return f"{numbers[0]} ({numbers[1]} .. {numbers[2]})"


def print_table(header, rows):
    """A table in Markdown."""
    print("| " + " | ".join(header) + " |")
    print("| " + " | ".join("---" for _ in header) + " |")
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def processor_name():
    """As the system names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def machine(versions):
    """Where, when, and with what. versions: {package: version}."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    return {
        "processor": processor_name(),
        "processors": processors(),
        "system": platform.release(),
        "load": os.getloadavg()[0],
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": described.stdout.strip() or "unknown",
        "versions": versions,
    }


def print_machine(where):
    """One line of it."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    print(
        f"{where['processor']}, {where['processors']} processors, load {where['load']:.1f}; "
        f"midashi {where['commit']}; {versions}; {where['time']}\n"
    )


def store(name, where, cases):
    """Writes build/peers/NAME.json."""
    path = OUT / f"{name}.json"
    where = {**where, "load_at_end": os.getloadavg()[0]}
    path.write_text(json.dumps({"peer": name, "machine": where, "cases": cases}, indent=1) + "\n")
    print(f"{path.relative_to(ROOT)}; load at the end {where['load_at_end']:.1f}")
