"""Correcting only what is uncertain: Segment Editor's intensity mask on the uncertainty volume.

With the uncertainty as the editor's source volume and its editable range from the threshold up,
every effect of the editor leaves all other voxels alone; "Logical operators" does so once its own
"Bypass masking", which Slicer switches on, is off. The other way, an area inside a mask segment,
lets the eraser remove the edited segment outside that area too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from dycon_engine.errors import InputError
from DyCONLib.segment_editor import EDITOR, KIND, editor_node, open_on
from DyCONSegmentationLib.results import UNCERTAINTY, Result

BYPASS = "Logical operators.BypassMasking"  # an effect's parameter, on the editor's node
MASKED = "DyCON.UncertainOnly"  # on the editor's node: the uncertainty that we masked with


def edit_uncertain(result: Result, threshold: float, open_editor: Callable[[], Any]) -> None:
    """Open Segment Editor on `result` so that only voxels of at least `threshold` can be changed.

    The overlay should be visible: the editor then leaves the slice views as they are.

    Args:
        result: Segmentation, scan and uncertainty that are all still in the scene.
        threshold: Lowest uncertainty that may be edited, in [0, 1].
        open_editor: Shows the module Segment Editor.

    Raises:
        InputError: The uncertainty volume is gone, or nothing is that uncertain.
    """
    if result.uncertainty is None:
        raise InputError(
            f"'{result.segmentation.GetName()}': its uncertainty volume was removed from the "
            "scene; segment again"
        )
    highest = result.uncertainty.GetImageData().GetScalarRange()[1]
    if highest < threshold:
        raise InputError(
            f"no voxel is as uncertain as {threshold:.2f} (the highest is {highest:.2f}); lower "
            "'Hide below'"
        )
    _edit(result, result.uncertainty, open_editor)
    node = editor_node()
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    node.SetSourceVolumeIntensityMaskRange(threshold, max(1.0, highest))  # as what is colored
    node.SetSourceVolumeIntensityMask(True)
    node.SetAttribute(BYPASS, "0")
    node.SetAttribute(MASKED, result.uncertainty.GetID())


def edit_everything(result: Result, open_editor: Callable[[], Any]) -> None:
    """Open Segment Editor on `result` without a mask; its source volume is the scan again."""
    _unmask(editor_node())
    _edit(result, result.volume, open_editor)


def leave_mask() -> None:
    """Let the editor change every voxel again, if its mask lies on an uncertainty of ours."""
    node = slicer.mrmlScene.GetSingletonNode(EDITOR, KIND)
    if node is not None and is_masked(node):
        _unmask(node)


class EditorWatch:
    """Takes our mask away as soon as the editor works on another volume.

    Slicer changes the editor's source by itself where another segmentation is chosen, and leaves
    the mask on: with a range of ours, from 0 to 1, nothing of a CT could be painted any more.
    """

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._node: Any = None
        self._tag = 0

    def look(self) -> None:
        """Watch the editor's node of the scene, which comes and goes."""
        node = slicer.mrmlScene.GetSingletonNode(EDITOR, KIND)
        if node is not self._node:
            self.close()
            self._node = node
            if node is not None:
                self._tag = node.AddObserver("ModifiedEvent", lambda *_: _leave_other_source(node))

    def close(self) -> None:
        """Watch nothing any more."""
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node = None


def _leave_other_source(node: Any) -> None:
    ours, source = node.GetAttribute(MASKED), node.GetSourceVolumeNode()
    if ours and source is not None and source.GetID() != ours:
        _unmask(node)


def leave_lost_mask() -> None:
    """Take our mask away where its uncertainty volume was removed; the scan is the source again."""
    node = slicer.mrmlScene.GetSingletonNode(EDITOR, KIND)
    ours = node.GetAttribute(MASKED) if node is not None else None
    if not ours or slicer.mrmlScene.GetNodeByID(ours) is not None:
        return
    if node.GetSourceVolumeNode() is not None:  # another one, with a mask that is not ours
        node.RemoveAttribute(MASKED)
    else:
        _unmask(node)
        segmentation = node.GetSegmentationNode()
        if segmentation is not None:
            role = segmentation.GetReferenceImageGeometryReferenceRole()
            node.SetAndObserveSourceVolumeNode(segmentation.GetNodeReference(role))


def _unmask(node: Any) -> None:
    if node.GetAttribute(MASKED):
        node.SetAttribute(BYPASS, "1")  # as Slicer has it
        node.RemoveAttribute(MASKED)
    node.SetSourceVolumeIntensityMask(False)


def is_masked(node: Any) -> bool:
    """Return whether the editor works on an uncertainty volume of ours, with the mask on."""
    source, segmentation = node.GetSourceVolumeNode(), node.GetSegmentationNode()
    ours = segmentation is not None and source is not None
    return bool(
        ours
        and node.GetSourceVolumeIntensityMask()
        and segmentation.GetNodeReferenceID(UNCERTAINTY) == source.GetID()
    )


def _edit(result: Result, source: Any, open_editor: Callable[[], Any]) -> None:
    segmentation = result.segmentation.GetSegmentation()
    open_on(result.segmentation, source, open_editor)
    node = editor_node()
    if segmentation.GetNumberOfSegments() and not segmentation.GetSegment(
        node.GetSelectedSegmentID() or ""
    ):
        node.SetSelectedSegmentID(segmentation.GetNthSegmentID(0))
