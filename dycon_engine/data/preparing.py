"""From the public downloads of the benchmarks to images/CASE.nii.gz and labels/CASE.nii.gz.

Voxels stay as they are: no cropping, no resampling, no normalization; training does the rest. Case
names are those of the protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.cases import grid_difference
from dycon_engine.data.formats.dicom import is_series, series_slices
from dycon_engine.data.formats.dicom_slice import Slice
from dycon_engine.data.formats.readers import read_image, read_label, with_spacing
from dycon_engine.data.formats.writers import write_label, write_scalar
from dycon_engine.data.volume import Volume
from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.files import make_folder
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.settings import known

LA_SPACING_MM = (0.625, 0.625, 0.625)  # of the challenge; the HDF5 files say nothing
SOFT_TISSUE_HU = (-100.0, 300.0)
MOST_NAMED = 5
REMARKS = {
    "pancreas": "the label maps' headers do not fit the scans: that a label lies in soft tissue is "
    "checked, one that is flipped within it is not noticed; look at some cases"
}


class Download(NamedTuple):
    """One case as it was downloaded.

    Attributes:
        name: As in the protocols.
        read: Returns its scan (1, D, H, W) and its label map (D, H, W) of 0 and 1; None where the
            scan has no label map.
    """

    name: str
    read: Callable[[], tuple[Volume, NDArray[np.uint8]]] | None


def prepare(kind: str, source: Path, target: Path, reporter: Reporter) -> dict[str, Any]:
    """Write every case of the data set `kind` that is not there yet; return the summary.

    Scans without a label map are left out and named.

    Raises:
        InputError: An unknown kind, or no case of it in `source`.
        DyconError: Cases failed; each was said, the others are written.
    """
    find = DOWNLOADS[known(kind, DOWNLOADS, "data set")]
    if not source.is_dir():
        raise InputError(f"'{source}': there is no such folder; check the path of the download")
    found = sorted(find(source), key=lambda case: case.name)
    cases = [case for case in found if case.read is not None]
    bare = _bare([case.name for case in found if case.read is None])
    if not cases:
        raise InputError(
            f"'{source}': no case of {kind} found{bare and f' ({bare})'}; expected {EXPECTED[kind]}"
        )
    if bare:
        reporter.tell(f"DyCON: {bare}, left out")
    for folder in ("images", "labels"):
        make_folder(target / folder)
    reporter.stage("prepare", len(cases))
    failed = []
    for done, case in enumerate(cases, start=1):
        reporter.check_cancelled()
        try:
            _write(case, target)
        except DyconError as error:
            failed.append(case.name)
            reporter.tell(f"DyCON: case '{case.name}': {error}")
        reporter.advance(done)
    if failed:
        raise DyconError(
            f"{len(failed)} of {len(cases)} cases cannot be prepared ({', '.join(failed[:10])}); "
            "the reasons are above, the other cases are written"
        )
    if kind in REMARKS:
        reporter.tell(f"DyCON: {REMARKS[kind]}")
    return {"cases": len(cases), "without_label": len(found) - len(cases), "data": str(target)}


def _bare(names: Sequence[str]) -> str:
    """Return how many scans have no label map, and the first of them; '' where all have one."""
    if not names:
        return ""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    scans = "1 scan has" if len(names) == 1 else f"{len(names)} scans have"
    return f"{scans} no label map: {', '.join(names[:MOST_NAMED])}{more}"


def _write(case: Download, target: Path) -> None:
    image_path, label_path = (target / f / f"{case.name}.nii.gz" for f in ("images", "labels"))
    if image_path.exists() and label_path.exists():
        return
    assert case.read is not None  # noqa: S101 - the others are left out
    image, label = case.read()
    write_label(label_path, label, image.geometry, overwrite=True)
    write_scalar(image_path, image.array[0], image.geometry, overwrite=True)


def _paths(source: Path, pattern: str) -> Iterator[Path]:
    """Yield what is so named anywhere in `source`, but nothing hidden, e.g. `._*` of macOS."""
    for path in source.rglob(pattern):
        if not any(part.startswith(".") for part in path.relative_to(source).parts):
            yield path


def _left_atrium(source: Path) -> Iterable[Download]:
    """Find the challenge's ID/lgemri.nrrd with laendo.nrrd, or UA-MT's ID/mri_norm2.h5."""
    for path in _paths(source, "lgemri.nrrd"):
        yield Download(path.parent.name, _reader(path, path.with_name("laendo.nrrd")))
    for path in _paths(source, "mri_norm2.h5"):
        yield Download(path.parent.name, _reader(path, path, spaced=True))


def _pancreas(source: Path) -> Iterable[Download]:
    """Find PANCREAS_NNNN with its DICOM series and labelNNNN.nii.gz anywhere in `source`."""
    labels = {p.name[5:9]: p for p in _paths(source, "label[0-9][0-9][0-9][0-9].nii*")}
    for folder in _paths(source, "PANCREAS_[0-9][0-9][0-9][0-9]"):
        number = folder.name[-4:]
        series = [f for f in sorted(_paths(folder, "*")) if f.is_dir() and is_series(f)]
        label = labels.get(number)
        yield Download(folder.name, None if label is None else _pancreas_reader(series, label))


def _brats(source: Path) -> Iterable[Download]:
    """Find CASE_flair.nii with CASE_seg.nii; every tumor label becomes the whole tumor."""
    for path in _paths(source, "*_flair.nii*"):
        name = path.name.partition("_flair.nii")[0]
        yield Download(name, _reader(path, path.with_name(path.name.replace("_flair", "_seg"))))


def _isles(source: Path) -> Iterable[Download]:
    """Find sub-X_..._dwi.nii.gz with sub-X_..._msk.nii.gz, in BIDS folders."""
    masks = {_subject(path): path for path in _paths(source, "sub-*_msk.nii*")}
    for path in _paths(source, "sub-*_dwi.nii*"):
        mask = masks.get(_subject(path))
        yield Download(_subject(path), None if mask is None else _reader(path, mask))


def _subject(path: Path) -> str:
    return path.name.partition("_")[0]


def _reader(
    image: Path, label: Path, *, spaced: bool = False
) -> Callable[[], tuple[Volume, NDArray[np.uint8]]]:
    def read() -> tuple[Volume, NDArray[np.uint8]]:
        scan, reference = read_image(image), read_label(label)
        difference = grid_difference(scan.geometry, reference.geometry)
        if difference:
            raise InputError(f"label map '{label.name}' and scan: the scan {difference}")
        if spaced:
            scan = with_spacing(scan, LA_SPACING_MM)
        return scan, (reference.array > 0).astype(np.uint8)

    return read


def _pancreas_reader(
    series: list[Path], label: Path
) -> Callable[[], tuple[Volume, NDArray[np.uint8]]]:
    """Return a reader for the label maps of Pancreas-CT, whose headers do not fit the scans.

    Their slices are in the order of the DICOM instance numbers, rows and columns as in the files
    (so used by the public preparation of MC-Net). A label map that lies in no soft tissue, by its
    median, is refused; one that is flipped and still lies in it passes.
    """

    def read() -> tuple[Volume, NDArray[np.uint8]]:
        if len(series) != 1:
            raise InputError(f"{len(series)} DICOM series; expected one folder with the scan")
        scan, reference = read_image(series[0]), read_label(label).array > 0
        if reference.shape != scan.array.shape[1:]:
            raise InputError(
                f"label map is {_size(reference.shape)} but the scan {_size(scan.array.shape[1:])} "
                "voxels; download both again"
            )
        numbers = [_instance_number(part) for part in series_slices(series[0])]
        if numbers[0] > numbers[-1]:
            reference = reference[::-1]
        tissue = float(np.median(scan.array[0][reference])) if reference.any() else 0.0
        low, high = SOFT_TISSUE_HU
        if not low <= tissue <= high:
            raise InputError(
                f"median of the labeled voxels is {tissue:.0f} HU, expected soft tissue ({low:g} "
                f"to {high:g}); the label map does not fit this scan"
            )
        return scan, np.ascontiguousarray(reference).astype(np.uint8)

    return read


def _instance_number(part: Slice) -> int:
    if part.instance is None:
        raise InputError(f"'{part.path.name}': has no instance number; the order cannot be known")
    return part.instance


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


DOWNLOADS: Mapping[str, Callable[[Path], Iterable[Download]]] = {
    "brats19": _brats,
    "isles22": _isles,
    "la": _left_atrium,
    "pancreas": _pancreas,
}
EXPECTED = {
    "brats19": "CASE/CASE_flair.nii.gz with CASE/CASE_seg.nii.gz (MICCAI_BraTS_2019_Data_Training)",
    "isles22": "sub-X/ses-0001/dwi/*_dwi.nii.gz with derivatives/sub-X/ses-0001/*_msk.nii.gz",
    "la": "ID/lgemri.nrrd with ID/laendo.nrrd, or ID/mri_norm2.h5",
    "pancreas": "PANCREAS_NNNN/.../*.dcm and labelNNNN.nii.gz",
}
