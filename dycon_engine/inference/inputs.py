"""Which scans to segment and where each result goes: one file, a folder or a list."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from dycon_engine.data.cases import Case, require_voxel_size
from dycon_engine.data.formats.readers import image_stem, is_readable_image
from dycon_engine.data.formats.writers import SEGMENTATION
from dycon_engine.data.geometry import Spacing
from dycon_engine.data.layouts import hdf5_files
from dycon_engine.data.listing import list_folder, scan_name
from dycon_engine.data.unread import unread_among, unread_lines
from dycon_engine.errors import InputError
from dycon_engine.jobs.files import require_place

LIST_SUFFIX = ".txt"
DEFAULT_SUFFIX = ".nii.gz"
KEPT_SUFFIXES = (".nrrd", ".mha", ".mhd", ".nii.gz", ".nii")
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")
_CHANNEL = re.compile(r"(?P<name>.+)_(?P<channel>\d{4})")


class Targets(NamedTuple):
    """Files, or folders, that results go to; None where not asked for."""

    labels: Path
    uncertainty: Path | None = None
    probabilities: Path | None = None
    regions: Path | None = None
    report: Path | None = None
    report_html: Path | None = None

    def all(self) -> tuple[Path, ...]:
        """Return those that are asked for."""
        return tuple(path for path in self if path is not None)


def find_inputs(inputs: Sequence[Path], channels: int) -> tuple[Case, ...]:
    """Return the cases that `inputs` name, sorted as given or by name in a folder.

    Args:
        inputs: One file, DICOM folder, folder of scans or .txt list; or one file per channel.
        channels: C of the package.

    Raises:
        InputError: Something is missing, nothing is found, or two cases have the same name.
    """
    for path in inputs:
        if not path.exists():
            raise InputError(f"input '{path}': not there; check the path")
    if len(inputs) > 1 and len(inputs) != channels:
        raise InputError(
            f"{len(inputs)} inputs given, the model has {channels} channels; "
            "give one file per channel, or a folder"
        )
    if len(inputs) > 1:
        return (Case(_case_name(inputs[0]), tuple(inputs)),)
    path = inputs[0]
    if _is_folder_of_scans(path):
        files = [item for item in list_folder(path) if is_readable_image(item)]
        cases = _grouped(files or hdf5_files(path), channels, path)
    elif path.suffix.lower() == LIST_SUFFIX:
        cases = _grouped(_listed(path), channels)
    else:
        cases = (Case(_case_name(path), (path,)),)
    if not cases:
        why = next(iter(unread_inputs(inputs)), "")
        raise InputError(
            f"input '{path}': no scans found; expected .nii.gz, .nrrd, .mha, HDF5 or DICOM"
            f"{why and f' ({why})'}"
        )
    _check_names(cases)
    return cases


def unread_inputs(inputs: Sequence[Path]) -> list[str]:
    """Return a line per entry of a folder of scans that is not segmented, ten at most by name."""
    path = inputs[0]
    if len(inputs) > 1 or not _is_folder_of_scans(path):
        return []
    entries = list_folder(path)
    rest = [item for item in entries if not is_readable_image(item)]
    holds_hdf5 = len(rest) == len(entries) and hdf5_files(path)
    return [] if holds_hdf5 else unread_lines(unread_among(rest))[1]


def require_spacing(cases: Sequence[Case], spacing_mm: Spacing | None) -> None:
    """Refuse scans that carry no voxel size where none is given either.

    Raises:
        InputError: That, or a size that is not above 0.
    """
    require_voxel_size((path for case in cases for path in case.images), spacing_mm)


def check_folders(asked: Targets) -> None:
    """Refuse targets of several scans that are named like a file: they would become folders.

    Raises:
        InputError: One has the ending of a file.
    """
    for path in asked.all():
        if path.name.lower().endswith((*WRITABLE, ".json", ".html")) and not path.is_dir():
            raise InputError(
                f"output '{path}': is named like one file, but several scans are segmented; name "
                "a folder"
            )


def targets(case: Case, asked: Targets, *, many: bool) -> Targets:
    """Return the files that the results of `case` go to.

    Args:
        case: The scan.
        asked: `labels` is a file, or a folder where `many` or where it has no known ending; the
            others are files, or folders where `many`. Beside one label map a folder that is there
            takes files called as that.
        many: Whether a folder or list is segmented.

    Raises:
        InputError: `labels` of one scan has an ending of no format.
    """
    output = asked.labels
    if not many and output.name.lower().endswith(WRITABLE) and not output.is_dir():
        return _placed(asked, output, name=image_stem(output), is_folder=Path.is_dir)
    if not many and output.suffix and not output.is_dir():
        raise InputError(
            f"output '{output}': unknown format; use one of {', '.join(WRITABLE)}, or a folder "
            "that is there or whose name has no ending"
        )
    return _placed(
        asked,
        output / f"{case.name}{_suffix(case.images[0])}",
        name=case.name,
        is_folder=lambda path: many or path.is_dir() or not path.suffix,
    )


def check_targets(case: Case, where: Targets, *, overwrite: bool) -> None:
    """Refuse targets that would replace something.

    Raises:
        InputError: A target is an input, a folder, is there already, twice the same, or of unknown
            format.
    """
    paths = where.all()
    inputs = {path.resolve() for path in case.images}
    for path in paths:
        if path.resolve() in inputs:
            raise InputError(f"output '{path}': is the input itself; choose another name")
        if path.is_dir():
            raise InputError(f"output '{path}': is a folder, expected a file; choose another name")
        if path.exists() and not overwrite:
            raise InputError(f"output '{path}': already there; choose another or --overwrite")
        is_scan = path not in (where.report, where.report_html)
        if is_scan and not path.name.lower().endswith(WRITABLE):
            raise InputError(f"output '{path}': unknown format; use one of {', '.join(WRITABLE)}")
        holds_numbers = path in (where.uncertainty, where.probabilities)
        if holds_numbers and path.name.lower().endswith(SEGMENTATION):
            raise InputError(f"output '{path}': {SEGMENTATION} holds label maps only; use .nrrd")
        require_place(path)
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"case '{case.name}': two outputs have the same name; choose others")


def _placed(
    asked: Targets, labels: Path, *, name: str, is_folder: Callable[[Path], bool]
) -> Targets:
    """Return `asked` with files called after `name` in place of folders, labels in `labels`."""
    suffix = _suffix(labels)
    endings = {
        "uncertainty": f"_uncertainty{suffix}",
        "probabilities": f"_probabilities{suffix}",
        "regions": f"_regions{suffix}",
        "report": "_report.json",
        "report_html": "_report.html",
    }
    folders = {key: path for key in endings if (path := getattr(asked, key)) and is_folder(path)}
    files = {key: folder / f"{name}{endings[key]}" for key, folder in folders.items()}
    return asked._replace(labels=labels, **files)


def _is_folder_of_scans(path: Path) -> bool:
    return path.is_dir() and not is_readable_image(path)


def _case_name(path: Path) -> str:
    stem = _stem(path)
    match = _CHANNEL.fullmatch(stem)
    return match["name"] if match and match["channel"] == "0000" else stem


def _stem(path: Path, root: Path | None = None) -> str:
    """Return the name without ending; of a folder given as `.` or `..`, that of the folder."""
    stem = scan_name(path.resolve() if path.name in ("", "..") else path, root)
    if not stem:
        raise InputError(f"input '{path}': has no name to call the result by; rename it")
    return stem


def _grouped(files: Sequence[Path], channels: int, root: Path | None = None) -> tuple[Case, ...]:
    """Return a case per scan; files NAME_0000, NAME_0001... are the channels of one.

    Raises:
        InputError: The files of a case are not one of each channel.
    """
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        stem = _stem(path, root)
        match = _CHANNEL.fullmatch(stem)
        together = match is not None and (channels > 1 or match["channel"] == "0000")
        name = match["name"] if match and together else stem
        groups.setdefault((path.parent, name), []).append(path)
    if channels == 1:
        return tuple(Case(name, (path,)) for (_, name), paths in groups.items() for path in paths)
    for (_, name), paths in groups.items():
        if len(paths) > 1:
            _require_channels(name, paths, [f"{name}_{number:04d}" for number in range(channels)])
    return tuple(Case(name, tuple(sorted(paths))) for (_, name), paths in groups.items())


def _require_channels(name: str, paths: Sequence[Path], expected: Sequence[str]) -> None:
    stems = sorted(_stem(path) for path in paths)
    if stems == expected:
        return
    found = ", ".join(f"'{name}'" for name in sorted(path.name for path in paths))
    missing = [stem for stem in expected if stem not in stems]
    what = f"'{missing[0]}' is missing" if missing else f"expected {len(expected)} files"
    raise InputError(
        f"case '{name}': {what}, found {found}; a model of {len(expected)} channels takes "
        f"'{expected[0]}' to '{expected[-1]}'; correct the names, or segment the files one by one"
    )


def _listed(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # Windows editors write a BOM
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"list '{path}': cannot be read ({error}); check it") from None
    words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    files = [path.parent / word for word in words]
    missing = [word for word, file in zip(words, files, strict=True) if not file.exists()]
    if missing:
        raise InputError(
            f"list '{path}': {len(missing)} of {len(words)} scans are not there, first "
            f"'{missing[0]}'; paths are relative to the list"
        )
    return files


def _check_names(cases: Sequence[Case]) -> None:
    seen: dict[str, Case] = {}
    for case in cases:
        other = seen.setdefault(case.name.casefold(), case)
        if other is not case:
            raise InputError(
                f"'{other.images[0]}' and '{case.images[0]}' would both become '{case.name}'; "
                "rename one or segment them one by one"
            )


def _suffix(path: Path) -> str:
    name = path.name.lower()
    kept = next((suffix for suffix in KEPT_SUFFIXES if name.endswith(suffix)), DEFAULT_SUFFIX)
    return {".mhd": ".mha"}.get(kept, kept)
