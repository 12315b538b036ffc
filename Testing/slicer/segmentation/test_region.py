"""A region is proposed where a scan shows much more than the training scans did."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from DyCONSegmentationLib.report import parse_report

from DyCONLib.models import read_model
from Testing.slicer.segmentation.contents import add_volume, report_text

SEEN = (20.0, 30.0, 10.0)  # x, y, z
TOO_LARGE = {"topic": "field-of-view", "message": "the scan covers 40 mm along x"}


@pytest.fixture
def model(package):
    return dataclasses.replace(read_model(package), largest_seen_mm=SEEN)


def report(*flags, roi=None):
    return parse_report(report_text(flags=list(flags), parameters={"roi": roi}), "r")


def scan(x=40, y=30, z=10):
    return add_volume(np.zeros((z // 2, y, x), np.int16), spacing=(1.0, 1.0, 2.0))


def test_it_is_needed_for_a_scan_that_is_too_large_and_was_looked_at_as_a_whole(
    slicer_scene, model
):
    from DyCONSegmentationLib.region import is_needed

    large, small = scan(), scan(x=8)
    assert is_needed(report(TOO_LARGE), large, model)
    assert not is_needed(report(), large, model)
    assert not is_needed(report(TOO_LARGE), small, model)  # flagged because it is too small
    assert not is_needed(report(TOO_LARGE, roi={"x": [0, 1]}), large, model)
    assert not is_needed(report(TOO_LARGE), None, model)
    assert not is_needed(report(TOO_LARGE), large, None)
    assert not is_needed(report(TOO_LARGE), large, dataclasses.replace(model, largest_seen_mm=None))


def test_the_engine_calls_the_same_scans_too_large():
    from DyCONSegmentationLib import region

    from dycon_engine.inference import domain

    assert region.SIZE_FACTOR == domain.SIZE_FACTOR
    assert f'"{region.TOPIC}"' in Path(domain.__file__).read_text()


def test_the_proposal_is_as_large_as_the_training_scans_in_the_middle_of_the_scan(
    slicer_scene, model
):
    import slicer
    from DyCONSegmentationLib.orders import roi_box
    from DyCONSegmentationLib.region import propose

    volume = scan(x=40, y=24, z=12)
    volume.SetOrigin(100, -50, 7)
    transform = slicer_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = (5, 6, 7)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    roi = propose(volume, model)
    assert roi.GetSize() == (20.0, 24.0, 10.0)  # no larger than the scan
    x0, x1, y0, y1, z0, z1 = roi_box(roi, volume)  # LPS, as the engine takes it
    middle = (100 + 39 / 2, -50 + 23 / 2, 7 + 5)
    assert ((x0 + x1) / -2, (y0 + y1) / -2, (z0 + z1) / 2) == pytest.approx(middle)
    assert (x1 - x0, y1 - y0, z1 - z0) == pytest.approx((20, 24, 10))
    assert roi.GetDisplayNode().GetHandlesInteractive()
    view = slicer_scene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceToRAS()
    shown = [view.GetElement(row, 3) for row in range(3)]
    assert shown == pytest.approx(np.add(middle, (5, 6, 7)))


def test_the_axes_of_a_permuted_scan_are_those_of_the_body(slicer_scene):
    import slicer
    from DyCONSegmentationLib.region import size_mm

    volume = scan(x=40, y=30, z=10)
    turned = np.array([[0, 0, -2.0, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(turned))
    assert size_mm(volume) == pytest.approx((10, 40, 30))
