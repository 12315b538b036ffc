"""A bounded sample of voxels over many cases, from which calibration is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.formats.readers import read_image
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError
from dycon_engine.evaluation.calibration import (
    captured_errors,
    near_boundary,
    reliability_of,
    risk_coverage,
)
from dycon_engine.evaluation.cases import check_grid
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

    def add(self, case: str, path: Path, predicted: Volume, expected: Volume) -> None:
        """Take voxels of the probability map (K, D, H, W) at `path`.

        Raises:
            InputError: It lies on another grid or does not hold probabilities of these classes.
        """
        volume = read_image(path)
        check_grid(case, "probability map", volume, expected)
        probabilities = volume.array
        _check_probabilities(case, probabilities, int(expected.array.max()))
        near, nearest = (
            near_boundary(
                labels.array,
                expected.array,
                spacing_mm=expected.geometry.spacing_mm,
                band_mm=self.band_mm,
            ).reshape(-1)
            for labels in (predicted, expected)
        )
        everything = _figures(probabilities, expected.array)
        self._captured.append(captured_errors(everything[:, 2], everything[:, 1] == 0.0))
        for rows, places in (
            (self._everywhere, np.arange(near.size)),
            (self._boundary, np.flatnonzero(near)),
            (self._reference, np.flatnonzero(nearest)),
        ):
            stride = -(-max(places.size, 1) // VOXELS_PER_CASE)
            rows.append(everything[places[::stride]])

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


def _figures(
    probabilities: NDArray[np.float32], reference: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Rows (N, 3), one per voxel: largest probability, 1 where right, entropy in nats."""
    rows = np.clip(probabilities.reshape(len(probabilities), -1), 1e-12, 1.0)
    right = rows.argmax(axis=0) == reference.reshape(-1)
    entropy = -(rows * np.log(rows)).sum(axis=0)
    return np.stack([rows.max(axis=0), right.astype(np.float32), entropy], axis=1)


def _check_probabilities(case: str, probabilities: NDArray[np.float32], highest: int) -> None:
    classes = len(probabilities)
    if classes < 2 or highest >= classes:  # noqa: PLR2004 - background and one class
        raise InputError(
            f"case '{case}': the probability map has {classes} channels but the reference holds "
            f"label {highest}; expected one channel per class, background first"
        )
    total = probabilities.sum(axis=0)
    if not np.allclose(total, 1.0, atol=SUM_TOLERANCE) or probabilities.min() < -SUM_TOLERANCE:
        raise InputError(
            f"case '{case}': the probability map sums to {total.min():.3g}...{total.max():.3g} "
            "over the classes; expected probabilities that sum to 1"
        )
