"""The whole of the panel without Qt: data set, methods, budget, runs, label next.

A widget's timer calls `poll`; signals say what changed. Whatever is slow is a child process.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from dycon_engine.errors import InputError
from DyCONLib.models import Model, read_model
from DyCONLib.signal import Signal
from DyCONTrainingLib import scene_write, starting
from DyCONTrainingLib.budget import Probe
from DyCONTrainingLib.catalog import Catalog
from DyCONTrainingLib.dataset import DatasetLogic
from DyCONTrainingLib.folder import RUNS, Folder
from DyCONTrainingLib.labeling import LabelLogic
from DyCONTrainingLib.last_time import remember, remembered
from DyCONTrainingLib.launching import Engine
from DyCONTrainingLib.parameters import Parameters
from DyCONTrainingLib.probing import Probing
from DyCONTrainingLib.request import TrainRequest
from DyCONTrainingLib.run_card import RunCard
from DyCONTrainingLib.running import RunLogic
from DyCONTrainingLib.runs import Ask
from DyCONTrainingLib.saving import Tools

PROBED_STEPS = 1000  # of a usual run, for how often it validates


@dataclass(frozen=True)
class Places:
    """Where things lie on this computer.

    Attributes:
        settings: The person's own folder: who is who, what was asked of the engine.
        models: Models that DyCONSegmentation offers.
        temporary: For what is needed meanwhile.
    """

    settings: Path
    models: Path
    temporary: Path


class TrainingLogic:
    """Everything behind the panel.

    Attributes:
        changed: Emitted without arguments when something to show changed.
        failed: Emitted with one or more sentences, one a line.
        chosen: The choices of the panel.
        dataset: The data set in the making.
        catalog: The methods.
        probing: Speed and memory on this computer.
        running: The runs.
        labels: What to label next.
    """

    def __init__(
        self,
        engine: Engine,
        places: Places,
        ask: Ask,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin without a data set.

        Args:
            engine: Starts processes.
            places: Where things lie.
            ask: Returns whether the person agreed to a question.
            clock: Seconds since the epoch.
        """
        self.changed, self.failed = Signal(), Signal()
        self.places, self.chosen, self._clock, self._ask = places, Parameters(), clock, ask
        tools = Tools(
            scene_write.export_image, scene_write.export_label, engine.job, places.temporary
        )
        self.dataset = DatasetLogic(tools, places.settings / "who-is-who.json")
        self.catalog = Catalog(engine.ask, places.settings / "methods.json")
        self.probing = Probing(engine.job, places.temporary)
        self.running = RunLogic(engine, places.models, ask, clock)
        self.labels = LabelLogic(self.dataset, engine.job, places.temporary)
        self._models = starting.ModelList(places.models)
        for part in (self.dataset, self.probing, self.running, self.labels):
            part.changed.connect(self.changed.emit)
            part.failed.connect(self.failed.emit)
        self.dataset.saved.connect(self._on_saved)

    def open(self, path: Path) -> None:
        """Open or begin a data set; its runs are found, and a living one is watched again.

        What would be lost of another one asks first.

        Raises:
            InputError: It is not usable.
        """
        lost = self.dataset.unsaved
        if lost and not self._ask(f"{lost} Open '{path.name}' all the same?"):
            return
        self.dataset.open(path)
        remember(self.places.settings, path)
        if self.dataset.folder is not None:
            self.running.open(self.dataset.folder)
        self.chosen = replace(self.chosen, dataset=str(path))
        self.changed.emit()

    def reopen(self) -> None:
        """Open the data set of the last time again where it has runs: one may still go on."""
        path = remembered(self.places.settings)
        if self.dataset.folder is None and path is not None and (path / RUNS).is_dir():
            with contextlib.suppress(InputError):  # it was not asked for
                self.open(path)

    def choose(self, **changes: object) -> None:
        """Take choices of the person."""
        self.chosen = replace(self.chosen, **changes)  # type: ignore[arg-type]
        form = self.catalog.form(self.chosen.method, self.chosen.profile)
        if form is not None:
            self.dataset.use_method(form.name, needs_unlabeled=form.needs_unlabeled)
        self.changed.emit()

    def why_not(self) -> str:
        """Return why training cannot start now, "" where it can."""
        dataset = self.dataset
        if dataset.folder is None:
            return "Choose a folder for the data set first."
        if not dataset.draft.rows:
            return "Add scans to the data set first."
        if dataset.is_busy:
            return f"{dataset.progress[0]} ..."
        if dataset.problems:
            several = f"{dataset.problems} problems" if dataset.problems > 1 else "A problem"
            return f"{several} in the data set: do first what is listed as 'Solve'."
        if not dataset.is_saved:
            return "Save the data set first."
        return (
            ""
            if self.catalog.form(self.chosen.method, self.chosen.profile)
            else "Asking the engine for its methods"
        )

    def request(self, steps: int) -> TrainRequest:
        """Return the request that the choices make.

        Raises:
            InputError: The method is not known, or there is no such model to start from.
        """
        package = self.package()
        start = read_model(package) if package is not None else None
        rows = self.dataset.draft.rows
        return starting.request_of(self.chosen, self.catalog, rows, steps, start)

    def package(self) -> Path | None:
        """Return the package to start from, None for a fresh start.

        Raises:
            InputError: There is no such package.
        """
        return starting.start_package(self.chosen, self.running.cards, self.places.models)

    def models(self) -> list[Model]:
        """Return the models that training can start from."""
        return self._models.look()

    def now(self) -> datetime:
        """Return the time on the clock."""
        return datetime.fromtimestamp(self._clock())

    def probed(self) -> Probe | None:
        """Return what was measured for the choices, None where that was not yet."""
        try:
            return self.probing.found(self.request(PROBED_STEPS), self.dataset.folder)
        except InputError:
            return None

    def steps(self) -> int | None:
        """Return the steps of the budget; None where that must be measured first."""
        return starting.steps_of(self.chosen, self.probed())

    def probe(self) -> None:
        """Measure speed and memory for the choices.

        Raises:
            DyconError: It cannot be measured now.
        """
        folder = self._ready()
        self.probing.begin(self.request(PROBED_STEPS), folder, self.package())

    def start(self) -> RunCard:
        """Start training and watch it.

        Raises:
            DyconError: Something is not ready, or the engine cannot be started.
        """
        self._ready()
        return self.running.start(
            self.request(self._steps()), self.package(), compare=self.chosen.compare
        )

    def export(self, target: Path) -> None:
        """Begin to write the job for another computer; `poll` goes on.

        Raises:
            DyconError: Something is not ready, or the folder is not usable.
        """
        self._ready()
        self.running.export(target, self.request(self._steps()), self.package())

    @property
    def progress(self) -> tuple[str, float]:
        """Return what is being done and how far it is in [0, 1], -1 where unknown."""
        parts = (self.dataset, self.probing, self.labels, self.running)
        return next((part.progress for part in parts if part.progress[0]), ("", -1.0))

    def stop(self) -> None:
        """Stop what is being done here; training goes on."""
        for part in (self.dataset, self.probing, self.labels):
            part.cancel()
        self.running.stop()

    def poll(self) -> None:
        """Go on with everything; called by a timer."""
        for part in (self.dataset, self.probing, self.running, self.labels):
            part.poll()
        if self.catalog.poll():
            self.choose()

    def leave_scene(self) -> None:
        """Let go of the scene, which is being closed; data set and runs lie in files and stay."""
        self.labels.close()
        self.dataset.leave_scene()
        self.running.leave_scene()

    def return_to_scene(self) -> None:
        """Show the run that was looked at in the empty scene."""
        self.running.return_to_scene()
        self.changed.emit()

    def close(self) -> None:
        """End what belongs to this panel; training goes on."""
        self.stop()
        self.catalog.close()
        self.labels.close()
        self.running.close()
        self.dataset.close()

    def _steps(self) -> int:
        steps = self.steps()
        if steps is None:
            raise InputError("the speed of this computer is not known yet; press 'Measure' first")
        return steps

    def _ready(self) -> Folder:
        why = self.why_not()
        if why or self.dataset.folder is None:
            raise InputError(why)
        return self.dataset.folder

    def _on_saved(self, folder: Folder) -> None:
        self.running.open(folder)
