"""Which files of a folder are scans, and under which case name."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import NamedTuple

from dycon_engine.data.formats.dicom import is_series
from dycon_engine.data.formats.readers import image_stem, is_readable_image
from dycon_engine.data.unread import Unread, unread_among
from dycon_engine.errors import InputError

CONTAINERS = (".h5", ".hdf5")  # image and label in one file


class Listing(NamedTuple):
    """The scans of a folder by case name, sorted, what was wrong, one line each, and the rest."""

    files: dict[str, Path]
    problems: tuple[str, ...]
    unread: tuple[Unread, ...]


def list_scans(folder: Path) -> Listing:
    """Return the scans directly in `folder`: readable files, and subfolders that hold one scan.

    A subfolder is a DICOM series, or holds exactly one readable file; it names the case.

    Raises:
        InputError: The folder cannot be read.
    """
    found: dict[str, Path] = {}
    problems, rest = [], []
    for path in list_folder(folder):
        scan = _scan_of(path)
        if isinstance(scan, str):
            problems.append(scan)
        elif scan is None:
            rest.append(path)
        if not isinstance(scan, Path):
            continue
        name = unicodedata.normalize("NFC", path.name) if path.is_dir() else image_stem(path)
        if name in found:
            problems.append(
                f"case '{name}': two files, '{found[name].name}' and '{path.name}', "
                f"in '{folder.name}'; keep one"
            )
            continue
        found[name] = scan
    problems += _case_collisions(found)
    return Listing(found, tuple(problems), unread_among(rest))


def scan_name(path: Path, root: Path | None = None) -> str:
    """Return the case name of a file; an HDF5 file alone in a folder is called as the folder.

    Args:
        path: The file.
        root: The data set, whose own name is not taken.
    """
    if path.suffix.lower() not in CONTAINERS or path.parent == root:
        return image_stem(path)
    folder = path.parent.resolve() if path.parent.name in ("", "..") else path.parent
    beside = [entry for entry in list_folder(folder) if entry.suffix == path.suffix]
    is_alone = len(beside) == 1 and folder.name
    return unicodedata.normalize("NFC", folder.name) if is_alone else image_stem(path)


def list_folder(folder: Path) -> list[Path]:
    """Return what lies in `folder`, sorted by name, hidden entries left out.

    Raises:
        InputError: The folder cannot be read.
    """
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"folder '{folder}': cannot be read ({error.strerror}); check the path"
        ) from error
    return sorted(paths, key=lambda path: path.name)


def is_there(path: Path) -> bool:
    """Return whether something lies at `path`; a name that no file can have is not there."""
    try:
        return path.exists()
    except OSError:
        return False


def _scan_of(path: Path) -> Path | str | None:
    """Return the scan at `path`; a sentence where a folder is ambiguous; None where none is."""
    if not path.is_dir():
        return path if is_readable_image(path) else None
    inside = [entry for entry in list_folder(path) if entry.is_file()]
    readable = [entry for entry in inside if _is_single(entry)]
    if readable and is_series(path):
        return (
            f"case '{path.name}': its folder holds a DICOM series and '{readable[0].name}', "
            "expected one scan; move one away, or list the files in a manifest"
        )
    if len(readable) == 1:
        return readable[0]
    if len(readable) > 1:
        return (
            f"case '{path.name}': its folder holds {len(readable)} scans, expected one; "
            "list the files in a manifest"
        )
    return path if inside else None


def _is_single(path: Path) -> bool:
    """Return whether `path` is a whole scan by itself, not a slice of a DICOM series."""
    return is_readable_image(path) and path.suffix.lower() not in ("", ".dcm", ".ima")


def _case_collisions(found: dict[str, Path]) -> list[str]:
    """Return a line per pair of names that only differ in upper and lower case."""
    seen: dict[str, str] = {}
    problems = []
    for name in found:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            problems.append(
                f"cases '{other}' and '{name}': names differ only in upper and lower case, which "
                "some systems cannot tell apart; rename one"
            )
    return problems
