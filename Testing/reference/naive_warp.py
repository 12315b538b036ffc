"""A rotated patch, one voxel at a time: the slow obvious twin of `dycon_engine.data.warping`."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray


def naive_warp(
    image: NDArray[np.float32],
    center: NDArray[np.float64],
    matrix: NDArray[np.float64],
    *,
    size_zyx: tuple[int, int, int],
    fill: float,
) -> NDArray[np.float32]:
    """Return the patch of `image` (D, H, W): voxel o read trilinearly at center + matrix @ o."""
    patch = np.empty(size_zyx, dtype=np.float32)
    middle = (np.asarray(size_zyx) - 1.0) / 2.0
    for voxel in itertools.product(*(range(n) for n in size_zyx)):
        patch[voxel] = _trilinear(image, center + matrix @ (np.asarray(voxel) - middle), fill)
    return patch


def _trilinear(image: NDArray[np.float32], place: NDArray[np.float64], fill: float) -> float:
    low = np.floor(place).astype(int)
    total = 0.0
    for corner in itertools.product((0, 1), repeat=3):
        index = low + corner
        weight = np.prod(np.where(corner, place - low, 1.0 - (place - low)))
        inside = all(0 <= i < n for i, n in zip(index, image.shape, strict=True))
        total += weight * (image[tuple(index)] if inside else fill)
    return float(total)
