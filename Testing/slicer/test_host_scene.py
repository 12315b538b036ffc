"""The host is Slicer's own scene: facts that the modules rely on, seen on it."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.slicer.host import scene as host_scene

CUBE = np.zeros((6, 8, 10), np.uint8)
CUBE[1:3, 2:5, 3:7] = 1
IJK_TO_RAS = np.array([[0, -2, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1.0]])


def volume(array=None, name="scan"):
    import slicer

    array = np.arange(480, dtype=np.float32).reshape(6, 8, 10) if array is None else array
    return slicer.util.addVolumeFromArray(array, IJK_TO_RAS, name)


def segmentation(reference, arrays, name="result"):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    for label, array in arrays.items():
        segment = node.GetSegmentation().AddEmptySegment(label, label, [1, 0, 0])
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment, reference)
    return node


def test_names_of_util_are_not_in_slicer_itself(slicer_scene):
    import slicer

    with pytest.raises(AttributeError):  # the wheel has slicer.loadVolume, Slicer has not
        slicer.loadVolume  # noqa: B018
    assert slicer.util.loadVolume


@pytest.mark.parametrize("dtype", [np.int64, np.float16, bool])
def test_arrays_that_slicer_refuses(slicer_scene, dtype):
    with pytest.raises(Exception, match=r"(?i)type|unsupported|could not"):
        volume(CUBE.astype(dtype))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_an_exported_volume_is_the_same_volume_and_its_storage_node_stays(
    slicer_scene, tmp_path, name
):
    import slicer

    node = volume()
    assert slicer.util.exportNode(node, str(tmp_path / name), {})
    assert node.GetStorageNode().GetFileName() is None
    back = slicer.util.loadVolume(str(tmp_path / name), {})
    assert np.array_equal(slicer.util.arrayFromVolume(back), slicer.util.arrayFromVolume(node))
    import vtk

    matrix = vtk.vtkMatrix4x4()
    back.GetIJKToRASMatrix(matrix)
    assert slicer.util.arrayFromVTKMatrix(matrix) == pytest.approx(IJK_TO_RAS, abs=1e-5)


def test_a_file_that_is_absent_is_an_error_and_no_node(slicer_scene, tmp_path):
    import slicer

    before = slicer_scene.GetNumberOfNodes()
    with pytest.raises(RuntimeError, match="not found"):
        slicer.util.loadVolume(str(tmp_path / "none.nii.gz"), {})
    assert slicer_scene.GetNumberOfNodes() == before


def test_an_unknown_file_name_cannot_be_exported(slicer_scene, tmp_path):
    import slicer

    with pytest.raises(ValueError, match="no known file format"):
        slicer.util.exportNode(volume(), str(tmp_path / "a.xyz"), {})


def test_setting_arrays_makes_one_layer_per_segment_and_importing_a_label_map_one(slicer_scene):
    import slicer

    scan = volume()
    node = segmentation(scan, {"left": CUBE, "right": np.roll(CUBE, 3, axis=2)})
    assert node.GetSegmentation().GetNumberOfLayers() == 2

    values = (CUBE + 2 * np.roll(CUBE, 4, axis=2)).astype(np.uint8)
    labels = slicer.util.addVolumeFromArray(
        values, IJK_TO_RAS, "labels", "vtkMRMLLabelMapVolumeNode"
    )
    table = slicer_scene.AddNewNodeByClass("vtkMRMLColorTableNode", "names")
    table.SetTypeToUser()
    table.SetNumberOfColors(3)
    for value, name in enumerate(("background", "left atrium", "aorta")):
        table.SetColor(value, name, value / 2, 0.2, 0.4, 1.0)
    labels.CreateDefaultDisplayNodes()
    labels.GetDisplayNode().SetAndObserveColorNodeID(table.GetID())
    imported = slicer_scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "imported")
    logic = slicer.modules.segmentations.logic()
    assert logic.ImportLabelmapToSegmentationNode(labels, imported)
    segments = imported.GetSegmentation()
    assert segments.GetNumberOfLayers() == 1
    first = segments.GetNthSegment(0)
    assert (first.GetName(), first.GetLabelValue()) == ("left atrium", 1)
    assert first.GetColor() == pytest.approx((0.5, 0.2, 0.4), abs=0.01)
    back = slicer.util.arrayFromSegmentBinaryLabelmap(imported, segments.GetNthSegmentID(1), labels)
    assert back.dtype == np.int16
    assert np.array_equal(back != 0, values == 2)


def test_a_saved_segmentation_comes_back_with_names_colors_and_voxels(slicer_scene, tmp_path):
    import slicer

    scan = volume()
    path = str(tmp_path / "result.seg.nrrd")
    assert slicer.util.saveNode(segmentation(scan, {"atrium": CUBE}), path, {})
    back = slicer.util.loadSegmentation(path, {})
    segment = back.GetSegmentation().GetNthSegment(0)
    assert (segment.GetName(), segment.GetColor()) == ("atrium", (1.0, 0.0, 0.0))
    array = slicer.util.arrayFromSegmentBinaryLabelmap(
        back, back.GetSegmentation().GetNthSegmentID(0), scan
    )
    assert np.array_equal(array, CUBE)


def test_a_scene_bundle_comes_back(slicer_scene, tmp_path):
    import slicer

    scan = volume()
    segmentation(scan, {"atrium": CUBE})
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"), {})
    host_scene.new_scene()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {})
    assert slicer.util.getNode("scan").GetImageData().GetDimensions() == (10, 8, 6)
    assert slicer.util.getNode("result").GetSegmentation().GetNumberOfSegments() == 1
    tree = slicer_scene.GetSubjectHierarchyNode()
    items = slicer.util.getSubjectHierarchyItemChildren()
    assert {tree.GetItemName(item) for item in items} >= {"scan", "result"}


def test_a_closed_surface_is_made_from_a_segment(slicer_scene):
    node = segmentation(volume(), {"atrium": CUBE})
    assert node.CreateClosedSurfaceRepresentation()
    import vtk

    surface = vtk.vtkPolyData()
    node.GetClosedSurfaceRepresentation("atrium", surface)
    assert surface.GetNumberOfPoints() > 20


def test_colors_that_are_always_there_and_one_that_is_not(slicer_scene):
    for name in (
        "ColorTableNodeIron",
        "ColorTableNodeFullRainbow",
        "PETProceduralColorNodePET-Heat",
    ):
        assert slicer_scene.GetNodeByID(f"vtkMRML{name}")
    display = volume().GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeFileInferno.txt")
    assert display.GetColorNode() is None  # silently


def test_a_recommended_color_of_the_terminology_may_be_gray(slicer_scene):
    import slicer

    entry = slicer.vtkSlicerTerminologyEntry()
    text = (
        "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure"
        "~SCT^82471001^Left atrium~^^~Anatomic codes - DICOM master list~^^~^^"
    )
    logic = slicer.modules.terminologies.logic()
    assert logic.DeserializeTerminologyEntry(text, entry)
    assert logic.UpdateEntryFromLoadedTerminologies(entry, [], [])
    assert entry.GetTypeObject().GetCodeMeaning() == "Left atrium"
    assert entry.GetTypeObject().GetRecommendedDisplayRGBValue() == (128, 128, 128)


def test_loading_shows_the_volume_in_all_slice_views_unless_told_otherwise(slicer_scene, tmp_path):
    import slicer

    path = str(tmp_path / "scan.nrrd")
    slicer.util.exportNode(volume(), path, {})
    shown = slicer.util.loadVolume(path, {})
    hidden = slicer.util.loadVolume(path, {"show": False, "name": "other"})
    manager = slicer.app.layoutManager()
    assert manager.sliceViewNames() == ("Red", "Green", "Yellow")
    for name in manager.sliceViewNames():
        composite = manager.sliceWidget(name).mrmlSliceCompositeNode()
        assert composite.GetBackgroundVolumeID() == shown.GetID()
    assert hidden.GetName() == "other"


def test_closing_the_scene_keeps_views_and_colors_and_drops_data(slicer_scene):
    import slicer

    scan = volume()
    slicer.util.setSliceViewerLayers(background=scan)
    host_scene.new_scene()
    assert slicer_scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0
    assert slicer_scene.GetNumberOfNodesByClass("vtkMRMLSliceNode") == 3
    assert slicer_scene.GetNodeByID("vtkMRMLColorTableNodeIron")
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() is None


def test_removing_a_node_removes_it_from_the_subject_hierarchy(slicer_scene):
    import slicer

    scan = volume()
    tree = slicer_scene.GetSubjectHierarchyNode()
    assert tree.GetItemByDataNode(scan)
    slicer_scene.RemoveNode(scan)
    assert slicer.util.getSubjectHierarchyItemChildren() == []


def test_names_that_slicer_does_not_have_do_not_exist_here(slicer_scene):
    import slicer

    with pytest.raises(AttributeError):
        slicer.app.loadVolume  # noqa: B018
    with pytest.raises(AttributeError):
        slicer.modules.dycon  # noqa: B018
    with pytest.raises(RuntimeError, match="Could not find module"):
        slicer.util.getModule("Nothing")


def test_a_failing_observer_is_noticed(slicer_scene, capsys):
    tag = slicer_scene.AddObserver(slicer_scene.StartCloseEvent, lambda caller, event: 1 / 0)
    slicer_scene.Clear(0)
    slicer_scene.RemoveObserver(tag)
    assert "ZeroDivisionError" in host_scene.errors().pop()


def test_an_error_of_mrml_is_noticed(slicer_scene):
    slicer_scene.AddNewNodeByClass("vtkMRMLNoSuchNode")
    assert host_scene.errors()
    host_scene.errors().clear()
