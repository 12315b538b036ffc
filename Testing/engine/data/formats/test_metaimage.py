"""MetaImage headers are read strictly; voxels and places are in test_readers.py."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.data.formats.readers import read_header, read_image
from dycon_engine.errors import InputError

GOOD = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "1 2 3",
    "ElementSpacing": "1 1 2",
    "DimSize": "2 3 4",
    "HeaderSize": "",
    "ElementNumberOfChannels": "1",
    "ElementType": "MET_UCHAR",
    "ElementDataFile": "LOCAL",
}


def meta(tmp_path, more=b"", **changes):
    """Write a file of 24 bytes with lines changed, or left out where they are empty."""
    lines = [f"{key} = {value}\n" for key, value in (GOOD | changes).items() if value]
    path = tmp_path / "a.mha"
    path.write_bytes(more + "".join(lines).encode() + bytes(range(24)))
    return path


def test_the_file_to_be_changed_is_good(tmp_path):
    volume = read_image(meta(tmp_path))
    np.testing.assert_array_equal(volume.array.ravel(), np.arange(24))
    assert volume.geometry.size_zyx == (4, 3, 2)
    assert volume.geometry.spacing_mm == (2.0, 1.0, 1.0)
    assert volume.geometry.origin_lps == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ObjectType": "Tube"}, "no binary image"),
        ({"BinaryData": "False"}, "no binary image"),
        ({"BinaryData": "perhaps"}, "BinaryData is 'perhaps'; expected True or False"),
        ({"CompressedData": "2"}, "CompressedData is '2'"),
        ({"NDims": "2"}, "expected 3 axes"),
        ({"NDims": "4", "DimSize": "2 3 4 1"}, "expected 3 axes"),
        ({"DimSize": "2 3"}, "expected 3 axes"),
        ({"DimSize": "2 -3 -4"}, "size is 2x-3x-4; expected at least one voxel"),
        ({"DimSize": "2 3 0"}, "at least one voxel"),
        ({"DimSize": "2 3 x"}, "a number in its header is unreadable"),
        ({"DimSize": "99999999 99999999 99999999"}, "needs .* GiB in memory"),
        ({"DimSize": "2 3 5"}, "is cut short"),
        ({"DimSize": "2 3 3"}, "is longer than its header"),
        ({"DimSize": ""}, "no line 'DimSize'"),
        ({"ElementType": "MET_STRING"}, "voxel type 'MET_STRING' is not read"),
        ({"ElementNumberOfChannels": "0"}, "no channels or a foreign header"),
        ({"ElementNumberOfChannels": "-1"}, "no channels or a foreign header"),
        ({"HeaderSize": "-1"}, "no channels or a foreign header"),
        ({"ElementSpacing": ""}, "no line 'ElementSpacing'"),
        ({"ElementSpacing": "1 1"}, "do not fit its 3 axes"),
        ({"ElementSpacing": "1 -1 2"}, "spacing is 1 x -1 x 2 mm; expected more than 0"),
        ({"ElementSpacing": "1 nan 2"}, "unreadable"),
        ({"ElementSpacing": "1 1 2e6"}, "spacing is 1 x 1 x 2e[+]06 mm"),
        ({"Offset": "1 2"}, "do not fit its 3 axes"),
        ({"Offset": "1 2 3e9"}, "not a usable number"),
        ({"TransformMatrix": "1 0 0 0 1 0"}, "do not fit its 3 axes"),
        ({"TransformMatrix": "1 0 0 0 2 0 0 0 1"}, "not unit vectors"),
        ({"TransformMatrix": "1 0 0 0.6 0.8 0 0 0 1"}, "axes are sheared"),
    ],
    ids=str,
)
def test_a_line_that_cannot_be_is_named(tmp_path, changes, text):
    path = meta(tmp_path, **changes)
    with pytest.raises(InputError, match=text) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"'{path}': ")


def test_a_line_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="its header is damaged"):
        read_header(meta(tmp_path, b"NDims = 3\n"))
