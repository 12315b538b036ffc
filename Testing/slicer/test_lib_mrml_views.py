"""Maps over a scan, seen in Slicer's own slice views."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.errors import DyconError

SIZE = (360, 360)
DIMS = (24, 30, 36)


@pytest.fixture
def mrml(slicer_scene):
    from DyCONLib import mrml

    return mrml


@pytest.fixture
def make(slicer_scene):
    from Testing.slicer import scene_volumes

    return scene_volumes


@pytest.fixture
def shown(mrml, make, tmp_path):
    """A gray scan, and a map of it: 0.2 everywhere, 0.9 in a corner block."""
    background = make.volume(make.grid((1.0, 1.0, 1.0)), np.full(DIMS, 100, np.float32), "scan")
    background.GetDisplayNode().AutoWindowLevelOff()
    background.GetDisplayNode().SetWindowLevelMinMax(0, 200)
    array = np.full(DIMS, 0.2, np.float32)
    array[:, :12, :12] = 0.9
    mrml.write_array(array, background, tmp_path / "map.nrrd")
    overlay = mrml.load_scalar_overlay(
        tmp_path / "map.nrrd", name="Uncertainty", reference_volume=background
    )
    return background, overlay, array


def composites():
    import slicer

    return list(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"))


def test_a_map_has_the_grid_of_its_volume_and_colors_from_0_to_1(mrml, make, shown):
    import slicer

    background, overlay, array = shown
    assert np.array_equal(slicer.util.arrayFromVolume(overlay), array)
    assert mrml.same_grid(overlay, background, 1e-9)
    display = overlay.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)
    assert not display.GetAutoWindowLevel()
    assert display.GetColorNode() is not None
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    parents = {tree.GetItemParent(tree.GetItemByDataNode(n)) for n in (background, overlay)}
    assert len(parents) == 1
    assert {view.GetForegroundVolumeID() for view in composites()} == {None}  # nobody asked


def test_colors_that_slicer_has_and_the_wheel_has_not_are_preferred(mrml, make, shown, tmp_path):
    import slicer

    background, overlay, _ = shown
    assert overlay.GetDisplayNode().GetColorNodeID() == "vtkMRMLColorTableNodeIron"
    table = slicer.vtkMRMLColorTableNode()
    table.SetSingletonTag("FileInferno.txt")
    table.SetTypeToRainbow()
    slicer.mrmlScene.AddNode(table)
    assert table.GetID() == "vtkMRMLColorTableNodeFileInferno.txt"
    other = mrml.load_scalar_overlay(
        tmp_path / "map.nrrd", name="other", reference_volume=background
    )
    assert other.GetDisplayNode().GetColorNodeID() == table.GetID()
    slicer.mrmlScene.RemoveNode(table)


def test_a_missing_color_table_is_no_failure(mrml, shown, monkeypatch, tmp_path):
    from DyCONLib import mrml_views

    monkeypatch.setattr(mrml_views, "COLORS", ("vtkMRMLColorTableNodeNoSuch",))
    background, _, _ = shown
    node = mrml.load_scalar_overlay(
        tmp_path / "map.nrrd", name="other", reference_volume=background
    )
    assert node.GetDisplayNode() is not None


def test_a_failure_leaves_the_scene_as_it_was(mrml, make, shown, tmp_path, monkeypatch):
    from DyCONLib import mrml_views

    background, _, _ = shown
    nodes = make.all_nodes()
    with pytest.raises(DyconError, match="not there"):
        mrml.load_scalar_overlay(tmp_path / "no.nrrd", name="x", reference_volume=background)

    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(mrml_views, "place_beside", fails)
    with pytest.raises(MemoryError):
        mrml.load_scalar_overlay(tmp_path / "map.nrrd", name="x", reference_volume=background)
    assert make.all_nodes() == nodes


def test_only_what_is_above_the_threshold_is_seen_with_its_legend(
    slicer_views, mrml, shown, tmp_path
):
    background, overlay, _ = shown
    view = slicer_views.SliceView("Red", SIZE)
    mrml.show_overlay(background, overlay, opacity=1.0, threshold=0.0, legend=False)
    everywhere = view.fit().render().astype(int)
    mrml.show_overlay(background, overlay, opacity=1.0, threshold=0.5, legend=False)
    above = view.render().astype(int)
    assert colored(above).mean() == pytest.approx(colored(everywhere).mean() * 0.4 * 0.333, rel=0.2)
    mrml.show_overlay(background, overlay, opacity=1.0, threshold=0.5, legend=True)
    view.save(tmp_path / "legend.png")
    with_legend = view.render().astype(int)
    changed = (with_legend != above).any(axis=2)
    assert changed.mean() > 0.005
    assert changed[:, : SIZE[1] // 2].mean() < 0.01, "the legend stands at the right"
    mrml.show_overlay(background, overlay, opacity=0.5, threshold=0.5, legend=False)
    half = view.render().astype(int)
    both = colored(above)
    expected = 0.5 * above[both].mean(axis=0) + 0.5 * 127
    assert half[both].mean(axis=0) == pytest.approx(expected, abs=4)


def colored(picture):
    return (picture.max(axis=2) - picture.min(axis=2)) > 25


def test_hiding_brings_back_what_was_in_front(mrml, make, shown):
    import slicer

    background, overlay, _ = shown
    front = make.volume(make.grid((1.0, 1.0, 1.0)), np.ones(DIMS, np.float32), "front")
    slicer.util.setSliceViewerLayers(foreground=front, foregroundOpacity=0.3)
    mrml.show_overlay(background, overlay, opacity=0.5, threshold=0.5, legend=True)
    mrml.show_overlay(background, overlay, opacity=0.7, threshold=0.1, legend=True)
    assert {view.GetForegroundVolumeID() for view in composites()} == {overlay.GetID()}
    mrml.hide_overlay(overlay)
    assert {view.GetForegroundVolumeID() for view in composites()} == {front.GetID()}
    assert {view.GetForegroundOpacity() for view in composites()} == {0.3}
    assert not slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(overlay).GetVisibility()
    mrml.hide_overlay(overlay)  # again is no error
    mrml.show_overlay(background, overlay, opacity=0.5, threshold=0.5, legend=False)
    slicer.mrmlScene.RemoveNode(front)
    mrml.hide_overlay(overlay)
    assert {view.GetForegroundVolumeID() for view in composites()} == {None}


def test_hiding_touches_no_view_that_shows_something_else(mrml, make, shown):
    background, overlay, _ = shown
    front = make.volume(make.grid(), np.ones(DIMS, np.float32), "front")
    mrml.show_overlay(background, overlay, opacity=0.5, threshold=0.5, legend=False)
    composites()[0].SetForegroundVolumeID(front.GetID())
    composites()[0].SetForegroundOpacity(0.25)
    mrml.hide_overlay(overlay)
    assert composites()[0].GetForegroundVolumeID() == front.GetID()
    assert composites()[0].GetForegroundOpacity() == 0.25


def test_jumping_shows_the_place_in_the_middle_of_every_view(slicer_views, mrml, shown):
    import slicer

    background, overlay, _ = shown
    mrml.show_overlay(background, overlay, opacity=1.0, threshold=0.5, legend=False)
    place = slicer.util.arrayFromVTKMatrix(matrix(background)) @ [5, 5, 12, 1]
    for name in ("Red", "Green", "Yellow"):
        slicer_views.SliceView(name, SIZE).fit()
    mrml.jump_to(place[:3])
    for name in ("Red", "Green", "Yellow"):
        view = slicer_views.SliceView(name, SIZE)
        picture = view.render().astype(int)
        row, column = view.pixel_of(tuple(place[:3]))
        assert (row, column) == pytest.approx((SIZE[0] / 2, SIZE[1] / 2), abs=2)
        assert colored(picture)[row - 3 : row + 3, column - 3 : column + 3].all()
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    assert crosshair.GetCrosshairRAS() == pytest.approx(place[:3])


def matrix(node):
    import vtk

    result = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(result)
    return result
