"""Slow obvious twin of signed distance maps: every voxel against every other."""

from __future__ import annotations

import math
from itertools import product

from torch import Tensor


def naive_signed_distance(label: Tensor, value: int) -> dict[tuple[int, ...], float]:
    """Return the signed distance of class `value` in one patch (D, H, W) by voxel."""
    voxels = list(product(*(range(n) for n in label.shape)))
    inside = [v for v in voxels if int(label[v]) == value]
    outside = [v for v in voxels if int(label[v]) != value]
    outer = {v: min((math.dist(v, other) for other in inside), default=1.0) for v in outside}
    inner = {v: min((math.dist(v, other) for other in outside), default=1.0) for v in inside}
    farthest, deepest = max(outer.values(), default=1.0), max(inner.values(), default=1.0)
    return {v: outer[v] / farthest if v in outer else -inner[v] / deepest for v in voxels}
