"""A folder with one DICOM series: sorted by position, complete, evenly spaced, not tilted.

No identifier of the file's tags is ever shown; messages name files and counts only.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name its documentation uses
from numpy.typing import NDArray

from dycon_engine.data.formats.dicom_tags import Slice, is_dicom, read_slice
from dycon_engine.data.formats.stored import (
    SHEAR_MAX,
    Header,
    Stored,
    affine_from_axes,
    checked_geometry,
    require_room,
)
from dycon_engine.errors import DamagedFileError, InputError

IGNORED = ("dicomdir", "thumbs.db", "desktop.ini")
UNEVEN_SHARE = 0.05
SAME_PLACE_MM = 1e-3
LOOK_AT = 8
SLICES_MAX = 20_000


def is_series(folder: Path) -> bool:
    """Return whether one of the first files of `folder` is DICOM."""
    try:
        return any(is_dicom(path) for path in _files(folder)[:LOOK_AT])
    except OSError:
        return False


def read_header(folder: Path) -> Header:
    """Return the grid of the series in `folder`, its completeness checked; no pixels are read."""
    return _series(folder)[0]


def read(folder: Path) -> Stored:
    """Return the series in `folder`, (1, D, H, W) float32, rescaled as the files say.

    Raises:
        DamagedFileError: A slice is truncated or damaged, or no DICOM.
        InputError: Several series, a missing, doubled or tilted slice, or no image.
    """
    header, slices = _series(folder)
    require_room(folder, int(np.prod(header.geometry.size_zyx)), header.dtype.itemsize)
    array = np.empty((1, *header.geometry.size_zyx), dtype=np.float32)
    for target, part in zip(array[0], slices, strict=True):
        target[:] = _pixels(part)
    return Stored(array, header)


def series_files(folder: Path) -> list[Path]:
    """Return the files of the series in `folder` in the order of the slices that `read` gives."""
    return [part.path for part in _series(folder)[1]]


def _pixels(part: Slice) -> NDArray[np.float32]:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(sitk.sitkFloat32)
    reader.SetFileName(str(part.path))
    try:
        pixels = np.asarray(sitk.GetArrayFromImage(reader.Execute()), dtype=np.float32)
    except RuntimeError as error:
        raise DamagedFileError(
            f"'{part.path}': its pixels cannot be decoded; copy it again or convert it"
        ) from error
    if pixels.size != part.rows * part.columns:
        raise DamagedFileError(f"'{part.path}': its pixels do not fit its size; copy it again")
    return pixels.reshape(part.rows, part.columns)


def _files(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and entry.name.lower() not in IGNORED
        )
    return [folder / name for name in names]


def _series(folder: Path) -> tuple[Header, list[Slice]]:
    files = [path for path in _files(folder) if not path.is_dir()]
    if not any(is_dicom(path) for path in files[:LOOK_AT]):
        raise InputError(f"'{folder}': a folder without DICOM files; expected a scan or a series")
    if len(files) > SLICES_MAX:
        raise InputError(f"'{folder}': {len(files)} files; put one series into a folder of its own")
    slices = [read_slice(path) for path in files]
    counts = Counter(part.series for part in slices)
    if len(counts) > 1:
        parts = ", ".join(f"{count} slices" for count in counts.values())
        raise InputError(
            f"'{folder}': holds {len(counts)} series ({parts}); put the files of one series into "
            "a folder of its own and name that folder"
        )
    stated = max(part.count for part in slices)
    if stated > len(slices):
        raise InputError(
            f"'{folder}': {len(slices)} slices found but the series has {stated}; copy it whole"
        )
    return _sorted(folder, slices)


def _sorted(folder: Path, slices: Sequence[Slice]) -> tuple[Header, list[Slice]]:
    first = slices[0]
    axes = np.array(first.orientation).reshape(2, 3)
    for part in slices:
        if (part.rows, part.columns) != (first.rows, first.columns) or not np.allclose(
            part.spacing, first.spacing, rtol=1e-4
        ):
            raise InputError(f"'{part.path}': size or spacing differs from the other slices")
        if not np.allclose(np.array(part.orientation).reshape(2, 3), axes, atol=1e-3):
            raise InputError(
                f"'{part.path}': lies at an angle to the other slices; keep one series here"
            )
    normal = np.cross(axes[0], axes[1])
    heights = [float(np.dot(normal, part.position)) for part in slices]
    order = sorted(range(len(slices)), key=heights.__getitem__)
    ordered = [slices[index] for index in order]
    positions = np.array([part.position for part in ordered])
    step = _step(folder, ordered, np.diff([heights[index] for index in order]))
    if len(ordered) > 1:
        towards = (positions[-1] - positions[0]) / (len(ordered) - 1)
        _refuse_tilt(folder, towards, axes)
    else:
        towards = normal * step
    columns = np.stack([axes[0] * first.spacing[1], axes[1] * first.spacing[0], towards], axis=1)
    size = (len(ordered), first.rows, first.columns)
    geometry = checked_geometry(folder, size, affine_from_axes(columns, positions[0]))
    return Header(geometry, 1, np.dtype(np.float32)), ordered


def _step(folder: Path, ordered: Sequence[Slice], gaps: NDArray[np.float64]) -> float:
    """Return the slice distance in mm, found even."""
    if not len(gaps):
        return ordered[0].thickness or 1.0
    step = float(np.median(gaps))
    for gap, one, two in zip(gaps, ordered, ordered[1:], strict=False):
        if gap < SAME_PLACE_MM:
            raise InputError(
                f"'{folder}': '{one.path.name}' and '{two.path.name}' lie at the same place "
                "(doubled slice or several phases); keep one of each"
            )
        if abs(gap - step) > UNEVEN_SHARE * step:
            missing = round(gap / step) - 1
            what = f"{missing} slices are missing" if missing > 0 else "the distance is uneven"
            raise InputError(
                f"'{folder}': {what} between '{one.path.name}' and '{two.path.name}' ({gap:.4g} "
                f"mm, elsewhere {step:.4g} mm); copy the series whole"
            )
    return step


def _refuse_tilt(
    folder: Path,
    towards: NDArray[np.float64],
    axes: NDArray[np.float64],
) -> None:
    along = np.abs(axes @ (towards / np.linalg.norm(towards)))
    if along.max() > SHEAR_MAX:
        angle = np.degrees(np.arcsin(min(float(np.linalg.norm(along)), 1.0)))
        raise InputError(
            f"'{folder}': slices are stacked at a tilt of {angle:.2f} degrees (tilted gantry); "
            "resample it to a right-angled grid"
        )
