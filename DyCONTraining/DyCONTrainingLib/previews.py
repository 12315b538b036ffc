"""How a fixed unlabeled case looked after so many steps: a sequence to scrub in slice views.

The engine writes `preview/image.nii.gz` once, then a label map and an uncertainty map per preview.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import slicer

from dycon_engine.errors import DyconError
from DyCONLib import mrml
from DyCONLib.mrml_views import HIDE_BELOW, color_map
from DyCONTrainingLib.history import Mark
from DyCONTrainingLib.labels import LabelClass

IMAGE, LABELS, UNCERTAINTY = "image", "labels", "uncertainty"
OWNER = "DyCON.Preview"
CLASSES = {
    IMAGE: "vtkMRMLScalarVolumeNode",
    LABELS: "vtkMRMLLabelMapVolumeNode",
    UNCERTAINTY: "vtkMRMLScalarVolumeNode",
}
OPACITY = 0.5  # of the uncertainty


class Previews:
    """The previews of one run in the scene; nodes are made when there is something to show.

    Attributes:
        problem: Why a preview could not be read, "" where all could.
    """

    def __init__(self, run_dir: Path, classes: Sequence[LabelClass]) -> None:
        """Show nothing yet; `classes` give names and colors."""
        self._run_dir, self._classes = run_dir, classes
        self._done: set[str] = set()
        self._image: Any = None
        self._colors: Any = None
        self._browser: Any = None
        self._sequences: dict[str, Any] = {}
        self._outlined: dict[str, bool] = {}
        self.problem = ""

    @property
    def steps(self) -> list[int]:
        """Return the steps that can be shown."""
        sequence = self._sequences.get(LABELS)
        if sequence is None:
            return []
        count = sequence.GetNumberOfDataNodes()
        return [int(sequence.GetNthIndexValue(number)) for number in range(count)]

    @property
    def shown(self) -> int:
        """Return the number of the preview that is shown, -1 for none."""
        return int(self._browser.GetSelectedItemNumber()) if self._browser is not None else -1

    def update(self, marks: Iterable[Mark]) -> None:
        """Take the files that are complete; a person who looks at the newest sees the new one.

        One that cannot be read is told and left out.
        """
        at_end = self.shown == len(self.steps) - 1
        was_shown = self.is_shown
        for mark in marks:
            if mark.path not in self._done:
                self._done.add(mark.path)
                try:
                    self._take(mark)
                except DyconError as error:
                    self.problem = str(error)
        for kind in self._sequences:
            _own(self._proxy(kind))  # Slicer makes them as the sequences come
        if at_end and was_shown:
            self.show(len(self.steps) - 1)

    @property
    def is_shown(self) -> bool:
        """Return whether the slice views show the scan of the previews now."""
        views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        return self._is_there and any(
            view.GetBackgroundVolumeID() == self._image.GetID() for view in views
        )

    @property
    def _is_there(self) -> bool:
        """Whether the scan is in the scene; its id may be another's in the next scene."""
        return self._image is not None and bool(slicer.mrmlScene.IsNodePresent(self._image))

    def show(self, number: int) -> None:
        """Show one preview in the slice views: scan, prediction, uncertainty."""
        if self._browser is None or not self._is_there or not 0 <= number < len(self.steps):
            return
        first = not self.is_shown
        self._browser.SetSelectedItemNumber(number)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self._browser)
        labels, uncertainty = _own(self._proxy(LABELS)), _own(self._proxy(UNCERTAINTY))
        self._color(labels, uncertainty)
        self._outline()
        slicer.util.setSliceViewerLayers(
            background=self._image, label=labels, labelOpacity=1.0, fit=first
        )
        if uncertainty is not None:
            mrml.show_overlay(
                self._image, uncertainty, opacity=OPACITY, threshold=HIDE_BELOW, legend=True
            )
            for index in range(uncertainty.GetNumberOfDisplayNodes()):  # the legend is one
                _own(uncertainty.GetNthDisplayNode(index))

    def remove(self) -> None:
        """Take all nodes out of the scene."""
        proxies = [self._proxy(kind) for kind in self._sequences]
        for node in (self._browser, *self._sequences.values(), self._colors):  # it makes proxies
            if node is not None and slicer.mrmlScene.IsNodePresent(node):
                slicer.mrmlScene.RemoveNode(node)
        for node in (*proxies, self._image):
            mrml.remove(node)
        self._image = self._colors = self._browser = None
        self._sequences = {}
        for identifier, before in self._outlined.items():
            view = slicer.mrmlScene.GetNodeByID(identifier)
            if view is not None:
                view.SetUseLabelOutline(before)
        self._outlined = {}

    def _take(self, mark: Mark) -> None:
        path = self._run_dir / mark.path
        kind = next((k for k in (UNCERTAINTY, LABELS, IMAGE) if k in path.name), "")
        if kind == IMAGE:
            self._image = _read(path, _added(CLASSES[IMAGE], "Preview scan"))
            self._image.CreateDefaultDisplayNodes()
        elif kind:
            node = slicer.mrmlScene.CreateNodeByClass(CLASSES[kind])
            node.UnRegister(None)
            node.SetName(f"Preview {kind}")
            self._sequence(kind).SetDataNodeAtValue(_read(path, node), str(mark.step))

    def _sequence(self, kind: str) -> Any:
        if kind not in self._sequences:
            sequence = _added("vtkMRMLSequenceNode", f"Preview {kind}")
            sequence.SetIndexName("step")
            sequence.SetIndexUnit("")
            sequence.SetIndexType(slicer.vtkMRMLSequenceNode.NumericIndex)
            if self._browser is None:
                self._browser = _added("vtkMRMLSequenceBrowserNode", "Training previews")
            self._browser.AddSynchronizedSequenceNode(sequence)
            self._sequences[kind] = sequence
        return self._sequences[kind]

    def _proxy(self, kind: str) -> Any | None:
        sequence = self._sequences.get(kind)
        return None if sequence is None else self._browser.GetProxyNode(sequence)

    def _color(self, labels: Any | None, uncertainty: Any | None) -> None:
        """Give the shown maps the colors of the data set, and of every uncertainty map."""
        if labels is not None:
            if labels.GetDisplayNode() is None:
                labels.CreateDefaultDisplayNodes()
            labels.GetDisplayNode().SetAndObserveColorNodeID(self._table().GetID())
        if uncertainty is not None:
            color_map(uncertainty)

    def _outline(self) -> None:
        """Draw label maps as lines, so that the uncertainty below is seen; `remove` undoes it."""
        for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self._outlined.setdefault(view.GetID(), bool(view.GetUseLabelOutline()))
            view.SetUseLabelOutline(True)

    def _table(self) -> Any:
        if self._colors is None:
            self._colors = table = _added("vtkMRMLColorTableNode", "Preview labels colors")
            table.SetTypeToUser()
            table.SetNumberOfColors(1 + max((each.value for each in self._classes), default=0))
            table.SetColor(0, "background", 0.0, 0.0, 0.0, 0.0)
            for each in self._classes:
                table.SetColor(each.value, each.name, *(part / 255 for part in each.color), 1.0)
        return self._colors


def _added(kind: str, name: str) -> Any:
    return _own(slicer.mrmlScene.AddNewNodeByClass(kind, name))


def _own(node: Any) -> Any:
    """Mark a node as one of a preview, not a scan of the person; it is not saved with the scene."""
    if node is not None:
        node.SetAttribute(OWNER, "1")
        node.SetSaveWithScene(False)  # the run directory keeps them
    return node


def _read(path: Path, node: Any) -> Any:
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not path.is_file() or not storage.ReadData(node):
        raise DyconError(f"preview '{path.name}': cannot be read; the run goes on without it")
    return node
