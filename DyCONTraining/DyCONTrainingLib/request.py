"""What a training run was asked to do: written beside it, so that it can be listed and resumed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.files import write_json, write_text
from dycon_engine.settings import Table, merge, parse_assignment, toml_text
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
        line: list[str | Path] = ["--data", data, "--method", self.method]
        line += ["--profile", self.profile, "--device", self.device]
        for assignment in self._assignments():
            line += ["--set", assignment]
        return [*line, "--package", package] if package is not None else line

    def as_toml(self) -> str:
        """Return the same as a file for `--config`: what a model says must not reach a shell.

        Raises:
            InputError: A setting is no number, text or list of them.
        """
        table: Table = {}
        for assignment in self._assignments():
            table = merge(table, parse_assignment(assignment))
        own = {"method": {"name": self.method}, "training": {"device": self.device}}
        lines = [f"profile = {toml_text(self.profile)}", *_toml_lines(merge(table, own))]
        return "\n".join(lines) + "\n"

    def _assignments(self) -> list[str]:
        values = {
            **self.settings,
            "training.steps": self.steps,
            "data.validation": 0,  # the table says who is held out
        }
        return [f"{name}={_toml(value)}" for name, value in values.items()]


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
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(table, dict):
        return None
    given = {name: table[name] for name in _KINDS if name in table}
    right = all(type(value) is _KINDS[name] for name, value in given.items())
    words = (given.get(name, "") for name in ("method", "profile", "device"))
    if not right or not all(_WORD.fullmatch(word) for word in words):
        return None
    return TrainRequest(**given)


def _toml(value: Any) -> str:
    """Return a value as the engine's command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _toml_lines(table: Table, above: str = "") -> Iterator[str]:
    """Yield `section.key = value` of a nested table."""
    for name, value in table.items():
        key = name if _BARE.fullmatch(name) else toml_text(name)
        path = f"{above}.{key}" if above else key
        if isinstance(value, dict):
            yield from _toml_lines(value, path)
        else:
            yield f"{path} = {_toml_value(value, path)}"


def _toml_value(value: Any, path: str) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(each, path) for each in value)}]"
    if isinstance(value, str):
        return toml_text(value)
    if isinstance(value, bool | int | float):
        return str(value).lower()  # true, inf, 1e-05 as in TOML
    raise InputError(f"setting {path}: found {value!r}, expected a number, a text or a list")


_BARE = re.compile(r"[A-Za-z0-9_-]+")  # a key of TOML that needs no quotes
_WORD = re.compile(r"[\w:.-]*")  # no folder, no word of a shell
_KINDS = {field.name: type(getattr(TrainRequest(), field.name)) for field in fields(TrainRequest)}
