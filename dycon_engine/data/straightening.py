"""Scans whose axes lie askew: onto a grid along the axes of the world, and back.

Used where a model has only seen straight scans; all others are permuted and flipped but not turned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dycon_engine.data import resampling
from dycon_engine.data.geometry import Geometry, Spacing

CHUNK_VOXELS = 2**20  # sampled at once; three coordinates and all channels each


def turn_deg(geometry: Geometry) -> float:
    """Return the largest angle between an axis of the grid and the world's axis nearest to it."""
    nearest = np.abs(geometry.direction).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(nearest.min(), -1.0, 1.0))))


def straight_geometry(source: Geometry, spacing_mm: Spacing) -> Geometry:
    """Return the axial grid of `spacing_mm` (z, y, x) that covers `source`, centers coinciding."""
    half = np.abs(source.affine[:3, :3]) @ np.asarray(source.size_zyx) / 2.0  # x, y, z
    middle = source.to_world((np.asarray(source.size_zyx, dtype=np.float64) - 1.0) / 2.0)
    size = [max(1, math.ceil(2.0 * h / mm)) for h, mm in zip(half[::-1], spacing_mm, strict=True)]
    grid = Geometry.from_parts((size[0], size[1], size[2]), spacing_mm)
    center = grid.to_world((np.asarray(size, dtype=np.float64) - 1.0) / 2.0)
    x, y, z = (float(value) for value in middle - center)
    return Geometry.from_parts(grid.size_zyx, spacing_mm, (x, y, z))


def straighten(
    values: NDArray[np.float32], source: Geometry, target: Geometry, *, fill: float = 0.0
) -> NDArray[np.float32]:
    """Return `values` (C, D, H, W) of `source` on `target`, `fill` where `source` does not reach.

    Anti-aliased along the source's axes where the target is coarser, then trilinear.
    """
    coarse = [max(own, mm) for own, mm in zip(source.spacing_mm, target.spacing_mm, strict=True)]
    between = resampling.resampled_geometry(source, (coarse[0], coarse[1], coarse[2]))
    values = resampling.resample(values, source, between)
    result = np.empty((len(values), *target.size_zyx), dtype=np.float32)
    for rows in chunks(target):
        result[:, rows] = sample(torch.from_numpy(values), between, target, rows, fill=fill).numpy()
    return result


def chunks(target: Geometry) -> Iterator[slice]:
    """Yield the rows (z) of a grid in pieces of about `CHUNK_VOXELS`."""
    depth, height, width = target.size_zyx
    step = max(1, CHUNK_VOXELS // (height * width))
    for start in range(0, depth, step):
        yield slice(start, min(start + step, depth))


def sample(
    values: Tensor, source: Geometry, target: Geometry, rows: slice, *, fill: float = 0.0
) -> Tensor:
    """Return `values` (C, D, H, W) of `source`, trilinear, on some rows of `target`.

    Args:
        values: On the CPU, float32.
        source: Their grid.
        target: Any grid.
        rows: Which of the target's slices (z).
        fill: What lies more than half a voxel outside of `source`.
    """
    step = np.linalg.solve(source.affine, target.affine)  # target index -> source index
    z, y, x = (
        torch.arange(low, high, dtype=torch.float64)
        for low, high in ((rows.start, rows.stop), *((0, n) for n in target.size_zyx[1:]))
    )
    parts = []
    for axis in (2, 1, 0):  # x first, as grid_sample wants it
        index = (
            step[axis, 0] * z[:, None, None]
            + step[axis, 1] * y[None, :, None]
            + step[axis, 2] * x[None, None, :]
            + step[axis, 3]
        )
        parts.append(((2.0 * index + 1.0) / source.size_zyx[axis] - 1.0).float())
    grid = torch.stack(parts, dim=-1)
    found = F.grid_sample(values[None], grid[None], padding_mode="border", align_corners=False)[0]
    return found.masked_fill_((grid.abs() > 1.0).any(dim=-1), fill)


class StraightRestorer:
    """Brings slabs of the straight grid back to the scan's own, once all have come.

    Slabs come by rising rows of one network axis, as for `restoring.Restorer`.
    """

    def __init__(self, source: Geometry, network: Geometry, *, axis: int = 0) -> None:
        """Prepare for a scan on grid `source` and slabs of `network` along `axis` (0 = z)."""
        self._source, self._network, self._axis = source, network, axis
        self._values: NDArray[np.float32] | None = None

    def add(self, rows: slice, values: NDArray[np.float32]) -> None:
        """Keep the values (K, D, H, W) of network `rows`."""
        if self._values is None:
            self._values = np.empty((len(values), *self._network.size_zyx), dtype=np.float32)
        cut = [slice(None)] * 4
        cut[self._axis + 1] = rows
        self._values[tuple(cut)] = values

    def finish(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield rows (z) of the scan's own array and their values (K, d, H, W)."""
        assert self._values is not None  # noqa: S101 - there was a slab
        for rows in chunks(self._source):
            yield rows, sample(torch.from_numpy(self._values), self._network, self._source, rows)
