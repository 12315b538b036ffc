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


def random_start(
    rng: np.random.Generator, size_zyx: Size, patch_size: Size, *, play: float = 0.0
) -> NDArray[np.int64]:
    """Return the first voxel (z, y, x) of a patch in the case, any place alike; see `_range`."""
    low, high = _range(size_zyx, patch_size, play)
    return np.asarray(low + np.floor(rng.random(3) * (high - low + 1)), dtype=np.int64)


def start_around(
    voxel: NDArray[Any], size_zyx: Size, patch_size: Size, *, play: float = 0.0
) -> NDArray[np.int64]:
    """Return the start of the patch with `voxel` (z, y, x) in its middle, moved into the case."""
    low, high = _range(size_zyx, patch_size, play)
    wanted = np.asarray(voxel) - np.asarray(patch_size) // 2
    return np.asarray(np.clip(wanted, low, high), dtype=np.int64)


def _range(
    size_zyx: Size, patch_size: Size, play: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and last start of a patch along each axis.

    The patch lies inside the case; where the case is smaller, the case lies in the middle of it.
    Yet along every axis the patch can move by a share `play` of its size, even if it then reaches
    out: a network that always sees the case at the same place learns the place.
    """
    patch = np.asarray(patch_size, dtype=np.int64)
    room = np.asarray(size_zyx, dtype=np.int64) - patch
    low, high = np.where(room >= 0, 0, room // 2), np.where(room >= 0, room, room // 2)
    extra = np.maximum((play * patch - (high - low)) / 2.0, 0.0).astype(np.int64)
    return low - extra, high + extra


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
