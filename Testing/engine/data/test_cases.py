"""Reading a case: channels stacked on one grid, file values turned into class indices."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from dycon_engine.config import DataConfig
from dycon_engine.data import cases
from dycon_engine.data.cases import (
    Case,
    Label,
    read_case_image,
    read_case_label,
    read_stored_label,
)
from dycon_engine.data.formats.writers import write_label
from dycon_engine.data.orientation import Orientation
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.errors import InputError
from Testing.tiny_scans import mask, scan, write_scan

CONFIG = DataConfig()
BRATS = tuple(Label(value, name) for value, name in ((0, "bg"), (1, "ncr"), (2, "ed"), (4, "et")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (6, 7, 9)}, "9x7x6 voxels but 8x7x6"),
        ({"origin": (0.02, 0.0, 0.0)}, "0.02 voxels away"),
        ({"spacing": (1.0, 1.0, 1.01)}, r"0\.07 voxels away"),
    ],
)
def test_channels_must_share_a_grid(tmp_path, change, message):
    size = change.pop("size", (6, 7, 8))
    first = write_scan(tmp_path / "a_0000.nii.gz", scan(0))
    second = write_scan(tmp_path / "a_0001.nii.gz", scan(1, size), **change)
    with pytest.raises(InputError, match=message) as caught:
        read_case_image(Case("a", (first, second)), CONFIG)
    assert "case 'a': channel 'a_0001.nii.gz'" in str(caught.value)


def test_a_shift_below_a_hundredth_voxel_is_the_same_grid(tmp_path):
    first = write_scan(tmp_path / "a.nii", scan(0))
    second = write_scan(tmp_path / "b.nii", scan(1), origin=(0.005, 0.0, 0.0))
    assert read_case_image(Case("a", (first, second)), CONFIG).array.shape[0] == 2


def test_values_become_indices(tmp_path):
    path = write_scan(tmp_path / "seg.nii.gz", mask(values=(4, 1)))
    label = read_case_label(Case("a", (), path), BRATS, CONFIG)
    assert label.array.dtype == np.uint8
    assert np.array_equal(label.array, mask(values=(3, 1)))


def test_unknown_values_and_no_label_are_one_line(tmp_path):
    path = write_scan(tmp_path / "seg.nii.gz", mask(values=(3, 7)))
    with pytest.raises(InputError, match=r"case 'a': label holds \[3, 7\], expected only \[0, 1"):
        read_case_label(Case("a", (), path), BRATS, CONFIG)
    with pytest.raises(InputError, match="case 'a': has no label map"):
        read_case_label(Case("a", ()), BRATS, CONFIG)


def test_channels_of_different_grids_are_refused_before_their_voxels_are_read(
    tmp_path, monkeypatch
):
    """A data set taken for one scan of a thousand channels would fill the memory first."""
    first = write_scan(tmp_path / "a_0001.nii.gz", scan(0))
    second = write_scan(tmp_path / "a_0002.nii.gz", scan(1, (6, 7, 9)))
    monkeypatch.setattr(cases, "read_image", lambda path: pytest.fail(f"{path} was read"))
    with pytest.raises(InputError, match="9x7x6 voxels but 8x7x6"):
        read_case_image(Case("a", (first, second)), CONFIG)


@pytest.mark.parametrize("spacing_mm", [0.8125, 1.0 - 1e-4 + 2e-8])
def test_a_label_of_a_rounded_spacing_is_prepared_on_the_grid_of_the_image(tmp_path, spacing_mm):
    """At a half the seventh digit decides how many voxels the network's grid has."""
    size = (6, 8, 104)  # 104 x 0.8125 = 84.5: rounded down, and up with a little more
    rounded = spacing_mm * (1.0 + 1e-7 if spacing_mm < 0.9 else 1.0 - 1e-7)
    image = write_scan(tmp_path / "image.nii.gz", scan(0, size), spacing=(1.0, 1.0, spacing_mm))
    path = write_scan(tmp_path / "label.nii.gz", mask(size), spacing=(1.0, 1.0, rounded))
    case, preprocessing = Case("a", (image,), path), Preprocessing((1.0, 1.0, 1.0))
    label, volume = read_case_label(case, BRATS, CONFIG), read_case_image(case, CONFIG)
    assert np.array_equal(label.geometry.affine, volume.geometry.affine)
    prepared = preprocessing.prepare(volume).array
    assert preprocessing.prepare_label(label, len(BRATS)).shape == prepared.shape[1:]


def test_a_label_in_another_order_of_axes_is_brought_onto_the_image(tmp_path):
    image = write_scan(tmp_path / "image.nii.gz", scan(0))
    grid = read_case_image(Case("a", (image,)), CONFIG).geometry
    order = Orientation((2, 0, 1), (True, False, True))
    values = mask(values=(4, 1))
    path = tmp_path / "label.nii.gz"
    write_label(path, order.apply(values), order.geometry(grid), overwrite=False)
    case = Case("a", (image,), path)
    assert np.array_equal(read_stored_label(case, CONFIG).array, values)
    label = read_case_label(case, BRATS, CONFIG)
    assert np.array_equal(label.array, mask(values=(3, 1)))
    assert np.array_equal(label.geometry.affine, grid.affine)


def test_a_cropped_segmentation_is_padded_onto_the_image(tmp_path):
    """Slicer saves segmentations no larger than what was drawn in them."""
    image = write_scan(tmp_path / "image.nii.gz", scan(0), spacing=(2.0, 1.0, 0.5))
    itk, values = sitk.ReadImage(str(image)), mask(values=(1,))
    drawn = sitk.GetImageFromArray(values)
    drawn.CopyInformation(itk)
    part = drawn[1:4, 2:4, 1:5]
    for key, text in (("Name", "ncr"), ("LabelValue", "1"), ("Layer", "0")):
        part.SetMetaData(f"Segment0_{key}", text)
    path = tmp_path / "label.seg.nrrd"
    sitk.WriteImage(part, str(path))
    case = Case("a", (image,), path)
    assert np.array_equal(read_case_label(case, BRATS, CONFIG).array, values)
    part.SetOrigin(tuple(np.add(part.GetOrigin(), (0.25, 0.0, 0.0))))  # half a voxel
    sitk.WriteImage(part, str(path))
    with pytest.raises(InputError, match="case 'a': label is 3x2x4 voxels but 8x7x6"):
        read_case_label(case, BRATS, CONFIG)


def test_a_label_that_lies_elsewhere_is_one_line(tmp_path):
    image = write_scan(tmp_path / "image.nii.gz", scan(0))
    path = write_scan(tmp_path / "label.nii.gz", mask(), origin=(0.5, 0.0, 0.0))
    with pytest.raises(InputError, match=r"case 'a': label lies 0\.50 voxels .*exclude the case"):
        read_case_label(Case("a", (image,), path), BRATS, CONFIG)
