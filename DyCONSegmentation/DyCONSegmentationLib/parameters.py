"""What a person chose in the panel: a frozen dataclass, kept in the module's parameter node.

Nodes are kept as node references, so that they are followed when a scene is saved, read back or
merged into another one; everything else is kept as text.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import slicer

from DyCONLib.mrml_views import HIDE_BELOW

MODULE = "DyCONSegmentation"
AUTOMATIC = "auto"


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The choices of the panel; a node is given by its id, '' is none.

    Attributes:
        volumes: Input volume per channel of the model.
        output: Segmentation to replace; '' makes a new one.
        result: Segmentation whose result is shown.
        roi: Markups ROI to stay inside; '' takes the whole volume.
        model: File name of the package.
        device: auto, cpu, cuda or mps.
        uncertainty_kind: One that the engine knows.
        overlap: Of neighboring windows, in percent; below 0 takes the package's own.
        largest_component: Keep only the largest piece of every structure.
        minimum_volume_mm3: Smaller pieces are removed.
        keep_probabilities: Also load a probability volume per structure.
        show_overlay: Whether the uncertainty is drawn over the scan.
        show_legend: Whether its color legend is drawn.
        opacity: Of the overlay, in [0, 1].
        hide_below: Uncertainty below this is transparent, in [0, 1].
    """

    volumes: tuple[str, ...] = ()
    output: str = ""
    result: str = ""
    roi: str = ""
    model: str = ""
    device: str = AUTOMATIC
    uncertainty_kind: str = "entropy"
    overlap: int = -10
    largest_component: bool = False
    minimum_volume_mm3: float = 0.0
    keep_probabilities: bool = False
    show_overlay: bool = True
    show_legend: bool = True
    opacity: float = 0.6
    hide_below: float = HIDE_BELOW


NODES = ("output", "result", "roi")
VOLUMES = "volumes"
MOST = 64  # channels a package can have
DEFAULTS = Parameters()


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
    node.SetAttribute("ModuleName", MODULE)  # closing a scene takes it away
    return node


def read_parameters(node: Any) -> Parameters:
    """Return what `node` holds; a value that is absent or unusable takes its default."""
    values: dict[str, Any] = {name: _referenced(node, name) for name in NODES}
    count = _value(node.GetParameter(VOLUMES), 0)
    values[VOLUMES] = tuple(_referenced(node, f"{VOLUMES}{i}") for i in range(min(count, MOST)))
    for item in dataclasses.fields(Parameters):
        if item.name not in values:
            values[item.name] = _value(node.GetParameter(item.name), item.default)
    return Parameters(**values)


def write_parameters(node: Any, parameters: Parameters) -> None:
    """Keep `parameters` in `node`, which says that it was modified at most once."""
    was_modifying = node.StartModify()
    for name in NODES:
        if _referenced(node, name) != getattr(parameters, name):
            node.SetNodeReferenceID(name, getattr(parameters, name) or None)
    for index in range(max(_value(node.GetParameter(VOLUMES), 0), len(parameters.volumes))):
        node_id = parameters.volumes[index] if index < len(parameters.volumes) else ""
        if _referenced(node, f"{VOLUMES}{index}") != node_id:
            node.SetNodeReferenceID(f"{VOLUMES}{index}", node_id or None)
    node.SetParameter(VOLUMES, str(len(parameters.volumes)))
    for item in dataclasses.fields(Parameters):
        if item.name not in (*NODES, VOLUMES):
            node.SetParameter(item.name, str(getattr(parameters, item.name)))
    node.EndModify(was_modifying)


def _referenced(node: Any, role: str) -> str:
    found = node.GetNodeReference(role)
    return found.GetID() if found is not None else ""


def _value(text: str, default: Any) -> Any:
    """Return `text` as the type of `default`, which it falls back to."""
    if not text:
        return default
    if isinstance(default, bool):
        return {"True": True, "False": False}.get(text, default)
    try:
        return type(default)(text)
    except ValueError:
        return default
