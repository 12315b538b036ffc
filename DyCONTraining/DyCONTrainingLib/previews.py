"""How a fixed unlabeled case looked after so many steps: a sequence to scrub in slice views."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import slicer

from dycon_engine.errors import DyconError
from DyCONLib import mrml
from DyCONTrainingLib.history import Mark

IMAGE, LABELS, UNCERTAINTY = "image", "labels", "uncertainty"
OPACITY = 0.5


class Previews:
    """The previews of one run in the scene; nodes are made when there is something to show."""

    def __init__(self, run_dir: Path) -> None:
        """Show nothing yet."""
        self._run_dir = run_dir
        self._done: set[str] = set()
        self._image: Any = None
        self._browser: Any = None
        self._sequences: dict[str, Any] = {}
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
    def browser(self) -> Any | None:
        """Return the sequence browser node, None where there is nothing to show."""
        return self._browser

    def update(self, marks: Iterable[Mark]) -> None:
        """Take the files that are complete; one that cannot be read is told and left out."""
        at_end = self._browser is None or self.shown == len(self.steps) - 1
        new = False
        for mark in marks:
            if mark.path in self._done:
                continue
            self._done.add(mark.path)
            try:
                new = self._take(mark) or new
            except DyconError as error:
                self.problem = str(error)
        if new and at_end:
            self.show(len(self.steps) - 1)

    @property
    def shown(self) -> int:
        """Return the number of the preview that is shown, -1 for none."""
        return int(self._browser.GetSelectedItemNumber()) if self._browser is not None else -1

    def show(self, number: int) -> None:
        """Show one preview in the slice views: scan, prediction, uncertainty."""
        if self._browser is None or not 0 <= number < len(self.steps):
            return
        self._browser.SetSelectedItemNumber(number)
        logic = slicer.modules.sequences.logic()
        logic.UpdateProxyNodesFromSequences(self._browser)
        labels, uncertainty = (self._proxy(kind) for kind in (LABELS, UNCERTAINTY))
        slicer.util.setSliceViewerLayers(
            background=self._image,
            foreground=uncertainty,
            foregroundOpacity=OPACITY if uncertainty is not None else 0.0,
            label=labels,
            labelOpacity=OPACITY,
        )

    def remove(self) -> None:
        """Take all nodes out of the scene."""
        proxies = [self._proxy(kind) for kind in self._sequences]
        for node in (self._browser, *self._sequences.values(), *proxies, self._image):
            mrml.remove(node)
        self._image = self._browser = None
        self._sequences = {}

    def _take(self, mark: Mark) -> bool:
        path = self._run_dir / mark.path
        kind = next((k for k in (UNCERTAINTY, LABELS, IMAGE) if k in mark.what + path.name), "")
        if kind == IMAGE:
            self._image = _volume("vtkMRMLScalarVolumeNode", "Preview scan")
            _read(path, self._image)
        elif kind:
            self._add(kind, mark.step, path)
        return kind == LABELS

    def _add(self, kind: str, step: int, path: Path) -> None:
        is_label = kind == LABELS
        class_name = "vtkMRMLLabelMapVolumeNode" if is_label else "vtkMRMLScalarVolumeNode"
        node = slicer.mrmlScene.CreateNodeByClass(class_name)
        node.UnRegister(None)
        node.SetName(f"Preview {kind}")
        _read(path, node)
        sequence = self._sequence(kind)
        sequence.SetDataNodeAtValue(node, str(step))

    def _sequence(self, kind: str) -> Any:
        if kind not in self._sequences:
            sequence = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLSequenceNode", f"Preview {kind} over training"
            )
            sequence.SetIndexName("step")
            sequence.SetIndexUnit("")
            sequence.SetIndexType(slicer.vtkMRMLSequenceNode.NumericIndex)
            sequence.SetSaveWithScene(False)
            self._sequences[kind] = sequence
            self._watch(sequence)
        return self._sequences[kind]

    def _watch(self, sequence: Any) -> None:
        if self._browser is None:
            self._browser = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLSequenceBrowserNode", "Training previews"
            )
            self._browser.SetSaveWithScene(False)
        self._browser.AddSynchronizedSequenceNode(sequence)

    def _proxy(self, kind: str) -> Any | None:
        sequence = self._sequences.get(kind)
        if sequence is None or self._browser is None:
            return None
        return self._browser.GetProxyNode(sequence)


def _volume(class_name: str, name: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass(class_name, name)
    node.SetSaveWithScene(False)
    node.CreateDefaultDisplayNodes()
    return node


def _read(path: Path, node: Any) -> None:
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not path.is_file() or not storage.ReadData(node):
        raise DyconError(f"preview '{path.name}': cannot be read; the run goes on without it")
