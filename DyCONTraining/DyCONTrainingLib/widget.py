"""The panel: puts the sections together, owns the timer, watches the scene. It never computes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from dycon_engine.errors import CancelledError, DyconError
from DyCONLib.install import Installer, hindrance
from DyCONLib.models import models_folder
from DyCONLib.python_choice import ask_environment, engine_python
from DyCONLib.segment_editor import EDITOR, open_on
from DyCONTrainingLib import parameters, texts
from DyCONTrainingLib.data_section import DataSection
from DyCONTrainingLib.labeling import Opened
from DyCONTrainingLib.launching import Engine
from DyCONTrainingLib.logic import Places, TrainingLogic
from DyCONTrainingLib.mapping_section import MappingSection
from DyCONTrainingLib.method_section import MethodSection
from DyCONTrainingLib.result_section import LabelSection, ResultSection
from DyCONTrainingLib.runs_section import RunsSection, WatchSection

POLL_MS = 200
RESOLUTION = 1000
TITLE = "DyCON Training"
FOLDED = ("methodSection", "watchSection", "resultSection", "labelSection")


class Panel:
    """Everything between the widgets and the logic.

    Attributes:
        logic: What is shown.
    """

    def __init__(self, ui: Any, engine: Engine | None = None) -> None:
        """Connect widgets and logic.

        Args:
            ui: The widgets by name.
            engine: Starts processes; tests give their own.
        """
        self._ui = ui
        self._python = engine_python()
        engine = engine or Engine(self._python, slicer.util.startupEnvironment())
        self.logic = TrainingLogic(engine, places(), ask)
        self._installer, self._missing = Installer(), self._python.missing()
        self._installing = False
        self._sections = (
            DataSection(ui, self.logic, attempt),
            MappingSection(ui, self.logic),
            MethodSection(ui, self.logic, attempt),
            RunsSection(ui, self.logic, attempt),
            WatchSection(ui, self.logic, time.time),
            ResultSection(ui, self.logic, attempt, open_segmentation),
            LabelSection(ui, self.logic, attempt, open_editor),
        )
        for name in FOLDED:
            getattr(ui, name).connect("contentsCollapsed(bool)", self._on_folded)
        ui.installButton.connect("clicked()", lambda: attempt(self._install))
        ui.pythonButton.connect("clicked()", lambda: attempt(self._choose_python))
        ui.taskCancelButton.connect("clicked()", self.logic.stop)
        self.logic.failed.connect(tell)
        self.logic.changed.connect(self._on_changed)
        self._stale, self._polling, self._closed = True, False, False
        self._observed: list[int] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.poll)
        self._watch_scene()
        self._restore()
        self.logic.reopen()
        self.poll()

    def enter(self) -> None:
        """The panel is shown: ask what is not known yet, look at what a person edited."""
        self._missing = self._python.missing()
        self._stale = True
        if not self._missing:
            self.logic.catalog.request()
        self.logic.dataset.check()
        self._timer.start()
        self.poll()

    def exit(self) -> None:
        """The panel is hidden: what runs is still followed, what is shown is not."""
        if not self.logic.progress[0] and not self.logic.running.is_waiting:
            self._timer.stop()

    def poll(self) -> None:
        """Go on with what is being done, and show what changed."""
        if self._polling:  # a dialog of the poll before is open, and timers go on
            return
        self._polling = True
        try:
            if self._closed:
                self._closed = False
                self.logic.return_to_scene()
            self.logic.poll()
            if self._stale:
                self._stale = False
                self.refresh()
        finally:
            self._polling = False

    def refresh(self) -> None:
        """Show what is."""
        ui, (words, share) = self._ui, self.logic.progress
        for section in self._sections:
            section.refresh()
        ui.setupFrame.visible = bool(self._missing)
        ui.setupLabel.text = texts.setup_text(self._missing, installing=self._installing)
        ui.installButton.visible = not hindrance()
        ui.installButton.enabled = ui.pythonButton.enabled = not self._installing
        ui.taskFrame.visible = bool(words)
        ui.taskLabel.text = f"{words} ..."
        ui.taskProgressBar.maximum = RESOLUTION if share >= 0 else 0
        ui.taskProgressBar.value = max(0, round(RESOLUTION * share))

    def close(self) -> None:
        """End what belongs to this Slicer; training goes on."""
        self._timer.stop()
        for tag in self._observed:
            slicer.mrmlScene.RemoveObserver(tag)
        self._observed.clear()
        self.logic.changed.disconnect()
        self.logic.failed.disconnect()
        self.logic.close()

    def _on_folded(self, _collapsed: bool) -> None:
        """What is folded away is not looked up; it is when it is opened."""
        self._stale = True

    def _on_changed(self) -> None:
        self._stale = True
        parameters.write_parameters(parameters.parameter_node(), self.logic.chosen)

    def _on_closed(self) -> None:
        """Write the choices into the empty scene; what is shown of a run follows with `poll`."""
        self._on_changed()
        self._closed = True  # nodes that come before Slicer's own parts are done are half known

    def _restore(self) -> None:
        """Take the choices that came with the scene; its data set is opened again."""
        chosen = parameters.read_parameters(parameters.parameter_node())
        self.logic.chosen = chosen
        folder, path = self.logic.dataset.folder, Path(chosen.dataset)
        is_open = folder is not None and folder.path == path  # with what is not saved yet
        if chosen.dataset and path.is_dir() and not is_open:
            attempt(lambda: self.logic.open(path))
        self._stale = True

    def _install(self) -> None:
        try:
            self._installer.ensure(self._begun)
        except CancelledError:
            return
        finally:
            self._installing, self._stale = False, True
            self._missing = self._python.missing()  # a part may have come before a failure
        self.enter()

    def _choose_python(self) -> None:
        folder = ask_environment()
        if folder is not None:
            self._python.choose(folder)
            self.enter()

    def _begun(self) -> None:
        self._installing = True
        self.refresh()

    def _watch_scene(self) -> None:
        scene = slicer.mrmlScene
        for event, action in (
            (scene.StartCloseEvent, self.logic.leave_scene),
            (scene.EndCloseEvent, self._on_closed),
            (scene.EndImportEvent, self._restore),
        ):
            self._observed.append(scene.AddObserver(event, _observer(action)))


def places() -> Places:
    """Return where Slicer keeps the person's own things."""
    settings_file = Path(slicer.app.slicerUserSettingsFilePath)
    return Places(
        settings=settings_file.parent / "DyCON-training",
        models=models_folder(settings_file),
        temporary=Path(slicer.app.temporaryPath),
    )


def ask(question: str) -> bool:
    """Return whether the person agrees."""
    plain = qt.Qt.PlainText  # a name in it may look like HTML
    return bool(slicer.util.confirmYesNoDisplay(question, windowTitle=TITLE, textFormat=plain))


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


def open_segmentation() -> None:
    """Show the module that uses the models."""
    _select("DyCONSegmentation")


def open_editor(opened: Opened) -> None:
    """Show Segment Editor on an opened case."""
    open_on(opened.segmentation, opened.volume, lambda: _select(EDITOR))


def _select(module: str) -> None:
    """Show another module, where there is a window to show it in."""
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule(module)


def _observer(action: Callable[[], None]) -> Callable[..., None]:
    return lambda _caller, _event: action()
