"""Reports, segmentations and volumes for tests of the panel."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

REASON = "the volume is 25 % less if only sure voxels count, 9 % more if all possible ones do"


def report_table(**changes: Any) -> dict[str, Any]:
    """A report as the engine writes it, of two structures and three regions."""
    table: dict[str, Any] = {
        "schema_version": 2,
        "device": "cpu",
        "seconds": 3.5,
        "volumes": [
            _volume("left atrium", 84.6),
            _volume("left ventricle", 120.3, reason=REASON),
        ],
        "mean_uncertainty": 0.2,
        "regions": [_region(1, 4200.0, 0.91), _region(2, 950.0, 0.85), _region(3, 300.0, 0.8, ())],
        "flags": [],
    }
    return table | changes


def report_text(**changes: Any) -> str:
    return json.dumps(report_table(**changes))


def _volume(name: str, ml: float, *, reason: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "voxels": round(ml * 100),
        "volume_ml": ml,
        "low_ml": ml * 0.9,
        "high_ml": ml * 1.1,
        "boundary_uncertainty": 0.31,
        "review": bool(reason),
        "reason": reason,
    }


def _region(rank: int, mm3: float, mean: float, labels=("left atrium",)) -> dict[str, Any]:
    return {
        "id": rank,
        "centroid_lps_mm": [-10.0 * rank, -5.0, 2.0],
        "centroid_ras_mm": [10.0 * rank, 5.0, 2.0],
        "volume_mm3": mm3,
        "mean_uncertainty": mean,
        "box_zyx": [[0, 3], [0, 3], [0, 3]],
        "labels": list(labels),
    }


def add_volume(
    array: np.ndarray, name: str = "scan", *, spacing=(1.0, 1.0, 1.0), kind: str = "Scalar"
) -> Any:
    """Add a volume node of `array` (D, H, W); spacing (x, y, z)."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", name)
    node.SetSpacing(spacing)
    slicer.util.updateVolumeFromArray(node, array)
    node.CreateDefaultDisplayNodes()
    return node


def add_segmentation(labels: np.ndarray, volume: Any, names: tuple[str, ...]) -> Any:
    """Add a segmentation of the values 1, 2... of `labels` (D, H, W) on the grid of `volume`."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for value, name in enumerate(names, start=1):
        segment_id = node.GetSegmentation().AddEmptySegment(name, name)
        mask = (labels == value).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_id, volume)
    return node
