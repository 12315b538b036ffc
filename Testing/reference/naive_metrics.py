"""Metrics in nested loops over voxels: slow, obvious."""

from __future__ import annotations

import itertools
import math


def foreground(labels, label):
    return [
        index for index in itertools.product(*map(range, labels.shape)) if labels[index] == label
    ]


def surface(voxels):
    """Voxels with a face neighbor that is not in the set (also outside the array)."""
    inside = set(voxels)
    found = []
    for z, y, x in voxels:
        neighbors = [(z - 1, y, x), (z + 1, y, x), (z, y - 1, x), (z, y + 1, x), (z, y, x - 1)]
        neighbors.append((z, y, x + 1))
        if any(n not in inside for n in neighbors):
            found.append((z, y, x))
    return found


def directed(points, others, spacing):
    def length(a, b):
        return math.sqrt(sum(((i - j) * s) ** 2 for i, j, s in zip(a, b, spacing, strict=True)))

    return [min(length(point, other) for other in others) for point in points]


def percentile95(values):
    ordered = sorted(values)
    place = 0.95 * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def dice_jaccard(prediction, reference, label):
    p, r = set(foreground(prediction, label)), set(foreground(reference, label))
    if not p and not r:
        return math.nan, math.nan
    return 2 * len(p & r) / (len(p) + len(r)), len(p & r) / len(p | r)


def hd95_asd_assd(prediction, reference, label, spacing):
    p, r = surface(foreground(prediction, label)), surface(foreground(reference, label))
    if not p or not r:
        return (math.nan,) * 3
    forward, backward = directed(p, r, spacing), directed(r, p, spacing)
    pooled = forward + backward
    return percentile95(pooled), sum(forward) / len(forward), sum(pooled) / len(pooled)
