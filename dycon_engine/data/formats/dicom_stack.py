"""The slices of a DICOM series in order: complete, evenly spaced, straight above each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.formats.dicom_slice import Slice
from dycon_engine.data.formats.stored import SHEAR_MAX, affine_from_axes, checked_geometry
from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import InputError

Array = NDArray[np.float64]
UNEVEN_SHARE = 0.05
UNEVEN_ROUNDED = 0.25  # of the distance: what is put down to rounded positions at most
BESIDE_VOXELS = 0.25
BESIDE_ROUNDED = 0.5
ROUNDING = 1.01  # times the last decimal: two rounded positions are that far off at most
SKIPPED = 1.9  # times the stated distance: every other slice is missing
SAME_PLACE_MM = 1e-3


def stacked(folder: Path, slices: Sequence[Slice]) -> tuple[Geometry, list[Slice]]:
    """Return the grid of `slices` and the slices in its order, from the lowest one on.

    Positions may be off by the rounding that their text shows (0.1 mm where one decimal is
    written), up to half a voxel.

    Args:
        folder: Their series, for the messages.
        slices: In any order, at least one.

    Raises:
        InputError: They differ in size or direction, are doubled, missing, displaced or tilted, or
            a single one does not say how thick it is.
    """
    first = slices[0]
    axes = np.array(first.orientation).reshape(2, 3)
    _refuse_others(slices, axes)
    normal = np.cross(axes[0], axes[1])
    ordered = sorted(slices, key=lambda part: float(np.dot(normal, part.position)))
    positions = np.array([part.position for part in ordered])
    if len(ordered) > 1:
        _require_even(folder, ordered, positions @ normal, np.abs(normal).sum())
        towards = _towards(folder, ordered, axes)
    else:
        towards = normal * _thickness(first)
    columns = np.stack([axes[0] * first.spacing[1], axes[1] * first.spacing[0], towards], axis=1)
    size = (len(ordered), first.rows, first.columns)
    return checked_geometry(folder, size, affine_from_axes(columns, positions[0])), ordered


def _refuse_others(slices: Sequence[Slice], axes: Array) -> None:
    first = slices[0]
    for part in slices:
        if (part.rows, part.columns) != (first.rows, first.columns) or not np.allclose(
            part.spacing, first.spacing, rtol=1e-4
        ):
            raise InputError(f"'{part.path}': size or spacing differs from the other slices")
        if not np.allclose(np.array(part.orientation).reshape(2, 3), axes, atol=1e-3):
            raise InputError(
                f"'{part.path}': lies at an angle to the other slices; keep one series here"
            )


def _thickness(part: Slice) -> float:
    if not (part.thickness or part.distance):
        raise InputError(
            f"'{part.path}': a single slice that does not say how thick it is (SliceThickness or "
            "SpacingBetweenSlices); copy the series whole, or convert it with its voxel size"
        )
    return part.thickness or part.distance


def _require_even(folder: Path, ordered: Sequence[Slice], heights: Array, share: float) -> None:
    """Refuse slices at the same place, at uneven distances, or with every other one missing.

    Args:
        folder: For the messages.
        ordered: Slices from the lowest one on.
        heights: Millimetres of each along the normal.
        share: How much of a rounding in x, y and z a height can show at most.
    """
    gaps = np.diff(heights)
    step = float(np.median(gaps))
    lowest, farthest = int(gaps.argmin()), int(np.abs(gaps - step).argmax())
    if gaps[lowest] < SAME_PLACE_MM:
        raise InputError(
            f"'{folder}': {_pair(ordered, lowest)} lie at the same place (doubled slice or several "
            "phases); keep one of each"
        )
    rounded = _quantum_mm(ordered) * share
    allowed = UNEVEN_SHARE * step
    if np.abs(heights - np.linspace(heights[0], heights[-1], len(heights))).max() <= rounded:
        allowed = max(allowed, min(rounded, UNEVEN_ROUNDED * step))
    if abs(gaps[farthest] - step) > allowed:
        missing = round(gaps[farthest] / step) - 1
        what = f"{missing} slices are missing" if missing > 0 else "the distance is uneven"
        raise InputError(
            f"'{folder}': {what} between {_pair(ordered, farthest)} ({gaps[farthest]:.4g} mm, "
            f"elsewhere {step:.4g} mm); copy the series whole"
        )
    _refuse_skipped(folder, ordered, step)


def _refuse_skipped(folder: Path, ordered: Sequence[Slice], step: float) -> None:
    """Refuse slices further apart than they say, with numbers left out between them."""
    stated = ordered[0].distance
    numbers = sorted(part.instance for part in ordered if part.instance is not None)
    if len(numbers) < len(ordered) or not 0 < SKIPPED * stated <= step:
        return
    if numbers[-1] - numbers[0] >= len(numbers):
        raise InputError(
            f"'{folder}': slices are missing: they lie {step:.4g} mm apart but {stated:.4g} mm is "
            "stated, and instance numbers are left out; copy the series whole"
        )


def _towards(folder: Path, ordered: Sequence[Slice], axes: Array) -> Array:
    """Return the way from slice to slice in mm (x, y, z), found straight and at a right angle."""
    positions = np.array([part.position for part in ordered])
    towards: Array = (positions[-1] - positions[0]) / (len(ordered) - 1)
    aside = (positions - positions[0]) @ axes.T  # mm along a row and along a column
    voxel = np.array(ordered[0].spacing[::-1])
    rounded = np.minimum(_quantum_mm(ordered) * np.abs(axes).sum(axis=1), BESIDE_ROUNDED * voxel)
    allowed = np.maximum(rounded, BESIDE_VOXELS * voxel)
    line = np.linspace(0.0, 1.0, len(ordered))[:, None] * aside[-1]
    if (np.abs(aside - line) > allowed).any():
        far = np.linalg.norm(aside - np.median(aside, axis=0), axis=1)
        name = ordered[int(far.argmax())].path.name
        raise InputError(
            f"'{folder}': slices do not lie straight above each other, '{name}' is "
            f"{far.max():.4g} mm to the side; copy the series again or resample it"
        )
    along = np.abs(axes @ (towards / np.linalg.norm(towards)))
    if along.max() <= SHEAR_MAX:
        return towards
    if (np.abs(aside[-1]) > allowed).any():
        angle = np.degrees(np.arcsin(min(float(np.linalg.norm(along)), 1.0)))
        raise InputError(
            f"'{folder}': slices are stacked at a tilt of {angle:.2f} degrees (tilted gantry); "
            "resample it to a right-angled grid"
        )
    normal = np.cross(axes[0], axes[1])
    upright: Array = normal * (towards @ normal) / (normal @ normal)
    return upright


def _quantum_mm(ordered: Sequence[Slice]) -> float:
    return ROUNDING * min(part.quantum_mm for part in ordered)


def _pair(ordered: Sequence[Slice], index: int) -> str:
    return f"'{ordered[index].path.name}' and '{ordered[index + 1].path.name}'"
