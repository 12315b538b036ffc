"""Cases: matched by stem, refused where grids differ, named where one side is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name

from dycon_engine.data.formats.writers import write_label
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.orientation import Orientation
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError
from dycon_engine.evaluation import cases

GRID = Geometry.from_parts((4, 5, 6), (2.0, 1.0, 1.5))


def save(path, labels=None, geometry=GRID):
    path.parent.mkdir(exist_ok=True, parents=True)
    labels = np.zeros(geometry.size_zyx, np.uint8) if labels is None else labels
    write_label(path, labels, geometry, overwrite=True)


def test_folders_are_matched_by_stem_whatever_the_format(tmp_path):
    for name in ("a.nii.gz", "b.nrrd", "only_predicted.nii.gz", "._a.nii.gz"):  # of a Mac
        save(tmp_path / "p" / name)
    for name in ("a.nii.gz", "b.nii.gz", "only_reference.nii.gz"):
        save(tmp_path / "r" / name)
    found = cases.match_cases(tmp_path / "p", tmp_path / "r")
    assert list(found.pairs) == ["a", "b"]
    assert found.pairs["b"] == (tmp_path / "p" / "b.nrrd", tmp_path / "r" / "b.nii.gz")
    assert found.unpredicted == ("only_reference",)
    assert found.unreferenced == ("only_predicted",)


def test_two_files_are_a_pair_whatever_their_names(tmp_path):
    save(tmp_path / "mine.nii.gz")
    save(tmp_path / "truth.nii.gz")
    found = cases.match_cases(tmp_path / "mine.nii.gz", tmp_path / "truth.nii.gz")
    assert list(found.pairs) == ["mine"]


@pytest.mark.parametrize(
    ("prediction", "reference", "message"),
    [
        (["x.nii.gz"], ["y.nii.gz"], "share no case: found e.g. 'x' and 'y'"),
        (["x.nii.gz", "x.nrrd"], ["x.nii.gz"], "are the same case"),
        ([], ["x.nii.gz"], "holds no image file"),
    ],
)
def test_folders_that_cannot_be_compared_are_refused(tmp_path, prediction, reference, message):
    (tmp_path / "p").mkdir()
    for folder, names in (("p", prediction), ("r", reference)):
        for name in names:
            save(tmp_path / folder / name)
    with pytest.raises(InputError, match=message):
        cases.match_cases(tmp_path / "p", tmp_path / "r")


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        cases.match_cases(tmp_path / "nowhere", tmp_path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Geometry.from_parts((4, 5, 7), GRID.spacing_mm), "prediction is 4x5x7 but reference is"),
        (Geometry.from_parts((4, 5, 6), GRID.spacing_mm, (0.02, 0, 0)), "0.0133 voxels apart"),
        (Geometry.from_parts((4, 5, 6), (2.0, 1.0, 1.6)), "voxels apart"),
    ],
)
def test_grids_that_differ_are_refused_with_the_case(tmp_path, other, message):
    save(tmp_path / "p.nii.gz", geometry=other)
    save(tmp_path / "r.nii.gz")
    with pytest.raises(InputError, match=f"case 'pt07': .*{message}.*resample or exclude"):
        cases.read_pair("pt07", tmp_path / "p.nii.gz", tmp_path / "r.nii.gz")


def test_a_hundredth_of_a_voxel_is_tolerated():
    moved = Geometry.from_parts(GRID.size_zyx, GRID.spacing_mm, (0.0149, 0, 0))  # 1.5 mm voxels
    empty = np.zeros(GRID.size_zyx, np.uint8)
    volume = Volume(empty, moved)
    assert cases.on_reference("a", "prediction", volume, Volume(empty, GRID)) is volume


def block(geometry=GRID):
    labels = np.zeros(geometry.size_zyx, np.uint8)
    labels[1:3, 1:4, 2:5] = np.arange(1, 19).reshape(2, 3, 3)
    return labels


def test_one_grid_in_another_order_of_axes_is_compared_voxel_for_voxel(tmp_path):
    order = Orientation((2, 0, 1), (True, False, True))
    save(tmp_path / "p.nii.gz", order.apply(block()), order.geometry(GRID))
    save(tmp_path / "r.nii.gz", block())
    predicted, expected = cases.read_pair("a", tmp_path / "p.nii.gz", tmp_path / "r.nii.gz")
    assert np.array_equal(predicted.array, block())
    assert np.array_equal(expected.array, block())


@pytest.mark.parametrize("cropped", ["reference", "prediction"])
def test_a_cropped_segmentation_is_padded_on_either_side(tmp_path, cropped):
    whole = (block() > 0).astype(np.uint8)
    image = sitk.GetImageFromArray(whole[1:, 1:4, 2:])
    image.SetSpacing(GRID.spacing_mm[::-1])
    image.SetOrigin(tuple(GRID.to_world(np.array([1.0, 1.0, 2.0]))))
    for key, text in (("Name", "a"), ("LabelValue", "1"), ("Layer", "0")):
        image.SetMetaData(f"Segment0_{key}", text)
    sitk.WriteImage(image, str(tmp_path / "part.seg.nrrd"))
    save(tmp_path / "whole.nii.gz", whole)
    pair = (tmp_path / "whole.nii.gz", tmp_path / "part.seg.nrrd")
    read = cases.read_pair("a", *(pair if cropped == "reference" else pair[::-1]))
    assert all(np.array_equal(volume.array, whole) for volume in read)
    sitk.WriteImage(image, str(tmp_path / "part.nrrd"))  # no segmentation: nobody says it is a part
    with pytest.raises(InputError, match="but reference is"):
        cases.read_pair("a", pair[0], tmp_path / "part.nrrd")


def test_scans_instead_of_label_maps_are_refused():
    grid = Geometry.from_parts((4, 8, 10))
    scan = np.arange(320, dtype=np.int16).reshape(grid.size_zyx)
    mask = np.zeros(grid.size_zyx, np.uint8)
    for pair, side in (((scan, mask), "prediction"), ((mask, scan), "reference")):
        with pytest.raises(InputError, match=f"case 'a': {side} holds 320 different values"):
            cases.score_case("a", *(Volume(array, grid) for array in pair))
    assert cases.score_case("a", Volume(mask, grid), Volume(scan % 255, grid)).scores


def test_a_class_absent_from_a_case_has_no_scores_and_is_left_out_of_the_mean():
    labels = np.zeros(GRID.size_zyx, np.uint8)
    labels[1:3, 1:3, 1:3] = 2
    one = cases.score_case("a", Volume(labels, GRID), Volume(labels, GRID))
    assert [s.label for s in one.scores] == [2]
    filled = cases.with_classes(one, (1, 2))
    assert [s.label for s in filled.scores] == [1, 2]
    assert math.isnan(filled.scores[0].dice)
    assert math.isnan(filled.scores[0].hd95_mm)
    assert filled.mean_dice == 1.0  # of class 2 alone
    missed = cases.score_case("b", Volume(0 * labels, GRID), Volume(labels, GRID))
    assert cases.with_classes(missed, (1, 2)).mean_dice == 0.0
    assert math.isnan(cases.CaseScores("c", 1.0, ()).mean_dice)
    assert filled.scores[1] is one.scores[0]
    assert cases.classes_of([one]) == (2,)


def test_companions_are_found_by_the_names_in_use(tmp_path):
    names = {"a_0000": "a", "b": "b", "c_probabilities": "c", "d.probabilities": "d"}
    files = {name: tmp_path / name for name in names}
    for name, case in names.items():
        assert cases.find_companion(files, case) == tmp_path / name
    assert cases.find_companion(files, "e") is None
