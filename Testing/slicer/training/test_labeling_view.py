"""A scan that is opened for labeling: the prediction does not hide how unsure the model is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from Testing.slicer.training import scenes

SIZE = (24, 24, 24)


@pytest.fixture
def opened(slicer_views):
    """A scan in shades of gray, a cube on it, and the model unsure in all of the cube."""
    import slicer
    from DyCONTrainingLib.labeling_view import show_for_labeling

    from DyCONLib import mrml

    cube = np.zeros(SIZE, np.uint8)
    cube[4:12, 6:18, 6:18] = 1
    other = scenes.segmentation(scenes.volume("other", np.ones(SIZE, np.float32)), {"x": cube})
    scan = scenes.volume("scan", np.random.default_rng(0).normal(100, 10, SIZE).astype(np.float32))
    drawn = scenes.segmentation(scan, {"empty": cube * 0, "atrium": cube})
    unsure = scenes.volume("unsure", cube.astype(np.float32))
    display = unsure.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeIron")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 1)
    slicer.util.setSliceViewerLayers(label=scenes.volume("preview"))
    show_for_labeling(scan, drawn, unsure)
    return mrml, slicer_views.SliceView("Red", (240, 240)), drawn, other, unsure


def test_uncertainty_shines_through_the_prediction(opened):
    _, view, drawn, _, _ = opened
    seen = view.render()
    drawn.GetDisplayNode().SetVisibility(False)
    without = view.render()
    changed = (seen != without).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 100  # the outline is there
    inside = (slice(rows.min() + 6, rows.max() - 5), slice(columns.min() + 6, columns.max() - 5))
    assert not changed[inside].any()
    assert (seen[inside].max(axis=2).astype(int) - seen[inside].min(axis=2) > 60).mean() > 0.9


def test_uncertainty_looks_as_in_the_module_that_segments(opened, monkeypatch):
    import slicer
    from DyCONTrainingLib import previews

    from DyCONLib.mrml_views import HIDE_BELOW, LEGEND_PLACE, LEGEND_POINTS, LEGEND_SIZE

    root = Path(__file__).resolve().parents[3]
    monkeypatch.setattr(sys, "path", [*sys.path, str(root / "DyCONSegmentation")])
    from DyCONSegmentationLib.parameters import DEFAULTS

    _, _, _, _, unsure = opened
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(unsure)
    assert legend.GetTitleText() == "Uncertainty"
    assert (legend.GetSize(), legend.GetPosition()) == (LEGEND_SIZE, LEGEND_PLACE)
    assert legend.GetLabelTextProperty().GetFontSize() == LEGEND_POINTS
    assert unsure.GetDisplayNode().GetLowerThreshold() == HIDE_BELOW
    assert (DEFAULTS.hide_below, previews.HIDE_BELOW) == (HIDE_BELOW, HIDE_BELOW)


def test_the_views_show_this_scan_at_its_first_segment_and_nothing_of_others(opened):
    import slicer

    _, view, drawn, other, _ = opened
    assert view.composite.GetBackgroundVolumeID() == slicer.util.getNode("scan").GetID()
    assert view.composite.GetLabelVolumeID() is None
    assert not other.GetDisplayNode().GetVisibility()
    assert drawn.GetDisplayNode().GetVisibility()
    middle = scenes.IJK_TO_RAS @ [11.5, 11.5, 7.5, 1]
    view.render()
    assert view.logic.GetSliceOffset() == pytest.approx(middle[2], abs=2.0)
