"""What the panel shows, without Qt: choices, models, the run, the result at hand.

Choices live in the parameter node and results in their segmentations, so a session has next to no
state of its own: after a scene was closed or loaded it shows what is there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from dycon_engine.errors import InputError
from DyCONLib.models import Broken, Model, find_models, import_model
from DyCONLib.signal import Signal
from DyCONSegmentationLib import editing, orders, region, showing
from DyCONSegmentationLib.channels import preselect
from DyCONSegmentationLib.logic import SegmentationLogic
from DyCONSegmentationLib.parameters import (
    Parameters,
    parameter_node,
    read_parameters,
    write_parameters,
)
from DyCONSegmentationLib.results import MAP, Result, find_result, is_result, is_scan


@dataclass(frozen=True)
class Surroundings:
    """What a session needs of the application.

    Attributes:
        model_folders: Where models are looked for; imports go to the first.
        sample: A small scan that comes with the module.
        sample_model: File name of the model that fits it.
        missing: Returns what must be installed first.
    """

    model_folders: tuple[Path, ...]
    sample: Path
    sample_model: str
    missing: Callable[[], Sequence[str]] = tuple


class Session:
    """The panel's state and actions; `changed` is emitted when something it shows may differ."""

    def __init__(self, run: SegmentationLogic, surroundings: Surroundings) -> None:
        """Look at the scene and the model folders."""
        self.changed = Signal()
        self.run = run
        self._surroundings = surroundings
        self._found: list[Model | Broken] = []
        self._last_model = ""
        self._editor = editing.EditorWatch()
        self.run.finished.connect(self.take)
        self.find_models()

    # choices

    @property
    def parameters(self) -> Parameters:
        """What is chosen, as the scene keeps it."""
        return read_parameters(parameter_node())

    def choose(self, **changes: Any) -> None:
        """Change choices by their names in `Parameters`; what the model cannot do is not taken."""
        old = self.parameters
        new = dataclasses.replace(old, **changes)
        new = orders.possible(new, self._named(new.model))
        if new != old:
            write_parameters(parameter_node(), new)
            if new.model != old.model:
                self._last_model = new.model
                self.preselect(anew=True)
            self.changed.emit()

    @property
    def volumes(self) -> tuple[Any, ...]:
        """The chosen volume, or None, per channel of the model."""
        ids = self.parameters.volumes
        count = len(self.model.channels) if self.model else 1
        found = [slicer.mrmlScene.GetNodeByID(node_id) if node_id else None for node_id in ids]
        return tuple([*found, *[None] * count][:count])

    def choose_volume(self, channel: int, node_id: str) -> None:
        """Choose the volume of a channel; '' is none. A channel the model lacks changes nothing."""
        ids = [volume.GetID() if volume else "" for volume in self.volumes]
        if channel < len(ids):
            ids[channel] = node_id
            self.choose(volumes=tuple(ids))

    def preselect(self, *, anew: bool = False) -> None:
        """Choose volumes by the names the model expects, where none is chosen.

        Args:
            anew: The model is another one: what was chosen for several channels does not count.
        """
        if self.model is not None:
            scans = [node for node in _nodes("vtkMRMLScalarVolumeNode") if is_scan(node)]
            several = len(self.model.channels) > 1
            before = () if anew and several else self.volumes
            if not several and before == (None,) and _active_volume() in scans:
                before = (_active_volume(),)  # what the person looks at
            chosen = preselect(self.model.channels, scans, before)
            self.choose(volumes=tuple(node.GetID() if node else "" for node in chosen))

    @property
    def maps(self) -> list[str]:
        """The ids of volumes that are no scans: the uncertainty and probabilities of results."""
        nodes = _nodes("vtkMRMLScalarVolumeNode")
        return [node.GetID() for node in nodes if node.GetAttribute(MAP)]

    def scene_changed(self) -> None:
        """Say that nodes came, went or were replaced; a closed scene took the choices with it."""
        editing.leave_lost_mask()
        self._editor.look()
        if not self.parameters.model:
            self._choose_model()
        self.preselect()
        self.changed.emit()

    def close(self) -> None:
        """Let go of the scene."""
        self._editor.close()

    def load_sample(self) -> None:
        """Load the sample scan and choose it with the model that fits it.

        Raises:
            InputError: It is not there.
        """
        path, fitting = self._surroundings.sample, self._surroundings.sample_model
        if not path.is_file():
            raise InputError("the sample scan is not in this installation; load a scan of your own")
        node = slicer.util.loadVolume(str(path), {"name": "Sample heart"})
        self.choose_volume(0, node.GetID())
        if any(model.path.name == fitting for model in self.models):
            self.choose(model=fitting)

    # models

    def find_models(self) -> None:
        """Look into the model folders again; choose the first model where none is chosen."""
        self._found = find_models(self._surroundings.model_folders)
        if self.model is None:
            self._choose_model()
        self.preselect()
        self.changed.emit()

    def _choose_model(self) -> None:
        """Choose the model that was chosen last, else the first."""
        names = [model.path.name for model in self.models]
        if names:
            self.choose(model=self._last_model if self._last_model in names else names[0])

    @property
    def models(self) -> tuple[Model, ...]:
        """The usable models; of two with one file name the first folder's."""
        named: dict[str, Model] = {}
        for item in self._found:
            if isinstance(item, Model):
                named.setdefault(item.path.name, item)
        return tuple(named.values())

    @property
    def broken(self) -> tuple[Broken, ...]:
        """Files that look like models and cannot be used, with the reason."""
        return tuple(item for item in self._found if isinstance(item, Broken))

    @property
    def model(self) -> Model | None:
        """The chosen model; None where there is none or it is gone."""
        return self._named(self.parameters.model)

    def _named(self, name: str) -> Model | None:
        return next((model for model in self.models if model.path.name == name), None)

    @property
    def model_folder(self) -> Path:
        """Where imported models go."""
        return self._surroundings.model_folders[0]

    def import_model(self, path: Path) -> None:
        """Copy a model into the person's folder and choose it.

        Raises:
            InputError: It is no usable model, or another one of that name is there.
        """
        imported = import_model(path, self.model_folder)
        self.find_models()
        self.choose(model=imported.path.name)

    # running

    @property
    def blocked(self) -> str:
        """What keeps anything from being segmented, as what to do; '' where nothing does."""
        if self._surroundings.missing():
            return "Install what is missing first, with the button above."
        return "" if self.model is not None else "Choose a model."

    @property
    def problem(self) -> str:
        """What keeps Segment from being pressed, as what to do; '' where nothing does."""
        return self.blocked or orders.problem(self.volumes, self.model)

    @property
    def question(self) -> str:
        """What a person must agree to before Segment; '' where nothing is replaced."""
        output = slicer.mrmlScene.GetNodeByID(self.parameters.output or "")
        if output is None:
            return ""
        return (
            f"Replace the segmentation '{output.GetName()}'? What is in it now, corrections too, "
            "is lost."
        )

    def segment(self) -> None:
        """Start segmenting as chosen; `question` was answered with yes.

        Raises:
            DyconError: It cannot be started; one sentence.
        """
        self.run.segment(self.volumes, self.model, self.parameters)

    def take(self, result: Result) -> None:
        """Make a result that is new in the scene the one at hand and show it."""
        self.choose(result=result.segmentation.GetID(), output="", show_overlay=True)
        self.show()

    # result

    @property
    def results(self) -> tuple[Any, ...]:
        """The segmentations of the scene that are results of ours."""
        return tuple(node for node in _nodes("vtkMRMLSegmentationNode") if is_result(node))

    @property
    def result(self) -> Result | None:
        """The result at hand: the chosen one, else the newest."""
        chosen = self.parameters.result
        newest_first = reversed(self.results)
        nodes = sorted(newest_first, key=lambda node: node.GetID() != chosen)
        return next(filter(None, map(find_result, nodes)), None)

    @property
    def made_by(self) -> Model | None:
        """The model that made the result at hand; None where it is gone."""
        name = self.result.model if self.result is not None else ""
        return next((model for model in self.models if model.name == name), None)

    @property
    def needs_region(self) -> bool:
        """Whether the scan of the result at hand is so large that a region would help."""
        result = self.result
        return result is not None and region.is_needed(result.report, result.volume, self.made_by)

    def propose_region(self) -> None:
        """Choose the scan and the model of the result at hand again, with a region to be moved."""
        result, model = self.result, self.made_by
        if result is None or result.volume is None or model is None:
            return
        roi = slicer.mrmlScene.GetNodeByID(self.parameters.roi or "")
        if roi is None:
            showing.fit()
            roi = region.propose(result.volume, model)
        self.choose(model=model.path.name)
        volumes = tuple(volume.GetID() if volume else "" for volume in result.volumes)
        self.choose(volumes=volumes, roi=roi.GetID())

    def show_result(self, node_id: str) -> None:
        """Make another result the one at hand and show it; a mask of Segment Editor is left."""
        if node_id != self.parameters.result:
            editing.leave_mask()  # it is of the result before
            self.choose(result=node_id)
            self.show()

    def show(self) -> None:
        """Draw scan, uncertainty and legend in the slice views as chosen."""
        if self.result is not None:
            showing.show(self.result, self.parameters)


def _active_volume() -> Any:
    selection = slicer.app.applicationLogic().GetSelectionNode()
    return slicer.mrmlScene.GetNodeByID(selection.GetActiveVolumeID() or "")


def _nodes(class_name: str) -> list[Any]:
    nodes = slicer.mrmlScene.GetNodesByClass(class_name)
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]
