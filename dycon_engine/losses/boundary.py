"""The boundary loss: what lies on the wrong side of a boundary counts by its distance to it."""

from __future__ import annotations

import torch
from torch import Tensor

from dycon_engine.losses.signed_distance import Spacing, squared_distance


def boundary_distance(
    label: Tensor, classes: int, *, spacing_mm: Spacing, reach_mm: float
) -> Tensor:
    """Return how far every voxel lies from the boundary of every foreground class.

    (B, K - 1, D, H, W) float32 in [0, 1]: the Euclidean distance in mm to the nearest voxel on the
    other side, divided by `reach_mm`, at most 1. 0 everywhere where a class has no boundary in the
    patch, being absent or all there is: its true boundary is out of sight.

    Args:
        label: (B, D, H, W) int64 class index.
        classes: K, background included.
        spacing_mm: Of the voxels (z, y, x).
        reach_mm: Above 0.
    """
    maps = []
    for value in range(1, classes):
        inside = label == value
        squared = torch.where(
            inside,
            squared_distance(~inside, spacing=spacing_mm, reach=reach_mm),
            squared_distance(inside, spacing=spacing_mm, reach=reach_mm),
        )
        share = inside.float().mean((1, 2, 3), keepdim=True)
        seen = (share > 0.0) & (share < 1.0)
        maps.append((squared.sqrt_() / reach_mm).clamp_max_(1.0) * seen)
    return torch.stack(maps, dim=1)


def boundary_loss(p: Tensor, label: Tensor, distance: Tensor) -> Tensor:
    """Return the mean over voxels and foreground classes of distance |p - y|, a scalar in [0, 1].

    Its gradient is that of Kervadec et al. (MIDL 2019): the mean of phi p, phi the signed distance,
    differs from it by a number that no network changes. Deviations: |phi| is measured between voxel
    centers in mm and ends at a reach, so that the term is bounded, 0 at best, and hardly depends on
    what lies beyond the patch.

    Args:
        p: (B, K, D, H, W) probabilities.
        label: (B, D, H, W) int64 class index.
        distance: Of `boundary_distance`.
    """
    values = torch.arange(1, p.shape[1], device=label.device).view(1, -1, 1, 1, 1)
    truth = label.unsqueeze(1) == values
    return (distance * (p[:, 1:] - truth.to(p.dtype)).abs()).mean()
