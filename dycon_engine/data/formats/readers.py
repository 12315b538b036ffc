"""Scans and label maps from files: one way in for every format, no silent partial read.

Each reader parses the header itself, knows the decoded size before it allocates, reads to the end
of the data with its checksum, and refuses in one line what it cannot read exactly.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from dycon_engine.data.formats import dicom, hdf5, metaimage, nifti, nrrd, segments
from dycon_engine.data.formats.segments import read_segments, shown_name
from dycon_engine.data.formats.stored import Header, Stored, as_float32, as_labels
from dycon_engine.data.geometry import Geometry, Spacing
from dycon_engine.data.volume import Volume
from dycon_engine.errors import DamagedFileError, InputError, OutOfMemoryError

__all__ = [
    "READERS",
    "SUFFIXES",
    "Header",
    "content_hash",
    "image_stem",
    "is_readable_image",
    "is_segmentation",
    "read_header",
    "read_image",
    "read_label",
    "read_segment_names",
    "read_segments",
    "spaced_grid",
    "suffix_of",
    "with_spacing",
]

T = TypeVar("T")


class Reader(NamedTuple):
    """How one format is read: its header, an image, a label map."""

    header: Callable[[Path], Header]
    image: Callable[[Path], Stored]
    label: Callable[[Path], Stored]


_HDF5 = Reader(hdf5.read_header, hdf5.read, partial(hdf5.read, key="label"))
_META = Reader(metaimage.read_header, metaimage.read, metaimage.read)
_NIFTI = Reader(nifti.read_header, nifti.read, nifti.read)
_DICOM = Reader(dicom.read_header, dicom.read, dicom.read)

READERS: dict[str, Reader] = {
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".mha": _META,
    ".mhd": _META,
    ".nii": _NIFTI,
    ".nii.gz": _NIFTI,
    ".nrrd": Reader(nrrd.read_header, nrrd.read, nrrd.read),
    ".seg.nrrd": Reader(nrrd.read_header, nrrd.read, segments.read),
}
SUFFIXES = tuple(sorted(READERS, key=len, reverse=True))
LONGEST_NAME = 100  # of a segment


def read_image(path: Path) -> Volume:
    """Return a scan: (C, D, H, W) float32 on its grid.

    Args:
        path: A file of a known format, or a folder with one DICOM series. Files without geometry
            (HDF5) get 1 mm; see `with_spacing`.

    Raises:
        DamagedFileError: Truncated, a wrong checksum, or not what its header says.
        InputError: Not usable as it is; the one line says why and what to do.
    """
    stored = _guarded(path, _reader(path).image)
    return Volume(_guarded(path, lambda where: as_float32(where, stored)), stored.header.geometry)


def read_label(path: Path) -> Volume:
    """Return a label map: (D, H, W) uint8, int16 or int32 on its grid, values as in the file.

    A `.seg.nrrd` of several layers is flattened (values: see `read_segments`); of an HDF5 file
    the array `label` is read.

    Raises:
        DamagedFileError: Truncated, a wrong checksum, or not what its header says.
        InputError: Not a label map, overlapping segments, or not usable for another reason.
    """
    stored = _guarded(path, _reader(path).label)
    return Volume(_guarded(path, lambda where: as_labels(where, stored)), stored.header.geometry)


def read_header(path: Path) -> Header:
    """Return grid, channels and voxel type of a file or series, checked; no voxels are read.

    Raises:
        DamagedFileError: The header is damaged.
        InputError: Not usable as it is.
    """
    return _guarded(path, _reader(path).header)


def read_segment_names(path: Path) -> dict[int, str]:
    """Return label value -> name, values as `read_label` gives them; {} for files without names.

    Raises:
        DamagedFileError: The header is damaged.
        InputError: Not usable as it is.
    """
    if not is_segmentation(path):
        return {}
    return {value: _plain(name, value) for value, name, _ in _guarded(path, read_segments)}


def with_spacing(volume: Volume, spacing_mm: Spacing) -> Volume:
    """Return `volume` with another spacing (z, y, x), origin and directions kept.

    Raises:
        InputError: A spacing that is not more than 0.
    """
    return Volume(volume.array, spaced_grid(volume.geometry, spacing_mm))


def spaced_grid(grid: Geometry, spacing_mm: Spacing) -> Geometry:
    """Return `grid` with another spacing (z, y, x), origin and directions kept.

    Raises:
        InputError: A spacing that is not more than 0.
    """
    if not all(math.isfinite(value) and value > 0 for value in spacing_mm):
        raise InputError(f"spacing {tuple(spacing_mm)} mm: expected three numbers above 0")
    return Geometry.from_parts(grid.size_zyx, spacing_mm, grid.origin_lps, grid.direction)


def content_hash(path: Path, *, label: bool = False) -> str:
    """Return the sha256 of size and voxel values as hex; the same for every format of a scan.

    Args:
        path: A file or a DICOM series folder.
        label: Read it as a label map (the array `label` of an HDF5 file, flattened segments).

    Raises:
        InputError: The file cannot be read.
    """
    reader = _reader(path)
    array = _guarded(path, reader.label if label else reader.image).array
    digest = hashlib.sha256(str(array.shape).encode())
    for channel in array:
        for plane in channel:
            digest.update(np.ascontiguousarray(plane, dtype="<f4").data)
    return digest.hexdigest()


def is_readable_image(path: Path) -> bool:
    """Return whether `path` is a file with a known suffix or a folder with DICOM files."""
    if path.is_dir():
        return dicom.is_series(path)
    return any(path.name.lower().endswith(suffix) for suffix in SUFFIXES) and path.is_file()


def is_segmentation(path: Path) -> bool:
    """Return whether `path` is called as a segmentation of 3D Slicer."""
    return path.name.lower().endswith(".seg.nrrd") and not path.is_dir()


def image_stem(path: Path) -> str:
    """Return the name without folder and known suffix: `a/b.nii.gz` -> `b`, `x.seg.nrrd` -> `x`.

    Accents are joined to their letters (NFC): macOS writes them apart, other systems do not.
    """
    name = unicodedata.normalize("NFC", path.name)
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def suffix_of(path: Path) -> str:
    """Return the known suffix of `path`, the longest that fits.

    Raises:
        InputError: None; all are named.
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    if path.name.lower().endswith((".hdr", ".img", ".img.gz")):
        raise InputError(f"'{path}': one half of a pair of files; save it as one .nii.gz file")
    raise InputError(f"'{path}': not a known format; known: {', '.join(sorted(SUFFIXES))}")


def _plain(name: str, value: int) -> str:
    """Return a segment's name as it may be shown, not too long."""
    return shown_name(name)[:LONGEST_NAME] or f"segment {value}"


def _reader(path: Path) -> Reader:
    return _guarded(path, _chosen)


def _chosen(path: Path) -> Reader:
    if path.is_dir():
        return _DICOM
    suffix = suffix_of(path)
    if not path.is_file():
        what = "not an ordinary file" if path.exists() else "not found"
        raise InputError(f"'{path}': {what}; check the name")
    return READERS[suffix]


def _guarded(path: Path, read: Callable[[Path], T]) -> T:
    try:
        with np.errstate(all="ignore"):  # what a damaged header gives is checked, not told twice
            return read(path)
    except OSError as error:
        raise InputError(
            f"'{path}': cannot be read ({error.strerror or 'input error'}); check it"
        ) from error
    except MemoryError as error:
        raise OutOfMemoryError(
            f"'{path}': does not fit into memory; close other programs, or crop or resample it"
        ) from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise DamagedFileError(f"'{path}': its header is damaged; copy it again") from error
