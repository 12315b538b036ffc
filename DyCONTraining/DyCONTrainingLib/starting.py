"""From the panel's choices to a request: method, profile, start, budget; and what a run costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dycon_engine.config import RunConfig
from dycon_engine.errors import InputError
from dycon_engine.settings import build
from DyCONLib.models import Broken, Model, find_models
from DyCONTrainingLib.budget import Probe, steps_for
from DyCONTrainingLib.cases import Role, Table
from DyCONTrainingLib.catalog import Catalog
from DyCONTrainingLib.form import chosen_settings
from DyCONTrainingLib.labeling import model_of
from DyCONTrainingLib.parameters import FROM_LAST_RUN, FROM_SCRATCH, MINUTES, Parameters
from DyCONTrainingLib.request import TrainRequest
from DyCONTrainingLib.run_card import RunCard

WATCHED_TIMES = 5  # validations in a run, where there are held-out cases
GRID = ("spacing_mm", "normalization")
PREVIEWED_TIMES = 12  # pictures of one unlabeled scan


def request_of(
    chosen: Parameters, catalog: Catalog, table: Table, steps: int, start: Model | None
) -> TrainRequest:
    """Return the request that the panel's choices make.

    Args:
        chosen: The choices.
        catalog: Knows the methods.
        table: The cases.
        steps: Optimizer steps.
        start: The model to start from, None for a fresh start; the run gets its network.

    Raises:
        InputError: The method is not known, or the model says what no network can be.
    """
    form = catalog.form(chosen.method, chosen.profile)
    if form is None:
        raise InputError(f"method '{chosen.method}': is not known; choose one of the list")
    settings: dict[str, Any] = {} if start is None else inherited(start)
    settings |= chosen.extra
    settings |= chosen_settings(form, chosen.settings.get(chosen.method, {}))
    settings.setdefault("training.preview_every", max(1, steps // PREVIEWED_TIMES))
    if any(row.role is Role.HELD_OUT for row in table):
        settings.setdefault("training.validate_every", max(1, steps // WATCHED_TIMES))
    return TrainRequest(
        method=chosen.method,
        profile=chosen.profile,
        settings=settings,
        steps=steps,
        device=chosen.device,
        start="" if start is None else "a model",
    )


def inherited(model: Model) -> dict[str, Any]:
    """Return the settings that a run needs to go on from a model's weights.

    Raises:
        InputError: The file of the model gives a setting that there is not, or a wrong value.
    """
    grid = {name: _table(model, "preprocessing").get(name) for name in GRID}
    sections: dict[str, dict[str, Any]] = {
        "network": dict(_table(model, "network")),
        "preprocessing": grid,
        "training": {"patch_size": model.raw.get("patch_size")},
    }
    kept = {
        section: {name: value for name, value in table.items() if value is not None}
        for section, table in sections.items()
    }
    try:
        build(RunConfig, kept)
    except InputError as error:
        raise InputError(f"model '{model.name}': {error}; choose another model") from None
    return {f"{section}.{name}": v for section, table in kept.items() for name, v in table.items()}


def _table(model: Model, section: str) -> Mapping[str, Any]:
    table = model.raw.get(section)
    return table if isinstance(table, Mapping) else {}


def start_package(chosen: Parameters, cards: Sequence[RunCard], models: Path) -> Path | None:
    """Return the package to start from, None for a fresh start.

    Raises:
        InputError: There is no such package.
    """
    if chosen.start == FROM_SCRATCH:
        return None
    if chosen.start == FROM_LAST_RUN:
        done = next((card for card in cards if card.packages and not card.is_comparison), None)
        if done is None:
            raise InputError("start from the last run: no run has a model yet; start fresh")
        return model_of(done.path)
    package = models / chosen.start
    if not package.is_file():
        raise InputError(f"model '{chosen.start}': is not there any more; choose another")
    return package


class ModelList:
    """The models that training can start from; files that did not change are not read again."""

    def __init__(self, folder: Path) -> None:
        """List the models of `folder`."""
        self._folder = folder
        self._stamp: object = None
        self._found: list[Model] = []

    def look(self) -> list[Model]:
        """Return the models."""
        files = sorted(self._folder.glob("*.dycon"))
        stamp = [(path.name, path.stat().st_mtime_ns) for path in files if path.exists()]
        if stamp != self._stamp:
            found = find_models([self._folder])
            self._found = [model for model in found if not isinstance(model, Broken)]
            self._stamp = stamp
        return self._found


def steps_of(chosen: Parameters, probe: Probe | None) -> int | None:
    """Return how many steps the budget gives; None where that must be measured first."""
    if chosen.budget != MINUTES:
        return chosen.steps
    return None if probe is None else steps_for(chosen.minutes, probe)
