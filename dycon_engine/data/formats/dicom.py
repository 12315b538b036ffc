"""A folder with one DICOM series: its slices found, put in order and decoded.

No identifier of the file's tags is ever shown; messages name files and counts only.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name its documentation uses
from numpy.typing import NDArray

from dycon_engine.data.formats.dicom_slice import Slice, is_dicom, read_slice
from dycon_engine.data.formats.dicom_stack import stacked
from dycon_engine.data.formats.stored import Header, Stored, require_room
from dycon_engine.errors import DamagedFileError, InputError

IGNORED = ("dicomdir", "thumbs.db", "desktop.ini")
SUFFIXES = (".dcm", ".ima")
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
        InputError: Several series, a missing, doubled, displaced or tilted slice, or no image.
    """
    header, slices = _series(folder)
    require_room(folder, int(np.prod(header.geometry.size_zyx)), header.dtype.itemsize)
    array = np.empty((1, *header.geometry.size_zyx), dtype=np.float32)
    for target, part in zip(array[0], slices, strict=True):
        target[:] = _pixels(part)
    return Stored(array, header)


def series_slices(folder: Path) -> list[Slice]:
    """Return the slices of the series in `folder` in the order in which `read` gives them."""
    return _series(folder)[1]


def _pixels(part: Slice) -> NDArray[np.float32]:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(sitk.sitkFloat32 if part.mirror is None else sitk.sitkFloat64)
    reader.SetFileName(str(part.path))
    try:
        pixels = np.asarray(sitk.GetArrayFromImage(reader.Execute()))
    except RuntimeError as error:
        raise DamagedFileError(
            f"'{part.path}': its pixels cannot be decoded; copy it again or convert it"
        ) from error
    if pixels.size != part.rows * part.columns:
        raise DamagedFileError(f"'{part.path}': its pixels do not fit its size; copy it again")
    if part.mirror is not None:
        pixels = part.mirror - pixels
    return pixels.reshape(part.rows, part.columns).astype(np.float32, copy=False)


def _files(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and entry.name.lower() not in IGNORED
        )
    return [folder / name for name in names]


def _series(folder: Path) -> tuple[Header, list[Slice]]:
    slices = _slices(folder)
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
    _refuse_letters(folder, slices)
    geometry, ordered = stacked(folder, slices)
    return Header(geometry, 1, np.dtype(np.float32)), ordered


def _slices(folder: Path) -> list[Slice]:
    """Return the slices in `folder`; files that are neither DICOM nor named like one are left."""
    files = [path for path in _files(folder) if not path.is_dir()]
    if not any(is_dicom(path) for path in files[:LOOK_AT]):
        raise InputError(f"'{folder}': a folder without DICOM files; expected a scan or a series")
    if len(files) > SLICES_MAX:
        raise InputError(f"'{folder}': {len(files)} files; put one series into a folder of its own")
    shapes = {path: _shape(path.name) for path in files if is_dicom(path)}
    known = set(shapes.values())
    return [read_slice(path) for path in files if path in shapes or _like_slice(path.name, known)]


def _shape(name: str) -> str:
    return re.sub(r"\d+", "#", name.lower())


def _like_slice(name: str, known: Collection[str]) -> bool:
    """Return whether a file that is not DICOM must be a damaged slice, by its name.

    It ends in .dcm or .ima, has a number but no ending of letters (IM0001, 1.2.840.5), or is
    called as the slices are, numbers aside, with or without another ending (IM0001.part).

    Args:
        name: Of the file.
        known: Shapes of the slices' names.
    """
    shape = Path(_shape(name))
    if shape.suffix in SUFFIXES or shape.name in known or shape.stem in known:
        return True
    return "#" in shape.name and not re.search("[a-z]", shape.suffix)


def _refuse_letters(folder: Path, slices: Sequence[Slice]) -> None:
    """Refuse what SimpleITK cannot open on Windows: its Python package knows no UTF-8 paths."""
    if os.name == "nt" and not all(str(part.path).isascii() for part in slices):
        raise InputError(
            f"'{folder}': on Windows no DICOM can be read from a path with letters beyond ASCII; "
            "move the folder to a path of plain letters, or convert the scan to NIfTI or NRRD"
        )
