"""The data set of the last time, kept in the person's own settings folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

from dycon_engine.errors import DyconError
from dycon_engine.jobs.files import write_text

FILE = "last-data-set.txt"


def remember(settings: Path, dataset: Path) -> None:
    """Note which data set was opened; where that cannot be written it is chosen by hand again."""
    with contextlib.suppress(OSError, DyconError):
        settings.mkdir(parents=True, exist_ok=True)
        write_text(settings / FILE, f"{dataset.absolute()}\n")


def remembered(settings: Path) -> Path | None:
    """Return the data set of the last time, None where there is none any more."""
    try:
        path = Path((settings / FILE).read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return None
    return path if path.is_dir() else None
