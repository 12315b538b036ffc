"""Label maps and maps of numbers to files: complete and read back by another reader, or absent.

NIfTI is written by nibabel, NRRD and MetaImage by `itk_files`; the staged file is read back by our
own readers, compared voxel by voxel and corner by corner, and only then takes the name asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener
from numpy.typing import NDArray

from dycon_engine.data.formats import metaimage, nifti, nrrd
from dycon_engine.data.formats import segments as segmentations
from dycon_engine.data.formats.itk_files import write_metaimage, write_nrrd
from dycon_engine.data.formats.segments import shown_name
from dycon_engine.data.formats.stored import FORMS_AGREE_VOXELS, RAS_TO_LPS, Stored
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.volume import bounding_box
from dycon_engine.errors import DyconError, InputError, NonFiniteError
from dycon_engine.jobs.files import atomic_write

NOTE = "DyCON research use only"
CORNER_VOXELS = 1e-3
ROTATION_VOXELS = FORMS_AGREE_VOXELS / 10
COMMENT = "comment"  # NIfTI extension code 6: plain text
SEGMENTATION = ".seg.nrrd"
PALETTE = ((64, 200, 255), (153, 34, 255), (68, 85, 153), (136, 136, 255), (204, 255, 255))
Array = NDArray[Any]
Segment = tuple[int, str, tuple[int, int, int] | None]  # value, name, color; as `read_segments`


def write_label(
    path: Path,
    labels: Array,
    geometry: Geometry,
    *,
    overwrite: bool,
    metadata: Mapping[str, str] | None = None,
    segments: Sequence[Segment] = (),
) -> None:
    """Write a label map (D, H, W) of whole numbers from 0 on, in the smallest unsigned type.

    Args:
        path: `.nii`, `.nii.gz`, `.nrrd`, `.seg.nrrd` or `.mha`; its folder exists.
        labels: Class values.
        geometry: Their grid.
        overwrite: Whether an existing file may be replaced.
        metadata: Keys and values kept in the file; NRRD and MetaImage as keys, NIfTI as a comment.
        segments: Names and colors of the values, for `.seg.nrrd`; others are called "Segment 7".

    Raises:
        InputError: The file exists, the format is unknown, or the array is not a label map.
        DyconError: The disk is full or the file read back is not what was written.
    """
    if labels.dtype.kind not in "iub" or labels.shape != geometry.size_zyx:
        raise InputError(
            f"'{path}': label map is {labels.dtype} of {labels.shape}; expected whole numbers of "
            f"{geometry.size_zyx}"
        )
    low, high = int(labels.min()), int(labels.max())
    kind = next((k for k in (np.uint8, np.uint16, np.uint32) if high <= np.iinfo(k).max), None)
    if low < 0 or kind is None:
        raise InputError(f"'{path}': label values run from {low} to {high}; expected 0 to 2^32 - 1")
    kept = dict(metadata or {})
    if path.name.lower().endswith(SEGMENTATION):
        kept |= _segment_keys(labels, segments)
    _write(path, labels[None].astype(kind), geometry, overwrite=overwrite, metadata=kept)


def _segment_keys(labels: Array, segments: Sequence[Segment]) -> dict[str, str]:
    """Return what makes a label map a segmentation in Slicer: one layer, a segment per value."""
    known = {value: (name, color) for value, name, color in segments}
    values = sorted({*known, *(int(value) for value in np.unique(labels))} - {0}) or [1]
    keys = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, value in enumerate(values):
        name, color = known.get(value, (f"Segment {value}", None))
        if not name.isprintable():  # e.g. a no-break space, which `shown_name` reads as a blank
            name = shown_name(name) or f"Segment {value}"
        box = bounding_box(labels == value)
        extent = (
            [0, -1] * 3 if box is None else [n for b in box[::-1] for n in (b.start, b.stop - 1)]
        )
        color = color or PALETTE[number % len(PALETTE)]
        fields = {
            "ID": f"Segment_{value}",
            "Name": name,
            "LabelValue": str(value),
            "Layer": "0",
            "Color": " ".join(f"{part / 255:.6g}" for part in color),
            "Extent": " ".join(map(str, extent)),
        }
        keys |= {f"Segment{number}_{field}": text for field, text in fields.items()}
    return keys


def write_scalar(
    path: Path,
    array: Array,
    geometry: Geometry,
    *,
    overwrite: bool,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a map (D, H, W), or K of them (K, D, H, W), as float32; otherwise as `write_label`.

    Raises:
        InputError: The file exists, the format is unknown, or the shape does not fit the grid.
        NonFiniteError: A value is NaN or infinite.
        DyconError: The disk is full or the file read back is not what was written.
    """
    if array.shape[-3:] != geometry.size_zyx or array.ndim not in (3, 4):
        raise InputError(
            f"'{path}': array is {array.shape}; expected {geometry.size_zyx}, or channels of it"
        )
    if path.name.lower().endswith(SEGMENTATION):
        raise InputError(f"'{path}': {SEGMENTATION} holds label maps only; use .nrrd")
    values = np.ascontiguousarray(array, dtype=np.float32).reshape(-1, *geometry.size_zyx)
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise NonFiniteError(f"'{path}': {bad} values are NaN or infinite; it is not written")
    _write(path, values, geometry, overwrite=overwrite, metadata=metadata or {})


def check_target(path: Path, *, overwrite: bool) -> None:
    """Pass if a result may be written to `path`; call it before the work begins.

    Raises:
        InputError: Unknown format, missing folder, or a file that may not be replaced.
    """
    _suffix(path)
    if not path.parent.is_dir():
        raise InputError(f"'{path}': its folder does not exist; make it or choose another")
    if path.is_dir() or (path.exists() and not overwrite):
        raise InputError(f"'{path}': exists already; choose another name or allow overwriting")


def _write(
    path: Path, array: Array, geometry: Geometry, *, overwrite: bool, metadata: Mapping[str, str]
) -> None:
    check_target(path, overwrite=overwrite)
    for key, value in metadata.items():
        if not key.isidentifier() or not key.isascii() or not value.isprintable():
            raise InputError(f"'{path}': key '{key}' or its value cannot be stored; use one line")
    write, read = WRITERS[_suffix(path)]
    kept = metadata if write is _write_nifti else {"dycon_note": NOTE, **metadata}

    def stage(staged: Path) -> None:
        write(staged, array, geometry, kept)

    def verify(staged: Path) -> None:
        try:
            found = read(staged)
        except InputError as error:
            reason = str(error).replace(str(staged), str(path))
            raise DyconError(f"'{path}': could not be read back ({reason}); not written") from error
        problem = _difference(found, array, geometry)
        if problem:
            raise DyconError(f"'{path}': read back with {problem}; not written; check the disk")

    atomic_write(path, stage, verify=verify)


def _difference(found: Stored, array: Array, geometry: Geometry) -> str:
    if found.array.shape != array.shape or found.array.dtype.kind != array.dtype.kind:
        return "another size or type"
    pairs = zip(found.array, array, strict=True)  # by channel: the comparison stays small
    wrong = sum(int(np.count_nonzero(one != other)) for one, other in pairs)
    if wrong:
        return f"{wrong} wrong voxels"
    distance = geometry.corner_distance_voxels(found.header.geometry)
    return f"its corners {distance:.3g} voxels off" if distance > CORNER_VOXELS else ""


def _suffix(path: Path) -> str:
    for suffix in sorted(WRITERS, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(f"'{path}': not a format to write; known: {', '.join(sorted(WRITERS))}")


def _write_nifti(
    staged: Path, array: Array, geometry: Geometry, metadata: Mapping[str, str]
) -> None:
    affine = _ras_affine(geometry)
    data = array[0].transpose(2, 1, 0) if len(array) == 1 else array.transpose(3, 2, 1, 0)
    rounded = Geometry(geometry.size_zyx, geometry.affine.astype(np.float32).astype(np.float64))
    precise = geometry.corner_distance_voxels(rounded) > CORNER_VOXELS / 2
    kind = nib.Nifti2Image if precise or max(data.shape) > np.iinfo(np.int16).max else None
    image = (kind or nib.Nifti1Image)(data, affine, dtype=array.dtype)
    header = image.header
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1, strip_shears=True)
    names = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    stored = nifti.qform_matrix([float(header[name]) for name in names], header["pixdim"][:4])
    if stored is None or _distance(geometry, stored) > ROTATION_VOXELS:
        header["qform_code"] = 0  # a little shear, or a half turn: float32 does not say that well
    header.set_xyzt_units("mm")
    header["descrip"] = NOTE
    if metadata:
        text = json.dumps(dict(metadata), sort_keys=True).encode()
        header.extensions.append(nib.nifti1.Nifti1Extension(COMMENT, text))
    with ImageOpener(staged, "wb") as stream:  # closed also where the disk is full
        image.to_file_map({"image": nib.FileHolder(fileobj=stream)})


def _ras_affine(geometry: Geometry) -> NDArray[np.float64]:
    return np.asarray(RAS_TO_LPS @ geometry.affine[:, [2, 1, 0, 3]])


def _distance(geometry: Geometry, ras: NDArray[np.float64]) -> float:
    other = Geometry(geometry.size_zyx, (RAS_TO_LPS @ ras)[:, [2, 1, 0, 3]])
    return geometry.corner_distance_voxels(other)


Write = Callable[[Path, Array, Geometry, Mapping[str, str]], None]
Read = Callable[[Path], Stored]
WRITERS: dict[str, tuple[Write, Read]] = {
    ".mha": (write_metaimage, metaimage.read),
    ".nii": (_write_nifti, nifti.read),
    ".nii.gz": (_write_nifti, nifti.read),
    ".nrrd": (write_nrrd, nrrd.read),
    SEGMENTATION: (write_nrrd, segmentations.read),
}
