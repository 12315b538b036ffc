"""Calibration figures in loops over voxels: slow, obvious."""

from __future__ import annotations

import itertools
import math


def nll(logits, targets, temperature):
    total = 0.0
    for row, target in zip(logits, targets, strict=True):
        exponentials = [math.exp(value / temperature) for value in row]
        total -= math.log(exponentials[target] / sum(exponentials))
    return total / len(targets)


def best_temperature(logits, targets, low=0.05, high=20.0):
    """Three ever finer grids in log T."""
    for _ in range(6):
        grid = [low * (high / low) ** (k / 40) for k in range(41)]
        losses = [nll(logits, targets, t) for t in grid]
        best = losses.index(min(losses))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 40)]
    return math.sqrt(low * high)


def ece(probabilities, targets, bins):
    total = 0.0
    for k in range(bins):
        confidences, hits = [], []
        for row, target in zip(probabilities, targets, strict=True):
            confidence = max(row)
            if k / bins < confidence <= (k + 1) / bins or (k == 0 and confidence == 0):
                confidences.append(confidence)
                hits.append(list(row).index(confidence) == target)
        if hits:
            gap = abs(sum(confidences) / len(hits) - sum(hits) / len(hits))
            total += gap * len(hits) / len(targets)
    return total


def aurc(uncertainty, wrong):
    """Mean over all orders of equal uncertainties (few voxels only) of the mean risk."""
    results = []
    for order in itertools.permutations(range(len(wrong))):
        if any(uncertainty[a] > uncertainty[b] for a, b in itertools.pairwise(order)):
            continue
        errors, risks = 0, []
        for kept, voxel in enumerate(order, start=1):
            errors += wrong[voxel]
            risks.append(errors / kept)
        results.append(sum(risks) / len(risks))
    return sum(results) / len(results)


def captured(uncertainty, wrong, share):
    """Mean over all orders of equal uncertainties (few voxels only)."""
    count = math.ceil(share * len(wrong))
    results = []
    for order in itertools.permutations(range(len(wrong))):
        if any(uncertainty[a] < uncertainty[b] for a, b in itertools.pairwise(order)):
            continue
        results.append(sum(wrong[voxel] for voxel in order[:count]) / sum(wrong))
    return sum(results) / len(results)


def near(surface, shape, spacing, band):
    found = set()
    for index in itertools.product(*map(range, shape)):
        for point in surface:
            length = math.sqrt(
                sum(((i - j) * s) ** 2 for i, j, s in zip(index, point, spacing, strict=True))
            )
            if length <= band:
                found.add(index)
                break
    return found
