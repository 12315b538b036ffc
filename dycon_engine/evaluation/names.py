"""What label values are called, and what to say where values, names and files do not agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dycon_engine.data.cases import folded
from dycon_engine.data.formats.readers import read_segment_names
from dycon_engine.errors import InputError
from dycon_engine.evaluation.cases import CaseScores

BACKGROUND = "background"


def foreground(names: Sequence[str]) -> tuple[str, ...]:
    """Return `names` without a background that leads them, as `convert` expects one."""
    return tuple(names[1:] if names and folded(names[0]) == BACKGROUND else names)


def label_names(given: Sequence[str], classes: Sequence[int]) -> dict[int, str]:
    """Return what `classes`, ascending, are called.

    Args:
        given: Names of the values 1, 2, ... or of the classes; () = they are numbered.
        classes: The values that the files hold.

    Raises:
        InputError: Neither as many names as classes nor a name for each value.
    """
    if not given:
        return {label: f"label {label}" for label in classes}
    if len(given) >= max(classes):
        return {label: name for label, name in enumerate(given, start=1) if label in classes}
    if len(given) != len(classes):
        raise InputError(
            f"--labels: {len(given)} names for the label values {list(classes)}; give one each"
        )
    return dict(zip(classes, given, strict=True))


def unused_names(given: Sequence[str], names: Mapping[int, str]) -> tuple[str, ...]:
    """Return a line per name that is given to a value which no file holds."""
    if len(given) <= len(names):
        return ()
    return tuple(
        f"--labels: name '{name}' (value {label}) is in no file and left out; check the names, "
        "which are those of the values 1, 2, ... in order"
        for label, name in enumerate(given, start=1)
        if label not in names
    )


def one_sided(name: str, cases: Iterable[CaseScores]) -> tuple[str, ...]:
    """Return a line per value that of all `cases` only the predictions or references hold."""
    scores = [score for case in cases for score in case.scores]
    predicted = {score.label for score in scores if score.prediction_voxels}
    expected = {score.label for score in scores if score.reference_voxels}
    sides = [(label, "predictions", "references") for label in sorted(predicted - expected)]
    sides += [(label, "references", "predictions") for label in sorted(expected - predicted)]
    return tuple(
        f"{name}: label value {label} is only in {here}, never in {there}; check that both use "
        "the same values"
        for label, here, there in sides
    )


def require_same_values(files: Iterable[Path]) -> None:
    """Refuse label maps in which a structure of one name has different values.

    3D Slicer numbers the segments of a `.seg.nrrd` in the order in which they were drawn; scores
    are by value. Files without names are not looked at.

    Raises:
        InputError: That, naming both files.
    """
    known: dict[str, tuple[int, Path]] = {}
    for path in files:
        for value, name in read_segment_names(path).items():
            before, where = known.setdefault(folded(name), (value, path))
            if before != value:
                raise InputError(
                    f"'{path}': '{name}' has the value {value}, in '{where}' it has {before}; "
                    "export both as label maps with one color table, so that values agree"
                )


def renamed(files: Iterable[Path], given: Mapping[int, str]) -> tuple[str, ...]:
    """Return a line per value that a file calls otherwise than --labels; most have no names.

    Args:
        files: Label maps.
        given: Value -> name as --labels says.

    Raises:
        InputError: A file has a name of --labels at another value, so that scores would be mixed.
    """
    value_of = {folded(name): value for value, name in given.items()}
    lines: dict[tuple[int, str], str] = {}
    for path in files:
        for value, name in read_segment_names(path).items():
            expected = value_of.get(folded(name), value)
            if expected != value:
                raise InputError(
                    f"'{path}': '{name}' has the value {value}, --labels names it as value "
                    f"{expected}; give the names in the order of the values in the files"
                )
            if value in given and folded(name) not in value_of:
                lines.setdefault(
                    (value, folded(name)),
                    f"'{path.name}': calls label value {value} '{name}', --labels calls it "
                    f"'{given[value]}'; check that they are the same",
                )
    return tuple(lines.values())
