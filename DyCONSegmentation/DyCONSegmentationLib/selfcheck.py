"""What the module's self-test checks in a running Slicer: no PyTorch, no data, no window needed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from DyCONLib import mrml
from DyCONLib.models import Channel, Model, ModelLabel
from DyCONLib.segment_editor import editor_node
from DyCONSegmentationLib import editing, results, showing
from DyCONSegmentationLib.parameters import (
    DEFAULTS,
    Parameters,
    parameter_node,
    read_parameters,
    write_parameters,
)
from DyCONSegmentationLib.review import Mark

SIZE = (8, 9, 10)
BALL = ModelLabel(3, "ball", (64, 200, 255), "SCT^82471001^Left atrial structure")
MODEL = Model(
    path=Path("check.dycon"),
    name="check",
    segments=(BALL,),
    channels=(Channel("", ""),),
    modality="",
    method="",
    labeled_cases=None,
    unlabeled_cases=None,
    validation_cases=None,
    dice=None,
    ece=None,
    notice="",
    raw={},
)
REPORT = {
    "schema_version": 2,
    "device": "cpu",
    "seconds": 1.0,
    "volumes": [],
    "flags": [],
    "regions": [
        {
            "id": 1,
            "labels": ["ball"],
            "centroid_ras_mm": [3.0, 4.0, 5.0],
            "volume_mm3": 8.0,
            "mean_uncertainty": 0.9,
        }
    ],
}


def check_choices() -> None:
    """The choices are kept in the parameter node."""
    scan = _scan()
    chosen = Parameters(volumes=(scan.GetID(),), model="a.dycon", overlap=30, hide_below=0.25)
    write_parameters(parameter_node(), chosen)
    _require(read_parameters(parameter_node()) == chosen, "choices are read back")
    slicer.mrmlScene.Clear(0)
    _require(read_parameters(parameter_node()) == DEFAULTS, "a closed scene forgets them")


def check_result() -> None:
    """A result lies on its scan, is found again and is shown with outline and legend."""
    result = _placed(_scan())
    _require(mrml.same_grid(result.uncertainty, result.volume), "the map lies on the scan")
    segment = result.segmentation.GetSegmentation().GetNthSegment(0)
    _require(segment.GetName() == BALL.name, "the structure has its name")
    labels = slicer.util.arrayFromSegmentBinaryLabelmap(
        result.segmentation, result.segmentation.GetSegmentation().GetNthSegmentID(0), result.volume
    )
    _require(np.array_equal(labels > 0, _ball()), "the structure lies voxel for voxel")
    found = results.find_result(result.segmentation)
    _require(found is not None and found.report == result.report, "the report is kept")
    showing.show(result, DEFAULTS)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        _require(view.GetForegroundVolumeID() == result.uncertainty.GetID(), "the map is shown")


def check_review() -> None:
    """Marks of the review list are kept with the scene."""
    result = _placed(_scan())
    results.keep_review(result.segmentation, result.review.marked(1, Mark.FIXED))
    found = results.find_result(result.segmentation)
    _require(found is not None and found.review.left == 0, "the mark is kept")


def check_editing() -> None:
    """Segment Editor is limited to uncertain voxels, and not limited again."""
    result = _placed(_scan())
    editing.edit_uncertain(result, 0.5, lambda: None)
    node = editor_node()
    _require(editing.is_masked(node), "the mask is on")
    _require(node.GetSourceVolumeNode() is result.uncertainty, "the mask is the uncertainty")
    editing.edit_everything(result, lambda: None)
    _require(not editing.is_masked(node), "the mask is off")


CHECKS: tuple[Callable[[], None], ...] = (
    check_choices,
    check_result,
    check_review,
    check_editing,
)


def _scan() -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "scan")
    turned = np.array([[0, 0, 2.5, 7], [-0.7, 0, 0, 8], [0, 1.1, 0, 9], [0, 0, 0, 1.0]])
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(turned))
    slicer.util.updateVolumeFromArray(node, np.arange(np.prod(SIZE), dtype=np.int16).reshape(SIZE))
    node.CreateDefaultDisplayNodes()
    return node


def _ball() -> Any:
    mask = np.zeros(SIZE, np.bool_)
    mask[2:6, 2:6, 2:6] = True
    return mask


def _placed(scan: Any) -> results.Result:
    """Return a result that was read from files, as after a run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = results.Files(folder / "l.nrrd", folder / "r.json", folder / "u.nrrd")
        mrml.write_array(_ball().astype(np.uint8) * BALL.value, scan, files.labels)
        mrml.write_array(np.linspace(0, 1, np.prod(SIZE)).reshape(SIZE), scan, folder / "u.nrrd")
        files.report.write_text(json.dumps(REPORT), "utf-8")
        return results.place(files, model=MODEL, volume=scan, name="result")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(f"not so: {what}")
