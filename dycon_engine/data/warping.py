"""Cutting a rotated, scaled, deformed patch out of a case with one interpolation per axis.

A trilinear lookup in 3D (`grid_sample`) costs 80 ns per voxel on CPU. Here each input slice is
first resampled in its plane (the vectorised 2D lookup), then the result along the remaining axis:
the same coordinates, every axis interpolated once, at a third of the time
(docs/decisions/0002-augmentation.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dycon_engine.data.geometry import Size
from dycon_engine.data.patches import crop

MARGIN = 2
MOST_LINEAR_CLASSES = 4


class Warp(NamedTuple):
    """Patch voxel o (offset from the patch center) lies at `center` + `matrix` @ o in the case.

    Attributes:
        center: (3,) case voxel (z, y, x) of the patch center.
        matrix: (3, 3) from patch to case voxels.
        displacement: (3, d, h, w) coarse field in case voxels added to it, or None.
    """

    center: NDArray[np.float64]
    matrix: NDArray[np.float64]
    displacement: NDArray[np.float32] | None = None


class _Lookup(NamedTuple):
    """Coordinates of one warp: `plane` (n, h, w, 2) for grid_sample, slice index `depth`."""

    plane: Tensor
    depth: Tensor


def warped(
    image: NDArray[Any],
    label: NDArray[np.uint8] | None,
    warp: Warp,
    *,
    size_zyx: Size,
    fill: NDArray[np.float32],
) -> tuple[Tensor, Tensor | None]:
    """Return the patch of `image` (C, *size_zyx) float32 and of `label` (*size_zyx) int64.

    Args:
        image: (C, D, H, W); outside lies `fill` (C,).
        label: (D, H, W) class index, outside background; interpolated linearly per class where
            few classes are near, else nearest.
        warp: Where the patch lies.
        size_zyx: Size of the patch.
        fill: (C,).
    """
    order = _pivot_order(warp.matrix)
    size = (size_zyx[order[0]], size_zyx[order[1]], size_zyx[order[2]])
    matrix = warp.matrix[:, order]
    half = (np.asarray(size, dtype=np.float64) - 1.0) / 2.0
    reach = np.abs(matrix) @ half + MARGIN
    if warp.displacement is not None:
        reach += np.abs(warp.displacement).max(axis=(1, 2, 3))
    start = np.floor(warp.center - reach).astype(np.int64)
    block = np.ceil(warp.center + reach).astype(np.int64) + 1 - start
    block_size = (int(block[0]), int(block[1]), int(block[2]))
    lookup = _lookup(warp._replace(center=warp.center - start), matrix, order, size, block_size)
    back = tuple(int(axis) for axis in np.argsort(order))

    pixels = torch.from_numpy(crop(image, start, block_size, fill=fill))
    patch = _linear(pixels, lookup).permute(0, *(axis + 1 for axis in back)).contiguous()
    if label is None:
        return patch, None
    classes = crop(label[None], start, block_size, fill=np.zeros(1, np.uint8))[0]
    return patch, _classes(classes, lookup).permute(*back).contiguous()


def _pivot_order(matrix: NDArray[np.float64]) -> list[int]:
    """Return the patch axes in an order whose first runs most along the slices of the case."""
    pivot = int(np.abs(matrix[0]).argmax())
    return [pivot, *(axis for axis in range(3) if axis != pivot)]


def _lookup(
    warp: Warp, matrix: NDArray[np.float64], order: list[int], size: Size, block: Size
) -> _Lookup:
    """Return where each patch voxel reads, in a block of the case.

    With the slice z given, the first patch coordinate is (z - cz - m01 b - m02 c) / m00; put into
    the rows for y and x this leaves functions of (z, b, c): the coordinates of the first pass.
    """
    axes = [np.arange(n) - (n - 1) / 2.0 for n in size]
    slope = matrix[1:, 0] / matrix[0, 0]
    plane = matrix[1:, 1:] - np.outer(slope, matrix[0, 1:])
    along = slope * (np.arange(block[0]) - warp.center[0])[:, None] + warp.center[1:]
    across = axes[1][:, None, None] * plane[:, 0] + axes[2][None, :, None] * plane[:, 1]
    unit = 2.0 / (np.asarray(block[1:]) - 1.0)  # grid_sample counts from -1 to 1, x before y
    along, across = (along * unit - 1.0)[:, ::-1], (across * unit)[..., ::-1]
    # As long rows: broadcasting over an innermost axis of two is ten times slower.
    rows = np.tile(along, size[2])[:, None], across.reshape(size[1], -1)
    xy = (_single(rows[0]) + _single(rows[1])).view(block[0], size[1], size[2], 2)
    tilt = matrix[0, 1] * axes[1][:, None] + matrix[0, 2] * axes[2]
    z = _single(matrix[0, 0] * axes[0] + warp.center[0])[:, None, None] + _single(tilt)
    if warp.displacement is not None:
        field = torch.from_numpy(warp.displacement).permute(0, *(axis + 1 for axis in order))
        z += _smooth(field[:1], size)[0]
        yx = _smooth(field[1:], (block[0], size[1], size[2])).permute(1, 2, 3, 0)
        xy += (yx * _single(unit)).flip(-1)
    return _Lookup(xy, z.clamp_(0.0, block[0] - 1.001))


def _single(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _smooth(field: Tensor, size: Size) -> Tensor:
    return F.interpolate(field[None], size=size, mode="trilinear", align_corners=True)[0]


def _linear(block: Tensor, lookup: _Lookup) -> Tensor:
    """Return (C, d, h, w) of `block` (C, n, y, x), linearly interpolated."""
    slices = F.grid_sample(
        block.transpose(0, 1), lookup.plane, padding_mode="border", align_corners=True
    ).transpose(0, 1)
    low, weight = lookup.depth.long(), lookup.depth.frac()
    parts = [torch.lerp(s.gather(0, low), s[1:].gather(0, low), weight) for s in slices]
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)


def _classes(block: NDArray[np.uint8], lookup: _Lookup) -> Tensor:
    """Return the class indices (d, h, w) int64 of `block` (n, y, x)."""
    highest = int(block.max())
    if highest == 0:
        return torch.zeros(lookup.depth.shape, dtype=torch.int64)
    if highest == 1:
        return (_linear(torch.from_numpy(block.astype(np.float32))[None], lookup)[0] > 0.5).long()  # noqa: PLR2004 - the larger share
    present = np.flatnonzero(np.bincount(block.ravel()))
    if len(present) > MOST_LINEAR_CLASSES:
        slices = F.grid_sample(
            torch.from_numpy(block.astype(np.float32))[:, None],
            lookup.plane,
            mode="nearest",
            padding_mode="border",
            align_corners=True,
        )[:, 0]
        return slices.gather(0, (lookup.depth + 0.5).long()).long()
    shares = _linear(
        torch.from_numpy(np.stack([block == v for v in present]).astype(np.float32)), lookup
    )
    return torch.from_numpy(present)[shares.argmax(dim=0)]
