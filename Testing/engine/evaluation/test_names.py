"""Names and values: a leading background, names of nothing, values of one side, contradictions."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name

from dycon_engine.data.formats.writers import write_label
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError
from dycon_engine.evaluation import names as naming
from dycon_engine.evaluation.cases import score_case

GRID = Geometry.from_parts((3, 4, 5))


@pytest.fixture
def segmentation(tmp_path):
    """Write a segmentation whose values 1, 2 are called so."""

    def write(case, *names):
        image = sitk.GetImageFromArray(np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 3)
        for value, name in enumerate(names, start=1):
            for key, text in (("Name", name), ("LabelValue", str(value)), ("Layer", "0")):
                image.SetMetaData(f"Segment{value - 1}_{key}", text)
        path = tmp_path / f"{case}.seg.nrrd"
        sitk.WriteImage(image, str(path))
        return path

    return write


def test_a_leading_background_is_no_structure():
    assert naming.foreground(["Background", "left atrium"]) == ("left atrium",)
    assert naming.foreground(["left atrium", "background"]) == ("left atrium", "background")
    assert naming.foreground([]) == ()


@pytest.mark.parametrize(
    ("given", "classes", "names"),
    [
        ((), (1, 4), {1: "label 1", 4: "label 4"}),
        (("a", "b"), (1, 2), {1: "a", 2: "b"}),
        (("a", "b", "c"), (1, 3), {1: "a", 3: "c"}),
        (("a", "b"), (7, 255), {7: "a", 255: "b"}),
        (("a", "b"), (1,), {1: "a"}),
    ],
)
def test_what_the_values_are_called(given, classes, names):
    assert naming.label_names(given, classes) == names


def test_a_name_without_a_value_is_said():
    (line,) = naming.unused_names(("a", "b"), {1: "a"})
    assert "name 'b' (value 2) is in no file" in line
    assert naming.unused_names(("a", "b"), {7: "a", 255: "b"}) == ()
    assert naming.unused_names((), {1: "label 1"}) == ()


def test_a_value_of_one_side_is_said_once_for_all_cases():
    empty = np.zeros(GRID.size_zyx, np.uint8)
    one, other = empty.copy(), empty.copy()
    one[0], other[0] = 1, 255
    cases = [
        score_case(name, Volume(predicted, GRID), Volume(expected, GRID))
        for name, predicted, expected in (("a", one, other), ("b", one, other), ("c", empty, one))
    ]
    (line,) = naming.one_sided("ours", cases)
    assert "ours: label value 255 is only in references, never in predictions" in line


def test_segments_that_were_drawn_in_another_order_are_refused(segmentation, tmp_path):
    """Slicer numbers them so; by value the liver would be compared with the tumor."""
    files = [segmentation("a", "liver", "tumor"), segmentation("b", "Tumor", "liver")]
    plain = tmp_path / "plain.nii.gz"
    write_label(plain, np.zeros(GRID.size_zyx, np.uint8), GRID, overwrite=True)
    naming.require_same_values([files[0], plain, files[0]])
    with pytest.raises(
        InputError, match=r"b\.seg\.nrrd': 'Tumor' has the value 1, in .*a\.seg.* 2;"
    ):
        naming.require_same_values(files)


def test_names_of_a_file_are_compared_with_those_given(segmentation):
    files = [segmentation("a", "Liver", "tumor"), segmentation("b", "liver", "tumor")]
    assert naming.renamed(files, {1: "liver", 2: "tumor"}) == ()
    (line,) = naming.renamed(files, {1: "liver", 2: "cyst"})
    assert line.startswith("'a.seg.nrrd': calls label value 2 'tumor', --labels calls it 'cyst'")
    with pytest.raises(InputError, match=r"'Liver' has the value 1, --labels names it as value 2"):
        naming.renamed(files, {1: "tumor", 2: "liver"})
