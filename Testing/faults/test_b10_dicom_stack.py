"""B10: DICOM slices that do not lie straight above each other, and numbers that tell of others."""

from __future__ import annotations

import math

import numpy as np
import pydicom
import pytest

from dycon_engine.data.formats.readers import read_header, read_image
from dycon_engine.errors import InputError
from Testing.tiny_files import dicom_slice, voxels


def write(folder, positions, **changes):
    """Write one slice per position; numbers as given in `instances`, else from 1 on."""
    numbers = changes.pop("instances", range(1, len(positions) + 1))
    for index, (position, number) in enumerate(zip(positions, numbers, strict=True)):
        data = dicom_slice(voxels()[index % 6], index, ImagePositionPatient=list(position))
        data.InstanceNumber = number
        for name, value in changes.items():
            setattr(data, name, value)
        pydicom.dcmwrite(folder / f"slice{index:03d}.dcm", data)


def refused(folder, text):
    for read in (read_header, read_image):
        with pytest.raises(InputError, match=text) as caught:
            read(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [0, 2, 5])
def test_a_slice_that_is_displaced_in_its_plane_is_named(tmp_path, number):
    aside = [30.0 if index == number else 0.0 for index in range(6)]
    write(tmp_path, [(x, 0.25, 2.0 * index) for index, x in enumerate(aside)])
    refused(tmp_path, rf"'slice00{number}\.dcm' is 30 mm to the side")


@pytest.mark.parametrize(("aside", "straight"), [(0.12, True), (0.14, False), (0.2, False)])
def test_a_slice_may_lie_a_quarter_of_a_voxel_to_the_side(tmp_path, aside, straight):
    """Of the 0.5 mm along a row; the positions are written to a hundredth."""
    write(tmp_path, [(aside * (index == 2), 0.0, 2.0 * index) for index in range(6)])
    if straight:
        assert read_header(tmp_path).geometry.spacing_mm == (2.0, 0.75, 0.5)
    else:
        refused(tmp_path, rf"'slice002\.dcm' is {aside} mm to the side")


def test_slices_that_drift_and_come_back_are_refused(tmp_path):
    aside = (0.0, 8.0, 16.0, 16.0, 8.0, 0.0)
    write(tmp_path, [(0.125, y, 2.0 * index) for index, y in enumerate(aside)])
    refused(tmp_path, "do not lie straight above each other")


def test_a_small_part_of_a_voxel_to_the_side_is_read(tmp_path):
    write(tmp_path, [(0.05 * (index % 2), 0.0, 2.0 * index) for index in range(6)])
    found = read_header(tmp_path).geometry
    assert found.spacing_mm == (2.0, 0.75, 0.5)
    np.testing.assert_array_equal(found.direction, np.eye(3)[:, ::-1])


@pytest.mark.parametrize("step", [0.625, 2.0])
@pytest.mark.parametrize("turn", [0.0, 0.3])
@pytest.mark.parametrize("count", [3, 4, 40])
def test_positions_rounded_to_a_tenth_are_neither_tilted_nor_uneven(tmp_path, step, turn, count):
    c, s = math.cos(turn), math.sin(turn)
    normal = np.array([0.0, -s, c])
    places = [np.array([-123.456, 50.04, -7.77]) + index * step * normal for index in range(count)]
    rounded = [tuple(float(round(value, 1)) for value in place) for place in places]
    write(tmp_path, rounded, ImageOrientationPatient=[1, 0, 0, 0, c, s])
    found = read_header(tmp_path).geometry
    assert found.spacing_mm[0] == pytest.approx(step, abs=0.2 / (count - 1))
    assert np.abs(found.direction[:, 0] - normal).max() < 2e-3


def test_a_missing_slice_among_rounded_positions_is_found(tmp_path):
    heights = [round(0.625 * index, 1) for index in range(8) if index != 4]
    write(tmp_path, [(0.1, 0.0, height) for height in heights])
    refused(tmp_path, "1 slices are missing")


def test_uneven_slices_are_not_excused_by_whole_millimetres(tmp_path):
    write(tmp_path, [(0, 0, height) for height in (0, 5, 10, 15, 21, 27, 33)])
    refused(tmp_path, "the distance is uneven")


def test_every_other_slice_missing_is_seen_by_numbers_and_stated_distance(tmp_path):
    places = [(0.0, 0.0, 4.0 * index) for index in range(5)]
    write(tmp_path, places, instances=(1, 3, 5, 7, 9), SpacingBetweenSlices=2.0)
    refused(tmp_path, "slices are missing: they lie 4 mm apart but 2 mm is stated")


@pytest.mark.parametrize(
    "changes",
    [
        {"SpacingBetweenSlices": 2.0},  # numbers without gaps: states the gap, not the distance
        {"SpacingBetweenSlices": 4.0, "instances": (1, 3, 5, 7, 9)},  # several phases, split
        {"instances": (1, 3, 5, 7, 9)},
        {"SpacingBetweenSlices": 2.0, "instances": (1, 3, None, 7, 9)},
    ],
    ids=str,
)
def test_numbers_or_distance_alone_are_no_missing_slice(tmp_path, changes):
    write(tmp_path, [(0.0, 0.0, 4.0 * index) for index in range(5)], **changes)
    assert read_header(tmp_path).geometry.spacing_mm[0] == 4.0


def test_a_single_slice_says_how_thick_it_is(tmp_path):
    write(tmp_path, [(0.0, 0.0, 0.0)])
    assert read_header(tmp_path).geometry.spacing_mm[0] == 2.0
    write(tmp_path, [(0.0, 0.0, 0.0)], SliceThickness=None, SpacingBetweenSlices=6.0)
    assert read_header(tmp_path).geometry.spacing_mm[0] == 6.0
    write(tmp_path, [(0.0, 0.0, 0.0)], SliceThickness=None)
    refused(tmp_path, "a single slice that does not say how thick it is")
