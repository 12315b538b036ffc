"""The sample of voxels: every case gives as many as it can, evenly spread."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.data.geometry import Geometry
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError
from dycon_engine.evaluation import voxels
from dycon_engine.evaluation.calibration import captured_errors, near_boundary, risk_coverage
from dycon_engine.evaluation.voxels import VoxelSample, channel_values, evenly


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


def test_every_figure_is_of_the_voxels_of_its_region():
    grid = Geometry.from_parts((3, 3, 40))
    reference, prediction = np.zeros((2, *grid.size_zyx), np.uint8)
    reference[..., 3], prediction[..., 30] = 1, 1
    sure = np.random.default_rng(0).uniform(0.5, 0.99, grid.size_zyx).astype(np.float32)
    maps = np.where(prediction == np.arange(2).reshape(2, 1, 1, 1), sure, 1 - sure)
    sample = VoxelSample(band_mm=5.0)
    volumes = (Volume(array, grid) for array in (maps, prediction, reference))
    sample.add("a", *volumes, (0, 1))
    found = sample.calibration()
    assert found is not None
    curves = (found.everywhere, found.boundary, found.reference)
    assert [int(curve.voxels.sum()) for curve in curves] == [9 * 40, 9 * 20, 9 * 9]
    near = near_boundary(prediction, reference, spacing_mm=(1, 1, 1), band_mm=5.0)
    entropy, wrong = -(maps * np.log(maps)).sum(axis=0), prediction != reference
    assert found.risk.aurc == pytest.approx(risk_coverage(entropy[near], wrong[near]).aurc)
    assert found.captured == (pytest.approx(captured_errors(entropy, wrong)),)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((0.6, 0.43), "sums to 1.03"),
        ((0.5, 0.47), "sums to 0.97"),
        ((1.05, -0.05), "holds -0.05"),
        ((0.6, 0.415), ""),
        ((1.015, -0.015), ""),
    ],
)
def test_what_is_no_probability_is_refused_but_for_rounding(shares, said):
    grid = Geometry.from_parts((4, 4, 4))
    labels = Volume(np.zeros(grid.size_zyx, np.uint8), grid)
    maps = np.broadcast_to(np.reshape(shares, (2, 1, 1, 1)), (2, 4, 4, 4)).astype(np.float32)
    sample = VoxelSample(band_mm=3.0)
    if not said:
        sample.add("a", Volume(maps, grid), labels, labels, (0, 1))
        return
    with pytest.raises(InputError, match=f"case 'a': the probability map {said}"):
        sample.add("a", Volume(maps, grid), labels, labels, (0, 1))


@pytest.mark.parametrize(
    ("channels", "references", "predictions", "values"),
    [
        (3, (2, 5), (1,), (0, 2, 5)),
        (3, (2,), (5,), (0, 2, 5)),
        (4, (2, 3), (3,), (0, 1, 2, 3)),
        (3, (3,), (3,), None),
    ],
)
def test_channels_are_of_the_values_that_fit(channels, references, predictions, values):
    assert channel_values(channels, references, predictions) == values
