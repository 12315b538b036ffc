"""Slow obvious twins of the losses of two networks: nested Python loops over plain numbers."""

from __future__ import annotations

import math
from itertools import chain

from torch import Tensor

from Testing.reference.naive_losses import naive_entropy, naive_softmax

Row = list[float]


def rows_of(logits: Tensor) -> list[Row]:
    """Return the probabilities of every voxel of every patch."""
    return list(chain.from_iterable(naive_softmax(logits)))


def winner(p: Row) -> int:
    return p.index(max(p))


def naive_cross_pseudo(student: Tensor, other: Tensor, *, kl_weighting: bool) -> float:
    plain, weighted, divergences = [], [], []
    for s, o in zip(rows_of(student), rows_of(other), strict=True):
        ce = -math.log(s[winner(o)])
        d = sum(q * math.log(q / p) for p, q in zip(s, o, strict=True))
        plain.append(ce)
        weighted.append(math.exp(-d) * ce)
        divergences.append(d)
    if not kl_weighting:
        return sum(plain) / len(plain)
    return (sum(weighted) + sum(divergences)) / len(plain)


def naive_disagreement(one: Tensor, other: Tensor, confidence: float) -> list[bool]:
    pairs = zip(rows_of(one), rows_of(other), strict=True)
    return [winner(a) != winner(b) and min(max(a), max(b)) > confidence for a, b in pairs]


def naive_low_entropy(one: Tensor, other: Tensor, share: float) -> list[bool]:
    unsure = []
    for logits in (one, other):
        entropies = [naive_entropy(p) for p in rows_of(logits)]
        threshold = sorted(entropies)[max(round(share * len(entropies)), 1) - 1]
        unsure.append([h > threshold for h in entropies])
    return [not (a and b) for a, b in zip(*unsure, strict=True)]


def naive_masked_supervision(
    logits: Tensor, label: Tensor, mask: list[bool]
) -> tuple[float, float]:
    """Return (cross-entropy, Dice loss) over the voxels in `mask`."""
    rows, truth = rows_of(logits), label.flatten().tolist()
    chosen = [(p, y) for p, y, counts in zip(rows, truth, mask, strict=True) if counts]
    ce = sum(-math.log(p[y]) for p, y in chosen) / max(len(chosen), 1)
    dice = []
    for c in range(1, logits.shape[1]):
        overlap = sum(p[c] for p, y in chosen if y == c)
        size = sum(p[c] for p, _ in chosen) + sum(y == c for _, y in chosen)
        dice.append(1 - (2 * overlap + 1) / (size + 1))
    return ce, sum(dice) / len(dice)


def naive_masked_squared_error(logits: Tensor, label: Tensor, mask: list[bool]) -> float:
    rows, truth = rows_of(logits), label.flatten().tolist()
    errors = [
        sum((value - (c == y)) ** 2 for c, value in enumerate(p)) / 2
        for p, y, counts in zip(rows, truth, mask, strict=True)
        if counts
    ]
    return sum(errors) / max(len(errors), 1)


def naive_prototypes(features: Tensor, p: Tensor, sure: list[bool], temperature: float) -> float:
    columns = features.movedim(1, -1).flatten(0, 3).tolist()
    classes = [winner(row) for row in p.movedim(1, -1).flatten(0, 3).tolist()]
    rows = [[x / math.hypot(*column) for x in column] for column in columns]
    prototypes = {}
    for c in sorted({c for c, is_sure in zip(classes, sure, strict=True) if is_sure}):
        members = [r for r, k, s in zip(rows, classes, sure, strict=True) if s and k == c]
        mean = [sum(values) for values in zip(*members, strict=True)]
        prototypes[c] = [x / math.hypot(*mean) for x in mean]
    losses = []
    for row, c, is_sure in zip(rows, classes, sure, strict=True):
        if is_sure or c not in prototypes or len(prototypes) < 2:
            continue
        near = {
            k: math.exp(sum(a * b for a, b in zip(row, m, strict=True)) / temperature)
            for k, m in prototypes.items()
        }
        losses.append(-math.log(near[c] / sum(near.values())))
    return sum(losses) / max(len(losses), 1)
