"""The pictures of the host show what the scene says; looked at pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

WHITE_AT = (20, 30, 40)  # k, j, i of the one bright block in the scan
RED, GREEN, YELLOW = "Red", "Green", "Yellow"


def scan(name="scan", value=200.0, floor=50.0, at=WHITE_AT):
    """64^3 voxels of 1 mm, identity IJK to RAS: a bright block of 9^3 voxels on a gray floor."""
    import slicer

    array = np.full((64, 64, 64), floor, np.float32)
    k, j, i = at
    array[k - 4 : k + 5, j - 4 : j + 5, i - 4 : i + 5] = value
    node = slicer.util.addVolumeFromArray(array, np.eye(4), name)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 250)
    return node


def ball():
    """A boolean array (k, j, i) with a ball of radius 12 in the middle of the scan."""
    k, j, i = np.mgrid[:64, :64, :64] - 32
    return (k**2 + j**2 + i**2 < 12**2).astype(np.uint8)


def segmented(reference):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    segment = node.GetSegmentation().AddEmptySegment("ball", "ball", [1, 0, 0])
    slicer.util.updateSegmentBinaryLabelmapFromArray(ball(), node, segment, reference)
    return node


def show(node, **layers):
    """Show the volume in all views, every view through the bright block."""
    import slicer

    slicer.util.setSliceViewerLayers(background=node, fit=True, **layers)
    k, j, i = WHITE_AT
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, i, j, k, 0)


def test_an_empty_scene_is_black(slicer_views):
    assert slicer_views.SliceView(RED, (64, 48)).render().shape == (48, 64, 3)
    assert slicer_views.SliceView(RED, (64, 48)).render().max() == 0


@pytest.mark.parametrize("name", [RED, GREEN, YELLOW])
def test_a_voxel_is_where_its_coordinates_say_and_as_bright_as_the_window_says(slicer_views, name):
    show(scan())
    view = slicer_views.SliceView(name, (200, 200))
    picture = view.render()
    k, j, i = WHITE_AT
    assert picture[view.pixel_of((i, j, k))] == pytest.approx([204] * 3, abs=2)  # 200 / 250 * 255
    assert picture[view.pixel_of((i - 8, j - 8, k - 8))] == pytest.approx([51] * 3, abs=2)
    assert (picture > 200).any(axis=2).sum() < 0.06 * picture.shape[0] ** 2


def test_the_patients_right_is_on_the_left_of_the_picture(slicer_views):
    show(scan())
    view = slicer_views.SliceView(RED)
    assert view.pixel_of((40, 0, 0))[1] < view.pixel_of((10, 0, 0))[1]
    assert view.pixel_of((0, 40, 0))[0] < view.pixel_of((0, 10, 0))[0]  # anterior is up


def test_the_foreground_is_mixed_in_by_its_opacity_above_its_threshold(slicer_views):
    import slicer

    overlay = scan("overlay", value=1.0, floor=0.0, at=(20, 12, 12))
    display = overlay.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRed")
    display.SetWindowLevelMinMax(0, 1)
    display.SetThreshold(0.5, 1)
    display.ApplyThresholdOn()
    show(scan(), foreground=overlay, foregroundOpacity=0.5)
    view = slicer_views.SliceView(RED)
    inside = view.render()[view.pixel_of((12, 12, 20))]
    assert inside == pytest.approx([(51 + 255) / 2, 25, 25], abs=3)
    below_threshold = view.render()[view.pixel_of((50, 50, 20))]
    assert below_threshold == pytest.approx([51, 51, 51], abs=2)
    slicer.util.setSliceViewerLayers(foregroundOpacity=0.0)
    assert view.render()[view.pixel_of((12, 12, 20))] == pytest.approx([51] * 3, abs=2)


def test_a_segment_has_an_outline_and_a_fill_that_can_be_switched(slicer_views):
    import slicer

    node = scan()
    display = segmented(node).GetDisplayNode()
    show(node)
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 32, 32, 32, 0)
    view = slicer_views.SliceView(RED, (300, 300)).fit()

    def red(picture):
        return (picture[..., 0] > picture[..., 1].astype(int) + 60).sum()

    display.SetOpacity2DFill(0.0)
    outline = view.render()
    assert 100 < red(outline) < 2500
    center = view.pixel_of((32, 32, 32))
    assert outline[center] == pytest.approx([51] * 3, abs=2)
    display.SetOpacity2DFill(0.5)
    assert view.render()[center] == pytest.approx([(51 + 255) / 2, 25, 25], abs=30)
    display.SetVisibility(False)
    assert red(view.render()) == 0


def test_legend_markups_and_crosshair_are_drawn(slicer_views):
    import slicer

    node = scan()
    show(node)
    view = slicer_views.SliceView(RED)
    bare = view.render()
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText("uncertainty")
    with_legend = view.render()
    assert (with_legend != bare)[:, 340:].any()
    legend.SetVisibility(False)
    assert np.array_equal(view.render(), bare)

    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "look")
    points.CreateDefaultDisplayNodes()
    points.AddControlPoint(40, 50, 20, "1")
    row, column = view.pixel_of((40, 50, 20))
    around = np.s_[row - 8 : row + 8, column - 8 : column + 8]
    assert (view.render() != bare)[around].any()
    slicer.mrmlScene.RemoveNode(points)

    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(20, 20, 20)
    crosshair.SetCrosshairMode(crosshair.ShowBasic)
    row, column = view.pixel_of((20, 20, 20))
    assert (view.render() != bare)[row - 1 : row + 2, :100].any()
    crosshair.SetCrosshairMode(crosshair.NoCrosshair)


def test_jumping_moves_every_view(slicer_views):
    import slicer

    show(scan())
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 11, 22, 33, 0)
    offsets = [slicer_views.SliceView(name).logic.GetSliceOffset() for name in (RED, GREEN, YELLOW)]
    assert offsets == pytest.approx([33, 22, -11])  # sagittal slices count from right to left


def test_a_layout_shows_three_slices_and_the_surface(slicer_views, tmp_path):
    node = scan()
    result = segmented(node)
    show(node)
    assert slicer_views.layout(tmp_path / "a.png", size=(120, 100)).shape == (106, 360, 3)
    assert result.CreateClosedSurfaceRepresentation()
    four = slicer_views.layout(tmp_path / "b.png", size=(200, 200), threed=True)
    assert four.shape == (412, 400, 3)
    surface = four[6:206, 200:]
    assert (surface[..., 0] > surface[..., 2].astype(int) + 60).mean() > 0.02
    assert (tmp_path / "b.png").stat().st_size > 5000


def test_a_chart_is_drawn_as_its_nodes_say(slicer_views, tmp_path):
    import slicer

    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "curve")
    steps = np.arange(1.0, 51)
    slicer.util.updateTableFromArray(table, [steps, 1 / steps], ["step", "loss"])
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "training")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("step")
    series.SetYColumnName("loss")
    series.SetPlotType(series.PlotTypeScatter)
    series.SetMarkerStyle(series.MarkerStyleNone)
    series.SetColor(0, 0, 1)
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Loss")
    chart.SetTitle("Loss")
    empty = slicer_views.plot(chart, tmp_path / "empty.png")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    drawn = slicer_views.plot(chart, tmp_path / "loss.png")
    blue = (drawn[..., 2] > 200) & (drawn[..., 0] < 60)
    assert blue.sum() > 300
    assert not ((empty[..., 2] > 200) & (empty[..., 0] < 60)).any()
    series.SetYColumnName("gone")  # a column that is not there is left out, as in Slicer
    assert np.array_equal(slicer_views.plot(chart, tmp_path / "gone.png"), empty)


def test_a_real_scan_with_its_label_uncertainty_and_legend(slicer_views, la2018, tmp_path):
    import slicer

    path = sorted((la2018 / "labels").glob("*.nii.gz"))[0]
    image = slicer.util.loadVolume(str(la2018 / "images" / path.name), {})
    labels = slicer.util.loadVolume(str(path), {"labelmap": True, "show": False})
    result = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "atrium")
    result.CreateDefaultDisplayNodes()
    result.SetReferenceImageGeometryParameterFromVolumeNode(image)
    assert slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, result)
    result.GetSegmentation().GetNthSegment(0).SetColor(1, 0, 0)
    center = np.argwhere(slicer.util.arrayFromVolume(labels)).mean(axis=0)[::-1]
    import vtk

    to_ras = vtk.vtkMatrix4x4()
    image.GetIJKToRASMatrix(to_ras)
    ras = to_ras.MultiplyPoint([*center, 1])[:3]
    slicer.util.setSliceViewerLayers(background=image, fit=True)
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras, 0)
    picture = slicer_views.layout(tmp_path / "la.png").astype(int)
    for start in (0, 400, 800):
        tile = picture[6:, start : start + 400]
        assert (tile[..., 0] - tile[..., 1] > 60).sum() > 300, "the outline is missing"
        assert tile.std() > 30, "the scan is missing"
