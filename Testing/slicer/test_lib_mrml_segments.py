"""Label files become segmentations and back on Slicer's own scene, exactly and whole or not."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.data.formats.readers import read_image, read_label
from dycon_engine.errors import DyconError, InputError
from DyCONLib.models import ModelLabel

LEFT_ATRIUM = (
    "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure"
    "~SCT^82471001^Left atrium~^^~Anatomic codes - DICOM master list~^^~^^"
)
SEGMENTS = (
    ModelLabel(1, "left atrium", (200, 30, 60), LEFT_ATRIUM),
    ModelLabel(2, "wall", None, "SCT^80891009^Heart"),
    ModelLabel(3, "scar", (10, 250, 90), "T-D0050"),
    ModelLabel(7, "never there", None, ""),
)
GRIDS = (
    *("plain", "axial LPS", "anisotropic", "left-handed", "left-handed oblique", "sagittal"),
    *("coronal left-handed", "oblique", "oblique permuted"),
)
BOX = np.zeros((6, 8, 10), bool)
BOX[1:4, 2:6, 3:8] = True


@pytest.fixture
def mrml(slicer_scene):
    from DyCONLib import mrml

    return mrml


@pytest.fixture
def make(slicer_scene):
    from Testing.slicer import scene_volumes

    return scene_volumes


@pytest.fixture
def segmented(mrml, make, tmp_path):
    """A volume and the label file that the engine wrote for it: values 0 to 3 in turn."""

    def begin(grid="oblique permuted", suffix=".nrrd"):
        node = make.volume(make.GRIDS[grid])
        mrml.export_volume(node, tmp_path / f"scan{suffix}")
        make.engine_copy(tmp_path / f"scan{suffix}", tmp_path / f"labels{suffix}")
        return node, tmp_path / f"labels{suffix}"

    return begin


def masks(mrml, node, volume):
    return list(mrml.segment_arrays(node, volume).values())


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
@pytest.mark.parametrize("grid", GRIDS)
def test_every_label_comes_to_its_voxels(mrml, make, segmented, grid, suffix):
    import slicer

    volume, path = segmented(grid, suffix)
    before = make.fingerprint(volume)
    node = mrml.load_segmentation(path, name="r", segments=SEGMENTS, reference_volume=volume)
    assert make.fingerprint(volume) == before
    expected = make.values() % 4
    for mask, label in zip(masks(mrml, node, volume), SEGMENTS, strict=True):
        assert np.array_equal(mask, expected == label.value), label
        segment = node.GetSegmentation().GetSegmentIdBySegmentName(label.name)
        theirs = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume)
        assert np.array_equal(theirs != 0, expected == label.value), label


def test_a_result_is_one_layer_with_names_colors_terms_and_its_place(mrml, make, segmented):
    import slicer

    volume, path = segmented()
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = tree.CreateStudyItem(tree.GetSceneItemID(), "study")
    tree.SetItemParent(tree.GetItemByDataNode(volume), study)
    volume.SetAndObserveTransformNodeID(make.transform(make.rotation(30, "x")).GetID())
    node = mrml.load_segmentation(path, name="result", segments=SEGMENTS, reference_volume=volume)
    core = node.GetSegmentation()
    assert core.GetNumberOfLayers() == 1
    segments = [core.GetNthSegment(i) for i in range(core.GetNumberOfSegments())]
    assert [s.GetName() for s in segments] == [label.name for label in SEGMENTS]
    assert [s.GetLabelValue() for s in segments] == [1, 2, 3, 7]
    assert segments[0].GetColor() == pytest.approx((200 / 255, 30 / 255, 60 / 255))
    colors = {s.GetColor() for s in segments}
    assert len(colors) == 4
    assert not [c for c in colors if max(c) - min(c) < 0.3], "a gray segment"
    assert segments[0].GetTerminology() == LEFT_ATRIUM
    assert "~SCT^80891009^Heart~" in segments[1].GetTerminology()
    logic = slicer.modules.terminologies.logic()
    for segment in segments:
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(segment.GetTerminology(), entry)
        assert entry.GetTypeObject().GetCodeValue()
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is volume
    assert tree.GetItemParent(tree.GetItemByDataNode(node)) == study
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    assert node.GetDisplayNode() is not None


@pytest.mark.parametrize("grid", GRIDS)
def test_only_the_labeled_box_is_kept_and_lies_in_its_place(mrml, make, segmented, grid):
    volume, path = segmented(grid)
    make.engine_copy(path.with_name("scan.nrrd"), path, change=lambda a: 2 * small(make, a))
    node = mrml.load_segmentation(path, name="r", segments=SEGMENTS, reference_volume=volume)
    assert np.array_equal(masks(mrml, node, volume)[1], BOX)
    core = node.GetSegmentation()
    layer = core.GetNthSegment(0).GetRepresentation("Binary labelmap")
    assert layer.GetDimensions() == (5, 4, 3)


def small(make, array):
    return np.isin(array, make.values()[BOX])


def test_an_empty_result_has_all_its_segments_empty(mrml, make, segmented):
    volume, path = segmented()
    make.engine_copy(path, path, change=np.zeros_like)
    node = mrml.load_segmentation(path, name="r", segments=SEGMENTS, reference_volume=volume)
    assert [int(mask.sum()) for mask in masks(mrml, node, volume)] == [0, 0, 0, 0]
    import slicer

    for each in node.GetSegmentation().GetSegmentIDs():
        assert slicer.util.arrayFromSegmentBinaryLabelmap(node, each, volume).sum() == 0


def test_values_beyond_a_byte_are_kept(mrml, make, segmented):
    volume, path = segmented()
    make.engine_copy(path, path, np.uint16, lambda array: (array > 0) * 700)
    labels = (ModelLabel(700, "a", None, ""),)
    node = mrml.load_segmentation(path, name="r", segments=labels, reference_volume=volume)
    assert masks(mrml, node, volume)[0].sum() == np.count_nonzero(make.values() % 4)


def test_a_garbage_result_changes_nothing(mrml, make, segmented, tmp_path):
    from Testing.slicer.host import scene

    volume, path = segmented()
    other = make.volume(make.GRIDS["plain"])
    nodes, before = make.all_nodes(), make.fingerprint(volume)

    def load(path=path, volume=volume, segments=SEGMENTS):
        mrml.load_segmentation(path, name="r", segments=segments, reference_volume=volume)

    with pytest.raises(DyconError, match="is not there"):
        load(tmp_path / "none.nrrd")
    with pytest.raises(DyconError, match="another grid"):
        load(volume=other)
    with pytest.raises(DyconError, match="holds the value 3, which is none"):
        load(segments=SEGMENTS[:2])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DyconError, match="cannot be read"):
        load()
    scene.errors().clear()
    assert make.all_nodes() == nodes
    assert make.fingerprint(volume) == before


def test_a_failure_half_way_leaves_no_half_node(mrml, make, segmented, monkeypatch):
    from DyCONLib import mrml_segments

    volume, path = segmented()
    nodes = make.all_nodes()
    tree = len(make.slicer.util.getSubjectHierarchyItemChildren())

    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(mrml_segments, "place_beside", fails)
    with pytest.raises(MemoryError):
        mrml.load_segmentation(path, name="r", segments=SEGMENTS, reference_volume=volume)
    assert make.all_nodes() == nodes
    assert len(make.slicer.util.getSubjectHierarchyItemChildren()) == tree


def test_results_survive_their_folder_and_are_saved_with_the_scene(mrml, make, segmented, tmp_path):
    import slicer

    volume, path = segmented()
    make.engine_copy(path, tmp_path / "map.nrrd", np.float32, lambda array: array / 3)
    node = mrml.load_segmentation(path, name="result", segments=SEGMENTS, reference_volume=volume)
    overlay = mrml.load_scalar_overlay(
        tmp_path / "map.nrrd", name="unsure", reference_volume=volume
    )
    for item in tmp_path.iterdir():
        item.unlink()
    for each in (node, overlay):
        assert each.GetStorageNode() is None
        assert each.GetModifiedSinceRead()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"), {})
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {})
    again, unsure = slicer.util.getNode("result"), slicer.util.getNode("unsure")
    back = slicer.util.getNode("Doe^Jane")
    for mask, label in zip(masks(mrml, again, back), SEGMENTS, strict=True):
        assert np.array_equal(mask, make.values() % 4 == label.value)
    assert np.allclose(slicer.util.arrayFromVolume(unsure), (make.values() % 4) / 3)
    assert mrml.same_grid(unsure, back)


def segmentation(make, arrays, volume):
    """A segmentation as a person makes it: one layer per segment."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name, array in arrays:
        each = node.GetSegmentation().AddEmptySegment("", name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(array.astype(np.uint8), node, each, volume)
    return node


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_a_label_file_lies_where_the_segments_do(mrml, make, tmp_path, grid, suffix):
    volume = make.volume(make.GRIDS[grid])
    node = segmentation(make, [("a", BOX), ("b", ~BOX), ("c", BOX)], volume)
    before, nodes = make.fingerprint(volume), make.all_nodes()
    path = tmp_path / f"label{suffix}"
    found = mrml.export_segmentation(node, volume, path, {"a": 3, "b": 1, "c": 0})
    assert found == {1: np.count_nonzero(~BOX), 3: np.count_nonzero(BOX)}
    assert np.array_equal(mrml.read_array(path, volume), np.where(BOX, 3, 1))
    assert make.fingerprint(volume) == before
    assert make.all_nodes() == nodes
    mrml.export_volume(volume, tmp_path / f"scan{suffix}")
    scan, label = read_image(tmp_path / f"scan{suffix}"), read_label(path)
    assert scan.geometry.corner_distance_voxels(label.geometry) < 0.01
    inside = np.isin(scan.array[0], make.values()[BOX])
    assert np.array_equal(label.array.squeeze() == 3, inside)


def test_overlap_is_told_and_never_flattened_in_silence(mrml, make, tmp_path):
    volume = make.volume()
    shifted = np.roll(BOX, 2, axis=2)
    node = segmentation(make, [("a", BOX), ("b", shifted)], volume)
    shared, path = int((BOX & shifted).sum()), tmp_path / "label.nrrd"
    with pytest.raises(InputError, match=f"'a' and 'b' share {shared} voxels; say which"):
        mrml.export_segmentation(node, volume, path, {"a": 1, "b": 2})
    assert not path.exists()
    mrml.export_segmentation(node, volume, path, {"a": 1, "b": 2}, on_top=(2, 1))
    array = mrml.read_array(path, volume)
    assert np.array_equal(array == 2, shifted)
    assert np.array_equal(array == 1, BOX & ~shifted)
    mrml.export_segmentation(node, volume, path, {"a": 1, "b": 2}, on_top=(1, 2))
    assert np.array_equal(mrml.read_array(path, volume) == 1, BOX)
    mrml.export_segmentation(node, volume, path, {"a": 5, "b": 5})  # one class: no question
    assert np.array_equal(mrml.read_array(path, volume) == 5, BOX | shifted)


def test_three_segments_where_the_question_is_open_for_one(mrml, make, tmp_path):
    volume = make.volume()
    node = segmentation(make, [("a", BOX), ("b", BOX), ("c", BOX)], volume)
    with pytest.raises(InputError, match=r"share \d+ voxels"):
        mrml.export_segmentation(
            node, volume, tmp_path / "l.nrrd", {"a": 1, "b": 2, "c": 3}, on_top=(2, 1)
        )


def test_a_segment_that_is_gone_is_named(mrml, make, tmp_path):
    volume = make.volume()
    node = segmentation(make, [("a", BOX)], volume)
    with pytest.raises(InputError, match="has no segment 'b'"):
        mrml.export_segmentation(node, volume, tmp_path / "l.nrrd", {"a": 1, "b": 2})


def test_segments_of_another_grid_and_beyond_the_volume(mrml, make, tmp_path):
    fine = make.GRIDS["axial LPS"].copy()
    fine[:3, :3] /= 2
    fine[:3, 3] -= make.GRIDS["axial LPS"][:3, :3] @ [0.25, 0.25, 0.25]
    drawn_on = make.volume(fine, make.values((12, 16, 20)))
    node = segmentation(make, [("a", np.kron(BOX, np.ones((2, 2, 2))) > 0)], drawn_on)
    volume = make.volume()
    mrml.export_segmentation(node, volume, tmp_path / "l.nrrd", {"a": 1})
    assert np.array_equal(mrml.read_array(tmp_path / "l.nrrd", volume) == 1, BOX)
    cropped = make.GRIDS["axial LPS"].copy()
    cropped[:3, 3] += cropped[:3, :3] @ [4, 0, 0]
    part = make.volume(cropped, make.values((6, 8, 6)))
    mrml.export_segmentation(node, part, tmp_path / "l.nrrd", {"a": 1})
    assert np.array_equal(mrml.read_array(tmp_path / "l.nrrd", part) == 1, BOX[:, :, 4:])


def test_segments_are_taken_where_they_stand_in_the_world(mrml, make, tmp_path):
    volume = make.volume(make.GRIDS["plain"])
    node = segmentation(make, [("a", BOX)], volume)
    shift = np.eye(4)
    shift[:3, 3] = (1, 0, 2)  # whole voxels
    node.SetAndObserveTransformNodeID(make.transform(shift).GetID())
    path = tmp_path / "l.nrrd"
    mrml.export_segmentation(node, volume, path, {"a": 1})
    moved = np.roll(BOX, (2, 1), axis=(0, 2))
    assert np.array_equal(mrml.read_array(path, volume) == 1, moved)
    turn = make.transform(make.rotation(90, "z"))
    for each in (node, volume):
        each.SetAndObserveTransformNodeID(turn.GetID())
    mrml.export_segmentation(node, volume, path, {"a": 1})
    assert np.array_equal(mrml.read_array(path, volume) == 1, BOX)
    bent = make.warp()
    node.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(InputError, match="transforms that are not linear"):
        mrml.export_segmentation(node, volume, path, {"a": 1})
    volume.SetAndObserveTransformNodeID(bent.GetID())
    mrml.export_segmentation(node, volume, path, {"a": 1})
    assert np.array_equal(mrml.read_array(path, volume) == 1, BOX)


def test_a_segmentation_of_surfaces_is_filled_and_not_changed(mrml, make, tmp_path):
    k, j, i = np.indices((20, 22, 24))
    ball = (k - 10) ** 2 + (j - 11) ** 2 + (i - 12) ** 2 < 49
    volume = make.volume(make.GRIDS["oblique"], ball.astype(np.float32))
    node = segmentation(make, [("a", ball), ("b", np.roll(ball, 2, axis=2))], volume)
    assert node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.GetSegmentation().RemoveRepresentation("Binary labelmap")
    mrml.export_segmentation(node, volume, tmp_path / "l.nrrd", {"a": 1})
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")
    array = mrml.read_array(tmp_path / "l.nrrd", volume) == 1
    assert 2 * (array & ball).sum() / (array.sum() + ball.sum()) > 0.9


def test_many_classes_need_two_bytes(mrml, make, tmp_path):
    volume = make.volume()
    node = segmentation(make, [("a", BOX)], volume)
    mrml.export_segmentation(node, volume, tmp_path / "l.nrrd", {"a": 300})
    assert mrml.read_array(tmp_path / "l.nrrd", volume).max() == 300
