"""With which versions a run was computed; for people who do it again, it decides nothing."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dycon_engine import __version__
from dycon_engine.jobs.files import write_json
from dycon_engine.settings import Table
from dycon_engine.sources import source_digest


def versions() -> Table:
    """Return the versions of this process; `engine_sources` is the state of the engine's code."""
    return {
        "engine": __version__,
        "engine_sources": source_digest(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "cuda_build": torch.version.cuda,
    }


def note_versions(path: Path) -> None:
    """Add `versions` to the list in the file `path`, where they are not its last entry."""
    noted = _noted(path)
    now = versions()
    if noted[-1:] != [now]:
        write_json(path, [*noted, now])


def _noted(path: Path) -> list[Table]:
    """Return the list in `path`, without what is no entry of ours; empty where it is missing."""
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [entry for entry in noted if _is_entry(entry)] if isinstance(noted, list) else []


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(value, str | None) for value in entry.values()
    )
