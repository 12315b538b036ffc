"""A bounded sample of voxels over many cases, from which calibration is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError
from dycon_engine.evaluation.calibration import (
    captured_errors,
    near_boundary,
    reliability_of,
    risk_coverage,
)
from dycon_engine.evaluation.cases import on_reference
from dycon_engine.evaluation.summaries import Calibration

VOXELS_PER_CASE = 200_000
SUM_TOLERANCE = 0.02


class VoxelSample:
    """Confidence, correctness and entropy of voxels, at most `VOXELS_PER_CASE` a case and region.

    The boundary band is taken around prediction and reference, `band_mm` to each side, and around
    the reference alone. Which part of the errors is captured is counted on all voxels of a scan.
    """

    def __init__(self, band_mm: float) -> None:
        self.band_mm = band_mm
        self._everywhere: list[NDArray[np.float32]] = []
        self._boundary: list[NDArray[np.float32]] = []
        self._reference: list[NDArray[np.float32]] = []
        self._captured: list[float] = []

    def add(
        self,
        case: str,
        probability_map: Volume,
        predicted: Volume,
        expected: Volume,
        values: Sequence[int],
    ) -> None:
        """Take voxels of a probability map (K, D, H, W), whose channels are of the label `values`.

        Raises:
            InputError: It lies on another grid or does not hold probabilities.
        """
        probabilities = on_reference(case, "probability map", probability_map, expected).array
        _check_probabilities(case, probabilities)
        classes = np.searchsorted(np.asarray(values), expected.array)
        near, nearest = (
            near_boundary(
                labels.array,
                expected.array,
                spacing_mm=expected.geometry.spacing_mm,
                band_mm=self.band_mm,
            ).reshape(-1)
            for labels in (predicted, expected)
        )
        everything = _figures(probabilities, classes)
        self._captured.append(captured_errors(everything[:, 2], everything[:, 1] == 0.0))
        for rows, places in (
            (self._everywhere, np.arange(near.size)),
            (self._boundary, np.flatnonzero(near)),
            (self._reference, np.flatnonzero(nearest)),
        ):
            rows.append(everything[places[evenly(places.size, VOXELS_PER_CASE)]])

    def calibration(self) -> Calibration | None:
        """Return the calibration of all voxels taken; None if there are none near a boundary."""
        if not sum(len(rows) for rows in self._boundary):
            return None
        everywhere, boundary, reference = (
            np.concatenate(rows) for rows in (self._everywhere, self._boundary, self._reference)
        )
        return Calibration(
            everywhere=reliability_of(everywhere[:, 0], everywhere[:, 1]),
            boundary=reliability_of(boundary[:, 0], boundary[:, 1]),
            reference=reliability_of(reference[:, 0], reference[:, 1]),
            risk=risk_coverage(boundary[:, 2], boundary[:, 1] == 0.0),
            captured=tuple(self._captured),
            band_mm=self.band_mm,
            cases=len(self._everywhere),
        )


def channel_values(
    channels: int, references: Iterable[int], predictions: Iterable[int]
) -> tuple[int, ...] | None:
    """Return the label value of each channel of a probability map, ascending, background first.

    A map holds one channel per class of the model in the order of their values. So these are the
    values of all references, where there are as many; else those of references and predictions
    together; else the plain numbers from 0 on, where all values are among them.

    Args:
        channels: K.
        references: Values in all references.
        predictions: Values in all predictions.

    Returns:
        None where none of this fits.
    """
    expected = {0, *references}
    for values in (expected, expected | set(predictions)):
        if len(values) == channels:
            return tuple(sorted(values))
    return tuple(range(channels)) if max(expected) < channels else None


def evenly(size: int, most: int) -> NDArray[np.intp]:
    """Return min(size, most) different places of 0 ... size - 1, ascending and evenly spread."""
    return np.linspace(0, max(size - 1, 0), min(size, most)).astype(np.intp)


def _figures(
    probabilities: NDArray[np.float32], reference: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Rows (N, 3), one per voxel: largest probability, 1 where right, entropy in nats."""
    rows = np.clip(probabilities.reshape(len(probabilities), -1), 1e-12, 1.0)
    right = rows.argmax(axis=0) == reference.reshape(-1)
    entropy = -(rows * np.log(rows)).sum(axis=0)
    return np.stack([rows.max(axis=0), right.astype(np.float32), entropy], axis=1)


def _check_probabilities(case: str, probabilities: NDArray[np.float32]) -> None:
    low = float(probabilities.min())
    if low < -SUM_TOLERANCE:
        raise InputError(
            f"case '{case}': the probability map holds {low:.3g}; expected probabilities, 0 to 1"
        )
    total = probabilities.sum(axis=0)
    if not np.allclose(total, 1.0, atol=SUM_TOLERANCE):
        raise InputError(
            f"case '{case}': the probability map sums to {total.min():.3g}...{total.max():.3g} "
            "over the classes; expected probabilities that sum to 1"
        )
