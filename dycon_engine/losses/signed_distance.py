"""Signed distance maps: the shape of a class as a regression target, and back to probabilities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHIFTS_BETWEEN_CHECKS = 8

Spacing = tuple[float, float, float]


def signed_distance(label: Tensor, classes: int) -> Tensor:
    """Return the signed distance of every foreground class, (B, K - 1, D, H, W) float32.

    Negative inside, positive outside, in [-1, 1]: the Euclidean distance in voxels to the nearest
    voxel of the other side, divided by the largest one inside or outside the patch. 1 everywhere
    where the class is absent, -1 where nothing else is there. Never 0, so that `to_probability` of
    it is the label again.

    Args:
        label: (B, D, H, W) int64 class index.
        classes: K, background included.

    Source: UG-MCL (AIIM 2022), after Xue et al. (AAAI 2020). Deviation: the released codes of that
    family set the voxels along the boundary to 0 and a patch without foreground to 0 everywhere.
    """
    maps = []
    for value in range(1, classes):
        inside = label == value
        outer, inner = squared_distance(inside), squared_distance(~inside)
        maps.append(_scaled(outer.sqrt_()) - _scaled(inner.sqrt_()))
    return torch.stack(maps, dim=1)


def to_probability(distance: Tensor, steepness: float) -> Tensor:
    """Return T^-1(d) = sigmoid(-steepness d), the probability of being inside, of any shape."""
    return torch.sigmoid(-steepness * distance)


def squared_distance(
    mask: Tensor, *, spacing: Spacing = (1.0, 1.0, 1.0), reach: float = math.inf
) -> Tensor:
    """Return the squared distance to the nearest True voxel of the same patch.

    Exact, on the device of `mask`: the minimum of f(j) + (i - j)^2 along one axis after the other.

    Args:
        mask: (B, D, H, W) bool.
        spacing: Of the voxels (z, y, x); the distance has its unit.
        reach: Distances from this one on may come out too large; what is near is then found
            without looking far, at a cost that no patch size changes.

    Returns:
        (B, D, H, W) float32; infinite where the patch holds no True voxel.
    """
    squared = torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, math.inf)
    for axis, step in zip((1, 2, 3), spacing, strict=True):
        squared = _nearest_along(squared, axis, step, reach)
    return squared


def _nearest_along(values: Tensor, axis: int, step: float, reach: float) -> Tensor:
    size, nearest = values.shape[axis], values.clone()
    bounded = math.isfinite(reach)
    for shift in range(1, size):
        cost = (shift * step) ** 2
        if bounded and shift * step >= reach:
            break
        if not bounded and shift % SHIFTS_BETWEEN_CHECKS == 0 and cost >= float(nearest.max()):
            break
        left, right = (t.narrow(axis, 0, size - shift) for t in (values, nearest))
        after = nearest.narrow(axis, shift, size - shift)
        torch.minimum(after, left + cost, out=after)
        torch.minimum(right, values.narrow(axis, shift, size - shift) + cost, out=right)
    return nearest


def _scaled(distance: Tensor) -> Tensor:
    """Return distances (B, D, H, W) divided by the largest of their patch; infinite becomes 1."""
    known = distance.nan_to_num_(posinf=1.0)
    largest = known.amax((1, 2, 3), keepdim=True)
    return known / torch.where(largest > 0.0, largest, 1.0)
