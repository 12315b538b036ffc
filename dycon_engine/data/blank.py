"""Voxels where nothing was scanned: large blocks of exactly one value that reach the scan's rim.

Programs fill in the lowest value, or 0, where a scan is turned, resampled or cut round. Scanners
give noise, or single voxels of equal value, but no blocks.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dycon_engine.data.geometry import Size

SMALLEST_MM3 = 1000.0  # of a block
PART = 2**22  # voxels


def blank_voxels(channel: NDArray[Any], voxel_mm3: float) -> NDArray[np.bool_] | None:
    """Return the blank voxels of `channel` (D, H, W), None where there is none.

    A block is connected, of the lowest value or 0, two voxels thick or more, at least
    `SMALLEST_MM3` large, and touches a face of the volume. A volume of nothing else has none.
    """
    core = (channel == channel.min()) | (channel == 0)
    if np.count_nonzero(core) * voxel_mm3 < SMALLEST_MM3 or core.all():
        return None
    same = [_equals_next(channel, axis) for axis in range(3)]
    for axis, equal in enumerate(same):
        core &= _with_edges(equal, axis, first=True) & _with_edges(equal, axis, first=False)
    for axis, equal in enumerate(same):  # the core's neighbors of the same value belong to it
        ahead, behind = _shifted(axis)
        grown = core.copy()
        grown[ahead] |= core[behind] & equal
        grown[behind] |= core[ahead] & equal
        core = grown
    blocks, count = ndimage.label(core)
    del same, core
    large = _sizes(blocks, count) * voxel_mm3 >= SMALLEST_MM3
    rim = np.zeros(count + 1, dtype=bool)
    for axis in range(3):
        rim[np.unique(blocks.take((0, -1), axis=axis))] = True
    chosen = large & rim
    chosen[0] = False
    return _marked(chosen, blocks) if chosen.any() else None


def blank_everywhere(channels: NDArray[Any], voxel_mm3: float) -> NDArray[np.bool_] | None:
    """Return the voxels (D, H, W) that are blank in all `channels` (C, D, H, W), None if no one."""
    common: NDArray[np.bool_] | None = None
    for channel in channels:
        blank = blank_voxels(channel, voxel_mm3)
        if blank is None:
            return None
        common = blank if common is None else common & blank
    return common if common is not None and common.any() else None


def packed(blank: NDArray[np.bool_] | None) -> bytes:
    """Return a mask small enough to be kept for every scan of a data set; b'' = None."""
    return b"" if blank is None else zlib.compress(np.packbits(blank).tobytes(), level=1)


def unpacked(content: bytes, size_zyx: Size) -> NDArray[np.bool_] | None:
    """Return the mask (D, H, W) of `packed`."""
    if not content:
        return None
    bits = np.frombuffer(zlib.decompress(content), dtype=np.uint8)
    flat = np.unpackbits(bits, count=int(np.prod(size_zyx)))
    return flat.reshape(size_zyx).astype(np.bool_)


def _sizes(blocks: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return how many voxels have each value 0...count; a part at a time, since it is copied."""
    flat, sizes = blocks.reshape(-1), np.zeros(count + 1, dtype=np.int64)
    for start in range(0, flat.size, PART):
        sizes += np.bincount(flat[start : start + PART], minlength=count + 1)
    return sizes


def _marked(chosen: NDArray[np.bool_], blocks: NDArray[Any]) -> NDArray[np.bool_]:
    """Return `chosen[blocks]`; a plane at a time, since indices are widened to 8 bytes."""
    marked = np.empty(blocks.shape, dtype=np.bool_)
    for plane, numbers in zip(marked, blocks, strict=True):
        plane[:] = chosen[numbers]
    return marked


def _shifted(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the index of all voxels but the first, and of all but the last, along `axis`."""
    ahead, behind = [slice(None)] * 3, [slice(None)] * 3
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    return tuple(ahead), tuple(behind)


def _equals_next(channel: NDArray[Any], axis: int) -> NDArray[np.bool_]:
    ahead, behind = _shifted(axis)
    return np.asarray(channel[ahead] == channel[behind])


def _with_edges(equal: NDArray[np.bool_], axis: int, *, first: bool) -> NDArray[np.bool_]:
    """Return `equal` for all voxels: with the neighbor before or behind, True at the rim."""
    width = [(0, 0)] * 3
    width[axis] = (1, 0) if first else (0, 1)
    return np.pad(equal, width, constant_values=True)
