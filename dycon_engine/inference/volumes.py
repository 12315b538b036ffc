"""The volume of every label, with the range that the probabilities allow, and what to review."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from dycon_engine.data.geometry import Geometry

SURE, POSSIBLE = 0.75, 0.25  # probability thresholds of the low and the high end
# Of the volume; a wider range is worth a look. On 19 unseen LA scans it was 0.28 to 0.37 where Dice
# was above 0.85, 0.62 to 1.0 where contrast was inverted. The uncertainty of the boundary tells
# nothing of the kind: it is as high in the best scans as in the worst.
WIDE_RANGE = 0.4


class LabelVolume(NamedTuple):
    """How much of one label there is.

    Attributes:
        name: Of the label.
        voxels: In the label map.
        volume_ml: The same in milliliters.
        low_ml: Only voxels with a probability of at least `SURE`; never above `volume_ml`.
        high_ml: All voxels with a probability of at least `POSSIBLE`; never below `volume_ml`.
        boundary_uncertainty: Mean uncertainty of the label's outermost voxels; None if unknown.
        review: Whether a person should look at this label before using it.
        reason: Why, in plain words; '' where not.
        removed_ml: What was found of it but removed, as the person asked; counted in nothing else,
            nor is the doubtful rim around it.
    """

    name: str
    voxels: int
    volume_ml: float
    low_ml: float
    high_ml: float
    boundary_uncertainty: float | None
    review: bool
    reason: str
    removed_ml: float = 0.0


class Tally:
    """Counts voxels over probability thresholds, slab by slab, without the background."""

    def __init__(self, classes: int) -> None:
        """Begin with nothing counted of `classes` foreground classes."""
        self._low, self._high = [0] * classes, [0] * classes
        self._removed = [0] * classes

    def add(self, foreground: Tensor) -> None:
        """Count (K - 1, d, H, W)."""
        for index, likely in enumerate(foreground):
            self._low[index] += int(torch.count_nonzero(likely >= SURE))
            self._high[index] += int(torch.count_nonzero(likely >= POSSIBLE))

    def remove(self, labels: NDArray[np.uint8], reached: NDArray[np.uint8]) -> None:
        """Count some voxels (N,) no longer.

        Args:
            labels: Their classes until now, 0 for those around a removed piece.
            reached: (bytes, N) as `thresholds_reached`.
        """
        sure = _bit(reached, 0)
        for index in range(len(self._removed)):
            of_class = labels == index + 1
            self._removed[index] += int(np.count_nonzero(of_class))
            self._low[index] -= int(np.count_nonzero(of_class & sure))
            self._high[index] -= int(np.count_nonzero(_bit(reached, index + 1)))

    def volumes(
        self,
        labels: NDArray[np.uint8],
        uncertainty: NDArray[np.float32] | None,
        names: Sequence[str],
        geometry: Geometry,
    ) -> tuple[LabelVolume, ...]:
        """Return one entry per class of the (D, H, W) class indices, background left out."""
        milliliter = geometry.voxel_mm3 / 1000.0
        counts = np.zeros(len(names), dtype=np.int64)
        for part in labels:  # by slice: bincount copies to int64
            counts += np.bincount(part.ravel(), minlength=len(names))
        boxes: list[Any] = ndimage.find_objects(labels, max_label=len(names) - 1)
        entries = []
        for index, name in enumerate(names):
            if index == 0:
                continue
            voxels = int(counts[index])
            low = min(self._low[index - 1], voxels)
            high = max(self._high[index - 1], voxels)
            boundary = None
            if uncertainty is not None and boxes[index - 1] is not None:
                box = boxes[index - 1]
                boundary = _boundary_mean(labels[box] == index, uncertainty[box])
            reason = review_reason(voxels, low, high)
            entries.append(
                LabelVolume(
                    name=name,
                    voxels=voxels,
                    volume_ml=voxels * milliliter,
                    low_ml=low * milliliter,
                    high_ml=high * milliliter,
                    boundary_uncertainty=boundary,
                    review=bool(reason),
                    reason=reason,
                    removed_ml=self._removed[index - 1] * milliliter,
                )
            )
        return tuple(entries)


def thresholds_reached(foreground: Tensor) -> NDArray[np.uint8]:
    """Return K bits per voxel of (K - 1, ...), packed into (bytes, ...).

    The first says whether the likeliest class reaches `SURE`, the others which reach `POSSIBLE`.
    """
    sure = foreground.amax(0, keepdim=True) >= SURE
    return np.packbits(torch.cat((sure, foreground >= POSSIBLE)).numpy(), axis=0)


def bytes_reached(classes: int) -> int:
    """Return how many bytes `thresholds_reached` needs per voxel for K classes."""
    return -(-classes // 8)


def _bit(packed: NDArray[np.uint8], number: int) -> NDArray[np.bool_]:
    return np.asarray(packed[number // 8] & (128 >> number % 8), dtype=np.bool_)


def review_reason(voxels: int, low: int, high: int) -> str:
    """Return why a label needs a look, '' where nothing speaks for it.

    Args:
        voxels: In the label map.
        low: Of these, surely so.
        high: Possibly so.
    """
    if voxels == 0:
        return "not found"
    if high - low <= WIDE_RANGE * voxels:
        return ""
    less, more = 100.0 * (1.0 - low / voxels), 100.0 * (high / voxels - 1.0)
    return (
        f"the volume is {less:.0f} % less if only sure voxels count, "
        f"{more:.0f} % more if all possible ones do"
    )


def _boundary_mean(mask: NDArray[np.bool_], uncertainty: NDArray[np.float32]) -> float:
    """Return the mean over the voxels of `mask` (D, H, W) that have a face outside of it."""
    inside = np.zeros_like(mask)
    core = (slice(1, -1),) * 3
    inside[core] = mask[core]
    for axis, size in enumerate(mask.shape):
        for start in (0, 2):  # the neighbor before, the one behind
            beside = list(core)
            beside[axis] = slice(start, max(start, size - 2 + start))
            inside[core] &= mask[tuple(beside)]
    return float(uncertainty[mask & ~inside].mean(dtype=np.float64))
