"""What the module's self-test checks in a running Slicer: no PyTorch, no data, no window needed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from dycon_engine.jobs.events import Saved, StepDone, Validated
from DyCONLib import mrml
from DyCONTrainingLib import scene_write
from DyCONTrainingLib.cases import Role
from DyCONTrainingLib.charts import DICE_CHART, LOSS_CHART, Charts
from DyCONTrainingLib.dataset import DatasetLogic
from DyCONTrainingLib.history import History
from DyCONTrainingLib.parameters import (
    Parameters,
    parameter_node,
    read_parameters,
    write_parameters,
)
from DyCONTrainingLib.saving import Tools

SIZE = (8, 9, 10)


def data_set() -> None:
    """A data set is built from the scene, saved, and read back."""
    with tempfile.TemporaryDirectory() as folder:
        logic = _logic(Path(folder))
        logic.open(Path(folder) / "set")
        _add_scans()
        _expect(logic.add_scene() == 2, "two scans were added")  # noqa: PLR2004
        _expect([row.role for row in logic.draft.rows] == [Role.LABELED, Role.UNLABELED], "roles")
        _expect(len(logic.findings) == 1, "nothing but that no case is held out")
        logic.save()
        while logic.is_busy:
            logic.poll()
        _expect(logic.is_saved, "the data set is saved")
        logic.open(Path(folder) / "set")
        _expect([row.alias for row in logic.draft.rows] == ["case-001", "case-002"], "aliases")
        path = Path(folder) / "set" / "labels" / "case-001.nii.gz"
        volume = slicer.util.getNode("scan 0")
        _expect(int((mrml.read_array(path, volume) > 0).sum()) == _block().sum(), "the label")
        logic.close()


def overlap() -> None:
    """Overlapping segments are asked about."""
    with tempfile.TemporaryDirectory() as folder:
        logic = _logic(Path(folder))
        logic.open(Path(folder) / "set")
        volume = _add_scans()
        _add_segment(slicer.util.getNode("drawn"), volume, "second")
        logic.add_scene()
        (finding,) = [each for each in logic.findings if "overlap" in each.text]
        logic.fix(finding.fixes[0])
        _expect(not any("overlap" in each.text for each in logic.findings), "it was answered")
        logic.close()


def curves() -> None:
    """A run's curves become plot nodes, and go away."""
    before = slicer.mrmlScene.GetNumberOfNodes()
    history, charts = History(), Charts("01-test")
    for step in range(1, 6):
        history.add([StepDone(step=step, total=5, loss=1.0 / step, terms={"dice": 1.0 / step})])
    history.add([Validated(step=5, dice=0.5), Saved(what="checkpoint", path="x", step=5)])
    charts.update(history)
    for name in (LOSS_CHART, DICE_CHART):
        chart: Any = charts.node(name)
        _expect(chart.GetNumberOfPlotSeriesNodes() == 1, f"one series in {name}")
    charts.remove()
    _expect(slicer.mrmlScene.GetNumberOfNodes() == before, "no node is left")


def choices() -> None:
    """Choices are kept with the scene."""
    chosen = Parameters(method="ua_mt", minutes=7, settings={"ua_mt": {"passes": 3}})
    write_parameters(parameter_node(), chosen)
    _expect(read_parameters(parameter_node()) == chosen, "choices come back")
    slicer.mrmlScene.RemoveNode(parameter_node())


TESTS: tuple[Callable[[], None], ...] = (data_set, overlap, curves, choices)


def _logic(folder: Path) -> DatasetLogic:
    def never(job: str, _arguments: Any, _run_dir: Path) -> Any:
        raise AssertionError(f"the self-test starts no engine, but {job} was asked for")

    tools = Tools(scene_write.export_image, scene_write.export_label, never, folder)
    return DatasetLogic(tools, clock=lambda: 0.0, look_s=60.0)  # no audit ever becomes due


def _block() -> Any:
    array = np.zeros(SIZE, np.uint8)
    array[2:5, 3:6, 3:7] = 1
    return array


def _add_scans() -> Any:
    """Load two scans, the first with a segmentation, and return the first."""
    volumes = []
    for number in range(2):
        array = np.random.default_rng(number).normal(100, 10, SIZE).astype(np.float32)
        name = f"scan {number}"
        volumes.append(slicer.util.addVolumeFromArray(array, name=name))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumes[0])
    _add_segment(node, volumes[0], "first")
    return volumes[0]


def _add_segment(node: Any, volume: Any, name: str) -> None:
    segment = node.GetSegmentation().AddEmptySegment(name, name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(_block(), node, segment, volume)


def _expect(holds: bool, words: str) -> None:
    if not holds:
        raise AssertionError(f"expected: {words}")
