"""What lies among the scans of a folder and is not read as one: said, not passed over."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from dycon_engine.data.formats.dicom_slice import is_dicom
from dycon_engine.data.formats.readers import SUFFIXES, is_readable_image

TOLD = 10  # by name; of the others the number
DEPTH = 3
LOOK_AT = 200  # entries of a folder
SLICES = (".dcm", ".ima")
HALVES = (".hdr", ".img", ".img.gz")
PARTS = (".raw", ".zraw", ".raw.gz")  # voxels of .mhd and .nhdr
TEXTS = (
    *(".bval", ".bvec", ".cfg", ".csv", ".docx", ".htm", ".html", ".ini", ".json", ".list", ".log"),
    *(".md", ".pdf", ".rst", ".rtf", ".toml", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml"),
    *(".jpeg", ".jpg", ".png", ".m", ".py", ".sh", ".yml"),
)
NAMES = ("authors", "changes", "copying", "dicomdir", "license", "readme", "thumbs.db", "version")
FOLDERS = ("images", "labels", "imagestr", "imagests", "labelstr", "labelsts")  # of layouts


class Unread(NamedTuple):
    """An entry that is not read, and why, as a person is told."""

    path: Path
    reason: str


def unread_among(paths: Iterable[Path]) -> tuple[Unread, ...]:
    """Return those of `paths` that may be meant as a scan or label map; texts and such are not.

    Args:
        paths: Visible entries of one folder that are not taken.
    """
    entries = list(paths)
    names = {path.name.lower() for path in entries}
    found = ((path, _reason(path, names)) for path in entries)
    return tuple(Unread(path, reason) for path, reason in found if reason)


def unread_lines(
    found: Sequence[Unread], needed: Mapping[str, str] = MappingProxyType({})
) -> tuple[list[str], list[str]]:
    """Return problems and notes, a line per entry, the first ten of each by name.

    Args:
        found: Entries of one folder.
        needed: File name without ending -> case, of cases that have no file in this folder: an
            entry called so is a problem.
    """
    problems, notes = [], []
    for entry in found:
        name = next((needed[stem] for stem in _stems(entry.path) if stem in needed), None)
        text = f"'{entry.path.parent.name}/{entry.path.name}' is not read: {entry.reason}"
        if name is None:
            notes.append(text)
        else:
            problems.append(f"case '{name}': {text}")
    folder = found[0].path.parent.name if found else ""
    return _shortened(problems, folder), _shortened(notes, folder)


def _shortened(lines: list[str], folder: str) -> list[str]:
    more = len(lines) - TOLD
    if more <= 0:
        return lines
    return [*lines[:TOLD], f"'{folder}': {more} more entries are not read either"]


def _stems(path: Path) -> Iterator[str]:
    """Yield what the case of an entry may be called: its name up to each of its dots, or whole."""
    name = unicodedata.normalize("NFC", path.name)
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        yield ".".join(parts[:count])


def _reason(path: Path, names: Collection[str]) -> str:
    """Return why `path` is not read and what to do; "" for what nobody takes for a scan."""
    name = path.name.lower()
    if path.is_dir():
        return "" if name in FOLDERS else _reason_of_folder(path)
    if name.endswith((*TEXTS, *PARTS)) or name in NAMES:
        return ""
    if path.is_symlink() and not path.exists():
        return "a link to a file that is not there; fetch the file (DataLad, git-annex)"
    if name.endswith(HALVES):
        half = name.removesuffix(".gz").removesuffix(".img") + ".hdr"
        told = name.endswith(HALVES[1:]) and half in names
        return "" if told else "one half of a pair of files; save it as one .nii.gz file"
    if name.endswith(SLICES) or is_dicom(path):
        return "a single DICOM file; put the files of each series into a folder of its own"
    return "of no known format; convert it to .nii.gz, or move it away"


def _reason_of_folder(path: Path) -> str:
    inside = _below(path)
    if not inside:
        return "an empty folder"
    if any(_seems_scan(entry) for entry in inside):
        return "a folder whose scans are not looked into; move the files of one scan up into it"
    return ""


def _seems_scan(path: Path) -> bool:
    return path.name.lower().endswith((*SUFFIXES, *SLICES)) or is_readable_image(path)


def _below(folder: Path) -> list[Path]:
    """Return the first visible entries in `folder` and in the folders below it."""
    patterns = ("/".join("*" * depth) for depth in range(1, DEPTH + 1))
    found = (islice(folder.glob(pattern), LOOK_AT) for pattern in patterns)
    paths = ((path, path.relative_to(folder).parts) for path in chain.from_iterable(found))
    return [path for path, parts in paths if not any(part.startswith(".") for part in parts)]
