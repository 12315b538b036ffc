"""The voxels of a validation case that its calibration is measured on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dycon_engine.evaluation.calibration import near_boundary
from dycon_engine.inference.blending import Slab

BAND_VOXELS = 3.0  # calibration looks this far around the boundaries of prediction and reference
SAMPLES_PER_CASE = 20_000


class Sample(NamedTuple):
    """Voxels near boundaries: logits (N, K) float32 and class indices (N,)."""

    logits: NDArray[np.float32]
    targets: NDArray[np.uint8]


def sample_voxels(
    leads: NDArray[np.float32], target: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> Sample | None:
    """Return evenly taken voxels near a boundary of prediction or reference; None without any.

    Args:
        leads: By how much the background leads every other class (K - 1, D, H, W).
        target: (D, H, W) class indices on the same grid.
        spacing_mm: Voxel size (z, y, x).
    """
    chosen = choose_voxels(_classes(leads), target, spacing_mm)
    if not chosen.size:
        return None
    return Sample(_logits(leads.reshape(len(leads), -1)[:, chosen]), target.reshape(-1)[chosen])


def choose_voxels(
    found: NDArray[np.uint8], target: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> NDArray[np.int64]:
    """Return the flat indices, rising, of voxels near a boundary of `found` or `target`.

    Args:
        found: (D, H, W) predicted class indices.
        target: The same shape, of the reference.
        spacing_mm: Voxel size (z, y, x).
    """
    band_mm = BAND_VOXELS * max(spacing_mm)
    near = np.flatnonzero(near_boundary(found, target, spacing_mm=spacing_mm, band_mm=band_mm))
    return near[:: max(1, -(-near.size // SAMPLES_PER_CASE))]


def kept_classes(slabs: Iterable[Slab], classes: NDArray[np.uint8]) -> Iterator[Slab]:
    """Yield `slabs` of `margins`, each after its likeliest classes are put into (D, H, W)."""
    for slab in slabs:
        classes[slab.where] = _classes(slab.logits.cpu().numpy())
        yield slab


def sample_of_slabs(
    slabs: Iterable[Slab], chosen: NDArray[np.int64], target: NDArray[np.uint8], classes: int
) -> Sample:
    """Return what `sample_voxels` does of the voxels `chosen`, K = `classes`, slab by slab."""
    places = np.stack(np.unravel_index(chosen, target.shape))
    leads = np.empty((classes - 1, chosen.size), dtype=np.float32)
    for axis, rows, logits in slabs:
        here = np.flatnonzero((places[axis] >= rows.start) & (places[axis] < rows.stop))
        inside = places[:, here].copy()
        inside[axis] -= rows.start
        z, y, x = torch.from_numpy(inside).to(logits.device)
        leads[:, here] = logits[:, z, y, x].cpu().numpy()
    return Sample(_logits(leads), target.reshape(-1)[chosen])


def _classes(leads: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the likeliest classes (D, H, W) from `leads` (K - 1, D, H, W)."""
    return np.where(leads.min(axis=0) < 0, leads.argmin(axis=0) + 1, 0).astype(np.uint8)


def _logits(leads: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits (N, K), the background's 0, from leads (K - 1, N)."""
    rows = np.zeros((leads.shape[1], len(leads) + 1), dtype=np.float32)
    rows[:, 1:] = -leads.T
    return rows
