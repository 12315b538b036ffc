"""Edit uncertain only, on Slicer's own Segment Editor logic: confident voxels cannot be touched."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dycon_engine.errors import InputError
from Testing.slicer.segmentation.contents import add_segmentation, add_volume

SIZE = (8, 9, 10)
THRESHOLD = 0.4


@pytest.fixture
def case(slicer_scene):
    """A scan with two structures side by side and an uncertainty volume; and the real editor."""
    import slicer

    scan = add_volume(np.zeros(SIZE, np.int16), spacing=(1.0, 2.0, 3.0))
    values = np.random.default_rng(0).random(SIZE).astype(np.float32)
    uncertainty = add_volume(values, "uncertainty", spacing=(1.0, 2.0, 3.0))
    labels = np.zeros(SIZE, np.uint8)
    labels[:, :, 2:5], labels[:, :, 5:8] = 1, 2
    segmentation = add_segmentation(labels, scan, ("one", "two"))
    segmentation.SetNodeReferenceID("DyCON.Uncertainty", uncertainty.GetID())
    editor = slicer.vtkSlicerSegmentEditorLogic()
    editor.SetMRMLScene(slicer_scene)
    result = SimpleNamespace(segmentation=segmentation, volume=scan, uncertainty=uncertainty)
    return SimpleNamespace(result=result, editor=editor, values=values, scan=scan)


def array(case, name):
    import slicer

    return slicer.util.arrayFromSegmentBinaryLabelmap(
        case.result.segmentation, name, case.scan
    ).astype(bool)


def paint_everything(case, mode):
    """Do what a brush over the whole scan does, with the editor's own masking."""
    import slicer

    from DyCONLib.segment_editor import editor_node

    logic = slicer.vtkSlicerSegmentEditorLogic
    case.editor.SetSegmentEditorNode(editor_node())
    case.editor.ResetModifierLabelmapToDefault()
    brush = case.editor.GetModifierLabelmap()
    slicer.vtkOrientedImageDataResample.FillImage(brush, 1.0)
    case.editor.ModifySegmentByLabelmap(
        case.result.segmentation,
        editor_node().GetSelectedSegmentID(),
        brush,
        getattr(logic, f"ModificationMode{mode}"),
        True,
        False,
    )


@pytest.mark.parametrize("mode", ["Add", "Remove", "RemoveAll", "Set"])
def test_only_uncertain_voxels_change(case, mode):
    from DyCONSegmentationLib.editing import edit_uncertain

    before = {name: array(case, name) for name in ("one", "two")}
    edit_uncertain(case.result, THRESHOLD, lambda: None)
    paint_everything(case, mode)
    changed = np.zeros(SIZE, bool)
    for name, old in before.items():
        changed |= array(case, name) != old
    assert changed.any()
    assert (case.values[changed] >= THRESHOLD).all()
    if mode == "Add":  # every uncertain voxel became part of the chosen structure
        assert array(case, "one")[case.values >= THRESHOLD].all()


def test_without_the_mask_confident_voxels_change_too(case):
    from DyCONSegmentationLib.editing import edit_everything, edit_uncertain, is_masked

    from DyCONLib.segment_editor import editor_node

    edit_uncertain(case.result, THRESHOLD, lambda: None)
    assert is_masked(editor_node())
    assert editor_node().GetAttribute("Logical operators.BypassMasking") == "0"
    edit_everything(case.result, lambda: None)
    assert not is_masked(editor_node())
    assert editor_node().GetAttribute("Logical operators.BypassMasking") == "1"
    assert editor_node().GetSourceVolumeNode() is case.scan
    paint_everything(case, "Add")
    assert array(case, "one").all()


def test_our_choices_are_made_before_the_editor_opens_and_again_afterwards(case):
    from DyCONSegmentationLib.editing import edit_uncertain

    from DyCONLib.segment_editor import editor_node

    calls = []

    def opened():
        calls.append(True)
        assert editor_node().GetSegmentationNode() is case.result.segmentation
        editor_node().SetAndObserveSourceVolumeNode(case.scan)  # as the editor does
        editor_node().SetMaskMode(3)  # as somebody left it

    edit_uncertain(case.result, THRESHOLD, opened)
    assert calls == [True]
    node = editor_node()
    assert node.GetSegmentationNode() is case.result.segmentation
    assert node.GetSourceVolumeNode() is case.result.uncertainty
    assert node.GetSelectedSegmentID() == "one"
    assert node.GetMaskMode() == case.result.segmentation.EditAllowedEverywhere
    assert node.GetSourceVolumeIntensityMaskRange() == (THRESHOLD, 1.0)


def test_a_segment_that_was_selected_stays_selected(case):
    from DyCONSegmentationLib.editing import edit_uncertain

    from DyCONLib.segment_editor import editor_node

    editor_node().SetSelectedSegmentID("two")
    edit_uncertain(case.result, THRESHOLD, lambda: None)
    assert editor_node().GetSelectedSegmentID() == "two"


def test_leaving_the_mask_touches_only_a_mask_of_ours(case):
    from DyCONSegmentationLib.editing import edit_uncertain, leave_mask

    from DyCONLib.segment_editor import editor_node

    edit_uncertain(case.result, THRESHOLD, lambda: None)
    leave_mask()
    assert not editor_node().GetSourceVolumeIntensityMask()
    editor_node().SetAndObserveSourceVolumeNode(case.scan)
    editor_node().SetSourceVolumeIntensityMask(True)
    leave_mask()
    assert editor_node().GetSourceVolumeIntensityMask()


def test_another_segmentation_in_the_editor_leaves_the_mask(case):
    """Slicer changes the source volume with it and leaves the mask on."""
    from DyCONSegmentationLib.editing import EditorWatch, edit_uncertain

    from DyCONLib.segment_editor import editor_node

    editor_node()
    watch = EditorWatch()
    watch.look()
    edit_uncertain(case.result, THRESHOLD, lambda: None)
    edit_uncertain(case.result, THRESHOLD, lambda: None)
    assert editor_node().GetSourceVolumeIntensityMask()
    editor_node().SetAndObserveSourceVolumeNode(case.scan)
    assert not editor_node().GetSourceVolumeIntensityMask()
    editor_node().SetSourceVolumeIntensityMask(True)  # somebody's own, on the scan
    assert editor_node().GetSourceVolumeIntensityMask()
    watch.close()


def test_a_mask_whose_uncertainty_was_removed_goes_with_it(case):
    from DyCONSegmentationLib.editing import edit_uncertain, leave_lost_mask

    from DyCONLib.segment_editor import editor_node

    edit_uncertain(case.result, THRESHOLD, lambda: None)
    leave_lost_mask()
    assert editor_node().GetSourceVolumeIntensityMask()  # it is there
    import slicer

    slicer.mrmlScene.RemoveNode(case.result.uncertainty)
    leave_lost_mask()
    assert not editor_node().GetSourceVolumeIntensityMask()
    assert editor_node().GetSourceVolumeNode() is case.scan
    paint_everything(case, "Add")
    assert array(case, "one").all()
    editor_node().SetSourceVolumeIntensityMask(True)  # somebody's own
    leave_lost_mask()
    assert editor_node().GetSourceVolumeIntensityMask()


def test_what_cannot_be_masked_is_said_and_nothing_opens(case):
    from DyCONSegmentationLib.editing import edit_uncertain

    def opened():
        raise AssertionError("opened")

    with pytest.raises(InputError, match=r"no voxel is as uncertain as 1\.00"):
        edit_uncertain(case.result, 1.0, opened)
    case.result.uncertainty = None
    with pytest.raises(InputError, match="its uncertainty volume was removed"):
        edit_uncertain(case.result, THRESHOLD, opened)
