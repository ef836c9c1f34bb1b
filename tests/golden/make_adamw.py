"""Writes tests/golden/adamw.txt: parameters after steps of torch.optim.AdamW, in float32.

For each case a line `case STEPS N BETA1 BETA2 EPS WEIGHT_DECAY LARGEST` (LARGEST: what gradients
are clipped to; inf: they are not), a line `start` with the N parameters, and for each step lines
`rate` (the learning rate), `gradients`, `norm` (that clip_grad_norm_ found; 0 without clipping),
`parameters`, `m` and `v` (after it). Nine digits.

Made with torch 2.15.0. From the project's root:

    python tests/golden/make_adamw.py
"""

import torch

torch.manual_seed(3)
# A step's gradients are normal ones times these: usual, tiny, huge, nothing; v overflows in one.
SIZES = torch.tensor([1.0, 1e-3, 3.0, 1e-12, 1e-25, 1e-38, 1e6, 1e15, 0.0, 2e21, 1e-2])
CASES = [
    # steps, betas, eps, weight decay, clipped to, rates
    (6, (0.9, 0.999), 1e-8, 0.0, float("inf"), [1e-3] * 6),
    (6, (0.9, 0.999), 1e-8, 0.1, float("inf"), [5e-5, 4e-5, 3e-5, 2e-5, 1e-5, 0.0]),
    (4, (0.8, 0.95), 1e-6, 0.01, 1.0, [1e-2] * 4),
    (2, (0.9, 0.999), 1e-8, 0.0, 1e6, [1e-3] * 2),
]


def line(name, values):
    return name + "".join(" %.9g" % v for v in values.flatten().tolist()) + "\n"


with open("tests/golden/adamw.txt", "w") as out:
    for steps, betas, eps, decay, largest, rates in CASES:
        sizes = SIZES if largest == float("inf") else SIZES[:6]
        x = torch.nn.Parameter(torch.randn(len(sizes)))
        optimiser = torch.optim.AdamW([x], lr=1.0, betas=betas, eps=eps, weight_decay=decay)
        out.write("case %d %d %g %g %g %g %g\n" % (steps, len(sizes), *betas, eps, decay, largest))
        out.write(line("start", x.data))
        for rate in rates:
            x.grad = torch.randn(len(sizes)) * sizes
            out.write(line("rate", torch.tensor(rate, dtype=torch.float64)))
            out.write(line("gradients", x.grad))
            norm = torch.zeros(1)
            if largest != float("inf"):
                norm = torch.nn.utils.clip_grad_norm_([x], largest)
            out.write(line("norm", norm))
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()
            state = optimiser.state[x]
            out.write(line("parameters", x.data))
            out.write(line("m", state["exp_avg"]))
            out.write(line("v", state["exp_avg_sq"]))
