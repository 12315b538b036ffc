"""What a person may ask for, which volume is which channel, and the engine's command line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dycon_engine.errors import InputError
from dycon_engine.predict import parser
from DyCONLib.models import Channel
from Testing.slicer.segmentation.contents import add_volume

T1, FLAIR = Channel("T1", "_0000"), Channel("T2 FLAIR", "_0001")


def model(*channels):
    return SimpleNamespace(channels=channels, path=Path("la.dycon"))


@pytest.fixture
def orders(slicer_scene):
    from DyCONSegmentationLib import orders

    return orders


def test_what_is_missing_is_named_in_the_order_of_the_panel(orders):
    scan = add_volume(np.ones((2, 3, 4), np.int16), "scan")
    assert orders.problem((), None) == "Choose a model."
    assert orders.problem((), model(T1)) == "Choose a volume."
    assert orders.problem((scan,), model(T1, FLAIR)) == "Choose a volume for 'T2 FLAIR'."
    assert orders.problem((scan,), model(T1)) == ""


def test_volumes_that_cannot_be_segmented_are_refused_by_name(orders, slicer_scene):
    empty = slicer_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty one")
    assert "'empty one' is empty" in orders.problem((empty,), model(T1))
    colors = add_volume(np.ones((2, 3, 4, 3), np.uint8), "photo", kind="Vector")
    assert "'photo' has colors" in orders.problem((colors,), model(T1))


def test_two_channels_must_be_two_volumes_on_one_grid(orders):
    one = add_volume(np.ones((2, 3, 4), np.int16), "one")
    other = add_volume(np.ones((2, 3, 4), np.int16), "other")
    apart = add_volume(np.ones((2, 3, 4), np.int16), "apart", spacing=(1, 1, 1.1))
    assert orders.problem((one, other), model(T1, FLAIR)) == ""
    assert "The same volume" in orders.problem((one, one), model(T1, FLAIR))
    assert "'apart' lies on another grid than 'one'" in orders.problem(
        (one, apart), model(T1, FLAIR)
    )


def test_every_setting_reaches_the_engine(orders, tmp_path):
    from DyCONSegmentationLib.parameters import Parameters

    chosen = Parameters(
        device="cpu",
        uncertainty_kind="tta",
        overlap=30,
        largest_component=True,
        minimum_volume_mm3=250.0,
        keep_probabilities=True,
    )
    files = orders.result_files(tmp_path, chosen)
    line = orders.arguments([Path("a.nrrd"), Path("b.nrrd")], files, model(T1, FLAIR), chosen)
    got = parser().parse_args([str(word) for word in line])
    assert got.input == [Path("a.nrrd"), Path("b.nrrd")]
    assert (got.output, got.uncertainty) == (files.labels, files.uncertainty)
    assert (got.report, got.probabilities) == (files.report, files.probabilities)
    assert (got.device, got.uncertainty_kind, got.overlap) == ("cpu", "tta", 0.3)
    assert (got.largest_component, got.minimum_volume_mm3) == (True, 250.0)
    assert not got.overwrite


def test_defaults_leave_the_engine_its_own(orders, tmp_path):
    from DyCONSegmentationLib.parameters import DEFAULTS

    files = orders.result_files(tmp_path, DEFAULTS)
    line = orders.arguments([Path("a.nrrd")], files, model(T1), DEFAULTS)
    got = parser().parse_args([str(word) for word in line])
    assert (got.overlap, got.probabilities, got.largest_component) == (None, None, False)


def test_an_impossible_setting_is_refused(orders, tmp_path):
    from DyCONSegmentationLib.parameters import Parameters

    chosen = Parameters(minimum_volume_mm3=float("nan"))
    with pytest.raises(InputError, match="the smallest piece must be 0"):
        orders.arguments([Path("a.nrrd")], orders.result_files(tmp_path, chosen), model(T1), chosen)


def named(*names):
    return [SimpleNamespace(GetName=lambda name=name: name) for name in names]


def chosen_names(channels, volumes, chosen=()):
    from DyCONSegmentationLib.channels import preselect

    return [v.GetName() if v else None for v in preselect(channels, volumes, chosen)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("pt07_0001", "pt07_0000"), ["pt07_0000", "pt07_0001"]),
        (("Brain T2-FLAIR ax", "Brain T1 ax"), ["Brain T1 ax", "Brain T2-FLAIR ax"]),
        (("T1post", "other"), [None, None]),
        (("t1.nii",), ["t1.nii", None]),
    ],
)
def test_volumes_are_preselected_by_pattern_or_by_the_words_of_their_name(names, expected):
    assert chosen_names((T1, FLAIR), named(*names)) == expected


def test_what_a_person_chose_stays_and_is_not_taken_twice():
    volumes = named("x_0000", "y_0001")
    assert chosen_names((T1, FLAIR), volumes, (volumes[1],)) == ["y_0001", None]


def test_a_model_of_one_channel_takes_the_only_volume():
    single = Channel("image", "")
    assert chosen_names((single,), named("anything")) == ["anything"]
    assert chosen_names((single,), named("anything", "other")) == [None]


def add_roi(center, size, turn=None):
    import slicer

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.SetCenter(*center)
    roi.SetSize(*size)
    if turn is not None:
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turn))
        roi.SetAndObserveTransformNodeID(transform.GetID())
    return roi


def test_a_region_of_interest_becomes_a_box_in_lps(orders):
    scan = add_volume(np.ones((2, 3, 4), np.int16))
    box = orders.roi_box(add_roi((10, 20, 30), (2, 4, 6)), scan)
    assert box == pytest.approx((-11, -9, -22, -18, 27, 33))


def test_the_box_is_in_the_frame_of_the_scan_and_holds_a_turned_region_whole(orders):
    scan = add_volume(np.ones((2, 3, 4), np.int16))
    quarter = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1.0]])
    roi = add_roi((10, 20, 30), (2, 4, 6), quarter)
    assert orders.roi_box(roi, scan) == pytest.approx((18, 22, -11, -9, 32, 38))
    scan.SetAndObserveTransformNodeID(roi.GetTransformNodeID())
    assert orders.roi_box(roi, scan) == pytest.approx((-11, -9, -22, -18, 27, 33))


def test_the_box_reaches_the_engine(orders, tmp_path):
    from DyCONSegmentationLib.parameters import DEFAULTS

    files = orders.result_files(tmp_path, DEFAULTS)
    box = (-11.5, -9, -22, 1e-7, 27, 33)
    line = orders.arguments([Path("a.nrrd")], files, model(T1), DEFAULTS, box)
    assert parser().parse_args([str(word) for word in line]).roi == pytest.approx(box, abs=1e-4)
