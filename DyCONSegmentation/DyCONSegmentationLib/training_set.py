"""Handing a corrected case to a data set for training: images/NAME and labels/NAME, whole or not.

The layout is the one of the training module, images/NAME-ch2 for a second channel. Of one channel
the files alone are a case, for the training module beside its manifest, too; a case of several
channels also gets its entry there. Nothing is overwritten, and names are the person's choice, never
a patient's from the scene.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.files import rename, staged_path, sync_file, sync_folder, write_error
from dycon_engine.settings import read_toml
from DyCONSegmentationLib import training_manifest
from DyCONSegmentationLib.training_manifest import MANIFEST

SUFFIX = ".nrrd"
IMAGES, LABELS = "images", "labels"
OTHER_LAYOUTS = ("imagesTr", "dataset.json", "manifest.csv")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NUMBERED = re.compile(r"case-(\d+)")


def next_name(folder: Path) -> str:
    """Return the first free name of the kind case-001 in a data set that may not exist yet."""
    numbers = [int(m[1]) for name in _names(folder) if (m := _NUMBERED.fullmatch(name))]
    return f"case-{max(numbers, default=0) + 1:03d}"


def label_values(folder: Path, own: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """Return the value that every segment gets in the label maps of the data set.

    Args:
        folder: The data set, which may not exist yet; where it names its labels, these count.
        own: Value by name of the structures of the model.
        names: Of the segments there are now.

    Raises:
        InputError: A segment is known neither to the model nor to the data set.
    """
    manifest = folder / MANIFEST
    named = read_toml(manifest).get("labels") if manifest.is_file() else None
    known = named if isinstance(named, Mapping) and named else own
    values = {str(name).casefold(): value for name, value in known.items()}
    for name in names:
        if not isinstance(values.get(name.casefold()), int):
            whose = "this data set" if known is named else "the model"
            raise InputError(
                f"segment '{name}': is not among the labels of {whose} "
                f"({', '.join(map(str, known))}); rename or remove it"
            )
    return {name: values[name.casefold()] for name in names}


@dataclass(frozen=True)
class NewCase:
    """A case that is not written yet.

    Attributes:
        channels: Name per channel, in the order of the data set.
        labels: Value by name, for a data set that is new.
        colors: Color (RGB, 0-255) by name of structure, likewise.
        write_images: Per channel, writes the scan to the path it is given; all on one grid.
        write_label: Writes the label map, on that grid, to the path it is given.
    """

    channels: tuple[str, ...]
    labels: Mapping[str, int]
    colors: Mapping[str, tuple[int, int, int]]
    write_images: Sequence[Callable[[Path], None]]
    write_label: Callable[[Path], None]


def add_case(folder: Path, name: str, case: NewCase) -> Path:
    """Add a case to the data set in `folder` and return its label file.

    Args:
        folder: The data set; made if it is not there.
        name: Of the case; letters, digits, - and _.
        case: What is written.

    Raises:
        InputError: The name is taken or unusable, or the folder holds another layout.
        DyconError: A file cannot be written; the data set is as before.
    """
    stems = [name, *(f"{name}-ch{number}" for number in range(2, len(case.write_images) + 1))]
    _check(folder, name, stems)
    images = [folder / IMAGES / f"{stem}{SUFFIX}" for stem in stems]
    label = folder / LABELS / f"{name}{SUFFIX}"
    writers = dict(zip((label, *images), (case.write_label, *case.write_images), strict=True))
    staged = {path: staged_path(path) for path in writers}
    placed: list[Path] = []
    try:
        for path, write in writers.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(staged[path])
            sync_file(staged[path])
        _check(folder, name, stems)  # somebody may have added it meanwhile
        for path, file in staged.items():  # the label first: a label alone is told, not trained on
            rename(file, path)
            placed.append(path)
            sync_folder(path.parent)
        if len(images) > 1:
            training_manifest.enter(folder, name, images, label, case)
    except BaseException as error:
        _remove(placed)
        if isinstance(error, OSError):
            raise write_error(images[0], error) from error
        raise
    finally:
        _remove(staged.values())
    return label


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def _check(folder: Path, name: str, stems: Sequence[str]) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(
            f"case name '{name}': use letters, digits, - and _ only, and no name of a patient"
        )
    other = next((part for part in OTHER_LAYOUTS if (folder / part).exists()), None)
    if other is not None:
        raise InputError(
            f"folder '{folder}': holds '{other}', another layout than images/ and labels/; "
            "choose an empty folder"
        )
    taken = {known.casefold() for known in _names(folder)}
    if any(stem.casefold() in taken for stem in stems):
        raise InputError(f"case '{name}': is in this data set already; choose another name")


def _names(folder: Path) -> set[str]:
    """Return the stems of all files of the data set."""
    try:
        files = [path for part in (IMAGES, LABELS) for path in _listed(folder / part)]
    except OSError as error:
        reason = error.strerror
        raise DyconError(f"folder '{folder}': cannot be read ({reason}); choose another") from error
    return {path.name.split(".")[0] for path in files if not path.name.startswith(".")}


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
