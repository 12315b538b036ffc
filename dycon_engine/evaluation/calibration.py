"""How far stated confidence can be believed: temperature, ECE, risk-coverage, errors captured.

All functions take voxels as rows and accept numpy arrays or CPU tensors. Confidence is the largest
class probability; a voxel is right where its most probable class is the reference's.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt
from scipy.optimize import brentq
from scipy.special import softmax

from dycon_engine.data.geometry import Spacing
from dycon_engine.data.volume import bounding_box
from dycon_engine.errors import InputError
from dycon_engine.evaluation.surfaces import surface_positions

Floats = NDArray[np.float64]
BINS = 15  # equal-width confidence bins, as Guo et al. 2017
TEMPERATURE_RANGE = (0.05, 20.0)
MOST_UNCERTAIN = 0.05  # share of a scan's voxels in which errors are looked for


class Reliability(NamedTuple):
    """A reliability curve; a bin without voxels has NaN means.

    Attributes:
        edges: (bins + 1,) bin borders of the confidence.
        confidence: (bins,) mean confidence of the voxels in the bin.
        accuracy: (bins,) share of right voxels in the bin.
        voxels: (bins,) number of voxels in the bin.
    """

    edges: Floats
    confidence: Floats
    accuracy: Floats
    voxels: NDArray[np.int64]

    @property
    def ece(self) -> float:
        """Expected calibration error: mean gap of confidence and accuracy, weighted by voxels.

        NaN where there is no voxel.
        """
        filled = self.voxels > 0
        if not filled.any():
            return float("nan")
        gaps = np.abs(self.confidence - self.accuracy)[filled]
        return float((gaps * self.voxels[filled]).sum() / self.voxels.sum())


class RiskCoverage(NamedTuple):
    """The error rate of what is kept, when only the surest voxels are kept.

    Attributes:
        coverage: (points,) share of voxels kept, ascending, ends at 1.
        risk: (points,) error rate among the kept voxels.
        aurc: Mean risk over all coverages 1/N ... N/N; lower is better.
    """

    coverage: Floats
    risk: Floats
    aurc: float


def fit_temperature(logits: ArrayLike, targets: ArrayLike) -> float:
    """Return the temperature T that minimizes the mean NLL of softmax(logits / T).

    The NLL is convex in 1/T, so the root of its derivative is the minimum; where it has none
    inside `TEMPERATURE_RANGE` (e.g. nothing is wrong) the nearer end is returned. Temperature
    scaling: Guo et al., ICML 2017.

    Args:
        logits: (N, K) or log-probabilities.
        targets: (N,) class index.

    Raises:
        InputError: No voxel, shapes that do not fit, or non-finite logits.
    """
    scores, classes = _rows(logits, targets)
    target_score = scores[np.arange(len(scores)), classes].mean()

    def slope(inverse: float) -> float:
        expected = (softmax(scores * inverse, axis=1) * scores).sum(axis=1).mean()
        return float(expected - target_score)

    low, high = 1.0 / TEMPERATURE_RANGE[1], 1.0 / TEMPERATURE_RANGE[0]
    if slope(low) >= 0.0:
        return TEMPERATURE_RANGE[1]
    if slope(high) <= 0.0:
        return TEMPERATURE_RANGE[0]
    return float(1.0 / brentq(slope, low, high, xtol=1e-9, rtol=1e-9))


def reliability_curve(
    probabilities: ArrayLike, targets: ArrayLike, *, bins: int = BINS
) -> Reliability:
    """Return the reliability curve of `probabilities` (N, K) against `targets` (N,).

    Bins are equally wide on [0, 1] and closed on the right; the first also holds 0.
    """
    rows, classes = _rows(probabilities, targets)
    return reliability_of(rows.max(axis=1), rows.argmax(axis=1) == classes, bins=bins)


def reliability_of(confidence: ArrayLike, right: ArrayLike, *, bins: int = BINS) -> Reliability:
    """Return the reliability curve of `confidence` (N,) in [0, 1] and `right` (N,) booleans."""
    sure = np.asarray(confidence, dtype=np.float64)
    hit = np.asarray(right, dtype=np.float64)
    which = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_sure = np.bincount(which, weights=sure, minlength=bins) / count
        mean_hit = np.bincount(which, weights=hit, minlength=bins) / count
    return Reliability(np.linspace(0.0, 1.0, bins + 1), mean_sure, mean_hit, count)


def expected_calibration_error(
    probabilities: ArrayLike, targets: ArrayLike, *, bins: int = BINS
) -> float:
    """Return the ECE in [0, 1] of `probabilities` (N, K) against `targets` (N,)."""
    return reliability_curve(probabilities, targets, bins=bins).ece


def risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike, *, points: int = 101) -> RiskCoverage:
    """Return the risk-coverage curve of `uncertainty` (N,) and `wrong` (N,) booleans.

    Voxels of equal uncertainty count as if drawn in random order (their mean error each), so the
    result does not depend on the order of the voxels. Source: Geifman and El-Yaniv, NeurIPS 2017.

    Raises:
        InputError: No voxel, or lengths that do not fit.
    """
    doubt = np.asarray(uncertainty, dtype=np.float64).reshape(-1)
    errors = np.asarray(wrong, dtype=np.float64).reshape(-1)
    if not doubt.size or doubt.size != errors.size:
        raise InputError(
            f"risk-coverage: {doubt.size} uncertainties for {errors.size} voxels; expected equal "
            "numbers above 0"
        )
    _, group, size = np.unique(doubt, return_inverse=True, return_counts=True)
    share = np.bincount(group, weights=errors) / size
    risk = np.cumsum(np.repeat(share, size)) / np.arange(1, doubt.size + 1)
    kept = np.unique(np.linspace(1, doubt.size, min(points, doubt.size)).round().astype(np.int64))
    return RiskCoverage(kept / doubt.size, risk[kept - 1], float(risk.mean()))


def captured_errors(
    uncertainty: ArrayLike, wrong: ArrayLike, *, share: float = MOST_UNCERTAIN
) -> float:
    """Return which part of the `wrong` voxels lies among the `share` most uncertain ones.

    Voxels of equal uncertainty count as if drawn in random order.

    Args:
        uncertainty: (N,) or (D, H, W), all voxels of one scan.
        wrong: The same shape, booleans.
        share: Of the voxels, rounded up to a whole one; above 0, at most 1.

    Returns:
        0 to 1; NaN where nothing is wrong.

    Raises:
        InputError: No voxel, or shapes that do not fit.
    """
    doubt = np.asarray(uncertainty).reshape(-1)
    errors = np.asarray(wrong, dtype=np.bool_).reshape(-1)
    if not doubt.size or doubt.size != errors.size:
        raise InputError(
            f"captured errors: {doubt.size} uncertainties for {errors.size} voxels; expected equal "
            "numbers above 0"
        )
    total = np.count_nonzero(errors)
    if not total:
        return float("nan")
    count = math.ceil(share * doubt.size)
    least = np.partition(doubt, doubt.size - count)[doubt.size - count]
    above, equal = doubt > least, doubt == least
    drawn = (count - np.count_nonzero(above)) / np.count_nonzero(equal)
    found = np.count_nonzero(errors & above) + drawn * np.count_nonzero(errors & equal)
    return float(found / total)


def near_boundary(
    prediction: NDArray[Any], reference: NDArray[Any], *, spacing_mm: Spacing, band_mm: float
) -> NDArray[np.bool_]:
    """Return where a voxel lies within `band_mm` of a class boundary of either label map.

    Far voxels are trivially right and hide bad calibration; restricting to the band shows it.

    Args:
        prediction: (D, H, W) class indices.
        reference: (D, H, W) class indices.
        spacing_mm: Voxel size (z, y, x), millimetres.
        band_mm: Largest distance from a voxel center to a surface voxel's center, millimetres.
    """
    surface = np.zeros(reference.shape, dtype=np.bool_)
    for labels in (prediction, reference):
        for label in np.unique(labels):
            if label:
                surface[tuple(surface_positions(labels == label).T)] = True
    near = np.zeros_like(surface)
    box = bounding_box(surface)
    if box is None:
        return near
    grown = tuple(
        slice(max(0, part.start - margin), part.stop + margin)
        for part, margin in zip(box, (int(band_mm / s) + 1 for s in spacing_mm), strict=True)
    )
    distance = distance_transform_edt(~surface[grown], sampling=spacing_mm)
    near[grown] = np.asarray(distance) <= band_mm
    return near


def _rows(scores: ArrayLike, targets: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    rows = np.asarray(scores, dtype=np.float64)
    classes = np.asarray(targets, dtype=np.int64).reshape(-1)
    if rows.ndim != 2 or not len(rows) or len(rows) != len(classes):  # noqa: PLR2004 - (N, K)
        raise InputError(
            f"calibration: scores have shape {rows.shape} for {len(classes)} targets; expected "
            "(N, K) and N above 0"
        )
    if not np.isfinite(rows).all():
        raise InputError("calibration: a score is not finite; check the prediction")
    return rows, classes
