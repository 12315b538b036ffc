"""The panel: puts the sections together, owns the timer, watches the scene. It never computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from dycon_engine.errors import DyconError
from DyCONLib.install import Installer
from DyCONLib.models import models_folder
from DyCONLib.preflight import Preflight
from DyCONLib.python_choice import engine_python
from DyCONLib.runner import Job
from DyCONSegmentationLib.batch import BatchLogic
from DyCONSegmentationLib.batch_section import BatchSection
from DyCONSegmentationLib.logic import Phase, SegmentationLogic
from DyCONSegmentationLib.result_section import ResultSection
from DyCONSegmentationLib.review_section import ReviewSection
from DyCONSegmentationLib.reviewing import Reviewing
from DyCONSegmentationLib.run import StartJob
from DyCONSegmentationLib.segment_section import SegmentSection
from DyCONSegmentationLib.session import Session, Surroundings
from DyCONSegmentationLib.setup import Setup
from DyCONSegmentationLib.setup_section import SetupSection
from DyCONSegmentationLib.writing import Writing

POLL_MS = 200
TITLE = "DyCON Segmentation"


class Panel:
    """Everything between the widgets and the logic.

    Attributes:
        session: What is shown.
        reviewing: What is done with a result.
        batch: The batch.
        writing: A file that is being exported.
        setup: Whether this computer can segment.
    """

    def __init__(self, ui: Any, resources: Path, start: StartJob | None = None) -> None:
        """Connect widgets and logic.

        Args:
            ui: The widgets by name.
            resources: The module's folder of resources.
            start: Starts the engine; tests give their own.
        """
        temporary, start = Path(slicer.app.temporaryPath), start or start_engine
        run = SegmentationLogic(start, temporary)
        self.setup = Setup(engine_python(), Installer(), lambda: _preflight(temporary))
        self.session = Session(run, surroundings(resources, lambda: self.setup.missing))
        self.reviewing = Reviewing(self.session, _open_editor)
        self.batch = BatchLogic(start, temporary)
        self.writing = Writing()
        self._segment = SegmentSection(ui, self.session, attempt, self._batch_runs)
        self._batch = BatchSection(ui, self.session, self.batch, attempt)
        self._result = ResultSection(ui, self.session, self.writing, attempt)
        self._sections = (
            SetupSection(ui, self.setup, attempt),
            self._segment,
            self._result,
            ReviewSection(ui, self.session, self.reviewing, attempt),
            self._batch,
        )
        self._observed: list[int] = []
        self._polling = False
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.poll)
        self._later = qt.QTimer()  # once for many nodes, and after Slicer's own widgets know them
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.connect("timeout()", self.session.scene_changed)
        run.failed.connect(tell)
        self.writing.failed.connect(tell)
        self.session.changed.connect(self.refresh)
        run.changed.connect(self.refresh_run)
        self.batch.changed.connect(self.refresh_run)
        self.writing.changed.connect(self.refresh_run)
        self.setup.changed.connect(self.refresh)
        self._watch_scene()
        self.refresh()

    def refresh(self) -> None:
        """Show what is."""
        for section in self._sections:
            section.refresh()
        self.refresh_run()

    def refresh_run(self) -> None:
        """Show how far things are; keep the timer going while something runs."""
        self._segment.refresh_run()
        self._batch.refresh()
        self._result.refresh_export()
        busy = any(logic.phase is not Phase.IDLE for logic in (self.session.run, self.batch))
        busy = busy or self.setup.checking or self.writing.busy
        if busy != self._timer.active:
            (self._timer.start if busy else self._timer.stop)()

    def poll(self) -> None:
        """Look at whatever runs."""
        if self._polling:  # a dialog of the poll before is open, and timers go on
            return
        self._polling = True
        try:
            for part in (self.session.run, self.batch, self.setup, self.writing):
                part.poll()
        finally:
            self._polling = False

    def enter(self) -> None:
        """Show scene and models as they are now: nobody told us while the panel was hidden."""
        self.setup.look()
        self.session.find_models()
        self.session.scene_changed()

    def close(self) -> None:
        """End what runs and let go of the scene; for reload and for leaving Slicer."""
        self._timer.stop()
        self._later.stop()
        for tag in self._observed:
            slicer.mrmlScene.RemoveObserver(tag)
        self._observed.clear()
        self._segment.close()
        self.session.changed.disconnect()
        self.session.run.close()
        self.session.close()
        self.batch.close()
        self.setup.close()
        self.writing.cancel()

    def _batch_runs(self) -> bool:
        return self.batch.phase is not Phase.IDLE

    def _watch_scene(self) -> None:
        scene = slicer.mrmlScene
        closing = self._observer(self._on_start_close)
        self._observed.append(scene.AddObserver(scene.StartCloseEvent, closing))
        changed = self._observer(self._later.start)
        for event in (
            scene.EndCloseEvent,
            scene.EndImportEvent,
            scene.NodeAddedEvent,
            scene.NodeRemovedEvent,
        ):
            self._observed.append(scene.AddObserver(event, changed))

    def _observer(self, action: Callable[[], None]) -> Callable[..., None]:
        return lambda _caller, _event: action()

    def _on_start_close(self) -> None:
        self.session.run.close()
        self.batch.close()


def start_engine(arguments: Any, run_dir: Path) -> Job:
    """Start `predict` in the environment Slicer itself was started in."""
    python, environment = engine_python().chosen, slicer.util.startupEnvironment()
    return Job.start("predict", arguments, run_dir=run_dir, python=python, environment=environment)


def _preflight(folder: Path) -> Preflight:
    python, environment = engine_python().chosen, slicer.util.startupEnvironment()
    return Preflight(folder, python=python, environment=environment)


def _open_editor() -> None:
    slicer.util.selectModule("SegmentEditor")


def surroundings(resources: Path, missing: Callable[[], list[str]]) -> Surroundings:
    """Return where Slicer keeps models, and where the sample lies."""
    own = models_folder(slicer.app.slicerUserSettingsFilePath)
    return Surroundings(
        model_folders=(own, resources / "Models"),
        sample=resources / "Samples" / "DyCONPhantomHeart.nrrd",
        sample_model="DyCONPhantomHeart.dycon",
        missing=missing,
    )


def attempt(action: Callable[[], Any]) -> Any:
    """Return what `action` gives; where it fails, tell the person and return None."""
    try:
        return action()
    except DyconError as error:
        tell(str(error))
        return None


def tell(sentence: str) -> None:
    """Show a failure."""
    slicer.util.errorDisplay(sentence, windowTitle=TITLE, textFormat=qt.Qt.PlainText)
