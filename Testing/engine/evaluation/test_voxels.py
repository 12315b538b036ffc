"""The sample of voxels: every case gives as many as it can, evenly spread."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.data.geometry import Geometry
from dycon_engine.data.volume import Volume
from dycon_engine.evaluation import voxels
from dycon_engine.evaluation.voxels import VoxelSample, evenly


@pytest.mark.parametrize("size", [0, 1, 2, 9, 10, 11, 19, 20, 21, 1003, 262_145])
def test_as_many_places_as_there_are_or_may_be(size):
    places = evenly(size, 10)
    assert places.size == min(size, 10)
    assert places.size < 2 or (np.diff(places) >= 1).all()
    if size:
        assert (places[0], places[-1]) == (0, size - 1) or size == 1
        assert np.ptp(np.diff(places)) <= 1 if places.size > 1 else places.tolist() == [0]
    assert evenly(size, size).tolist() == list(range(size))


def test_a_case_just_above_the_limit_weighs_as_much_as_one_at_it(monkeypatch):
    monkeypatch.setattr(voxels, "VOXELS_PER_CASE", 120)
    sample = VoxelSample(band_mm=3.0)
    for width in (5, 6):  # 120 and 144 voxels; by a stride the second gave 72
        grid = Geometry.from_parts((4, 6, width))
        labels = np.zeros(grid.size_zyx, np.uint8)
        labels[1:3, 2:4, 2:4] = 1
        maps = np.stack([labels == 0, labels == 1]).astype(np.float32) * 0.8 + 0.1
        volume = Volume(labels, grid)
        sample.add("a", Volume(maps, grid), volume, volume, (0, 1))
    calibration = sample.calibration()
    assert calibration is not None
    assert int(calibration.everywhere.voxels.sum()) == 240
