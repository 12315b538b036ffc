"""The section Segment of the panel: volumes, model, settings, run and its progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer

from dycon_engine.errors import DyconError
from DyCONLib.literal import as_tip
from DyCONLib.models import Broken
from DyCONSegmentationLib import model_words, texts
from DyCONSegmentationLib.binding import Binding, Tie
from DyCONSegmentationLib.logic import Phase
from DyCONSegmentationLib.run import Progress
from DyCONSegmentationLib.session import Session

DEVICES = ("auto", "cpu", "cuda", "mps")
KINDS = ("entropy", "disagreement", "mc-dropout", "tta")
SELECTOR = (  # what the selectors of all channels have in common
    *("nodeTypes", "showChildNodeTypes", "noneEnabled", "noneDisplay", "addEnabled"),
    *("removeEnabled", "renameEnabled", "editEnabled", "selectNodeUponCreation"),
)
FLAGS = qt.Qt.UserRole - 1  # where a row of a selector keeps its flags; none are the usual ones
MOST_BROKEN = 3  # files that are named with their reason
RESOLUTION = 1000  # steps of the progress bar


class SegmentSection:
    """Shows what will be segmented and how far a run is."""

    def __init__(
        self, ui: Any, session: Session, attempt: Any, elsewhere: Callable[[], bool]
    ) -> None:
        """Connect the widgets.

        Args:
            ui: The widgets by name.
            session: What they show.
            attempt: Calls an action and tells a failure in one sentence.
            elsewhere: Returns whether a batch runs, which one scan must wait for.
        """
        self._ui, self._session, self._attempt = ui, session, attempt
        self._elsewhere, self._outcome = elsewhere, ""
        self._selectors = [ui.volumeSelector]
        self._labels = [ui.volumeLabel]
        self._listen(0)
        node, index = "currentNodeChanged(vtkMRMLNode*)", "currentIndexChanged(int)"
        self._binding = Binding(
            session,
            (
                Tie("output", ui.outputSelector, "currentNodeID", node),
                Tie("roi", ui.roiSelector, "currentNodeID", node),
                Tie("device", ui.deviceSelector, "currentIndex", index, DEVICES),
                Tie("uncertainty_kind", ui.kindSelector, "currentIndex", index, KINDS),
                Tie("overlap", ui.overlapBox, "value", "valueChanged(int)"),
                Tie("minimum_volume_mm3", ui.pieceBox, "value", "valueChanged(double)"),
                Tie("largest_component", ui.largestBox, "checked", "toggled(bool)"),
                Tie("keep_probabilities", ui.probabilitiesBox, "checked", "toggled(bool)"),
            ),
        )
        for selector in (ui.outputSelector, ui.roiSelector):
            selector.connect("nodeAboutToBeRemoved(vtkMRMLNode*)", self._on_leaving)
        ui.modelSelector.connect("currentIndexChanged(int)", self._on_model)
        ui.segmentButton.connect("clicked()", self._on_segment)
        ui.cancelButton.connect("clicked()", session.run.cancel)
        ui.sampleButton.connect("clicked()", lambda: attempt(session.load_sample))
        ui.copyLogButton.connect("clicked()", self._on_copy)
        ui.pageButton.connect("clicked()", self._on_page)
        session.run.failed.connect(lambda error: self._on_outcome(f"Last run failed: {error}"))
        session.run.cancelled.connect(lambda: self._on_outcome("Cancelled; nothing was changed."))
        self._add_model_menu()

    def refresh(self) -> None:
        """Show the session."""
        self._show_models()
        self._show_kinds()
        self._show_volumes()
        self._binding.show()
        self.refresh_run()

    def _show_models(self) -> None:
        models, model = self._session.models, self._session.model
        selector = self._ui.modelSelector
        names = [item.name for item in models] or ["No model yet"]
        blocked = selector.blockSignals(True)
        if [selector.itemText(index) for index in range(selector.count)] != names:
            selector.clear()
            selector.addItems(names)
        selector.currentIndex = models.index(model) if model in models else -1 if models else 0
        selector.enabled = bool(models)
        selector.blockSignals(blocked)
        self._ui.cardLabel.text = model_words.card_html(model) if model else texts.NO_MODEL
        broken = _broken_text(self._session.broken)
        self._ui.brokenLabel.text, self._ui.brokenLabel.visible = broken, bool(broken)
        title = model_words.evidence_title(model) if model else ""
        self._ui.evidenceBox.visible = bool(title)
        if model and title:
            self._ui.evidenceBox.title = title
            self._ui.evidenceLabel.text = model_words.evidence_html(model)
            address = model_words.page_address(model)
            self._ui.pageButton.visible = bool(address)
            self._ui.pageButton.toolTip = as_tip(f"Opens {address} in the web browser")

    def _show_kinds(self) -> None:
        """Let nobody choose a kind of uncertainty that the model cannot give; its tip says why."""
        model, selector = self._session.model, self._ui.kindSelector
        refused = model.refused_kinds if model else {}
        for row, kind in enumerate(KINDS):
            reason = refused.get(kind, "")
            selector.setItemData(row, texts.kind_tip(row, reason), qt.Qt.ToolTipRole)
            selector.setItemData(row, 0 if reason else None, FLAGS)

    def _show_volumes(self) -> None:
        model, volumes = self._session.model, self._session.volumes
        names = [channel.name for channel in model.channels] if model else [""]
        while len(self._selectors) < len(names):
            self._add_selector()
        for index, selector in enumerate(self._selectors):
            used = index < len(names)
            selector.visible = used
            self._labels[index].visible = used
            chosen = volumes[index].GetID() if used and volumes[index] else ""
            blocked = selector.blockSignals(True)
            selector.sortFilterProxyModel().hiddenNodeIDs = self._session.maps
            if used and selector.currentNodeID != chosen:
                selector.setCurrentNodeID(chosen)
            selector.blockSignals(blocked)
        self._labels[0].text = "Vol&ume:" if len(names) == 1 else _literal(names[0])
        for label, name in zip(self._labels[1:], names[1:], strict=False):
            label.text = _literal(name)
        self._ui.sampleButton.visible = not any(volumes)

    def _add_selector(self) -> None:
        first, index = self._selectors[0], len(self._selectors)
        selector = slicer.qMRMLNodeComboBox()
        for name in SELECTOR:
            setattr(selector, name, getattr(first, name))
        selector.toolTip = first.toolTip
        selector.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        selector.setMRMLScene(slicer.mrmlScene)
        label = qt.QLabel()
        label.textFormat = qt.Qt.PlainText
        label.setBuddy(selector)
        self._ui.inputLayout.insertRow(index, label, selector)
        qt.QWidget.setTabOrder(self._selectors[-1], selector)
        self._selectors.append(selector)
        self._labels.append(label)
        self._listen(index)

    def _listen(self, index: int) -> None:
        selector = self._selectors[index]

        def changed(node: Any) -> None:
            self._session.choose_volume(index, node.GetID() if node else "")

        selector.connect("currentNodeChanged(vtkMRMLNode*)", changed)

    def close(self) -> None:
        """Let the selectors go of the scene: a panel that was loaded anew only hides them."""
        for selector in (*self._selectors, self._ui.outputSelector, self._ui.roiSelector):
            selector.blockSignals(True)
            selector.setMRMLScene(None)

    def refresh_run(self) -> None:
        """Show how far the run is, and whether one can be started."""
        run, ui = self._session.run, self._ui
        busy = run.phase is not Phase.IDLE
        problem = "A batch is running." if self._elsewhere() else self._session.problem
        ui.segmentButton.enabled = not busy and not problem
        ui.segmentButton.toolTip = as_tip(problem) or "Segment the volume with the model"
        ui.segmentButton.text = "&Segment" if not busy else "Segmenting..."
        if busy or self._elsewhere():
            self._outcome = ""
        limits = [problem] if problem else self._limits()
        hint = "\n".join(run.notices if busy else [*limits, *filter(None, [self._outcome])])
        ui.hintLabel.text = hint
        ui.hintLabel.visible = bool(hint)
        ui.cancelButton.visible = busy
        ui.cancelButton.enabled = run.phase is Phase.RUNNING
        ui.progressFrame.visible = busy
        for widget in (*self._selectors, ui.modelSelector, ui.outputSelector, ui.advancedBox):
            widget.setEnabled(not busy)
        if busy:
            self._show_progress(run.progress)
        if not ui.logBox.collapsed and ui.logText.plainText != run.log:
            ui.logText.plainText = run.log

    def _on_outcome(self, words: str) -> None:
        """Say how the run ended until the next one is started: its dialog will be closed."""
        self._outcome = words
        self.refresh_run()

    def _limits(self) -> list[str]:
        """Return what Segment will be limited to, which is chosen in a box that may be folded."""
        roi = slicer.mrmlScene.GetNodeByID(self._session.parameters.roi or "")
        return [f"Only inside the region '{roi.GetName()}'."] if roi is not None else []

    def _show_progress(self, progress: Progress) -> None:
        ui = self._ui
        ui.progressBar.maximum = RESOLUTION if progress.share >= 0 else 0
        ui.progressBar.value = max(0, round(RESOLUTION * progress.share))
        on = f" on {progress.device}" if progress.device else ""
        cancelling = self._session.run.phase is Phase.CANCELLING
        ui.stepLabel.text = "Cancelling" if cancelling else f"{progress.step}{on}"
        ui.timeLabel.text = texts.times_text(progress.elapsed_s, progress.remaining_s)

    def _on_leaving(self, node: Any) -> None:
        """Choose none where the chosen node is removed: a selector would take its neighbor."""
        parameters = self._session.parameters
        for name in ("output", "roi"):
            if getattr(parameters, name) == node.GetID():
                self._session.choose(**{name: ""})

    def _on_model(self, index: int) -> None:
        if 0 <= index < len(self._session.models):
            self._session.choose(model=self._session.models[index].path.name)

    def _on_segment(self) -> None:
        question = self._session.question
        if not question or _agrees(question):
            self._attempt(self._start)

    def _start(self) -> None:
        try:
            self._session.segment()
        except DyconError as error:
            self._on_outcome(f"Last run failed: {error}")
            raise

    def _on_copy(self) -> None:
        qt.QApplication.clipboard().setText(self._session.run.log)

    def _on_page(self) -> None:
        model = self._session.model
        if model is not None:
            qt.QDesktopServices.openUrl(qt.QUrl(model_words.page_address(model)))

    def _add_model_menu(self) -> None:
        self._menu = qt.QMenu(self._ui.modelMenuButton)
        for text, action in (
            ("&Import model...", self._on_import),
            ("&Look again", self._session.find_models),
            ("&Show my models", self._on_show_folder),
        ):
            self._menu.addAction(text).connect("triggered()", action)
        self._ui.modelMenuButton.setMenu(self._menu)

    def _on_import(self) -> None:
        path = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), "Import model", "", "DyCON models (*.dycon)"
        )
        if path:
            self._attempt(lambda: self._session.import_model(Path(path)))

    def _on_show_folder(self) -> None:
        self._session.model_folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._session.model_folder)))


def _agrees(question: str) -> bool:
    plain = qt.Qt.PlainText  # a name in it may look like HTML
    return bool(slicer.util.confirmOkCancelDisplay(question, textFormat=plain))


def _literal(name: str) -> str:
    """Return the label of a channel; a `&` alone would underline the next letter."""
    return f"{name.replace('&', '&&')}:"


def _broken_text(broken: Sequence[Broken]) -> str:
    """Return which files are no usable models, a line per file; '' where there is none."""
    if not broken:
        return ""
    lines = [f"{len(broken)} file{'s' * (len(broken) > 1)} cannot be used:"]
    for each in broken[:MOST_BROKEN]:
        reason = each.reason.removeprefix(f"model '{each.path.name}': ")
        lines.append(f"{each.path.name}: {reason}")
    if len(broken) > MOST_BROKEN:
        lines.append(f"{len(broken) - MOST_BROKEN} more in the folder of your models")
    return "\n".join(lines)
