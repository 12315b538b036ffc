"""The list of who is who: it stays with the person, never in a data set.

A data set knows `case-003` and `p2`; this file, in the person's own settings folder, knows which
scan and which patient that was, so that a second scan of the patient gets the same number.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.files import atomic_write
from dycon_engine.jobs.lock import RunLock

PATIENT = "p"
TURN_S, LOOK_S = 5.0, 0.02
O_BINARY = getattr(os, "O_BINARY", 0)  # Windows


class WhoIsWho:
    """Titles of cases and names of patients of one data set."""

    def __init__(self, path: Path | None, dataset: str) -> None:
        """Read the list of `dataset` from `path`; None keeps it in memory only.

        A data set without a name yet, "", has no list.

        Raises:
            InputError: The file is there and cannot be read.
        """
        self._path = path
        self._dataset = dataset
        self.titles, self.patients = _of(_read(path) if dataset else {}, dataset)

    def number_of(self, patient: str) -> str:
        """Return the number of a patient who is in the list, else what was given."""
        known = {name: number for number, name in self.patients.items()}
        return known.get(patient, patient)

    def numbered(self, patient: str, taken: Iterable[str]) -> str:
        """Return the number of a patient, a new one where needed; "" stays unknown."""
        if not patient or patient in self.patients or patient in taken:
            return patient
        known = self.number_of(patient)
        if known != patient:
            return known
        used = [n for n in (*self.patients, *taken) if n[:1] == PATIENT and n[1:].isdigit()]
        new = f"{PATIENT}{1 + max((int(n[1:]) for n in used), default=0)}"
        self.patients[new] = patient
        return new

    def keep(self, dataset: str, titles: Mapping[str, str]) -> None:
        """Write the list of `dataset` with these titles too; other data sets' lists are kept.

        Raises:
            DyconError: It cannot be read or written; it is as before.
        """
        self._dataset = dataset
        self.titles |= titles
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DyconError(
                f"'{self._path.parent}': cannot be made ({error.strerror}); it holds the list of "
                "who is who"
            ) from error
        with _alone(self._path):
            lists = _read(self._path)
            titles, patients = _of(lists, dataset)
            own = {"cases": titles | self.titles, "patients": patients | self.patients}
            _write(self._path, lists | {dataset: own})


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the list while it is read and written: another Slicer waits for its turn.

    Raises:
        DyconError: Somebody else holds it for long.
    """
    end = time.monotonic() + TURN_S
    lock = path.with_name(f"{path.name}.lock")
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(RunLock(lock))
                break
            except InputError as error:
                if time.monotonic() > end:
                    raise DyconError(f"the list of who is who is in use: {error}") from error
                time.sleep(LOOK_S)
        yield


def _read(path: Path | None) -> dict[str, Any]:
    """Return every list; what cannot be read is never taken for an empty one and written over."""
    try:
        table = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or "it is damaged") from error
    if not isinstance(table, dict):
        raise _unreadable(path, "it is damaged")
    return table


def _unreadable(path: Path | None, why: str) -> InputError:
    return InputError(
        f"'{path}': cannot be read ({why}); it holds the list of who is who of every data set: "
        "restore it from a backup, or move it away to begin a new list"
    )


def _write(path: Path, lists: Mapping[str, Any]) -> None:
    """Write the lists so that nobody else may read them, from the first byte on."""
    content = (json.dumps(lists, indent=2) + "\n").encode("ascii")

    def write(staged: Path) -> None:
        made = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | O_BINARY, 0o600)
        with os.fdopen(made, "wb") as stream:
            stream.write(content)

    atomic_write(path, write)


def _of(lists: Mapping[str, Any], dataset: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the titles and the patients of a data set."""
    own = lists.get(dataset)
    table = own if isinstance(own, dict) else {}
    return _texts(table.get("cases")), _texts(table.get("patients"))


def _texts(table: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in table.items()} if isinstance(table, dict) else {}
