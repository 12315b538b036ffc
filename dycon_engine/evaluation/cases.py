"""One case of an evaluation: its files found by stem, its grids compared, its classes scored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.aligning import GRID_TOLERANCE, on_grid
from dycon_engine.data.cases import spaced
from dycon_engine.data.checks import MAX_CLASSES
from dycon_engine.data.formats.readers import is_readable_image, is_segmentation, read_label
from dycon_engine.data.geometry import Spacing
from dycon_engine.data.layouts import hdf5_files, holds_label
from dycon_engine.data.listing import scan_name
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError
from dycon_engine.evaluation.metrics import Scores, score, summarize


@dataclass(frozen=True)
class CaseScores:
    """All scores of one case.

    Attributes:
        case: Name of the case, the stem of its files.
        voxel_mm3: Volume of a voxel, cubic millimetres.
        scores: One entry per class, ascending.
    """

    case: str
    voxel_mm3: float
    scores: tuple[Scores, ...]

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the classes that are in either label map; NaN where none is."""
        return summarize([s.dice for s in self.scores]).mean


@dataclass(frozen=True)
class Matching:
    """Which cases can be compared.

    Attributes:
        pairs: case name -> (prediction, reference).
        unpredicted: Names of references without a prediction.
        unreferenced: Names of predictions without a reference.
    """

    pairs: Mapping[str, tuple[Path, Path]]
    unpredicted: tuple[str, ...]
    unreferenced: tuple[str, ...]


def files_by_case(path: Path, what: str) -> dict[str, Path]:
    """Return the readable images of a folder, or the one file, by stem.

    A folder without any, but with HDF5 files in folders of its own, holds their cases.

    Raises:
        InputError: Nothing there, nothing readable, or two files of one stem.
    """
    if path.is_file():
        return {scan_name(path): path}
    if not path.is_dir():
        raise InputError(f"{what} '{path}': no such file or folder; check the path")
    here = [p for p in sorted(path.iterdir()) if not p.name.startswith(".")]
    found: dict[str, Path] = {}
    for file in [p for p in here if is_readable_image(p)] or _hdf5_files(path, what):
        stem = scan_name(file, path)
        if stem in found:
            raise InputError(
                f"{what} '{path}': '{found[stem].name}' and '{file.name}' are the same case; "
                "keep one"
            )
        found[stem] = file
    if not found:
        raise InputError(f"{what} '{path}': holds no image file; expected e.g. CASE.nii.gz")
    return found


def _hdf5_files(folder: Path, what: str) -> list[Path]:
    """Return the HDF5 files below `folder`, for label maps those that hold one."""
    files = hdf5_files(folder)
    if what not in ("prediction", "reference"):
        return files
    return [path for path in files if holds_label(path, if_damaged=True)]


def match_cases(prediction: Path, reference: Path) -> Matching:
    """Return the cases of two folders, or of two files, that belong together.

    Two single files are a pair whatever their names are.

    Raises:
        InputError: As `files_by_case`, or no case is in both.
    """
    predictions = files_by_case(prediction, "prediction")
    references = files_by_case(reference, "reference")
    if prediction.is_file() and reference.is_file():
        [expected] = references.values()
        [(name, predicted)] = predictions.items()
        return Matching({name: (predicted, expected)}, (), ())
    pairs = {
        name: (predictions[name], references[name]) for name in predictions.keys() & references
    }
    if not pairs:
        raise InputError(
            f"prediction '{prediction}' and reference '{reference}' share no case: found e.g. "
            f"'{min(predictions)}' and '{min(references)}'; files of a case need the same stem"
        )
    return Matching(
        {name: pairs[name] for name in sorted(pairs)},
        tuple(sorted(references.keys() - predictions.keys())),
        tuple(sorted(predictions.keys() - references.keys())),
    )


def find_companion(files: Mapping[str, Path], case: str) -> Path | None:
    """Return the file of `case` among images or probabilities, by the names in use for them."""
    for name in (case, f"{case}_0000", f"{case}_probabilities", f"{case}.probabilities"):
        if name in files:
            return files[name]
    return None


def read_pair(
    case: str, prediction: Path, reference: Path, *, spacing_mm: Spacing | None = None
) -> tuple[Volume, Volume]:
    """Return both label maps of `case` on one grid.

    Args:
        case: For the message.
        prediction: Its file.
        reference: Its file; a cropped segmentation is brought onto the grid of the prediction.
        spacing_mm: Voxel size (z, y, x) of files that carry none.

    Raises:
        InputError: A file is damaged or the grids lie more than 0.01 voxel apart.
    """
    predicted, expected = (
        spaced(read_label(path), path, spacing_mm) for path in (prediction, reference)
    )
    if is_segmentation(reference):
        expected = on_grid(expected, predicted.geometry, cropped=True)
    cropped = is_segmentation(prediction)
    return on_reference(case, "prediction", predicted, expected, cropped=cropped), expected


def on_reference(
    case: str, what: str, volume: Volume, reference: Volume, *, cropped: bool = False
) -> Volume:
    """Return a volume in the order of the reference's voxels.

    Args:
        case: For the message.
        what: As well.
        volume: (..., D, H, W) on the grid of the reference, its axes in any order and direction.
        reference: What it belongs to.
        cropped: Whether it may be a part of that grid; the rest becomes 0.

    Raises:
        InputError: Sizes differ or corners lie more than 0.01 voxel apart.
    """
    volume = on_grid(volume, reference.geometry, cropped=cropped)
    apart = reference.geometry.corner_distance_voxels(volume.geometry)
    if apart <= GRID_TOLERANCE:
        return volume
    sizes = ["x".join(map(str, v.geometry.size_zyx)) for v in (volume, reference)]
    found = (
        f"{what} is {sizes[0]} but reference is {sizes[1]} voxels (z, y, x)"
        if sizes[0] != sizes[1]
        else f"{what} and reference grids lie {apart:.3g} voxels apart"
    )
    raise InputError(f"case '{case}': {found}; expected one grid, resample or exclude it")


def score_case(case: str, predicted: Volume, expected: Volume) -> CaseScores:
    """Return the scores of every class found in either label map (background 0 left out).

    Raises:
        InputError: One holds more different values than a label map has.
    """
    present: set[int] = set()
    for what, labels in (("prediction", predicted), ("reference", expected)):
        values = _values(labels.array)
        if len(values) > MAX_CLASSES:
            raise InputError(
                f"case '{case}': {what} holds {len(values)} different values, expected few; it "
                "seems to be an image, give the label map"
            )
        present.update(values)
    geometry = expected.geometry
    scores = score(
        predicted.array,
        expected.array,
        classes=sorted(present - {0}),
        spacing_mm=geometry.spacing_mm,
    )
    return CaseScores(case, geometry.voxel_mm3, scores)


def classes_of(cases: Iterable[CaseScores]) -> tuple[int, ...]:
    """Return every class any case holds, ascending; (1,) where all are empty."""
    return tuple(sorted({s.label for case in cases for s in case.scores})) or (1,)


def with_classes(case: CaseScores, classes: Sequence[int]) -> CaseScores:
    """Return the case with an entry for each of `classes`; new ones are absent in both maps."""
    found = {s.label: s for s in case.scores}
    scores = tuple(found.get(label, absent(label)) for label in classes)
    return CaseScores(case.case, case.voxel_mm3, scores)


def absent(label: int) -> Scores:
    """Return the scores of a class that neither label map holds."""
    return Scores(label, *(math.nan,) * 8, 0, 0)


def _values(labels: NDArray[Any]) -> list[int]:
    return [int(value) for value in np.unique(labels)]
