"""The list of who is who: it stays with the person, never in a data set.

A data set knows `case-003` and `p2`; this file, in the person's own settings folder, knows which
scan and which patient that was, so that a second scan of the patient gets the same number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dycon_engine.errors import DyconError
from dycon_engine.jobs.files import write_json

PATIENT = "p"


class WhoIsWho:
    """Titles of cases and names of patients of one data set."""

    def __init__(self, path: Path | None, dataset: str) -> None:
        """Read the list of `dataset` from `path`; None keeps it in memory only."""
        self._path = path
        self._dataset = dataset
        lists = _read(path)
        own = lists.get(dataset)
        table = own if isinstance(own, dict) else {}
        self.titles: dict[str, str] = _texts(table.get("cases"))
        self.patients: dict[str, str] = _texts(table.get("patients"))

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
            DyconError: It cannot be written.
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
        lists = _read(self._path)
        lists[self._dataset] = {"cases": self.titles, "patients": self.patients}
        write_json(self._path, lists)


def _read(path: Path | None) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}


def _texts(table: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in table.items()} if isinstance(table, dict) else {}
