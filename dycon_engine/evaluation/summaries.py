"""What many cases say together: one row per prediction set and class, and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dycon_engine.evaluation.calibration import Reliability, RiskCoverage
from dycon_engine.evaluation.cases import CaseScores
from dycon_engine.evaluation.metrics import Scores, Summary, is_plausible, summarize

METRICS: dict[str, str] = {  # attribute of Scores -> heading with unit
    "dice": "Dice",
    "jaccard": "Jaccard",
    "hd95_mm": "HD95 [mm]",
    "asd_mm": "ASD [mm]",
    "assd_mm": "ASSD [mm]",
    "hd95_voxels": "HD95 [voxel]",
    "asd_voxels": "ASD [voxel]",
    "assd_voxels": "ASSD [voxel]",
}
BOOTSTRAPS = 10_000
FEWEST_FOR_INTERVAL = 5


@dataclass(frozen=True)
class Calibration:
    """What the probabilities of a prediction set are worth.

    Attributes:
        everywhere: Reliability of a sample of all voxels.
        boundary: Reliability of the voxels within `band_mm` of a boundary of either label map.
        reference: Reliability of the voxels within `band_mm` of the reference's surface.
        risk: Risk-coverage of the voxels of `boundary` by entropy.
        captured: Per case, which part of the wrong voxels lies among the 5 % of the scan's voxels
            of highest entropy; NaN where nothing is wrong.
        band_mm: Width of the band, millimetres.
        cases: Number of cases with probabilities.
    """

    everywhere: Reliability
    boundary: Reliability
    reference: Reliability
    risk: RiskCoverage
    captured: tuple[float, ...]
    band_mm: float
    cases: int

    @property
    def mean_captured(self) -> float:
        """Mean of `captured` over the cases with errors; NaN where there is none."""
        return summarize(self.captured).mean


@dataclass(frozen=True)
class PredictionSet:
    """The predictions of one model for all cases; every case has the same classes."""

    name: str
    cases: tuple[CaseScores, ...]
    calibration: Calibration | None = None

    def values(self, metric: str, label: int) -> list[float]:
        """Return `metric` of one class for every case."""
        return [getattr(_of(case, label), metric) for case in self.cases]


@dataclass(frozen=True)
class Row:
    """One line of the summary table.

    Attributes:
        prediction: Name of the prediction set.
        label: Class index.
        name: Name of the class.
        metrics: Metric -> summary over the cases.
        absent: Cases in which the class is in neither label map (left out of every mean).
        one_empty: Cases in which it is in one of them only (each counts as Dice 0).
        plausible: Whether mean Dice <= 2J / (1 + J), or there is none.
    """

    prediction: str
    label: int
    name: str
    metrics: dict[str, Summary]
    absent: int
    one_empty: int
    plausible: bool


@dataclass(frozen=True)
class Difference:
    """First prediction set minus another, case by case.

    Attributes:
        first: Name of the first set.
        second: Name of the other set.
        label: Class index.
        name: Name of the class.
        metric: Attribute of `Scores`.
        pairs: Cases in which both are defined.
        undefined: Cases left out because one is undefined.
        mean: Mean difference; NaN without a pair.
        low: Lower end of the 95 % bootstrap interval over cases; NaN below 5 pairs.
        high: Upper end.
        better: Cases in which the first is better (higher overlap, smaller distance).
        worse: Cases in which it is worse.
    """

    first: str
    second: str
    label: int
    name: str
    metric: str
    pairs: int
    undefined: int
    mean: float
    low: float
    high: float
    better: int
    worse: int


def summary_rows(sets: Sequence[PredictionSet], names: dict[int, str]) -> tuple[Row, ...]:
    """Return one row per class and prediction set, classes outermost."""
    return tuple(
        _row(predictions, label, name) for label, name in names.items() for predictions in sets
    )


def paired_differences(
    sets: Sequence[PredictionSet],
    names: dict[int, str],
    *,
    metrics: Sequence[str] = ("dice", "hd95_mm"),
) -> tuple[Difference, ...]:
    """Return the differences of the first set to every other one, per class and metric.

    Every set holds the same cases in the same order.
    """
    return tuple(
        _difference(sets[0], other, label, name=name, metric=metric)
        for label, name in names.items()
        for metric in metrics
        for other in sets[1:]
    )


def _of(case: CaseScores, label: int) -> Scores:
    return next(s for s in case.scores if s.label == label)


def _row(predictions: PredictionSet, label: int, name: str) -> Row:
    metrics = {metric: summarize(predictions.values(metric, label)) for metric in METRICS}
    scores = [_of(case, label) for case in predictions.cases]
    is_there = [(s.prediction_voxels > 0, s.reference_voxels > 0) for s in scores]
    return Row(
        predictions.name,
        label,
        name,
        metrics,
        absent=sum(not any(pair) for pair in is_there),
        one_empty=sum(any(pair) and not all(pair) for pair in is_there),
        plausible=not metrics["dice"].defined
        or is_plausible(metrics["dice"].mean, metrics["jaccard"].mean),
    )


def _difference(
    first: PredictionSet, second: PredictionSet, label: int, *, name: str, metric: str
) -> Difference:
    values = np.subtract(first.values(metric, label), second.values(metric, label))
    defined = values[~np.isnan(values)]
    gain = defined if metric in ("dice", "jaccard") else -defined
    low, high = _interval(defined, np.mean)
    return Difference(
        first.name,
        second.name,
        label,
        name,
        metric,
        pairs=int(defined.size),
        undefined=int(values.size - defined.size),
        mean=float(defined.mean()) if defined.size else float("nan"),
        low=low,
        high=high,
        better=int((gain > 0).sum()),
        worse=int((gain < 0).sum()),
    )


def _interval(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    statistic: Callable[..., np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
) -> tuple[float, float]:
    if values.size < FEWEST_FOR_INTERVAL:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(0).integers(values.size, size=(BOOTSTRAPS, values.size))
    low, high = np.percentile(statistic(values[drawn], axis=1), [2.5, 97.5])
    return float(low), float(high)
