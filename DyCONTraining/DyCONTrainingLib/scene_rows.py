"""Rows for the table from what is loaded: volumes, their segmentations, their patient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import slicer
import vtk

from DyCONTrainingLib import previews
from DyCONTrainingLib.cases import FromScene, Row, row
from DyCONTrainingLib.labels import Color, Segment

VOLUME, SEGMENTATION = "vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"
PATIENT = "Patient"  # level of the subject hierarchy
PREDICTION = "DyCON.Report"  # attribute of a segmentation that a model made
MAPS = ("DyCON.Uncertainty", "DyCON.Probabilities")  # what such a segmentation refers to


def rows_of_scene() -> list[Row]:
    """Return a row per scan that is loaded; label maps, uncertainty and previews are no scans."""
    return [_row(volume) for volume in _volumes(slicer.util.getNodesByClass(VOLUME))]


def rows_of_items(items: Iterable[int]) -> list[Row]:
    """Return a row per scan in the chosen subject-hierarchy items, folders and patients included.

    A chosen segmentation stands for its scan.
    """
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    nodes: dict[str, Any] = {}
    for item in items:
        found = vtk.vtkCollection()
        tree.GetDataNodesInBranch(item, found)
        inside = [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]
        for node in (tree.GetItemDataNode(item), *inside):
            volume = reference_of(node) if node and node.IsA(SEGMENTATION) else node
            if volume is not None:
                nodes[volume.GetID()] = volume
    return [_row(volume) for volume in _volumes(nodes.values())]


def segments_of(node: Any) -> list[Segment]:
    """Return the segments of a segmentation node: name, terminology, color."""
    segmentation = node.GetSegmentation()
    found = []
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        color = Color(*(round(255 * part) for part in segment.GetColor()))
        found.append(Segment(segment.GetName(), _terminology(segment), color))
    return found


def reference_of(segmentation: Any) -> Any | None:
    """Return the volume that a segmentation was drawn on, None where it is not known."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    volume = segmentation.GetNodeReference(role)
    if volume is not None:
        return volume
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    parent = tree.GetItemParent(tree.GetItemByDataNode(segmentation))
    if not parent or parent == tree.GetSceneItemID():
        return None
    beside = [tree.GetItemDataNode(item) for item in _children(tree, parent)]
    volumes = _volumes(node for node in beside if node is not None)
    return volumes[0] if len(volumes) == 1 else None


def is_prediction(segmentation: Any) -> bool:
    """Return whether a model made the segmentation."""
    return bool(segmentation.GetAttribute(PREDICTION))


def _row(volume: Any) -> Row:
    drawn = [node for node in slicer.util.getNodesByClass(SEGMENTATION) if _is_on(node, volume)]
    drawn.sort(key=is_prediction, reverse=True)  # what a person drew comes last
    label = drawn[-1] if drawn else None
    source = None if label is None else FromScene(label.GetID())
    return row(volume.GetName(), [FromScene(volume.GetID())], source, _patient(volume))


def _is_on(segmentation: Any, volume: Any) -> bool:
    has_segments = segmentation.GetSegmentation().GetNumberOfSegments() > 0
    return has_segments and reference_of(segmentation) is volume


def _volumes(nodes: Iterable[Any]) -> list[Any]:
    maps = {
        segmentation.GetNthNodeReferenceID(role, index)
        for segmentation in slicer.util.getNodesByClass(SEGMENTATION)
        for role in MAPS
        for index in range(segmentation.GetNumberOfNodeReferences(role))
    }
    return [
        node
        for node in nodes
        if node.IsA(VOLUME)
        and not node.IsA("vtkMRMLLabelMapVolumeNode")
        and not node.GetHideFromEditors()
        and node.GetImageData() is not None
        and node.GetID() not in maps
        and not node.GetAttribute(previews.OWNER)
    ]


def _patient(volume: Any) -> str:
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = tree.GetItemAncestorAtLevel(tree.GetItemByDataNode(volume), PATIENT)
    return tree.GetItemName(item) if item else ""


def _children(tree: Any, parent: int) -> list[int]:
    ids = vtk.vtkIdList()
    tree.GetItemChildren(parent, ids, False)
    return [ids.GetId(index) for index in range(ids.GetNumberOfIds())]


def _terminology(segment: Any) -> str:
    text = vtk.reference("")
    name = slicer.vtkSegment.GetTerminologyEntryTagName()
    return str(text) if segment.GetTag(name, text) else ""
