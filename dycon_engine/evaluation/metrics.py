"""Overlap and surface metrics of one label map against its reference, per class.

Conventions, stated in every report: a class that both label maps lack has no Dice and no Jaccard
(NaN, as in nnU-Net and MONAI: a 1 would hide misses elsewhere); empty in one of them scores 0.
Wherever a surface is missing the surface metrics are undefined (NaN), too. What is undefined is
counted, never 0 mm and never averaged silently. HD95 is the 95th
percentile of both directions pooled; ASD runs from the prediction to the reference, as
`medpy.metric.binary.asd(prediction, reference)` and with it the tables of the field; ASSD is the
mean of both directions pooled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.geometry import Spacing
from dycon_engine.data.volume import Part, bounding_box
from dycon_engine.errors import InputError
from dycon_engine.evaluation.surfaces import (
    SurfaceDistances,
    surface_distances,
    surface_positions,
)

VOXEL: Spacing = (1.0, 1.0, 1.0)
LabelMap = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Scores:
    """One case, one class. Surface metrics are NaN where a surface is missing.

    Dice and Jaccard are NaN where the class is in neither label map.

    Attributes:
        label: Class index.
        dice: 2|P and R| / (|P| + |R|), in [0, 1].
        jaccard: |P and R| / |P or R|, in [0, 1].
        hd95_mm: 95th percentile of the surface distances, both directions, millimetres.
        asd_mm: Mean distance of the prediction's surface to the reference's, millimetres.
        assd_mm: Mean surface distance, both directions pooled, millimetres.
        hd95_voxels: As `hd95_mm`, every voxel edge counted as 1.
        asd_voxels: As `asd_mm`, in voxels.
        assd_voxels: As `assd_mm`, in voxels.
        prediction_voxels: Size of the class in the prediction.
        reference_voxels: Size of the class in the reference.
    """

    label: int
    dice: float
    jaccard: float
    hd95_mm: float
    asd_mm: float
    assd_mm: float
    hd95_voxels: float
    asd_voxels: float
    assd_voxels: float
    prediction_voxels: int
    reference_voxels: int

    @property
    def surface_defined(self) -> bool:
        """Whether both surfaces exist, so that the distances mean something."""
        return self.prediction_voxels > 0 and self.reference_voxels > 0


@dataclass(frozen=True)
class Summary:
    """One metric over cases.

    Attributes:
        mean: Over the defined values; NaN if there is none.
        sd: Sample standard deviation (n - 1); NaN below two defined values.
        median: Over the defined values.
        defined: Number of defined values.
        undefined: Number of undefined (NaN) values left out of the three figures.
    """

    mean: float
    sd: float
    median: float
    defined: int
    undefined: int


def dice_per_class(
    prediction: LabelMap, reference: LabelMap, *, classes: Sequence[int]
) -> tuple[float, ...]:
    """Return Dice per class of two label maps (D, H, W); NaN where both lack it.

    Raises:
        InputError: The shapes differ.
    """
    _check_shapes(prediction, reference)
    scores = []
    for label in classes:
        predicted, expected = prediction == label, reference == label
        sizes = np.count_nonzero(predicted) + np.count_nonzero(expected)
        scores.append(_dice(int(np.count_nonzero(predicted & expected)), int(sizes)))
    return tuple(scores)


def score(
    prediction: LabelMap, reference: LabelMap, *, classes: Sequence[int], spacing_mm: Spacing
) -> tuple[Scores, ...]:
    """Return all metrics per class of two label maps (D, H, W) on one grid.

    Args:
        prediction: Class indices.
        reference: Class indices.
        classes: The class indices to score, background usually left out.
        spacing_mm: Voxel size (z, y, x), millimetres.

    Raises:
        InputError: The shapes differ.
    """
    _check_shapes(prediction, reference)
    return tuple(_score_class(prediction, reference, label, spacing_mm) for label in classes)


def summarize(values: Sequence[float]) -> Summary:
    """Return mean, sd and median of the defined values and the count of the undefined ones."""
    array = np.asarray(values, dtype=np.float64)
    defined = array[~np.isnan(array)]
    count = int(defined.size)
    return Summary(
        mean=float(defined.mean()) if count else math.nan,
        sd=float(defined.std(ddof=1)) if count > 1 else math.nan,
        median=float(np.median(defined)) if count else math.nan,
        defined=count,
        undefined=int(array.size) - count,
    )


def is_plausible(mean_dice: float, mean_jaccard: float, *, tolerance: float = 1e-9) -> bool:
    """Whether two means can come from the same cases: mean Dice <= 2J / (1 + J).

    Dice = 2J / (1 + J) holds per case and is concave in J (Jensen), so a larger mean Dice shows a
    mistake in a table. `tolerance` allows for rounding of printed figures.
    """
    return mean_dice <= 2.0 * mean_jaccard / (1.0 + mean_jaccard) + tolerance


def _check_shapes(prediction: LabelMap, reference: LabelMap) -> None:
    if prediction.shape != reference.shape:
        raise InputError(
            f"prediction is {'x'.join(map(str, prediction.shape))} but reference is "
            f"{'x'.join(map(str, reference.shape))} voxels; both must lie on one grid"
        )


def _dice(common: int, sizes: int) -> float:
    return 2.0 * common / sizes if sizes else math.nan


def _score_class(
    prediction: LabelMap, reference: LabelMap, label: int, spacing_mm: Spacing
) -> Scores:
    predicted, expected = prediction == label, reference == label
    box = _union(bounding_box(predicted), bounding_box(expected))
    if box is not None:
        predicted, expected = predicted[box], expected[box]
    sizes = int(np.count_nonzero(predicted)), int(np.count_nonzero(expected))
    common = int(np.count_nonzero(predicted & expected))
    union = sizes[0] + sizes[1] - common
    overlap = (_dice(common, sum(sizes)), common / union if union else math.nan)
    undefined = (math.nan, math.nan, math.nan)
    if not all(sizes):
        return Scores(label, *overlap, *undefined, *undefined, *sizes)
    in_mm, in_voxels = surface_distances(
        surface_positions(predicted), surface_positions(expected), spacings_mm=(spacing_mm, VOXEL)
    )
    return Scores(label, *overlap, *_figures(in_mm), *_figures(in_voxels), *sizes)


def _union(one: Part | None, two: Part | None) -> Part | None:
    if one is None or two is None:
        return one or two
    z, y, x = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, two, strict=True)
    )
    return (z, y, x)


def _figures(distances: SurfaceDistances) -> tuple[float, float, float]:
    pooled = np.concatenate(distances)
    return (
        float(np.percentile(pooled, 95)),
        float(distances.to_reference.mean()),
        float(pooled.mean()),
    )
