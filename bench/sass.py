"""Counts what a trip of a kernel's main loop issues: in the SASS of each card, and in the PTX.

    python3 bench/sass.py                      the matrix products, on all cards of the build
    python3 bench/sass.py --kernel 64x128 --card sm_90 --code

The main loop is the innermost natural loop with the most mma. A branch that only a warp takes whose
lanes have parted (BRA.DIV) counts as never taken, so that the slow copies of shuffles behind it are
left out. Conditional parts of the loop count as if every trip ran them, such as the copies of
absmax of every fourth trip. Where ptxas has unrolled the loop, everything is divided by the number
of PTX trips in it.

Below each table: clocks of a multiprocessor for a trip of one CTA, by what issues or moves it. They
are rates of the manuals (see RATES) and count nothing that waits.

cuobjdump and nvdisasm are taken from PATH, or from pip into build/peers/sass.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
import common  # noqa: E402

REQUIREMENTS = ["nvidia-cuda-cuobjdump==13.2.86", "nvidia-cuda-nvdisasm==13.2.86"]

# Of a clock and multiprocessor: multiply-adds of mma.sync (as kernels/product_shape.c has them);
# lanes of shuffles, integers, float32, conversions (sources: tools/softcuda/rates.c). Conversions
# of floating point are 16 by the oldest tables and 64 by others: the slower one stands here.
RATES = {
    "sm_80": {"mma": 1024, "shuffle": 32, "integer": 64, "float": 64, "pack": 16},
    "sm_90": {"mma": 1173, "shuffle": 32, "integer": 64, "float": 128, "pack": 16},
}
GEFORCE = {"mma": 256, "shuffle": 32, "integer": 64, "float": 128, "pack": 16}

FLOATS = "fma.rn.f32 add.rn.f32 add.f32 mul.rn.f32 mul.f32 neg.f32 selp.f32"
# In the order of the table. SASS: the opcode up to its first dot. PTX likewise, but for what a
# longer beginning names.
CLASSES = {
    "mma": ("HMMA", "mma"),
    "ldmatrix": ("LDSM", "ldmatrix"),
    "shared": ("LDS STS", "ld.shared st.shared"),
    "copy": ("LDGSTS LDGDEPBAR DEPBAR", "cp"),
    "global": ("LDG STG", "ld.global st.global"),
    "shuffle": ("SHFL", "shfl"),
    "float": ("FMUL FADD FFMA FSEL FMNMX FSETP", FLOATS),
    "special": ("MUFU", "ex2 rcp rsqrt sqrt"),
    "pack": ("F2FP F2F I2F F2I", "cvt.rn"),
    "imad": ("IMAD", "mad mul"),
    "integer": (
        "IADD3 IADD LOP3 SHF PRMT LEA SEL ISETP IABS VIADD VIMNMX IMNMX BFE PLOP3",
        "add sub and or xor not shl shr setp selp min max abs prmt bfe cvt cvta",
    ),
    "move": ("MOV CS2R S2R", "mov"),
    "uniform": (
        "UIADD3 ULDC UMOV USHF ULOP3 UISETP ULEA UIMAD USEL R2UR S2UR LDC LDCU UPRMT",
        "ld.param",
    ),
    "barrier": ("BAR WARPSYNC", "bar"),
    "control": ("BRA BSSY BSYNC CALL EXIT NOP RET", "bra ret"),
}


# ---- reading code -----------------------------------------------------------------------------


class Instruction:
    """opcode; text: its operands; guard: '' or '@P0', '@!UP1', ...; target: of a branch."""

    def __init__(self, guard, opcode, text, target):
        self.guard, self.opcode, self.text, self.target = guard, opcode, text, target
        self.registers = re.findall(r"\bR\d+\b", text)

    def never(self):
        """ptxas puts instructions that nothing lets through around some copies."""
        return self.guard in ("@!PT", "@!UPT")

    def predicated(self):
        return self.guard not in ("", "@PT") and not self.never() and not self.ends()

    def jumps(self):
        """Leaves for its target; a call that never comes back is a jump too."""
        return self.opcode.split(".")[0] in ("BRA", "CALL", "bra") and self.target is not None

    def cold(self):
        return self.opcode.startswith(("BRA.DIV", "BRA.CONV"))

    def ends(self):
        return self.jumps() or self.opcode.split(".")[0] in ("EXIT", "RET", "ret", "exit")


SASS_LINE = re.compile(
    r"/\*[0-9a-f]{4,}\*/\s+(?:\{\s*)?(@!?U?P[T0-9]+)?\s*([A-Z][\w.]*)\s*(.*?)\s*;"
)
PTX_LINE = re.compile(r"^\s+(?:\{\s*)?(@!?%p\d+)?\s*([a-z][\w.]*)\s*(.*?);")


def read_sass(listing):
    """{kernel: [label or Instruction, ...]} of nvdisasm's text."""
    kernels, lines = {}, None
    for line in listing.splitlines():
        section = re.match(r"\.text\.(\w+):", line)
        if section:
            lines = kernels.setdefault(section.group(1), [])
        elif re.match(r"\s+\.section\s", line):
            lines = None
        elif lines is not None:
            label, found = re.match(r"(\.L_x_\d+):", line), SASS_LINE.search(line)
            if label:
                lines.append(label.group(1))
            elif found:
                guard, opcode, text = found.groups()
                target = re.search(r"`\((\.L_x_\d+)\)", text)
                target = target.group(1) if target and not opcode.startswith("BSSY") else None
                lines.append(Instruction(guard or "", opcode, text, target))
    return kernels


def read_ptx(text):
    """{kernel: [label or Instruction, ...]}."""
    kernels, lines = {}, None
    for line in text.splitlines():
        entry = re.search(r"\.entry (\w+)", line)
        label, found = re.match(r"(\$L\w+):", line), PTX_LINE.match(line)
        if entry:
            lines = kernels.setdefault(entry.group(1), [])
        elif lines is not None and label:
            lines.append(label.group(1))
        elif lines is not None and found:
            guard, opcode, rest = found.groups()
            target = rest.strip() if opcode.startswith("bra") else None
            lines.append(Instruction(guard or "", opcode, rest, target))
    return kernels


# ---- the main loop ----------------------------------------------------------------------------


def blocks_of(lines):
    """Basic blocks [[Instruction]] and their followers [set of numbers]."""
    blocks, labels = [[]], {}
    for line in lines:
        if isinstance(line, str):
            if blocks[-1]:
                blocks.append([])
            labels[line] = len(blocks) - 1
            continue
        blocks[-1].append(line)
        if line.ends():
            blocks.append([])
    followers = []
    for i, block in enumerate(blocks):
        last, to = block[-1] if block else None, set()
        if last is None or not last.ends() or last.guard not in ("", "@PT") or last.cold():
            to.add(i + 1)
        if last is not None and last.jumps() and not last.cold() and last.target in labels:
            to.add(labels[last.target])
        if re.search(r"BRA\S* U?!?U?P\d", f"{last.opcode} {last.text}" if last else ""):
            to.add(i + 1)  # a second condition among the operands
        followers.append({n for n in to if n < len(blocks)})
    return blocks, followers


def main_loop(lines):
    """The innermost loop with most mma: its instructions. None: there is no such loop."""
    blocks, followers = blocks_of(lines)
    before = [set() for _ in blocks]
    for i, to in enumerate(followers):
        for n in to:
            before[n].add(i)
    reached, stack = set(), [0]
    while stack:
        i = stack.pop()
        if i not in reached:
            reached.add(i)
            stack.extend(followers[i])
    dominators = {i: set(reached) for i in reached}
    dominators[0] = {0}
    changed = True
    while changed:
        changed = False
        for i in sorted(reached - {0}):
            new = set.intersection(*(dominators[b] for b in before[i] if b in reached)) | {i}
            if new != dominators[i]:
                dominators[i], changed = new, True
    loops = {}
    for i in reached:
        for head in followers[i] & dominators[i]:
            body, stack = {head}, [i]
            while stack:
                n = stack.pop()
                if n not in body:
                    body.add(n)
                    stack.extend(before[n] & reached)
            loops.setdefault(head, set()).update(body)

    def n_mma(body):
        return sum(is_mma(x) for b in body for x in blocks[b])

    with_mma = [body for body in loops.values() if n_mma(body)]
    inner = [a for a in with_mma if not any(b < a for b in with_mma)]
    return [x for b in sorted(max(inner, key=n_mma)) for x in blocks[b]] if inner else None


def is_mma(instruction):
    return instruction.opcode.split(".")[0] in ("HMMA", "mma")


# ---- counting ---------------------------------------------------------------------------------


def class_of(instruction, is_ptx):
    if instruction.never():
        return "control"
    words = instruction.opcode.split(".")
    for length in range(len(words), 0, -1):
        beginning = ".".join(words[:length])
        for name, names in CLASSES.items():
            if beginning in names[is_ptx].split():
                return name
    return "other"


def wavefronts(instruction):
    """Passes of a warp through shared memory, without conflicts."""
    opcode = instruction.opcode
    if opcode.startswith("LDSM"):
        return 4 if opcode.endswith(".4") else 2 if opcode.endswith(".2") else 1
    if opcode.startswith(("LDS", "STS", "LDGSTS")):
        return 4 if ".128" in opcode else 2 if ".64" in opcode else 1
    return 0


class Loop:
    """What a PTX trip of a loop issues; `trips`: how many of them are in the loop."""

    def __init__(self, code, is_ptx, trips=1):
        self.code = code
        classes = Counter(class_of(x, is_ptx) for x in code)
        self.classes = {name: n / trips for name, n in classes.items()}
        self.others = Counter(x.opcode for x in code if class_of(x, is_ptx) == "other")
        self.slots = len(code) / trips
        self.predicated = sum(x.predicated() for x in code) / trips
        self.wavefronts = sum(wavefronts(x) for x in code if not x.never()) / trips

    def n(self, name):
        return self.classes.get(name, 0)

    def chain(self):
        """The fewest mma from one to the next that adds to its sums."""
        sums = [x.registers[0] for x in self.code if x.opcode.startswith("HMMA")]
        least, n = len(sums), len(sums)
        for i, register in enumerate(sums):
            for distance in range(1, n):
                if sums[(i + distance) % n] == register:
                    least = min(least, distance)
                    break
        return least

    def before_use(self):
        """Instructions, and mma among them, from each ldmatrix to its first use: least, median."""
        found = []
        for i, x in enumerate(self.code):
            if not x.opcode.startswith("LDSM"):
                continue
            first = int(x.registers[0][1:])
            wanted = {f"R{r}" for r in range(first, first + 4)}
            behind = self.code[i + 1 :] + self.code[:i]
            for distance, y in enumerate(behind):
                if is_mma(y) and wanted & set(y.registers[1:3]):  # as its A, or as its B
                    found.append((distance, sum(is_mma(z) for z in behind[:distance])))
                    break
        found.sort()
        return (found[0], found[len(found) // 2]) if found else None


def warps_of(text):
    """{kernel: warps of a CTA}, by the PTX; of kernels that say how many threads they have."""
    found = re.findall(r"\.entry (\w+)\([^)]*\)\s*\.maxntid (\d+)", text)
    return {kernel: int(threads) // 32 for kernel, threads in found}


def clocks(loop, warps, card):
    """{what: clocks of a multiprocessor for a trip of a CTA}."""
    rates = RATES.get(card, GEFORCE)
    lanes = 32 * warps
    return {
        "tensor": loop.n("mma") * warps * 2048 / rates["mma"],
        "issue": loop.slots * warps / 4,
        "integer": (loop.n("integer") + loop.n("move")) * lanes / rates["integer"],
        "float": (loop.n("float") + loop.n("imad")) * lanes / rates["float"],
        "pack": loop.n("pack") * lanes / rates["pack"],
        "shuffle": loop.n("shuffle") * lanes / rates["shuffle"],
        "shared": loop.wavefronts * warps,
        "shared + shuffle": loop.wavefronts * warps + loop.n("shuffle") * lanes / rates["shuffle"],
    }


# ---- the command ------------------------------------------------------------------------------


def tool(name):
    """The path of cuobjdump or nvdisasm, in PATH or in the environment of enter()."""
    found = sorted(common.WORK.glob(f"lib/python*/site-packages/nvidia/*/bin/{name}"))
    return shutil.which(name) or (str(found[0]) if found else None)


def registers_of(fatbin):
    """{(card, kernel): registers}."""
    listing = subprocess.run(
        [tool("cuobjdump"), "-res-usage", fatbin], check=True, stdout=subprocess.PIPE, text=True
    )
    registers, card, kernel = {}, None, None
    for line in listing.stdout.splitlines():
        card = line.split("=")[1].strip() if line.startswith("arch =") else card
        kernel = line.split()[1].rstrip(":") if line.startswith(" Function ") else kernel
        if "REG:" in line:
            registers[card, kernel] = line.split("REG:")[1].split()[0]
    return registers


def disassemble(fatbin, folder):
    """{card: kernels} of a fat binary."""
    subprocess.run(
        [tool("cuobjdump"), "-xelf", "all", fatbin.resolve()],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    cards = {}
    for cubin in Path(folder).glob("*.cubin"):
        listing = subprocess.run(
            [tool("nvdisasm"), "-c", cubin], check=True, stdout=subprocess.PIPE, text=True
        )
        cards[cubin.name.split(".")[-2]] = read_sass(listing.stdout)
        cubin.unlink()
    return cards


def loops_of(kernel, ptx, cards):
    """{"PTX" or card: Loop} of a kernel; empty where it has no loop with mma."""
    code = main_loop(ptx[kernel])
    if code is None:
        return {}
    loops = {"PTX": Loop(code, True)}
    for card, kernels in cards.items():
        code = main_loop(kernels[kernel]) if kernel in kernels else None
        if code:
            trips = sum(map(is_mma, code)) // round(loops["PTX"].n("mma"))
            loops[card] = Loop(code, False, max(1, trips))
    return loops


def print_counts(loops):
    names = [name for name in [*CLASSES, "other"] if any(loop.n(name) for loop in loops.values())]
    rows = []
    for code, loop in loops.items():
        numbers = [f"{loop.slots:.0f}", f"{loop.predicated:.0f}"]
        numbers.append(f"{loop.slots / loop.n('mma'):.1f}")
        rows.append([code, *numbers, *(f"{loop.n(name):.0f}" for name in names)])
    common.print_table(["code", "slots", "predicated", "a mma", *names], rows)


def print_clocks(loops, kernel, warps, registers):
    rows, spent = [], {}
    for card, loop in loops.items():
        if card == "PTX":
            continue
        spent = clocks(loop, warps, card)
        share = [f"{t:.0f} ({t / spent['tensor']:.0%})" for t in list(spent.values())[1:]]
        uses = loop.before_use()
        waits = f"{uses[0][0]} / {uses[1][0]} ({uses[0][1]} / {uses[1][1]})" if uses else ""
        own = [card, registers.get((card, kernel), ""), f"{spent['tensor']:.0f}"]
        rows.append([*own, *share, loop.chain(), waits])
    header = ["clocks", "registers", *spent, "mma a chain", "ldmatrix to its mma (mma between)"]
    common.print_table(header, rows)


def print_code(loops):
    for card, loop in loops.items():
        if card != "PTX":
            print(f"{card}:")
            for x in loop.code:
                print(f"    {x.guard:6} {x.opcode} {x.text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", default="", help="a part of the kernels' names (all)")
    parser.add_argument("--card", default="", help="sm_90: this one only (all of the build)")
    parser.add_argument("--build", default="build", help="the build's folder (build)")
    parser.add_argument("--code", action="store_true", help="print the loops too")
    parser.add_argument(
        "files",
        nargs="*",
        default=["nf4_matmul", "nf4_matmul_few", "matmul"],
        help="stems of kernels/*.cu (the matrix products)",
    )
    options = parser.parse_args()
    if not (tool("cuobjdump") and tool("nvdisasm")):
        common.enter("sass", REQUIREMENTS)
    for stem in options.files:
        fatbin = Path(options.build) / "cuda" / f"{stem}.fatbin"
        text = Path(options.build) / "ptx" / f"{stem}.ptx"
        if not fatbin.exists() or not text.exists():
            sys.exit(f"{fatbin} or {text} is missing; run make where there is an nvcc")
        ptx, warps = read_ptx(text.read_text()), warps_of(text.read_text())
        with tempfile.TemporaryDirectory() as folder:
            cards = disassemble(fatbin, folder)
        registers = registers_of(fatbin)
        order = sorted(cards, key=lambda card: int(card[3:]))
        cards = {card: cards[card] for card in order if options.card in ("", card)}
        for kernel in ptx:
            loops = loops_of(kernel, ptx, cards) if options.kernel in kernel else {}
            if not loops:
                continue
            print(f"### {kernel}\n")
            print_counts(loops)
            for code, loop in loops.items():
                if loop.others:
                    print(f"{code}, other: {dict(loop.others)}\n")
            if kernel in warps:
                print_clocks(loops, kernel, warps[kernel], registers)
            if options.code:
                print_code(loops)


if __name__ == "__main__":
    main()
