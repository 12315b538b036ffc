"""What a data set is: cases, their files and roles, labels; and reading one case whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dycon_engine.config import DataConfig
from dycon_engine.data.aligning import GRID_TOLERANCE, on_grid
from dycon_engine.data.formats.readers import (
    is_segmentation,
    read_header,
    read_image,
    read_label,
    read_segment_names,
    spaced_grid,
)
from dycon_engine.data.formats.segments import shown_name
from dycon_engine.data.geometry import Geometry, Spacing
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError

ROLES = ("labeled", "unlabeled", "validation", "test")
HDF5_SUFFIXES = (".h5", ".hdf5")


class Label(NamedTuple):
    """A class: its value in label files, its name, an RGB color (0-255) and a coded term."""

    value: int
    name: str
    color: tuple[int, int, int] | None = None
    terminology: str = ""


@dataclass(frozen=True)
class Case:
    """One scan of one patient.

    Attributes:
        name: Unique within the data set.
        images: One file (or DICOM folder) per channel, or one of several channels.
        label: The label map, None where there is none or it must not be seen.
        patient: Whose scan it is, where known.
        role: labeled, unlabeled, validation or test where the data set itself says so.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None = None
    patient: str | None = None
    role: str | None = None


@dataclass(frozen=True)
class Dataset:
    """The cases of a folder or manifest.

    Attributes:
        root: The folder or file it was found in.
        layout: pairs, nnunet, msd, hdf5 or manifest.
        cases: Sorted by name, or in the order of a list file.
        channels: Name per channel; () = not said.
        labels: `labels[0]` is the background, the index is the class; () = not said.
        ordered: Whether the order of `cases` is meant.
        problems: What was wrong with the listing, one line each; for the audit.
        notes: What the person should know about it, one line each.
    """

    root: Path
    layout: str
    cases: tuple[Case, ...]
    channels: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()
    ordered: bool = False
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def case(self, name: str) -> Case:
        """Return the case called `name`.

        Raises:
            InputError: There is none.
        """
        for case in self.cases:
            if case.name == name:
                return case
        raise InputError(f"case '{name}': not in '{self.root}'; check the list or the split file")


def read_case_image(case: Case, config: DataConfig) -> Volume:
    """Return the image of `case`, channels (C, D, H, W) stacked in order.

    Raises:
        InputError: A file cannot be read, or the channels lie on different grids.
    """
    if len(case.images) > 1:
        _require_one_grid(case, config)  # before the voxels: one header costs nothing
    volumes = [spaced(read_image(path), path, config.spacing_mm) for path in case.images]
    if len(volumes) == 1:
        return volumes[0]
    return Volume(np.concatenate([volume.array for volume in volumes]), volumes[0].geometry)


def _require_one_grid(case: Case, config: DataConfig) -> None:
    first = read_grid(case.images[0], config)
    for path in case.images[1:]:
        difference = grid_difference(read_grid(path, config), first)
        if difference:
            raise InputError(
                f"case '{case.name}': channel '{path.name}' {difference} of "
                f"'{case.images[0].name}'; resample it or exclude the case"
            )


def read_case_label(case: Case, labels: Sequence[Label], config: DataConfig) -> Volume:
    """Return the label map of `case` as class indices, (D, H, W) uint8, on the image's own grid.

    Raises:
        InputError: There is none, it cannot be read, it holds a value not among `labels`, or it
            lies elsewhere than the image.
    """
    stored, grid = _stored_label(case, config)
    difference = grid_difference(stored.geometry, grid)
    if difference:
        raise InputError(
            f"case '{case.name}': label {difference} of the image; resample the label or exclude "
            "the case"
        )
    names = segment_names(case)
    lookup = class_indices(labels, names)
    indices = np.zeros(stored.array.shape, dtype=np.uint8)
    unknown = []
    for value in np.unique(stored.array):
        if int(value) not in lookup:
            unknown.append(int(value))
        elif lookup[int(value)]:
            indices[stored.array == value] = lookup[int(value)]
    if unknown:
        raise InputError(
            f"case '{case.name}': label holds {[names.get(value, value) for value in unknown]}, "
            f"expected only {[labels[lookup[v]].name if names else v for v in sorted(lookup)]}; "
            "correct the label map or the list of labels"
        )
    return Volume(indices, grid)


def segment_names(case: Case) -> dict[int, str]:
    """Return label value -> name as the label file of `case` has it, {} where it has no names.

    Raises:
        InputError: The file cannot be read.
    """
    return {} if case.label is None else read_segment_names(case.label)


def class_indices(labels: Sequence[Label], names: Mapping[int, str]) -> dict[int, int]:
    """Return label value -> class index for a file that calls its values `names`.

    The values of `labels` count, unless a name says otherwise: 3D Slicer numbers segments in the
    order in which they were drawn, so that a structure has another value in every file. Then
    segments that are called as no class are missing from the answer.
    """
    by_value = {label.value: index for index, label in enumerate(labels)}
    by_name = {folded(label.name): index for index, label in enumerate(labels) if index}
    named = {
        value: by_name[folded(name)] for value, name in names.items() if folded(name) in by_name
    }
    ambiguous = len(by_name) < len(labels) - 1
    if ambiguous or all(by_value.get(value) == index for value, index in named.items()):
        return by_value
    return {0: 0} | named


def folded(name: str) -> str:
    """Return what two names share that differ only in upper and lower case and blanks."""
    return shown_name(name).casefold()


def read_stored_label(case: Case, config: DataConfig) -> Volume:
    """Return the label map of `case` with the values of its file, (D, H, W) integer.

    It lies on the grid of the image, also where the file has the same voxels in another order of
    axes, or is a segmentation that was cropped; on its own where it lies elsewhere.

    Raises:
        InputError: There is none or it cannot be read.
    """
    return _stored_label(case, config)[0]


def _stored_label(case: Case, config: DataConfig) -> tuple[Volume, Geometry]:
    """Return `read_stored_label` and the grid of the image, its own where there is no image."""
    if case.label is None:
        raise InputError(f"case '{case.name}': has no label map; draw one or make it unlabeled")
    label = spaced(read_label(case.label), case.label, config.spacing_mm)
    if not case.images:
        return label, label.geometry
    grid = read_grid(case.images[0], config)
    return on_grid(label, grid, cropped=is_segmentation(case.label)), grid


def grid_difference(own: Geometry, other: Geometry) -> str:
    """Return how the grid `own` differs from `other`, '' where it does not."""
    if own.size_zyx != other.size_zyx:
        return f"is {size_text(own.size_zyx)} voxels but {size_text(other.size_zyx)} are those"
    distance = own.corner_distance_voxels(other)
    if not distance <= GRID_TOLERANCE:
        apart = f"{distance:.2f}" if math.isfinite(distance) else "infinitely many"
        return f"lies {apart} voxels away from the grid"
    return ""


def size_text(size_zyx: Sequence[int]) -> str:
    """Return a size as people write it, x first: 512x512x120."""
    return "x".join(str(n) for n in reversed(size_zyx))


def lacks_spacing(path: Path) -> bool:
    """Return whether files of this kind carry no voxel size."""
    return path.suffix.lower() in HDF5_SUFFIXES


def require_voxel_size(paths: Iterable[Path], spacing_mm: Spacing | None) -> None:
    """Refuse files that carry no voxel size where none is given either.

    Raises:
        InputError: That, or a size that is not above 0.
    """
    if spacing_mm is not None:
        if not all(math.isfinite(mm) and mm > 0 for mm in spacing_mm):
            given = " ".join(f"{mm:g}" for mm in spacing_mm)
            raise InputError(f"--spacing {given}: expected three numbers above 0, mm along z y x")
        return
    for path in paths:
        if lacks_spacing(path):
            raise InputError(
                f"scan '{path}': HDF5 files carry no voxel size; give it with "
                "--spacing Z Y X, in mm"
            )


def read_grid(path: Path, config: DataConfig) -> Geometry:
    """Return the grid of a file from its header, with the spacing of `config` where it has none.

    Raises:
        InputError: The file cannot be read.
    """
    return _spaced_grid(read_header(path).geometry, path, config.spacing_mm)


def spaced(volume: Volume, path: Path, spacing_mm: Spacing | None) -> Volume:
    """Return the content of `path` with `spacing_mm` (z, y, x) where the file carries none."""
    return Volume(volume.array, _spaced_grid(volume.geometry, path, spacing_mm))


def _spaced_grid(grid: Geometry, path: Path, spacing_mm: Spacing | None) -> Geometry:
    if spacing_mm is not None and lacks_spacing(path):
        return spaced_grid(grid, spacing_mm)
    return grid
