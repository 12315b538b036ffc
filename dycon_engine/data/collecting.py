"""Copying scans and label maps into a data set under neutral names, all of them or none.

Every file is read strictly, written by our own writers, so that nothing of the old header but its
grid is kept, and read back.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.formats.readers import read_image, read_label
from dycon_engine.data.formats.writers import write_label, write_scalar
from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.events import CaseDone
from dycon_engine.jobs.files import make_folder
from dycon_engine.jobs.reporter import Reporter

HIGHEST_VALUE = int(np.iinfo(np.uint32).max)  # that the writers store


@dataclass(frozen=True)
class Copy:
    """One case to copy.

    Attributes:
        name: In the data set; neutral.
        images: Files or DICOM folders, one per channel.
        to: Where each goes, relative to the data set.
        label: Label map, None where there is none.
        label_to: Where it goes.
        values: Label value in the file -> in the data set; {} = as they are. Values that are not
            named become 0.
    """

    name: str
    images: tuple[Path, ...]
    to: tuple[str, ...]
    label: Path | None = None
    label_to: str = ""
    values: Mapping[int, int] = field(default_factory=dict)


def read_plan(path: Path) -> tuple[Copy, ...]:
    """Return the cases of a JSON plan, `{"cases": [...]}` with the fields of `Copy`.

    Raises:
        InputError: It is no plan, a target lies outside the data set, or a label value cannot be
            stored.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["cases"]
        plan = tuple(_copy_of(row) for row in rows)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise InputError(f"plan '{path}': cannot be read ({error!r}); write it again") from error
    for copy in plan:
        _check_values(path, copy)
        complete = len(copy.to) == len(copy.images) and bool(copy.label) == bool(copy.label_to)
        if not complete or not (copy.to or copy.label):
            raise InputError(f"plan '{path}', case '{copy.name}': expected one target per file")
        for target in (*copy.to, copy.label_to):
            if PurePosixPath(target).is_absolute() or ".." in PurePosixPath(target).parts:
                raise InputError(f"plan '{path}': target '{target}' lies outside the data set")
    return plan


def collect(plan: Sequence[Copy], root: Path, reporter: Reporter) -> dict[str, Any]:
    """Copy the cases into `root` and return the summary; where one fails nothing is left behind.

    Raises:
        DyconError: Cases failed; each was named in an event.
        CancelledError: As asked for.
    """
    reporter.stage("collect", len(plan))
    written: list[Path] = []
    failed = []
    with contextlib.ExitStack() as unless_complete:
        unless_complete.callback(_remove, written)
        for done, copy in enumerate(plan, start=1):
            reporter.check_cancelled()
            if not _collected(copy, root, written, reporter):
                failed.append(copy.name)
            reporter.advance(done)
        if failed:
            raise DyconError(
                f"{len(failed)} of {len(plan)} cases cannot be copied ({', '.join(failed)}); "
                "nothing was copied"
            )
        unless_complete.pop_all()
    return {"cases": len(plan), "files": len(written)}


def _collected(copy: Copy, root: Path, written: list[Path], reporter: Reporter) -> bool:
    try:
        for source, target in zip(copy.images, copy.to, strict=True):
            image = read_image(source)
            path = _made(root, target)
            write_scalar(path, image.array, image.geometry, overwrite=False)
            written.append(path)
        if copy.label is not None:
            label = read_label(copy.label)
            path = _made(root, copy.label_to)
            write_label(path, _mapped(label.array, copy.values), label.geometry, overwrite=False)
            written.append(path)
    except DyconError as error:
        reporter.case_failed(copy.name, error)
        return False
    reporter.emit(CaseDone(case=copy.name))
    return True


def _copy_of(row: Mapping[str, Any]) -> Copy:
    return Copy(
        name=str(row["name"]),
        images=tuple(Path(path) for path in row["images"]),
        to=tuple(map(str, row["to"])),
        label=Path(row["label"]) if row.get("label") else None,
        label_to=str(row.get("label_to") or ""),
        values={int(old): int(new) for old, new in (row.get("values") or {}).items()},
    )


def _check_values(path: Path, copy: Copy) -> None:
    for value in copy.values.values():
        if not 0 <= value <= HIGHEST_VALUE:
            raise InputError(
                f"plan '{path}', case '{copy.name}': label value {value} in the data set, expected "
                f"0 to {HIGHEST_VALUE}; choose another"
            )


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _made(root: Path, name: str) -> Path:
    path = root / name
    make_folder(path.parent)
    return path


def _mapped(array: NDArray[Any], values: Mapping[int, int]) -> NDArray[Any]:
    if not values:
        return array
    result = np.zeros(array.shape, dtype=np.min_scalar_type(max(values.values())))
    for old, new in values.items():
        result[array == old] = new
    return result
