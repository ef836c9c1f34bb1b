"""What bitsandbytes' kernels are to compute, in numpy, mostly in float64: formats, quantisation,
optimisers. Optimisers follow Kingma and Ba 2015 (Adam), Pagliardini et al. 2024 (AdEMAMix), Chen et
al. 2023 (Lion), with the order of scaling, decay and clipping that bitsandbytes gives them; the
8-bit ones keep their state by blocks of 256 in a dynamic code (Dettmers et al. 2022).

Errors that are allowed come with each result: unit roundoffs of the roundings that the kernel makes,
2 units for approximate division, and for 1 - beta^step what its cancellation makes of an error of
powf. allowed_... are those; ties mark values so near the middle of two codes that either is right.
"""
import numpy as np

STORED = {"float": "f4", "half": "f2", "bf16": "u2"}
UNIT = {"float": 2.0**-24, "half": 2.0**-11, "bf16": 2.0**-8}
LEAST = {"float": 2.0**-149, "half": 2.0**-25, "bf16": 2.0**-134}
NEAR = 2e-6  # of a middle: its own rounding, where the kernel has it as a decimal of 6 places
BLOCK = 256  # of the 8-bit optimisers


def store(x, kind):
    x = np.asarray(x, "f4")
    if kind != "bf16":
        return x.astype(STORED[kind])
    bits = x.view("u4").astype("u8")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("u2")


def load(x, kind):
    return (x.astype("u4") << 16).view("f4") if kind == "bf16" else x.astype("f4")


# ---- codes ---------------------------------------------------------------------------------------

NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
       -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
       0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
       0.7229568362236023, 1.0]
FP4 = [0.0, 1 / 192, 2 / 3, 1.0, 1 / 3, 1 / 2, 1 / 6, 1 / 4]  # 0 0.0625 8 12 4 6 2 3, of 12


def dynamic(signed):
    """Decades 10^-6 to 1, each cut into twice as many pieces as the one before; their middles."""
    numbers = [0.0, 1.0]
    for decade in range(7):
        edges = np.linspace(0.1, 1, 2**(decade + (not signed)) + 1)
        middles = (edges[1:] + edges[:-1]) / 2 * 10.0**(decade - 6)
        numbers += list(middles) + (list(-middles) if signed else [])
    return np.array(sorted(numbers), "f4")


def codes(form):
    if form == "nf4":
        return np.array(NF4, "f4")
    if form == "fp4":
        return np.array(FP4 + [-x for x in FP4], "f4")
    return dynamic(form == "8bit")


def nearest(x, code):
    """(index of the nearest in a sorted code, is x near the middle of two)"""
    code = code.astype("f8")
    middles = (code[1:] + code[:-1]) / 2
    at = np.searchsorted(middles, x)
    below, above = middles[np.maximum(at - 1, 0)], middles[np.minimum(at, len(middles) - 1)]
    gap = np.minimum(np.abs(x - below) / np.maximum(np.abs(below), 1e-30),
                     np.abs(x - above) / np.maximum(np.abs(above), 1e-30))
    return at, gap


def by_blocks(x, block):
    """(blocks, block), filled with zeros."""
    padded = np.zeros(-(-x.size // block) * block, x.dtype)
    padded[:x.size] = x
    return padded.reshape(-1, block)


def quantize(x, block, code, form):
    """x float32: (codes, largest magnitudes of blocks, ties). A block of zeros has codes 0."""
    maxima = np.abs(by_blocks(x, block)).max(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = x * np.repeat(np.float32(1) / maxima, block)[:x.size]
    live = np.repeat(maxima > 0, block)[:x.size]
    scaled = np.where(live, scaled, 0).astype("f8")
    if form == "fp4":
        order = np.argsort(code[:8])
        at, gap = nearest(np.abs(scaled), code[order])
        at = order[at] + 8 * (scaled < 0)
    else:
        at, gap = nearest(scaled, code)
    return np.where(live, at, 0), maxima, gap < NEAR


# ---- optimisers ----------------------------------------------------------------------------------

def sign_of(x, size):
    """(sign, is it in doubt): size is that of the terms that x is the sum of."""
    return np.sign(x), np.abs(x) <= size * 2.0**-21


class Constants:
    """The kernel's arguments as it has them, in float32, and what follows from them in float64."""

    def __init__(self, beta1, beta2, beta3, alpha, eps, lr, scale, step):
        self.b1, self.b2, self.b3 = (float(np.float32(b)) for b in (beta1, beta2, beta3))
        self.alpha, self.eps, self.lr = (float(np.float32(x)) for x in (alpha, eps, lr))
        self.scale, self.step = float(np.float32(scale)), step
        p1, p2 = self.b1**step, self.b2**step
        self.c1, self.c2 = 1 - p1, np.sqrt(1 - p2)
        self.precise = 16 * 2.0**-24 + 2.0**-23 * (2 * p1 / (1 - p1) + p2 / (1 - p2))
        # __powf: lg2 to 2^-22, times the step, and ex2 to 2 units.
        power = step * 2.0**-22 * np.log(2) + 2.0**-22
        self.fast = 16 * 2.0**-24 + power * (p1 / (1 - p1) + p2 / (1 - p2) / 2)


def moments(name, c, g, s1, s2, s3):
    """New states in float64, and the errors allowed them."""
    unit = 4 * 2.0**-24

    def average(s, beta, x):
        return s * beta + (1 - beta) * x, unit * (np.abs(s * beta) + np.abs((1 - beta) * x))

    if name in ("adam", "ademamix"):
        third = average(s3, c.b3, g) if name == "ademamix" else (None, None)
        return [average(s1, c.b1, g), average(s2, c.b2, g * g), third]
    if name == "momentum":
        return [(s1 * c.b1 + g, unit * (np.abs(s1 * c.b1) + np.abs(g)))]
    if name == "lion":
        return [average(s1, c.b2, g)]
    if name == "rmsprop":
        return [average(s1, c.b1, g * g)]
    return [(s1 + g * g, unit * (s1 + g * g))]


def step_of(name, c, relative, g, old_s1, states):
    """What is added to the parameters, without clipping, and the error allowed it."""
    (s1, e1), rest = states[0], states[1:]
    if name in ("adam", "ademamix"):
        s2 = rest[0][0]
        if name == "adam":
            top, top_error, bottom = s1 / c.c1, e1 / c.c1, np.sqrt(s2) / c.c2 + c.eps
        else:
            s3, e3 = rest[1]
            top = s1 / c.c1 + c.alpha * s3
            top_error = e1 / c.c1 + c.alpha * e3 + relative * np.abs(s1 / c.c1)
            bottom = np.sqrt(s2) / c.c2 + c.eps
        change = -c.lr * top / bottom
        return change, c.lr * top_error / bottom + relative * np.abs(change)
    if name == "momentum":
        return -c.lr * s1, c.lr * (e1 + np.abs(s1) * 2.0**-23)
    if name == "lion":
        inner = old_s1 * c.b1 + (1 - c.b1) * g
        sign, doubtful = sign_of(inner, np.abs(old_s1 * c.b1) + np.abs((1 - c.b1) * g))
        return -c.lr * sign, np.where(doubtful, 2 * c.lr, 0)
    change = -c.lr * g / (np.sqrt(s1) + c.eps)
    return change, np.abs(change) * 16 * 2.0**-24


class Optimizer:
    """One step of a 32-bit optimiser on n parameters."""

    def __init__(self, name, kind, n, random, decay, skip, clip, **hyper):
        self.name, self.kind, self.n, self.c = name, kind, n, Constants(**hyper)
        self.decay, self.skip, self.clip, self.measured = decay, skip, clip, 0.0
        g = random.standard_normal(n).astype("f4")
        g[::11] = 0
        self.g, self.p = store(g, kind), store(random.standard_normal(n), kind)
        size = 2 * n if name == "ademamix" else n
        self.s1 = random.standard_normal(size).astype("f4")
        if name in ("rmsprop", "adagrad"):
            self.s1 = np.abs(self.s1)
        self.s2 = (random.standard_normal(n)**2 + 0.01).astype("f4")
        self.param_norm = float(np.sqrt((load(self.p, kind).astype("f8")**2).sum()))

    def gradient(self, decayed):
        kind, p = self.kind, load(self.p, self.kind)
        g = load(store(load(self.g, kind) * np.float32(self.c.scale), kind), kind)
        if decayed and self.decay and self.name in ("momentum", "rmsprop", "adagrad"):
            g = load(store(g + p * np.float32(self.decay), kind), kind)
        return g.astype("f8")

    def states(self, g):
        s1 = self.s1.astype("f8")
        return moments(self.name, self.c, g, s1[:self.n], self.s2.astype("f8"), s1[self.n:])

    def norm(self):
        """The sum of squares of the steps without the learning rate; of momentum: of its state."""
        g = self.gradient(False)
        states = self.states(g)
        c = self.c
        if self.name == "momentum":
            return float((states[0][0]**2).sum())
        if self.name == "adam":
            step = states[0][0] / c.c1 / (np.sqrt(states[1][0]) / c.c2 + c.eps)
        else:
            step = g / (np.sqrt(states[0][0]) + c.eps)
        return float((step**2).sum())

    def update(self):
        c, p = self.c, load(self.p, self.kind).astype("f8")
        g = self.gradient(True)
        states = self.states(g)
        old = self.s1.astype("f8")[:self.n]
        change, error = step_of(self.name, c, c.precise, g, old, states)
        if self.clip > 0 and self.name != "adagrad":
            most = self.clip * self.param_norm + (c.eps if self.name != "adam" else 0)
            size = np.sqrt(self.measured)
            change, error = (x * min(1.0, most / size if size else 1.0) for x in (change, error))
        shrink = 1 - c.lr * self.decay if self.decay and self.name in ("adam", "ademamix", "lion") \
            else 1
        new = p * shrink + change if self.name == "lion" else (p + change) * shrink
        live = ~(self.skip & (g == 0)) | (self.name == "ademamix")
        roundings = (1 if shrink == 1 else 2) * UNIT[self.kind] * 1.01 + 2.0**-23
        self.new_p = np.where(live, new, p)
        self.allowed_p = error * 1.01 + roundings * (np.abs(p) + np.abs(change)) \
            + LEAST[self.kind]
        firsts = [0, 2] if self.name == "ademamix" else [0]
        self.new_s1 = np.concatenate([states[i][0] for i in firsts])
        live = np.tile(live, len(firsts))
        self.new_s1 = np.where(live, self.new_s1, self.s1)
        self.allowed_s1 = np.concatenate([states[i][1] for i in firsts]) + 1e-44
        if len(states) > 1:
            self.new_s2 = np.where(live[:self.n], states[1][0], self.s2)
            self.allowed_s2 = states[1][1] + 1e-44


class Optimizer8:
    """One step of an 8-bit optimiser: states in codes, blocks of 256 with their largest."""

    def __init__(self, name, kind, n, random, decay, **hyper):
        self.name, self.kind, self.n, self.decay = name, kind, n, decay
        self.c = Constants(**hyper)
        self.g = store(random.standard_normal(n), kind)
        self.p = store(random.standard_normal(n), kind)
        states = 2 if name == "ademamix" else 1
        least = 128 if name in ("rmsprop", "adagrad") else 0
        self.c1 = random.integers(least, 256, states * n).astype("u1")
        self.a1 = random.uniform(0.5, 2, states * -(-n // BLOCK)).astype("f4")
        self.c2 = random.integers(64, 256, n).astype("u1")
        self.a2 = random.uniform(0.5, 2, -(-n // BLOCK)).astype("f4")

    def requantize(self, state, error, code, signed):
        """(codes, largest of blocks, ties). A signed one that is not 0 keeps its sign."""
        maxima = np.abs(by_blocks(state, BLOCK)).max(1)
        size = np.repeat(maxima, BLOCK)[:state.size]
        x = state / size
        at, gap = nearest(x, code)
        doubt = (gap < NEAR + 2 * error / size / np.maximum(np.abs(x), 1e-30)) | (np.abs(x) < 1e-9)
        if signed:
            wrong = np.signbit(code[at]) != np.signbit(x)
            at = np.where(wrong, at + np.where(state > 0, 1, -1), at)
        return at, maxima, doubt

    def update(self):
        c, kind, n, two = self.c, self.kind, self.n, self.name in ("adam", "ademamix")
        p, g = load(self.p, kind).astype("f8"), load(self.g, kind).astype("f8") * c.scale
        signed, unsigned = codes("8bit"), codes("unsigned")
        scale1 = np.repeat(self.a1, BLOCK)
        if self.name != "ademamix":
            scale1 = scale1[:n]
        s1 = (signed[self.c1] * scale1).astype("f8")
        s2 = (unsigned[self.c2] * np.repeat(self.a2, BLOCK)[:n]).astype("f8")
        shrink = 1.0
        if self.decay and self.name in ("momentum", "rmsprop", "adagrad"):
            g = g + p * self.decay
        elif self.decay:
            shrink = 1 - c.lr * self.decay
        states = moments(self.name, c, g, s1[:n], s2, s1[n:])
        # These two divide the gradient as it came, neither scaled nor decayed.
        raw = load(self.g, kind).astype("f8") if self.name in ("rmsprop", "adagrad") else g
        change, error = step_of(self.name, c, c.fast, raw, s1[:n], states)
        if self.name == "lion":  # kept in the gradient's type
            error = error + np.abs(change) * UNIT[kind] * 1.01
        new = p * shrink + change if self.name == "lion" else (p + change) * shrink
        roundings = (1 if shrink == 1 else 2) * UNIT[kind] * 1.01 + 2.0**-23
        self.new_p = new
        self.allowed_p = error * 1.01 + roundings * (np.abs(p) + np.abs(change)) + LEAST[kind]
        firsts = [states[0]] + ([states[2]] if self.name == "ademamix" else [])
        parts = [self.requantize(s, e, signed, True) for s, e in firsts]
        self.new_c1, self.new_a1, self.ties1 = (np.concatenate(x) for x in zip(*parts))
        if two:
            self.new_c2, self.new_a2, self.ties2 = self.requantize(*states[1], unsigned, False)
