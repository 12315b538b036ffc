"""Triangle-filter resampling voxel by voxel: the slow obvious twin of `data.resampling`."""

from __future__ import annotations

from itertools import product

import numpy as np


def naive_axis(values, target, ratio):
    """Return `target` filtered samples of the list `values`; both grids share their center."""
    source = len(values)
    result = []
    for index in range(target):
        position = (source - 1) / 2 + (index - (target - 1) / 2) * ratio
        position = min(max(position, 0.0), source - 1.0)
        total = weight_sum = 0.0
        for place, value in enumerate(values):
            weight = max(0.0, 1.0 - abs(place - position) / max(1.0, ratio))
            total += weight * value
            weight_sum += weight
        result.append(total / weight_sum)
    return result


def naive_resample(array, target_size, ratios):
    """Return (D, H, W) resampled line by line along each axis."""
    for axis, (target, ratio) in enumerate(zip(target_size, ratios, strict=True)):
        moved = np.moveaxis(array, axis, -1)
        result = np.zeros((*moved.shape[:-1], target))
        for line in product(*(range(n) for n in moved.shape[:-1])):
            result[line] = naive_axis(list(moved[line]), target, ratio)
        array = np.moveaxis(result, -1, axis)
    return array
