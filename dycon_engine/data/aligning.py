"""A label map brought onto the grid of its image, where every voxel keeps its place exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.geometry import Geometry
from dycon_engine.data.orientation import orientation_between
from dycon_engine.data.volume import Part, Volume

GRID_TOLERANCE = 0.01  # voxels a corner may lie apart


def on_grid(volume: Volume, grid: Geometry, *, cropped: bool = False) -> Volume:
    """Return `volume` on `grid`, or as it is where that would change a voxel or its place.

    Args:
        volume: (..., D, H, W), with its axes in any order and direction.
        grid: Where it should lie.
        cropped: Whether it may be a part of `grid`; the rest becomes 0.
    """
    if _is_same(volume.geometry, grid):
        return volume
    orientation = orientation_between(volume.geometry, grid)
    turned = orientation.geometry(volume.geometry)
    array = orientation.apply(volume.array)
    if _is_same(turned, grid):
        return Volume(np.ascontiguousarray(array), grid)
    part = _part_of(turned, grid) if cropped else None
    if part is None:
        return volume
    whole = np.zeros((*array.shape[:-3], *grid.size_zyx), dtype=array.dtype)
    whole[..., *part] = array
    return Volume(whole, grid)


def _is_same(own: Geometry, other: Geometry) -> bool:
    return own.corner_distance_voxels(other) <= GRID_TOLERANCE


def _part_of(own: Geometry, grid: Geometry) -> Part | None:
    """Return which voxels of `grid` those of `own` are; None where they are none of its voxels."""
    steps = np.asarray(own.origin_lps) - np.asarray(grid.origin_lps)
    first: NDArray[np.float64] = np.rint(np.linalg.solve(grid.affine[:3, :3], steps))
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(first)
    inside = all(
        start >= 0 and start + length <= size
        for start, length, size in zip(first, own.size_zyx, grid.size_zyx, strict=True)
    )
    if not inside or not _is_same(own, Geometry(own.size_zyx, affine)):
        return None
    z, y, x = (
        slice(int(start), int(start) + length)
        for start, length in zip(first, own.size_zyx, strict=True)
    )
    return z, y, x
