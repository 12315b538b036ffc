"""Finding the cases of a folder, however it is organised."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py

from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Case, Dataset
from dycon_engine.data.listing import CONTAINERS, list_scans, scan_name
from dycon_engine.data.manifest import find_manifest, is_manifest
from dycon_engine.data.nnunet import find_msd, find_nnunet, is_msd, is_nnunet
from dycon_engine.data.splits import read_list
from dycon_engine.data.unread import unread_lines
from dycon_engine.errors import InputError
from dycon_engine.settings import known

HDF5_DEPTH = 3  # ROOT/FOLDER/ID/mri_norm2.h5


def find_cases(root: Path, config: DataConfig) -> Dataset:
    """Return the cases in `root`, a folder or a manifest file.

    Raises:
        InputError: Nothing is there, or no layout fits; the sentence says what was looked for.
    """
    if not root.exists():
        raise InputError(f"data '{root}': there is no such folder or file; check the path")
    name = config.layout if config.layout != "auto" else _detected(root)
    dataset = LAYOUTS[known(name, LAYOUTS, "layout")](root)
    if not dataset.cases:
        why = next(iter((*dataset.problems, *dataset.notes)), "")
        raise InputError(
            f"data '{root}': organised as {name}, but no readable scan is in it; expected "
            f"{EXPECTED[name]}{why and f' ({why})'}"
        )
    cases = [replace(c, name=unicodedata.normalize("NFC", c.name)) for c in dataset.cases]
    first = {case.name: case for case in reversed(cases)}  # `problems` names the others
    return replace(dataset, cases=tuple(c for c in cases if first[c.name] is c))


def find_pairs(root: Path) -> Dataset:
    """Return the cases of images/ and labels/ with the same stem; without label: unlabeled.

    Where there is no images/ folder, the scans lie in `root` itself and none has a label.
    """
    images = list_scans(root / "images" if (root / "images").is_dir() else root)
    has_labels = (root / "images").is_dir() and (root / "labels").is_dir()
    labels = list_scans(root / "labels") if has_labels else None
    found = {} if labels is None else labels.files
    without_scan = {name: name for name in found if name not in images.files}
    problems, unread = unread_lines(images.unread, without_scan)
    problems += images.problems
    if labels is not None:
        without_label = {name: name for name in images.files if name not in found}
        errors, more = unread_lines(labels.unread, without_label)
        problems, unread = [*problems, *labels.problems, *errors], [*unread, *more]
    cases = tuple(Case(name, (path,), found.get(name)) for name, path in images.files.items())
    lost = sorted(without_scan)
    notes = [f"label '{name}': no scan of that name in 'images'; it is not used" for name in lost]
    notes += unread
    if lost and len(lost) == len(found):
        problems.append(
            f"data '{root}': no label has the name of a scan, e.g. label '{lost[0]}' and scan "
            f"'{cases[0].name if cases else '-'}'; give both the same file name"
        )
    return Dataset(root, "pairs", cases, problems=tuple(problems), notes=tuple(notes))


def find_hdf5(root: Path) -> Dataset:
    """Return the cases of the SSL4MIS family: ID.h5 or ID/mri_norm2.h5, image and label inside.

    List files beside them (train.list, val.list, test.list; also .txt) give order and roles; then
    files that no list names are left out.
    """
    files: dict[str, list[Path]] = {}
    for path in hdf5_files(root):
        files.setdefault(scan_name(path, root), []).append(path)
    problems = [
        f"case '{name}': two files, '{paths[0]}' and '{paths[1]}'; keep one"
        for name, paths in files.items()
        if len(paths) > 1
    ]
    roles = _listed_roles(root)
    lost = [name for name in roles if name not in files]
    if lost:
        problems.append(
            f"data '{root}': {len(lost)} of {len(roles)} listed names have no file, first "
            f"'{lost[0]}'; add the files or shorten the list"
        )
    names = [name for name in roles if name in files] if roles else sorted(files)
    chosen = {name: files[name][0] for name in names}
    labels: dict[str, Path | None] = {}
    for name, path in chosen.items():
        try:
            labels[name] = path if holds_label(path) else None
        except InputError as error:  # whether it has one decides its role: none is assumed
            labels[name] = None
            problems.append(f"case '{name}': {error}")
    cases = tuple(
        Case(name, (path,), labels[name], role=roles.get(name)) for name, path in chosen.items()
    )
    return Dataset(root, "hdf5", cases, ordered=bool(roles), problems=tuple(problems))


def hdf5_files(root: Path) -> list[Path]:
    """Return the HDF5 files of `root` and of the folders in it, by path."""
    return sorted(_containers(root))


def _listed_roles(root: Path) -> dict[str, str | None]:
    """Return the role of every listed name, in order; training names have no fixed role."""
    roles: dict[str, str | None] = {}
    for stem, role in (("train", None), ("val", "validation"), ("test", "test")):
        for suffix in (".list", ".txt"):
            path = root / (stem + suffix)
            for name in read_list(path) if path.is_file() else ():
                roles[name.removesuffix(".h5")] = role
    return roles


def holds_label(path: Path, *, if_damaged: bool = False) -> bool:
    """Return whether an HDF5 file holds a label, read from its header only.

    Raises:
        InputError: The file cannot be opened.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            return "label" in file
    except OSError as error:
        if error.errno is not None:  # HDF5 has its own words alone for what is damaged
            raise InputError(
                f"'{path}': cannot be read ({os.strerror(error.errno)}); check it"
            ) from error
        return if_damaged  # who reads it will say what is wrong with it


def _detected(root: Path) -> str:
    for name, fits in FITS.items():
        if fits(root):
            return "pairs" if name == "flat" else name
    looked_for = "; ".join(f"{name}: {EXPECTED[name]}" for name in EXPECTED)
    raise InputError(f"data '{root}': no known layout; looked for {looked_for}")


def _has_images(root: Path) -> bool:
    return (root / "images").is_dir()


def _is_flat(root: Path) -> bool:
    return root.is_dir() and bool(list_scans(root).files)


def _is_hdf5(root: Path) -> bool:
    return root.is_dir() and next(_containers(root), None) is not None


def _containers(root: Path) -> Iterator[Path]:
    """Yield the HDF5 files of `root`, nearest first."""
    for depth in range(1, HDF5_DEPTH + 1):
        for path in root.glob("/".join("*" * depth)):
            if path.suffix.lower() in CONTAINERS and not path.name.startswith("."):
                yield path


LAYOUTS: dict[str, Callable[[Path], Dataset]] = {
    "hdf5": find_hdf5,
    "manifest": find_manifest,
    "msd": find_msd,
    "nnunet": find_nnunet,
    "pairs": find_pairs,
}
FITS: dict[str, Callable[[Path], bool]] = {  # the first that fits is taken
    "manifest": is_manifest,
    "msd": is_msd,
    "nnunet": is_nnunet,
    "pairs": _has_images,
    "hdf5": _is_hdf5,
    "flat": _is_flat,
}
EXPECTED: dict[str, str] = {
    "pairs": "folders images and labels with equal file names",
    "nnunet": "folders imagesTr and labelsTr with names like ID_0000.nii.gz, and dataset.json",
    "msd": "dataset.json with a list 'training' of image and label",
    "hdf5": "files ID.h5 or ID/mri_norm2.h5",
    "manifest": "a .toml or .csv file that names the scans, or manifest.toml or manifest.csv",
}
