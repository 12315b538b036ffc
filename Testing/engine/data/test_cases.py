"""Reading a case: channels stacked on one grid, file values turned into class indices."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Case, Label, read_case_image, read_case_label
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
