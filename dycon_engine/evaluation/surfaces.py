"""Surfaces of masks and the distances between them, exactly as medpy defines them.

A surface voxel is a foreground voxel with a background face neighbor (connectivity 1); the
outside of the array is background. Distances run between voxel centers. They are taken between the
integer voxel positions and scaled last, in the order scipy's distance transform uses, so that the
numbers are those of `medpy.metric.binary` to the last bits.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from dycon_engine.data.geometry import Spacing

# Trees cost time per surface voxel, a distance transform per voxel of the common box; measured on
# masks from smooth to very rough (`benchmarks/metrics.py --threshold`), trees win while the box
# holds at least so many voxels per surface voxel of both surfaces together.
TREE_RATIO = 11
# Neighbors up to this length, in shortest voxel edges, are looked up before a tree is asked.
REACH = 3.0

Positions = NDArray[np.int32]  # (N, 3) voxel indices z, y, x in array order


class SurfaceDistances(NamedTuple):
    """Distances between two surfaces, one entry per surface voxel, in array order.

    Attributes:
        to_reference: (N,) float64; from every prediction surface voxel to the reference surface.
        to_prediction: (M,) float64; from every reference surface voxel to the prediction surface.
    """

    to_reference: NDArray[np.float64]
    to_prediction: NDArray[np.float64]


def surface_positions(mask: NDArray[np.bool_]) -> Positions:
    """Return the surface voxels (N, 3) of `mask` (D, H, W), in array order.

    Equal to `argwhere(mask ^ binary_erosion(mask))` with border value 0.
    """
    inside = mask.copy()
    for axis in range(3):
        view, source = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        view[1:] &= source[:-1]
        view[:-1] &= source[1:]
        view[0] = view[-1] = False
    flat = np.flatnonzero(mask & ~inside)  # much faster than argwhere for few voxels of many
    return np.stack(np.unravel_index(flat, mask.shape), axis=1).astype(np.int32)


def surface_distances(
    prediction: Positions, reference: Positions, *, spacings_mm: tuple[Spacing, ...]
) -> tuple[SurfaceDistances, ...]:
    """Return the distances between two non-empty surfaces, once per spacing.

    Args:
        prediction: (N, 3) surface voxels.
        reference: (M, 3) surface voxels on the same grid.
        spacings_mm: Voxel sizes (z, y, x); (1, 1, 1) gives voxels. Spacings that are multiples of
            one another share one search.
    """
    offsets: dict[Spacing, tuple[NDArray[np.int32], NDArray[np.int32]]] = {}
    results = []
    for spacing in spacings_mm:
        aspect = _aspect(spacing)
        if aspect not in offsets:
            offsets[aspect] = _nearest_offsets(prediction, reference, aspect)
        forward, backward = offsets[aspect]
        results.append(SurfaceDistances(_lengths(forward, spacing), _lengths(backward, spacing)))
    return tuple(results)


def _aspect(spacing: Spacing) -> Spacing:
    shortest = min(spacing)
    return (spacing[0] / shortest, spacing[1] / shortest, spacing[2] / shortest)


def _lengths(offsets: NDArray[np.int32], spacing: Spacing) -> NDArray[np.float64]:
    scaled = offsets * np.asarray(spacing, dtype=np.float64)
    scaled *= scaled
    return np.asarray(np.sqrt(scaled[:, 0] + scaled[:, 1] + scaled[:, 2]))


def _nearest_offsets(
    first: Positions, second: Positions, spacing: Spacing
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    low = np.minimum(first.min(axis=0), second.min(axis=0))
    shape = np.maximum(first.max(axis=0), second.max(axis=0)) - low + 1
    one, two = first - low, second - low
    on_one, on_two = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    on_one[tuple(one.T)] = True
    on_two[tuple(two.T)] = True
    crowded = TREE_RATIO * (len(one) + len(two)) > on_one.size
    search = _by_transform if crowded else _by_tree
    return search(one, two, on_two, spacing), search(two, one, on_one, spacing)


def _by_tree(
    points: Positions, others: Positions, on_others: NDArray[np.bool_], spacing: Spacing
) -> NDArray[np.int32]:
    """Offsets to the nearest of `others`: near ones by looking around, far ones by a tree."""
    offsets, left = _look_around(points, on_others, spacing)
    if left.size:
        scale = np.asarray(spacing, dtype=np.float64)
        tree = cKDTree(others * scale, balanced_tree=False, compact_nodes=False)
        _, nearest = tree.query(points[left] * scale)
        offsets[left] = points[left] - others[nearest]
    return offsets


def _look_around(
    points: Positions, on_others: NDArray[np.bool_], spacing: Spacing
) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Offsets of the points with a voxel of `on_others` within reach, and which are left over."""
    steps = _near_steps(spacing)
    margin = np.abs(steps).max(axis=0)
    padded = np.pad(on_others, [(m, m) for m in margin])
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    places, moves = (points + margin) @ strides, steps @ strides
    flat = padded.reshape(-1)
    offsets = np.zeros_like(points)
    left = np.arange(len(points))
    for step, move in zip(steps, moves, strict=True):
        found = flat[places[left] + move]
        offsets[left[found]] = -step
        left = left[~found]
    return offsets, left


@functools.cache
def _near_steps(spacing: Spacing) -> NDArray[np.int32]:
    """Every voxel step (S, 3) no longer than `REACH` shortest voxel edges, shortest first."""
    axes = [np.arange(-int(REACH / edge), int(REACH / edge) + 1) for edge in spacing]
    steps = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int32)
    lengths = _lengths(steps, spacing)
    order = np.argsort(lengths, kind="stable")
    return steps[order][lengths[order] <= REACH]


def _by_transform(
    points: Positions, others: Positions, on_others: NDArray[np.bool_], spacing: Spacing
) -> NDArray[np.int32]:
    """Offsets to the nearest of `others` by a feature transform of the common box."""
    del others
    nearest = distance_transform_edt(
        ~on_others, sampling=spacing, return_distances=False, return_indices=True
    )
    at = tuple(points.T)
    return np.stack([points[:, axis] - nearest[axis][at] for axis in range(3)], axis=1)
