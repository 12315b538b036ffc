"""Where patches lie: on the foreground, inside the case, padded where the case ends."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.data import patches
from dycon_engine.data.patches import (
    air_value,
    crop,
    foreground_points,
    random_start,
    start_around,
)


def test_points_lie_on_each_present_class_and_their_number_is_bounded(monkeypatch):
    monkeypatch.setattr(patches, "POINTS_PER_CLASS", 50)
    label = np.zeros((8, 9, 10), np.uint8)
    label[2:7, 3:8, 1:9] = 1
    label[0, 0, 0] = 3
    ones, threes = foreground_points(label)
    assert len(ones) == 50
    assert (label[tuple(ones.T)] == 1).all()
    assert ones.min(axis=0).tolist() == [2, 3, 1]
    assert ones.max(axis=0).tolist() == [6, 7, 8]
    assert threes.tolist() == [[0, 0, 0]]
    assert foreground_points(np.zeros((4, 4, 4), np.uint8)) == ()


def test_every_place_inside_is_drawn_and_none_outside():
    rng = np.random.default_rng(0)
    starts = {tuple(random_start(rng, (6, 8, 3), (4, 8, 5)).tolist()) for _ in range(200)}
    assert starts == {(0, 0, -1), (1, 0, -1), (2, 0, -1)}


@pytest.mark.parametrize(
    ("voxel", "start"), [((5, 5, 5), (3, 3, 3)), ((0, 9, 5), (0, 6, 3)), ((9, 0, 0), (6, 0, 0))]
)
def test_a_patch_around_a_voxel_stays_inside(voxel, start):
    assert tuple(start_around(np.array(voxel), (10, 10, 10), (4, 4, 4)).tolist()) == start


def test_a_crop_equals_slicing_a_padded_copy():
    rng = np.random.default_rng(1)
    image = rng.standard_normal((2, 5, 6, 7)).astype(np.float16)
    fill = np.array([-3.0, 4.0], np.float32)
    padded = np.stack([np.pad(c, 9, constant_values=f) for c, f in zip(image, fill, strict=True)])
    for _ in range(50):
        start, size = rng.integers(-8, 8, 3), rng.integers(1, 8, 3)
        block = crop(image, start, tuple(size), fill=fill)
        place = tuple(slice(s + 9, s + 9 + n) for s, n in zip(start, size, strict=True))
        assert block.dtype == np.float32
        assert block.flags.c_contiguous
        np.testing.assert_array_equal(block, padded[(slice(None), *place)].astype(np.float32))


def test_a_crop_of_a_mapped_case_is_a_copy(tmp_path):
    np.save(tmp_path / "case.npy", np.ones((1, 4, 4, 4), np.float32))
    mapped = np.load(tmp_path / "case.npy", mmap_mode="r")
    block = crop(mapped, np.zeros(3, np.int64), (4, 4, 4), fill=np.zeros(1, np.float32))
    block += 1.0
    assert mapped.max() == 1.0
    assert not isinstance(block, np.memmap)


def test_air_is_the_lowest_value_of_each_channel():
    image = np.zeros((2, 8, 8, 8), np.float16)
    image[0, 4, 4, 4], image[1, 0, 0, 0] = -2.0, -1024.0
    assert air_value(image).tolist() == [-2.0, -1024.0]


def test_a_patch_as_large_as_its_case_still_moves():
    """Without this the network learned where in the volume the organ lies."""
    rng = np.random.default_rng(0)
    starts = np.array(
        [random_start(rng, (16, 17, 40), (16, 16, 16), play=0.25) for _ in range(200)]
    )
    assert starts.min(axis=0).tolist() == [-2, -1, 0]
    assert starts.max(axis=0).tolist() == [2, 2, 24]
    middle = start_around(np.array([0, 0, 0]), (16, 16, 40), (16, 16, 16), play=0.25)
    assert middle.tolist() == [-2, -2, 0]
