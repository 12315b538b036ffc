"""A data-set folder: what lies in it, and the names of new files.

    manifest.toml            who is what; the engine reads this
    images/case-001.nrrd     a second channel: case-001-ch2.nrrd
    labels/case-001.nii.gz   a corrected label gets a new file: case-001-v2.nii.gz
    runs/                    one folder per training run

A folder with `images/` and `labels/` alone is a data set too; scans that somebody put beside a
manifest, as DyCONSegmentation does, are found and shown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from dycon_engine.errors import InputError
from dycon_engine.jobs.files import sha256_of
from DyCONTrainingLib import manifest
from DyCONTrainingLib.cases import InDataset, Role, Row, Table, row
from DyCONTrainingLib.manifest import Content

IMAGES, LABELS, RUNS = "images", "labels", "runs"
PACKED, FAST = ".nii.gz", ".nrrd"  # written by the engine; by Slicer, which must not wait
SCANS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha", ".mhd")
_NEUTRAL = re.compile(r"case-?\d+")


@dataclass(frozen=True)
class Folder:
    """A data set on disk.

    Attributes:
        path: Its folder.
        content: What its manifest says, with the scans that the manifest does not name.
        unlisted: Aliases of those scans; they enter the manifest when the data set is saved.
        written: sha256 of the manifest as it was read or written; "" where there was none.
    """

    path: Path
    content: Content = field(default_factory=Content)
    unlisted: tuple[str, ...] = ()
    written: str | None = ""

    @property
    def runs(self) -> Path:
        """Return where the runs on this data set lie."""
        return self.path / RUNS

    @property
    def named_by_files(self) -> tuple[str, ...]:
        """Return the case names that are not neutral: file names somebody chose."""
        names = (each.alias for each in self.content.rows)
        return tuple(name for name in names if not _NEUTRAL.fullmatch(name))

    def require_unchanged(self) -> None:
        """Check that nobody else has written the manifest meanwhile: saving would undo that.

        Raises:
            InputError: It is not what was read or written last.
        """
        if _digest(self.path / manifest.NAME) != self.written:
            raise InputError(
                f"data set '{self.path.name}': its {manifest.NAME} has changed since it was opened "
                "here, so that nothing was written; open it again, then repeat your changes"
            )


def open_folder(path: Path) -> Folder:
    """Return the data set in `path`; an empty or absent folder is a new data set.

    Raises:
        InputError: It cannot be read, or holds something else than a data set.
    """
    try:
        there = [each for each in path.iterdir() if not each.name.startswith(".")]
    except FileNotFoundError:
        return Folder(path)
    except OSError as error:
        raise InputError(
            f"data set '{path.name}': cannot be read ({error.strerror}); choose another folder"
        ) from error
    file = path / manifest.NAME
    written = _digest(file)  # before it is read: what changes in between is noticed
    content = manifest.read(file) if file.is_file() else Content()
    new = _unlisted(path, content)
    if there and not content.rows and not new:
        raise InputError(
            f"folder '{path.name}': is not empty and no data set (no {manifest.NAME}, no {IMAGES} "
            "folder with scans); choose an empty folder, or add this one with 'Add folder'"
        )
    names = tuple(each.alias for each in new)
    return Folder(path, replace(content, rows=(*content.rows, *new)), names, written)


def digest_of(text: str) -> str:
    """Return the sha256 of a manifest as `write_text` writes it."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def new_aliases(folder: Path, rows: Iterable[Row], count: int) -> list[str]:
    """Return `count` free case names; a name with a file is not free, whoever wrote it."""
    taken = [each.alias for each in rows]
    for part in (IMAGES, LABELS):
        if (folder / part).is_dir():
            taken += [each.name for each in (folder / part).iterdir()]
    numbers = [int(found[1]) for name in taken if (found := re.match(r"case-?(\d+)", name))]
    first = 1 + max(numbers, default=0)
    return [f"case-{number:03d}" for number in range(first, first + count)]


def image_file(alias: str, channel: int, suffix: str) -> InDataset:
    """Return where channel 0, 1... of a case is written."""
    more = f"-ch{channel + 1}" if channel else ""
    return InDataset(f"{IMAGES}/{alias}{more}{suffix}")


def label_file(folder: Path, alias: str) -> InDataset:
    """Return where the next label map of a case is written; no file is ever written twice."""
    taken = scan_files(folder / LABELS)
    version, name = 1, alias
    while name in taken:
        version += 1
        name = f"{alias}-v{version}"
    return InDataset(f"{LABELS}/{name}{PACKED}")


def scan_files(folder: Path) -> dict[str, Path]:
    """Return the scans in `folder` by name without suffix, sorted; a DICOM series is a folder."""
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        suffix = next((each for each in SCANS if path.name.lower().endswith(each)), "")
        if path.is_dir() or suffix:
            found.setdefault(path.name[: len(path.name) - len(suffix)], path)
    return found


def _digest(file: Path) -> str | None:
    """Return the sha256 of a file, "" where there is none, None where it cannot be read."""
    try:
        return sha256_of(file)
    except FileNotFoundError:
        return ""
    except OSError:
        return None


def _unlisted(path: Path, content: Content) -> Table:
    """Return the scans in `images/` that the manifest does not name, the channels of each."""
    sources = [source for each in content.rows for source in each.images]
    named = {Path(source.path).name for source in sources if isinstance(source, InDataset)}
    taken = {each.alias for each in content.rows} | set(content.left_out)
    images, labels = scan_files(path / IMAGES), scan_files(path / LABELS)
    count = max([len(content.channels), *(len(each.images) for each in content.rows)])
    more = {name: [f"{name}-ch{n}" for n in range(2, count + 1)] for name in images}
    taken.update(each for names in more.values() for each in names)
    found = []
    for name, image in images.items():
        if image.name in named or name in taken:
            continue
        files = [image, *(images[each] for each in more[name] if each in images)]
        label = labels.get(name)
        source = None if label is None else InDataset(f"{LABELS}/{label.name}")
        new = row(name, [InDataset(f"{IMAGES}/{file.name}") for file in files], source)
        found.append(replace(new, alias=name, role=Role.UNLABELED if label is None else new.role))
    return tuple(found)
