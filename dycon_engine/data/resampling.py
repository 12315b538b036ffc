"""Moving voxels between two grids of the same orientation: separable, anti-aliased, linear.

Each axis is a small dense matrix of triangle-filter weights (rows sum to 1, no negative entry), so
values never leave the input's range. Both grids share their center; positions outside are clamped.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dycon_engine.data.geometry import Geometry, Size, Spacing

SAME_SPACING = 1e-4  # relative; closer spacings are the same and voxels are passed through as is
EQUAL_SHARE = 1e-5
Matrices = tuple[NDArray[np.float32] | None, NDArray[np.float32] | None, NDArray[np.float32] | None]


def resampled_geometry(geometry: Geometry, spacing_mm: Spacing) -> Geometry:
    """Return the grid with `spacing_mm` (z, y, x) over the same field of view, at least 1 voxel.

    An axis whose spacing is the same within `SAME_SPACING` is kept exactly.
    """
    affine = geometry.affine.copy()
    size = list(geometry.size_zyx)
    for axis, (old, new) in enumerate(zip(geometry.spacing_mm, spacing_mm, strict=True)):
        if abs(new / old - 1.0) <= SAME_SPACING:
            continue
        count = geometry.size_zyx[axis]
        size[axis] = max(1, round(count * old / new))
        step = geometry.affine[:3, axis] * (new / old)
        affine[:3, 3] += 0.5 * (geometry.affine[:3, axis] * (count - 1) - step * (size[axis] - 1))
        affine[:3, axis] = step
    return Geometry((size[0], size[1], size[2]), affine)


def axis_matrices(source: Geometry, target: Geometry) -> Matrices:
    """Return per axis the (target, source) weights, None where the axis stays as it is."""
    matrices = [
        axis_matrix(source.size_zyx[a], target.size_zyx[a], _ratio(source, target, a))
        for a in range(3)
    ]
    return (matrices[0], matrices[1], matrices[2])


def axis_matrix(source: int, target: int, ratio: float) -> NDArray[np.float32] | None:
    """Return the (target, source) weights of one axis, None where nothing changes.

    Args:
        source: Voxels before.
        target: Voxels after; the two grids share their center.
        ratio: Target spacing over source spacing; above 1 the triangle widens against aliasing.
    """
    if source == target and abs(ratio - 1.0) <= SAME_SPACING:
        return None
    position = (source - 1) / 2 + (np.arange(target) - (target - 1) / 2) * ratio
    position = np.clip(position, 0.0, source - 1.0)
    distance = np.abs(position[:, None] - np.arange(source)[None, :])
    weights = np.maximum(0.0, 1.0 - distance / max(1.0, ratio))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def apply_matrices(array: NDArray[np.float32], matrices: Matrices) -> NDArray[np.float32]:
    """Return (C, D, H, W) float32 with the last three axes resampled; axes that shrink go first."""
    changing = [(axis, matrix) for axis, matrix in enumerate(matrices) if matrix is not None]
    for axis, matrix in sorted(changing, key=lambda item: item[1].shape[0] / item[1].shape[1]):
        array = _apply(array, matrix, axis + 1)
    return array


def resample(array: NDArray[np.float32], source: Geometry, target: Geometry) -> NDArray[np.float32]:
    """Return (C, D, H, W) on `target`, of which only size and spacing may differ from `source`."""
    return apply_matrices(array, axis_matrices(source, target))


def resample_labels(
    labels: NDArray[np.uint8], matrices: Matrices, classes: int
) -> NDArray[np.uint8]:
    """Return the (D, H, W) class of largest resampled share; the later class where two are equal.

    Equal shares are common at half resolution, along every surface: given to the background they
    take 3 % of the volume of a left atrium, given to the structure they keep it within 0.3 %.

    Args:
        labels: (D, H, W) class indices below `classes`.
        matrices: Weights per axis.
        classes: K; classes that do not occur cost nothing.
    """
    if all(matrix is None for matrix in matrices):
        return labels
    best: NDArray[np.float32] | None = None
    result = np.zeros(output_size(labels.shape, matrices), dtype=np.uint8)
    for index in range(classes):
        mask = labels == index
        if not mask.any():
            continue
        share = apply_matrices(mask[None].astype(np.float32), matrices)[0]
        if best is None:
            best = share
            result[:] = index
            continue
        wins = share >= best - EQUAL_SHARE
        result[wins] = index
        np.maximum(best, share, out=best)
    return result


def output_size(size: tuple[int, ...], matrices: Matrices) -> Size:
    """Return the size (z, y, x) after `matrices`."""
    sizes = [
        n if matrix is None else matrix.shape[0] for n, matrix in zip(size, matrices, strict=True)
    ]
    return (sizes[0], sizes[1], sizes[2])


def _ratio(source: Geometry, target: Geometry, axis: int) -> float:
    return target.spacing_mm[axis] / source.spacing_mm[axis]


def _apply(
    array: NDArray[np.float32], matrix: NDArray[np.float32], axis: int
) -> NDArray[np.float32]:
    """Multiply `matrix` (target, source) onto `axis`; torch, so that its thread count holds."""
    shape = array.shape
    weights = torch.from_numpy(np.ascontiguousarray(matrix))
    flat = torch.from_numpy(np.ascontiguousarray(array))
    after = int(np.prod(shape[axis + 1 :], dtype=np.int64))
    if after == 1:
        moved = flat.reshape(-1, shape[axis]) @ weights.T
    else:
        moved = torch.matmul(weights, flat.reshape(-1, shape[axis], after))
    result = moved.reshape(*shape[:axis], matrix.shape[0], *shape[axis + 1 :])
    return np.asarray(result.numpy(), dtype=np.float32)
