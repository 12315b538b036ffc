"""A bounded sample of voxels over many cases, from which calibration is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.formats.readers import read_image
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError
from dycon_engine.evaluation.calibration import near_boundary, reliability_of, risk_coverage
from dycon_engine.evaluation.cases import check_grid
from dycon_engine.evaluation.summaries import Calibration

VOXELS_PER_CASE = 200_000
SUM_TOLERANCE = 0.02


class VoxelSample:
    """Confidence, correctness and entropy of voxels, at most `VOXELS_PER_CASE` a case and region.

    The boundary band is taken around prediction and reference, `band_mm` to each side.
    """

    def __init__(self, band_mm: float) -> None:
        self.band_mm = band_mm
        self._everywhere: list[NDArray[np.float64]] = []
        self._boundary: list[NDArray[np.float64]] = []

    def add(self, case: str, path: Path, predicted: Volume, expected: Volume) -> None:
        """Take voxels of the probability map (K, D, H, W) at `path`.

        Raises:
            InputError: It lies on another grid or does not hold probabilities of these classes.
        """
        volume = read_image(path)
        check_grid(case, "probability map", volume, expected)
        probabilities = volume.array
        _check_probabilities(case, probabilities, int(expected.array.max()))
        near = near_boundary(
            predicted.array,
            expected.array,
            spacing_mm=expected.geometry.spacing_mm,
            band_mm=self.band_mm,
        ).reshape(-1)
        for rows, places in (
            (self._everywhere, np.arange(near.size)),
            (self._boundary, np.flatnonzero(near)),
        ):
            stride = -(-max(places.size, 1) // VOXELS_PER_CASE)
            rows.append(_figures(probabilities, expected.array, places[::stride]))

    def calibration(self) -> Calibration | None:
        """Return the calibration of all voxels taken; None if there are none near a boundary."""
        if not sum(len(rows) for rows in self._boundary):
            return None
        everywhere, boundary = np.concatenate(self._everywhere), np.concatenate(self._boundary)
        return Calibration(
            everywhere=reliability_of(everywhere[:, 0], everywhere[:, 1]),
            boundary=reliability_of(boundary[:, 0], boundary[:, 1]),
            risk=risk_coverage(boundary[:, 2], boundary[:, 1] == 0.0),
            band_mm=self.band_mm,
            cases=len(self._everywhere),
        )


def _figures(
    probabilities: NDArray[np.float32], reference: NDArray[np.integer], places: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Rows (N, 3): largest probability, 1 where right, entropy in nats."""
    rows = probabilities.reshape(len(probabilities), -1)[:, places].astype(np.float64)
    rows = np.clip(rows, 1e-12, 1.0)
    right = rows.argmax(axis=0) == reference.reshape(-1)[places]
    entropy = -(rows * np.log(rows)).sum(axis=0)
    return np.stack([rows.max(axis=0), right.astype(np.float64), entropy], axis=1)


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
