"""Slow obvious twin of the boundary loss: every voxel against every other, in millimetres."""

from __future__ import annotations

import math
from itertools import product

from torch import Tensor


def naive_boundary_distance(
    label: Tensor, value: int, *, spacing_mm: tuple[float, float, float], reach_mm: float
) -> dict[tuple[int, ...], float]:
    """Return the share of the reach between each voxel of a patch (D, H, W) and the other side."""
    voxels = list(product(*(range(n) for n in label.shape)))
    place = {v: [n * mm for n, mm in zip(v, spacing_mm, strict=True)] for v in voxels}
    inside = [v for v in voxels if int(label[v]) == value]
    outside = [v for v in voxels if int(label[v]) != value]
    if not inside or not outside:
        return dict.fromkeys(voxels, 0.0)
    found = {}
    for own, others in ((inside, outside), (outside, inside)):
        for v in own:
            nearest = min(math.dist(place[v], place[other]) for other in others)
            found[v] = min(nearest / reach_mm, 1.0)
    return found


def naive_kervadec(
    p: Tensor, label: Tensor, *, spacing_mm: tuple[float, float, float], reach_mm: float
) -> float:
    """Return the mean of phi p over voxels and foreground classes, phi negative inside."""
    total, count = 0.0, 0
    for b in range(len(p)):
        for value in range(1, p.shape[1]):
            distance = naive_boundary_distance(
                label[b], value, spacing_mm=spacing_mm, reach_mm=reach_mm
            )
            for v, far in distance.items():
                sign = -1.0 if int(label[b][v]) == value else 1.0
                total += sign * far * float(p[b, value][v])
                count += 1
    return total / count
