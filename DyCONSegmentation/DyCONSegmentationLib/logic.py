"""Segmenting one scan: a state machine that starts the engine, follows it and places the result.

No Qt: a widget's timer calls `poll`, signals say what changed. The scene is touched only when the
whole result is there, so a cancelled or failed run leaves it as it was.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import slicer

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.client import RunState
from dycon_engine.jobs.events import Warned
from DyCONLib.models import Model
from DyCONLib.signal import Signal
from DyCONSegmentationLib import orders
from DyCONSegmentationLib.orders import Order
from DyCONSegmentationLib.parameters import Parameters
from DyCONSegmentationLib.results import Files, Result, place, result_name
from DyCONSegmentationLib.run import EngineRun, Progress, StartJob, Workspace

FALLBACKS = ("device", "memory")  # topics of warnings about the run, not about the scan


class Phase(StrEnum):
    """What the panel is doing."""

    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"


class SegmentationLogic:
    """Runs one segmentation at a time.

    Attributes:
        changed: Emitted without arguments when phase, progress or log changed.
        finished: Emitted with the `Result` once it is in the scene.
        failed: Emitted with one sentence; the scene is as before.
        cancelled: Emitted without arguments; the scene is as before.
        phase: What goes on.
        notices: What the engine did otherwise than asked in the last run, e.g. another device.
    """

    def __init__(
        self,
        start: StartJob,
        temporary: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = datetime.now,
    ) -> None:
        """Be idle.

        Args:
            start: Starts `predict` with arguments and a run directory.
            temporary: Existing folder for the scans and results of a run while it goes on.
            clock: Seconds that only grow.
            today: The date in the name of a result.
        """
        self.changed, self.finished = Signal(), Signal()
        self.failed, self.cancelled = Signal(), Signal()
        self._start, self._temporary = start, temporary
        self._clock, self._today = clock, today
        self._run: EngineRun | None = None
        self._order: Order | None = None
        self._files: Files | None = None
        self._replaced: Any | None = None
        self._progress, self._log = Progress(), ""
        self.phase = Phase.IDLE
        self.notices: tuple[str, ...] = ()

    @property
    def progress(self) -> Progress:
        """How far the run is, or was when it ended."""
        return self._run.progress if self._run is not None else self._progress

    @property
    def log(self) -> str:
        """What happened, without names; of the last run where none goes on."""
        return self._run.job.log() if self._run is not None else self._log

    def segment(self, volumes: tuple[Any, ...], model: Model | None, chosen: Parameters) -> None:
        """Start segmenting.

        Args:
            volumes: One per channel of `model`.
            model: The package.
            chosen: How; `output` names a segmentation to replace, which a person agreed to.

        Raises:
            InputError: A run goes on, or something is not usable as chosen.
            DyconError: Files cannot be written or the engine cannot be started.
        """
        if self.phase is not Phase.IDLE:
            raise InputError("a segmentation is running; wait for it or cancel it")
        wrong = orders.problem(volumes, model)
        if wrong or model is None:
            raise InputError(wrong)
        order = Order(tuple(volumes[: len(model.channels)]), model, chosen)
        workspace = Workspace(self._temporary, os.getpid())
        try:
            files = orders.result_files(workspace.path, chosen)
            inputs = orders.export_inputs(order, workspace.path)
            roi = slicer.mrmlScene.GetNodeByID(chosen.roi) if chosen.roi else None
            box = orders.roi_box(roi, volumes[0]) if roi is not None else ()
            line = orders.arguments(inputs, files, model, chosen, box)
        except DyconError:
            workspace.remove()
            raise
        self._run = EngineRun(workspace, self._start, line, self._clock)
        self._order, self._files = order, files
        self._replaced = slicer.mrmlScene.GetNodeByID(chosen.output) if chosen.output else None
        self.phase, self.notices = Phase.RUNNING, ()
        self.changed.emit()

    def poll(self) -> None:
        """Look at the engine; called by a timer."""
        run = self._run
        if run is None:
            return
        for event in run.poll():
            if isinstance(event, Warned) and event.topic in FALLBACKS:
                self.notices = (*self.notices, event.message)
        if run.state is RunState.RUNNING:
            if self.phase is Phase.RUNNING and not self._inputs_are_there():
                self.cancel()
            self.changed.emit()
        else:
            self._end(run)

    def cancel(self) -> None:
        """Stop the run; it is over within 5 s, and nothing of it is left."""
        if self._run is not None and self.phase is Phase.RUNNING:
            self.phase = Phase.CANCELLING
            self._run.cancel()
            self.changed.emit()

    def close(self) -> None:
        """End a run now, without a word: the scene or Slicer closes."""
        if self._run is not None:
            self._leave(self._run)
            self.changed.emit()

    def _end(self, run: EngineRun) -> None:
        """Place what the run gave, or say why there is nothing."""
        order, files, replaced = self._order, self._files, self._replaced
        asked_to_stop = self.phase is Phase.CANCELLING
        state, error = run.state, run.error
        result: Result | None = None
        try:
            if state is RunState.FINISHED and not asked_to_stop and order and files:
                result = self._placed(order, files, replaced)
        except DyconError as problem:
            error = str(problem)
        except Exception as problem:  # the run is over all the same, and the person is told
            logging.getLogger("DyCON").exception("the result could not be placed")
            error = f"the result could not be shown ({type(problem).__name__}: {problem})"
        finally:
            if order is not None:
                error = orders.in_scene_words(error, order, run.workspace.path)
            self._leave(run)
        self.changed.emit()
        if result is not None:
            self.finished.emit(result)
        elif asked_to_stop or state is RunState.CANCELLED:
            self.cancelled.emit()
        else:
            self.failed.emit(error)

    def _placed(self, order: Order, files: Files, replaced: Any | None) -> Result:
        if not self._inputs_are_there():
            raise InputError("the volume was removed meanwhile; the result is not shown")
        if replaced is not None and not slicer.mrmlScene.IsNodePresent(replaced):
            replaced = None  # the person removed it: a new node does no harm
        scan, *others = order.volumes
        name = result_name(scan, self._today())
        return place(
            files, model=order.model, volume=scan, name=name, others=others, replaced=replaced
        )

    def _inputs_are_there(self) -> bool:
        volumes = self._order.volumes if self._order is not None else ()
        return all(slicer.mrmlScene.IsNodePresent(volume) for volume in volumes)

    def _leave(self, run: EngineRun) -> None:
        """Be idle again; no process and no file of the run is left."""
        self._progress, self._log = run.progress, run.job.log()
        run.close()
        self._run, self._order, self._files, self._replaced = None, None, None, None
        self.phase = Phase.IDLE
