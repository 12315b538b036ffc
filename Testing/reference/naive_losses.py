"""Slow obvious twins of the voxel losses: nested Python loops over plain numbers."""

from __future__ import annotations

import math
from itertools import chain, product

from torch import Tensor


def naive_softmax(logits: Tensor) -> list[list[list[float]]]:
    """Return probabilities as nested lists [patch][voxel][class]."""
    patches, classes = logits.shape[:2]
    flat = logits.reshape(patches, classes, -1).double()
    result = []
    for b in range(patches):
        rows = []
        for i in range(flat.shape[2]):
            exponentials = [math.exp(float(flat[b, c, i])) for c in range(classes)]
            rows.append([e / sum(exponentials) for e in exponentials])
        result.append(rows)
    return result


def naive_entropy(p: list[float]) -> float:
    return -sum(q * math.log(q) for q in p if q > 0)


def naive_gambling_entropy(p: list[float], temperature: float) -> float:
    sharp = [q ** (1 / temperature) for q in p]
    hedged = [s / sum(sharp) + 1 - max(p) for s in sharp]
    return naive_entropy([h / sum(hedged) for h in hedged])


def naive_cross_entropy(logits: Tensor, label: Tensor) -> float:
    p, flat = naive_softmax(logits), label.reshape(len(label), -1)
    values = [
        -math.log(p[b][i][int(flat[b, i])])
        for b, i in product(range(flat.shape[0]), range(flat.shape[1]))
    ]
    return sum(values) / len(values)


def naive_dice_loss(logits: Tensor, label: Tensor, smooth: float) -> float:
    p, flat = naive_softmax(logits), label.reshape(len(label), -1)
    losses = []
    for c in range(1, logits.shape[1]):
        overlap = size = 0.0
        for b, i in product(range(flat.shape[0]), range(flat.shape[1])):
            truth = 1.0 if int(flat[b, i]) == c else 0.0
            overlap += p[b][i][c] * truth
            size += p[b][i][c] + truth
        losses.append(1 - (2 * overlap + smooth) / (size + smooth))
    return sum(losses) / len(losses)


def naive_mean_squared(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> float:
    """Mean over the voxels in `mask` (all without one) and the classes."""
    s, t = naive_softmax(student), naive_softmax(teacher)
    total, count = 0.0, 0
    for b, i in product(range(len(s)), range(len(s[0]))):
        if mask is None or bool(mask.reshape(len(s), -1)[b, i]):
            total += sum((x - y) ** 2 for x, y in zip(s[b][i], t[b][i], strict=True)) / len(s[b][i])
            count += 1
    return total / max(count, 1)


def naive_pseudo_label(student: Tensor, teacher: Tensor, beta: float, smooth: float) -> float:
    """Soft cross-entropy and Dice against the teacher, voxel by voxel."""
    classes = student.shape[1]
    ce = total = 0.0
    overlap, size = [0.0] * classes, [0.0] * classes
    voxels = (chain.from_iterable(naive_softmax(logits)) for logits in (student, teacher))
    for p_s, p_t in zip(*voxels, strict=True):
        w = math.exp(-beta * naive_entropy(p_t))
        total += w
        ce -= w * sum(t * math.log(s) for s, t in zip(p_s, p_t, strict=True))
        for c in range(1, classes):
            overlap[c] += w * p_s[c] * p_t[c]
            size[c] += w * (p_s[c] ** 2 + p_t[c] ** 2)
    dice = [(2 * overlap[c] + smooth) / (size[c] + smooth) for c in range(1, classes)]
    return ce / total + 1.0 - sum(dice) / len(dice)


def naive_uncl(student: Tensor, teacher: Tensor, beta: float) -> tuple[float, float]:
    """Return (consistency, entropy) of UnCL."""
    s, t = naive_softmax(student), naive_softmax(teacher)
    consistency, entropies = [], []
    for b, i in product(range(len(s)), range(len(s[0]))):
        hs, ht = naive_entropy(s[b][i]), naive_entropy(t[b][i])
        distance = sum((x - y) ** 2 for x, y in zip(s[b][i], t[b][i], strict=True)) / len(s[b][i])
        consistency.append(distance / (math.exp(beta * hs) + math.exp(beta * ht)))
        entropies.append(hs + ht)
    return sum(consistency) / len(consistency), sum(entropies) / len(entropies)
