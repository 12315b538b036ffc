"""What is asked of a prediction, what it holds, and how it grows slab by slab."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dycon_engine.data.geometry import Box, Geometry
from dycon_engine.errors import InputError
from dycon_engine.inference import uncertainty as kinds
from dycon_engine.inference.domain import Flag, empty_flags
from dycon_engine.inference.postprocessing import emptied, keep_components
from dycon_engine.inference.probabilities import Place, background, complete, most_likely
from dycon_engine.inference.regions import Region, uncertain_regions
from dycon_engine.inference.volumes import (
    LabelVolume,
    Tally,
    bytes_reached,
    thresholds_reached,
)

BLANK_ML, BLANK_SHARE = 0.1, 0.01  # of a structure, in blank voxels: less is the rim of a filling


class Wishes(NamedTuple):
    """What a prediction should give beside the label map.

    Attributes:
        uncertainty: A name of `uncertainty.KINDS`, or None.
        probabilities: Whether to keep them, (K, D, H, W) float32 on the scan's grid.
        largest_component: Keep only the largest piece of every label.
        minimum_mm3: Remove smaller pieces.
        roi: Only what lies in this box is looked for; the rest is background without doubt.
        region_map: Whether to keep a map of the uncertain regions.
    """

    uncertainty: str | None = kinds.ENTROPY
    probabilities: bool = False
    largest_component: bool = False
    minimum_mm3: float = 0.0
    roi: Box | None = None
    region_map: bool = False


@dataclass(frozen=True, eq=False)
class Prediction:
    """A segmented scan, on the scan's own grid.

    Attributes:
        labels: (D, H, W) unsigned, the values of the package's labels.
        geometry: The grid.
        probabilities: (K, D, H, W) float32 calibrated, or None.
        uncertainty: (D, H, W) float32 in [0, 1], or None.
        volumes: One entry per label, background left out.
        mean_uncertainty: Over the labeled voxels; None where there are none or it was not asked.
        regions: Where to look first.
        region_map: (D, H, W) uint8, every region's id in its voxels; None where not asked for.
        flags: What to know before trusting the result.
    """

    labels: NDArray[Any]
    geometry: Geometry
    probabilities: NDArray[np.float32] | None
    uncertainty: NDArray[np.float32] | None
    volumes: tuple[LabelVolume, ...]
    mean_uncertainty: float | None
    regions: tuple[Region, ...]
    region_map: NDArray[np.uint8] | None
    flags: tuple[Flag, ...]

    @property
    def empty(self) -> bool:
        """Whether no label was found at all."""
        return not any(volume.voxels for volume in self.volumes)


class Result:
    """The maps on the scan's grid, filled slab by slab."""

    def __init__(self, classes: int, geometry: Geometry, wishes: Wishes) -> None:
        size = geometry.size_zyx
        self.classes, self.geometry, self.wishes = classes, geometry, wishes
        self.labels = np.zeros(size, dtype=np.uint8)
        self.uncertainty = None if wishes.uncertainty is None else np.zeros(size, dtype=np.float32)
        self.probabilities = (
            np.zeros((classes, *size), dtype=np.float32) if wishes.probabilities else None
        )
        self.tally = Tally(classes - 1)
        removes = wishes.largest_component or wishes.minimum_mm3 > 0
        self._reached = (
            np.zeros((bytes_reached(classes), *size), dtype=np.uint8) if removes else None
        )
        self._wanted = None if wishes.roi is None else _wanted(geometry, wishes.roi)
        self._blank: NDArray[np.bool_] | None = None
        self._in_blank = np.zeros(classes, dtype=np.int64)  # voxels per class

    def exclude(self, blank: NDArray[np.bool_] | None) -> None:
        """Make the voxels `blank` (D, H, W) background without doubt; None = no voxel."""
        if blank is not None:
            self._blank = blank if self._wanted is None else self._wanted & blank
            self._wanted = ~blank if self._wanted is None else self._wanted & ~blank

    def add(self, place: Place, foreground: Tensor) -> None:
        """Take the foreground probabilities (sets x (K - 1), d, h, w) of some rows."""
        if self._blank is not None:
            self._count(foreground[: self.classes - 1], place(self._blank))
        if self._wanted is not None:
            foreground = foreground * torch.from_numpy(np.ascontiguousarray(place(self._wanted)))
        sets = foreground.view(-1, self.classes - 1, *foreground.shape[1:])
        plain, other = sets[0], sets[-1]
        place(self.labels)[:] = most_likely(plain).numpy()
        self.tally.add(plain)
        if self._reached is not None:
            place(self._reached)[:] = thresholds_reached(plain)
        if self.probabilities is not None:
            place(self.probabilities)[:] = complete(plain).numpy()
        if self.uncertainty is None:
            return
        if self.wishes.uncertainty == kinds.DISAGREEMENT:
            values = kinds.disagreement(complete(sets[-2]), complete(other))
        else:
            values = kinds.entropy((background(other), *other))
        place(self.uncertainty)[:] = values.numpy()

    def finish(self, names: list[str], values: NDArray[Any], flags: tuple[Flag, ...]) -> Prediction:
        """Return the prediction: pieces removed, volumes, regions, flags."""
        if self._reached is not None:
            self._remove_pieces(self._reached)
        uncertainty, geometry = self.uncertainty, self.geometry
        volumes = self.tally.volumes(self.labels, uncertainty, names, geometry)
        empty = empty_flags(
            {volume.name: volume.voxels for volume in volumes}, region=self.wishes.roi is not None
        )
        foreground = self.labels > 0
        regions: tuple[Region, ...] = ()
        region_map = np.zeros_like(self.labels) if self.wishes.region_map else None
        mean = None
        if uncertainty is not None:
            regions = uncertain_regions(
                uncertainty, self.labels, geometry, names, region_map=region_map
            )
            mean = float(uncertainty[foreground].mean()) if foreground.any() else None
        return Prediction(
            labels=values[self.labels],
            geometry=geometry,
            probabilities=self.probabilities,
            uncertainty=uncertainty,
            volumes=volumes,
            mean_uncertainty=mean,
            regions=regions,
            region_map=region_map,
            flags=(*flags, *empty, *self._blank_flags(names)),
        )

    def _count(self, plain: Tensor, blank: NDArray[np.bool_]) -> None:
        """Count what probabilities (K - 1, d, h, w) show in the voxels `blank` (d, h, w)."""
        if blank.any():
            found = most_likely(plain[:, torch.from_numpy(np.ascontiguousarray(blank))])
            self._in_blank += np.bincount(found.numpy(), minlength=self.classes)

    def _blank_flags(self, names: list[str]) -> Iterator[Flag]:
        """Yield a flag per structure of which more than a trace was removed in blank voxels."""
        milliliter = self.geometry.voxel_mm3 / 1000.0
        for index, name in enumerate(names):
            removed = self._in_blank[index] if index else 0
            kept = np.count_nonzero(self.labels == index) if removed else 0
            if removed * milliliter >= BLANK_ML and removed > BLANK_SHARE * (kept + removed):
                yield Flag(
                    "blank",
                    f"{removed * milliliter:.3g} ml of '{name}' was removed where the scan is "
                    "blank (large blocks of one value at its rim); was the scan clipped or cut?",
                )

    def _remove_pieces(self, reached: NDArray[np.uint8]) -> None:
        before = self.labels.copy()
        keep_components(
            self.labels,
            self.classes,
            voxel_mm3=self.geometry.voxel_mm3,
            largest=self.wishes.largest_component,
            minimum_mm3=self.wishes.minimum_mm3,
        )
        gone = before != self.labels
        if gone.any():
            gone |= emptied(np.bitwise_or.reduce(reached) > 0, gone, self.labels > 0)
            self.tally.remove(before[gone], reached[:, gone])


def _wanted(geometry: Geometry, roi: Box) -> NDArray[np.bool_]:
    """Return the voxels (D, H, W) of the region of interest.

    Raises:
        InputError: There is none.
    """
    wanted = geometry.inside(roi)
    if not wanted.any():
        corners = geometry.corners()
        low, high = (", ".join(f"{mm:.0f}" for mm in c) for c in (corners.min(0), corners.max(0)))
        raise InputError(
            "the region of interest holds no voxel of the scan, which lies between "
            f"({low}) and ({high}) mm LPS; move or enlarge the region"
        )
    return wanted
