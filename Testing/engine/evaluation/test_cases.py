"""Cases: matched by stem, refused where grids differ, named where one side is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name

from dycon_engine.data.formats.writers import write_label
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError
from dycon_engine.evaluation import cases

GRID = Geometry.from_parts((4, 5, 6), (2.0, 1.0, 1.5))


def save(path, labels=None, geometry=GRID):
    path.parent.mkdir(exist_ok=True, parents=True)
    labels = np.zeros(geometry.size_zyx, np.uint8) if labels is None else labels
    write_label(path, labels, geometry, overwrite=True)


def test_folders_are_matched_by_stem_whatever_the_format(tmp_path):
    for name in ("a.nii.gz", "b.nrrd", "only_predicted.nii.gz"):
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


def test_segments_that_were_drawn_in_another_order_are_refused(tmp_path):
    """Slicer numbers them so; by value the liver would be compared with the tumor."""
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 3)
    files = []
    for case, names in (("a", ("liver", "tumor")), ("b", ("Tumor", "liver"))):
        for value, name in enumerate(names, start=1):
            for key, text in (("Name", name), ("LabelValue", str(value)), ("Layer", "0")):
                image.SetMetaData(f"Segment{value - 1}_{key}", text)
        files.append(tmp_path / f"{case}.seg.nrrd")
        sitk.WriteImage(image, str(files[-1]))
    save(tmp_path / "plain.nii.gz")
    cases.require_same_values([files[0], tmp_path / "plain.nii.gz", files[0]])
    with pytest.raises(
        InputError, match=r"b\.seg\.nrrd': 'Tumor' has the value 1, in .*a\.seg.* 2;"
    ):
        cases.require_same_values(files)


def test_a_hundredth_of_a_voxel_is_tolerated():
    moved = Geometry.from_parts(GRID.size_zyx, GRID.spacing_mm, (0.0149, 0, 0))  # 1.5 mm voxels
    empty = np.zeros(GRID.size_zyx, np.uint8)
    cases.check_grid("a", "prediction", Volume(empty, moved), Volume(empty, GRID))


def test_a_class_absent_from_a_case_counts_as_agreed_and_undefined():
    labels = np.zeros(GRID.size_zyx, np.uint8)
    labels[1:3, 1:3, 1:3] = 2
    one = cases.score_case("a", Volume(labels, GRID), Volume(labels, GRID))
    assert [s.label for s in one.scores] == [2]
    filled = cases.with_classes(one, (1, 2))
    assert [s.label for s in filled.scores] == [1, 2]
    assert filled.scores[0].dice == 1.0
    assert math.isnan(filled.scores[0].hd95_mm)
    assert filled.scores[1] is one.scores[0]
    assert cases.classes_of([one]) == (2,)


def test_companions_are_found_by_the_names_in_use(tmp_path):
    files = {"a_0000": tmp_path / "x", "b": tmp_path / "y"}
    assert cases.find_companion(files, "a") == tmp_path / "x"
    assert cases.find_companion(files, "b") == tmp_path / "y"
    assert cases.find_companion(files, "c") is None
