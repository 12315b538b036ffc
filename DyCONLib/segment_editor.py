"""Slicer's module Segment Editor, opened on what we choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

EDITOR = "SegmentEditor"
KIND = "vtkMRMLSegmentEditorNode"


def editor_node() -> Any:
    """Return the parameter node of the module Segment Editor, made if it is not there."""
    node = slicer.mrmlScene.GetSingletonNode(EDITOR, KIND)
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass(KIND)
        node.UnRegister(None)
        node.SetSingletonTag(EDITOR)
        node = slicer.mrmlScene.AddNode(node)
    return node


def open_on(segmentation: Any, source: Any, open_editor: Callable[[], Any]) -> None:
    """Open Segment Editor on a segmentation, with `source` as its source volume.

    The slice views stay as they are if they show `source`. The editor puts a source that they do
    not show in the place of all that they show, and where it has no segmentation yet it opens on
    the first of the scene, with that one's scan as source: so ours is there before it opens. It
    then takes the segmentation's own scan as source, so ours is chosen again.
    """
    _choose(segmentation, source)
    open_editor()
    _choose(segmentation, source)


def _choose(segmentation: Any, source: Any) -> None:
    node = editor_node()
    node.SetAndObserveSegmentationNode(segmentation)
    node.SetAndObserveSourceVolumeNode(source)
