"""What a training run was asked to do: written beside it, so that it can be listed and resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dycon_engine.errors import DyconError
from dycon_engine.jobs.files import write_json, write_text
from DyCONTrainingLib import manifest
from DyCONTrainingLib.folder import Folder

DATA, REQUEST, START = "data.toml", "request.json", "start.dycon"


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """The choices behind a run; nothing in it names a person or a path.

    Attributes:
        method: Training recipe.
        profile: Set of defaults: laptop, gpu...
        settings: `section.key` -> value, over the profile's.
        steps: Optimizer steps.
        device: auto, cpu, cuda...
        start: What the weights start from, in words; "" = from scratch.
        compare_with: The run whose supervised-only twin this is; "" = none.
    """

    method: str = "dycon"
    profile: str = "laptop"
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 1500
    device: str = "auto"
    start: str = ""
    compare_with: str = ""

    def arguments(self, data: Path, package: Path | None = None) -> list[str | Path]:
        """Return the command line of `dycon_engine.train`, its run directory left out."""
        assignments = {
            **self.settings,
            "training.steps": self.steps,
            "data.validation": 0,  # the table says who is held out
        }
        line: list[str | Path] = ["--data", data, "--method", self.method]
        line += ["--profile", self.profile, "--device", self.device]
        for name, value in assignments.items():
            line += ["--set", f"{name}={_toml(value)}"]
        return [*line, "--package", package] if package is not None else line


def write_request(run_dir: Path, request: TrainRequest, data: str) -> None:
    """Write what the run needs: its own list of cases and the request.

    The data set may grow while the run goes on; the run keeps to this list.

    Args:
        run_dir: Of the run; its parent may not exist yet.
        request: What was asked for.
        data: From `frozen_data`, or that of the run to compare with.

    Raises:
        DyconError: It cannot be written.
    """
    try:
        run_dir.mkdir(parents=True)
    except OSError as error:
        raise DyconError(
            f"run folder '{run_dir.name}': cannot be made ({error.strerror}); check the data set's "
            "folder"
        ) from error
    write_text(run_dir / DATA, data)
    write_json(run_dir / REQUEST, asdict(request))


def frozen_data(folder: Folder, run_dir: Path) -> str:
    """Return the data set's manifest as it is now, for a run that lies below the data set."""
    prefix = "../" * len(run_dir.relative_to(folder.path).parts)
    return manifest.as_text(folder.content, prefix=prefix)


def read_request(run_dir: Path) -> TrainRequest | None:
    """Return the request of a run; None where there is none or it is damaged."""
    try:
        table = json.loads((run_dir / REQUEST).read_text(encoding="utf-8"))
        return TrainRequest(**{k: v for k, v in table.items() if k in _FIELDS})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _toml(value: Any) -> str:
    """Return a value as the engine's command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)


_FIELDS = frozenset(TrainRequest.__dataclass_fields__)
