"""Slicer's segmentations: names, colors, layers flattened, overlap refused."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from dycon_engine.data.formats.readers import content_hash, read_label, read_segments
from dycon_engine.errors import InputError

KEYS = {
    "Segment0_Name": "liver",
    "Segment0_LabelValue": "1",
    "Segment0_Layer": "0",
    "Segment0_Color": "1 0.5 0",
    "Segment1_Name": "tumor",
    "Segment1_LabelValue": "2",
    "Segment1_Layer": "0",
}


def save(path, layers, keys):
    array = np.moveaxis(np.array(layers, np.uint8), 0, -1)
    several = len(layers) > 1
    image = sitk.GetImageFromArray(array if several else array[..., 0], isVector=several)
    for key, value in keys.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def box(low, high, value=1):
    array = np.zeros((4, 5, 6), np.uint8)
    array[low:high] = value
    return array


def test_one_layer_keeps_its_values(tmp_path):
    path = save(tmp_path / "a.seg.nrrd", [box(0, 1) + box(2, 3, 2)], KEYS)
    np.testing.assert_array_equal(read_label(path).array, box(0, 1) + box(2, 3, 2))
    assert read_segments(path) == ((1, "liver", (255, 128, 0)), (2, "tumor", None))


@pytest.mark.parametrize("value", [1, 2])
def test_layers_are_flattened_with_the_values_that_segments_name(tmp_path, value):
    keys = KEYS | {"Segment1_LabelValue": str(value), "Segment1_Layer": "1"}
    path = save(tmp_path / "a.seg.nrrd", [box(0, 1), box(2, 3, value)], keys)
    np.testing.assert_array_equal(read_label(path).array, box(0, 1) + box(2, 3, 2))
    assert [value for value, *_ in read_segments(path)] == [1, 2]
    assert content_hash(path, label=True) != content_hash(path)


def test_overlap_is_refused_by_name(tmp_path):
    keys = KEYS | {"Segment1_LabelValue": "1", "Segment1_Layer": "1"}
    path = save(tmp_path / "a.seg.nrrd", [box(0, 3), box(2, 4)], keys)
    with pytest.raises(InputError, match="segments 'liver' and 'tumor' overlap"):
        read_label(path)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({}, "names no segments"),
        (KEYS | {"Segment1_LabelValue": "x"}, "unreadable"),
        (KEYS | {"Segment1_LabelValue": "1"}, "share a label value"),
        (KEYS | {"Segment1_LabelValue": "3"}, "label value 2 belongs to no segment"),
        (KEYS | {"Segment1_LabelValue": "1", "Segment1_Layer": "4"}, "missing layer"),
        (KEYS | {"Segment0_LabelValue": "0"}, "label value 0"),
    ],
)
def test_what_is_no_whole_segmentation_is_refused(tmp_path, keys, text):
    path = save(tmp_path / "a.seg.nrrd", [box(0, 1) + box(2, 3, 2)], keys)
    with pytest.raises(InputError, match=text):
        read_label(path)
