"""Writes tests/golden/losses.txt: cross-entropy and contrastive losses and gradients by torch.

`cross_entropy N D WEIGHT`, then lines of a name and numbers: labels (N, -1 where there is none),
logits (N D), losses (N), dlogits (N D): the gradient of WEIGHT * (sum of losses).
`contrastive N D TEMPERATURE WEIGHT`, then excluded (N N, 0 or 1), anchor (N D), positive (N D),
losses (N), danchor (N D), dpositive (N D).

Inputs, weights and temperatures are float32, computed upon in float64; nine digits. Made with torch 2.15.0. From the project's
root:

    python tests/golden/make_losses.py
"""

import torch
from torch.nn import functional as F

torch.manual_seed(7)


def line(name, values):
    return name + "".join(" %.9g" % v for v in values.flatten().tolist()) + "\n"


def cross_entropy(out, sizes, d, labels, weight):
    """sizes: of each row's logits."""
    logits = torch.randn(len(sizes), d) * torch.tensor(sizes)[:, None]
    logits = logits.double().requires_grad_()
    labels = torch.tensor(labels)
    losses = F.cross_entropy(logits, labels, reduction="none", ignore_index=-1)
    (weight * losses.sum()).backward()
    out.write("cross_entropy %d %d %g\n" % (len(sizes), d, weight))
    for name, values in [("labels", labels), ("logits", logits), ("losses", losses),
                         ("dlogits", logits.grad)]:
        out.write(line(name, values))


def contrastive(out, n, d, excluded, temperature, weight):
    anchor = torch.randn(n, d)
    positive = anchor + 0.7 * torch.randn(n, d)
    anchor = anchor.double().requires_grad_()
    positive = positive.double().requires_grad_()
    mask = torch.zeros(n, n, dtype=torch.bool)
    for i, j in excluded:
        mask[i, j] = True
    cosines = F.cosine_similarity(anchor[:, None], positive[None], dim=-1)
    scores = (cosines / temperature).masked_fill(mask, float("-inf"))
    losses = F.cross_entropy(scores, torch.arange(n), reduction="none")
    (weight * losses.sum()).backward()
    out.write("contrastive %d %d %g %g\n" % (n, d, temperature, weight))
    for name, values in [("excluded", mask.int()), ("anchor", anchor), ("positive", positive),
                         ("losses", losses), ("danchor", anchor.grad),
                         ("dpositive", positive.grad)]:
        out.write(line(name, values))


with open("tests/golden/losses.txt", "w") as out:
    cross_entropy(out, [1.0, 4.0, 30.0, 1.0, 1e5], 11, [3, 0, 10, -1, 5], 0.25)
    cross_entropy(out, [1.0, 2.0], 2, [1, 0], 0.5)
    contrastive(out, 5, 9, [], 0.0625, 0.25)
    contrastive(out, 4, 8, [(0, 1), (1, 0), (2, 0), (2, 1), (2, 3)], 1.0, 1.0)
    contrastive(out, 1, 3, [], 0.0625, 1.0)
