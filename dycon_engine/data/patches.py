"""Where a training patch lies in its case, and how it is cut out, padded where the case ends."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.geometry import Size

POINTS_PER_CLASS = 2000
COARSE = 4  # the air value is sought on every fourth voxel along each axis


def foreground_points(label: NDArray[np.uint8]) -> tuple[NDArray[np.int32], ...]:
    """Return for each class present in `label` (D, H, W), background excluded, voxels of it.

    Each array is (N, 3) in z, y, x, at most `POINTS_PER_CLASS` voxels, spread evenly over the
    class in memory order; a function of the label alone.
    """
    points = []
    for value in np.flatnonzero(np.bincount(np.ravel(label), minlength=1)[1:]) + 1:
        flat = np.flatnonzero(label == value)
        if flat.size > POINTS_PER_CLASS:
            flat = flat[np.linspace(0, flat.size - 1, POINTS_PER_CLASS).astype(np.int64)]
        points.append(np.stack(np.unravel_index(flat, label.shape), axis=1).astype(np.int32))
    return tuple(points)


def air_value(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return per channel of `image` (C, D, H, W) the lowest value, (C,): what lies outside."""
    coarse = image[:, ::COARSE, ::COARSE, ::COARSE]
    return np.asarray(coarse.min(axis=(1, 2, 3)), dtype=np.float32)


def random_start(rng: np.random.Generator, size_zyx: Size, patch_size: Size) -> NDArray[np.int64]:
    """Return the first voxel (z, y, x) of a patch inside the case, any place alike.

    Along an axis where the case is smaller than the patch, the case lies in the middle.
    """
    room = np.asarray(size_zyx) - np.asarray(patch_size)
    draw = rng.random(3)
    start = np.where(room >= 0, np.floor(draw * (room + 1)), room // 2)
    return np.asarray(start, dtype=np.int64)


def start_around(voxel: NDArray[Any], size_zyx: Size, patch_size: Size) -> NDArray[np.int64]:
    """Return the start of the patch with `voxel` (z, y, x) in its middle, moved into the case."""
    room = np.asarray(size_zyx) - np.asarray(patch_size)
    wanted = np.asarray(voxel) - np.asarray(patch_size) // 2
    start = np.where(room >= 0, np.clip(wanted, 0, np.maximum(room, 0)), room // 2)
    return np.asarray(start, dtype=np.int64)


def crop(
    array: NDArray[Any], start: NDArray[np.int64], size_zyx: Size, *, fill: NDArray[Any]
) -> NDArray[Any]:
    """Return the block of `array` (C, D, H, W) from `start`, (C, *size_zyx), contiguous.

    Args:
        array: In memory or mapped; only the block is read.
        start: First voxel (z, y, x); may be negative.
        size_zyx: Size of the block; may reach beyond the array.
        fill: (C,) what lies outside the array.
    """
    low = np.maximum(start, 0)
    high = np.minimum(start + np.asarray(size_zyx), array.shape[1:])
    inside = tuple(slice(int(a), max(int(a), int(b))) for a, b in zip(low, high, strict=True))
    block = array[(slice(None), *inside)]
    if block.shape[1:] == tuple(size_zyx):
        return np.array(block, dtype=fill.dtype, order="C")
    whole = np.empty((array.shape[0], *size_zyx), dtype=fill.dtype)
    whole[:] = fill[:, None, None, None]
    offset = np.minimum(low - start, np.asarray(size_zyx))
    place = tuple(slice(int(o), int(o) + n) for o, n in zip(offset, block.shape[1:], strict=True))
    whole[(slice(None), *place)] = block
    return whole
