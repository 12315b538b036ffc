"""Where the windows over a volume stand and what each contributes to a voxel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dycon_engine.data.geometry import Size
from dycon_engine.data.volume import bounding_box

Inner = tuple[slice, slice, slice]  # where a volume lies in its padded one
SIGMA = 0.125  # of the patch; as in nnU-Net (Isensee et al., Nature Methods 2021)


class Window:
    """One place of the patch: `where` are three slices, `share` (z, y, x) its weights."""

    def __init__(self, where: tuple[slice, slice, slice], weights: tuple[Tensor, ...]) -> None:
        self.where = where
        self._weights = weights

    def share(self) -> Tensor:
        """Return (D, H, W) float32: what this window contributes to each of its voxels."""
        z, y, x = self._weights
        return z[:, None, None] * y[None, :, None] * x[None, None, :]


def axis_starts(size: int, patch: int, overlap: float) -> tuple[int, ...]:
    """Return evenly spread first indices of windows of `patch` that cover `size` >= `patch`."""
    step = max(1, int(patch * (1.0 - overlap)))
    count = math.ceil((size - patch) / step) + 1
    if count == 1:
        return (0,)
    return tuple(round(i * (size - patch) / (count - 1)) for i in range(count))


def axis_weights(starts: Sequence[int], size: int, patch: int) -> Tensor:
    """Return (windows, patch) float32 Gaussian shares; at every voxel they sum to 1."""
    place = torch.arange(patch, dtype=torch.float64) - (patch - 1) / 2
    curve = torch.exp(-0.5 * (place / (SIGMA * patch)) ** 2)
    total = torch.zeros(size, dtype=torch.float64)
    for start in starts:
        total[start : start + patch] += curve
    return torch.stack([curve / total[start : start + patch] for start in starts]).float()


def long_axis(size: Size, patch_size: Size) -> int:
    """Return the axis (0 = z) along which one patch of rows is the smallest part of `size`."""
    parts = [patch / max(n, patch) for n, patch in zip(size, patch_size, strict=True)]
    return parts.index(min(parts))


def windows(
    size: Size, patch_size: Size, overlap: float, box: Inner | None = None
) -> list[list[Window]]:
    """Return all windows over a volume of `size`, or over `box` in it, in rows.

    Each inner list holds those that start together on `long_axis`; starts rise from list to list.

    Args:
        size: Each axis at least as long as the patch.
        patch_size: Window (z, y, x).
        overlap: Of neighbors.
        box: What to cover, each side at least as long as the patch; None = everything.
    """
    axes = []
    for part, patch in zip(box or (slice(0, n) for n in size), patch_size, strict=True):
        length = part.stop - part.start
        starts = axis_starts(length, patch, overlap)
        shares = axis_weights(starts, length, patch)
        places = (slice(part.start + s, part.start + s + patch) for s in starts)
        axes.append(list(zip(places, shares, strict=True)))
    along = long_axis(size, patch_size)
    rows = []
    for place in axes[along]:
        z, y, x = ([place] if axis == along else axes[axis] for axis in range(3))
        rows.append([Window(*zip(*three, strict=True)) for three in itertools.product(z, y, x)])
    return rows


def box_around(inside: NDArray[np.bool_], patch_size: Size) -> Inner:
    """Return the smallest box that holds all of `inside` (D, H, W) and is as large as the patch.

    The whole volume where nothing is inside.
    """
    box = bounding_box(inside) or tuple(slice(0, n) for n in inside.shape)
    parts = []
    for part, patch, n in zip(box, patch_size, inside.shape, strict=True):
        missing = max(0, patch - (part.stop - part.start))
        start = min(max(0, part.start - missing // 2), n - max(patch, part.stop - part.start))
        parts.append(slice(start, max(start + patch, part.stop)))
    return (parts[0], parts[1], parts[2])


def pad_image(image: Tensor, patch_size: Size) -> tuple[Tensor, Inner]:
    """Return `image` at least as large as the patch, and where the original lies in it."""
    size = tuple(image.shape[1:])
    larger = tuple(max(n, patch) for n, patch in zip(size, patch_size, strict=True))
    z, y, x = (
        slice((big - n) // 2, (big - n) // 2 + n) for big, n in zip(larger, size, strict=True)
    )
    if larger == size:
        return image, (z, y, x)
    padded = image.amin(dim=(1, 2, 3), keepdim=True).repeat(1, *larger)
    padded[:, z, y, x] = image
    return padded, (z, y, x)


def pad_mask(mask: NDArray[np.bool_], inner: Inner, size: Size) -> NDArray[np.bool_]:
    """Return `mask` (D, H, W) of `size`: where the volume is padded there is nothing, True."""
    if mask.shape == size:
        return mask
    padded = np.ones(size, dtype=bool)
    padded[inner] = mask
    return padded
