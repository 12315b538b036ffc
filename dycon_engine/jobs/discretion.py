"""What is left out of a job's sentences: folders that may tell who a patient is, names in logs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from dycon_engine.jobs.events import Cancelled, CaseDone, Event, Failed, Warned

SHORTEST_NAME = 3  # characters; a shorter one would be found in any text
_QUOTED = re.compile(r"""(?<!\w)(['"])(.+?)\1(?!\w)""", re.DOTALL)
_ALIAS = re.compile(r"name \d+")


class Discretion:
    """Folders to cut off paths, and aliases for what log.txt does not tell."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._folders: list[str] = []
        self._aliases: dict[str, str] = {}
        self._names: re.Pattern[str] | None = None

    def cut_folders(self, paths: Iterable[Path]) -> None:
        """Leave out the folders above `paths` from now on, as given and without links."""
        found = {folder for path in paths for folder in _above(path)}
        self._folders = sorted({*self._folders, *found}, key=len, reverse=True)

    def hide(self, names: Iterable[str]) -> None:
        """Leave `names`, of cases, out of logs from now on, also where they are not quoted."""
        words = sorted({name for name in names if len(name) >= SHORTEST_NAME}, key=len)
        if words:
            any_of = "|".join(map(re.escape, reversed(words)))
            self._names = re.compile(rf"(?<!\w)(?:{any_of})(?!\w)")

    def without_folders(self, text: str) -> str:
        """Return `text` with paths that begin at the last folder of the paths named."""
        for folder in self._folders:
            text = text.replace(folder, "")
        return text

    def reworded(self, event: Event) -> Event:
        """Return `event` without folders in its sentence, where it has one."""
        if isinstance(event, Warned | Failed | Cancelled):
            return dataclasses.replace(event, message=self.without_folders(event.message))
        if isinstance(event, CaseDone):
            return dataclasses.replace(event, error=self.without_folders(event.error))
        return event

    def without_names(self, text: str) -> str:
        """Return `text` with 'name 1' for the first name or quoted text, the same for the same."""
        if self._names is not None:
            text = self._names.sub(lambda found: self._alias(found[0]), text)
        return _QUOTED.sub(lambda found: f"'{self._alias(found[2])}'", text)

    def _alias(self, name: str) -> str:
        if _ALIAS.fullmatch(name):
            return name
        return self._aliases.setdefault(name, f"name {len(self._aliases) + 1}")


def _above(path: Path) -> list[str]:
    """Return the folders above `path`, as given and without links, each with its separator."""
    return [str(p / "_")[:-1] for q in (path.absolute(), path.resolve()) for p in q.parents[:-1]]
