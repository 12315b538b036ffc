"""What a person chose in the panel: a frozen dataclass, kept in the module's parameter node."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import slicer

MODULE = "DyCONTraining"
FROM_SCRATCH, FROM_LAST_RUN = "scratch", "last run"
MINUTES, STEPS = "minutes", "steps"


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The choices of the panel.

    Attributes:
        dataset: Folder of the data set; "" = none.
        method: Training recipe.
        settings: Changed settings by method and name.
        profile: Set of defaults.
        start: scratch, last run, or the file name of a model.
        budget: Whether the budget is given in minutes or steps.
        minutes: Time budget.
        steps: Optimizer steps.
        device: auto, cpu, cuda or mps.
        compare: Whether supervised-only training follows on the same split.
        run: The run that is watched.
        chart: The chart that is shown.
        extra: Further settings of the engine, `section.key` -> value, for experts and tests.
    """

    dataset: str = ""
    method: str = "dycon"
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    profile: str = "laptop"
    start: str = FROM_SCRATCH
    budget: str = MINUTES
    minutes: int = 60
    steps: int = 1500
    device: str = "auto"
    compare: bool = False
    run: str = ""
    chart: str = "Dice"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def with_setting(self, name: str, value: Any) -> Parameters:
        """Return the choices with a setting of the chosen method."""
        own = {**self.settings.get(self.method, {}), name: value}
        return dataclasses.replace(self, settings={**self.settings, self.method: own})


def parameter_node(scene: Any | None = None) -> Any:
    """Return the module's node of the scene; it is made where there is none."""
    scene = scene or slicer.mrmlScene
    node = scene.GetSingletonNode(MODULE, "vtkMRMLScriptedModuleNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(MODULE)
        node.SetName(MODULE)
        node = scene.AddNode(node)
    node.SetAttribute("ModuleName", MODULE)
    return node


def read_parameters(node: Any) -> Parameters:
    """Return what `node` holds; a value that is absent or unusable takes its default."""
    values = {}
    for item in dataclasses.fields(Parameters):
        default = getattr(DEFAULTS, item.name)
        try:
            value = json.loads(node.GetParameter(item.name))
        except ValueError:
            continue
        if type(value) is type(default):
            values[item.name] = value
    return Parameters(**values)


def write_parameters(node: Any, parameters: Parameters) -> None:
    """Keep `parameters` in `node`, which says that it was modified at most once."""
    was_modifying = node.StartModify()
    for item in dataclasses.fields(Parameters):
        text = json.dumps(getattr(parameters, item.name), sort_keys=True)
        if node.GetParameter(item.name) != text:
            node.SetParameter(item.name, text)
    node.EndModify(was_modifying)


DEFAULTS = Parameters()
