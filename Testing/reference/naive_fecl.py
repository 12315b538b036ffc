"""Slow obvious twin of FeCL: one loop per sum of the formula."""

from __future__ import annotations

import math

from torch import Tensor


def naive_cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def naive_fecl(  # noqa: PLR0917 - the formula's letters
    embedding: Tensor,
    label: Tensor,
    valid: Tensor,
    teacher: Tensor | None = None,
    weight: Tensor | None = None,
    tau: float = 0.6,
    gamma: float = 2.0,
    focal: bool = True,
    k_nearest: int = 5,
) -> float:
    z = embedding.tolist()
    t = teacher.tolist() if teacher is not None else None
    n = len(z)
    losses = []
    for i in range(n):
        positives = [
            k for k in range(n) if k != i and valid[i] and valid[k] and label[k] == label[i]
        ]
        negatives = [q for q in range(n) if valid[i] and valid[q] and label[q] != label[i]]
        if not positives:
            continue
        extra = 0.0
        if t is not None and k_nearest:
            near = sorted((naive_cosine(t[i], t[q]) for q in negatives), reverse=True)[:k_nearest]
            extra = sum(math.exp(c / tau) for c in near) / k_nearest
        denominator = sum(math.exp(naive_cosine(z[i], z[k]) / tau) for k in positives)
        for q in negatives:
            cosine = naive_cosine(z[i], z[q])
            push = ((cosine + 1) / 2) ** gamma if focal else 1.0
            denominator += push * (math.exp(cosine / tau) + extra)
        total = 0.0
        for k in positives:
            cosine = naive_cosine(z[i], z[k])
            pull = (1 - (cosine + 1) / 2) ** gamma if focal else 1.0
            pull *= float(weight[i]) if weight is not None else 1.0
            total += pull * (math.log(denominator) - cosine / tau)
        losses.append(total / len(positives))
    return sum(losses) / len(losses) if losses else 0.0
