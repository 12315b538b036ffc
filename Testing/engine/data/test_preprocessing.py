"""Preprocessing: a scan goes to the network's grid and comes back to its own, exactly placed."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dycon_engine.config import DataConfig, PreprocessingConfig
from dycon_engine.data.cases import Label, read_case_label
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError

SIGNED = [
    np.eye(3)[:, list(axes)] * np.asarray(signs)
    for axes in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]
UNIT = (1.0, 1.0, 1.0)


def geometry(size, spacing=UNIT, direction=None):
    return Geometry.from_parts(size, spacing, (5.0, -7.0, 11.0), direction)


def image(array, spacing=UNIT, direction=None):
    array = np.asarray(array, dtype=np.float32)
    array = array[None] if array.ndim == 3 else array
    return Volume(array, geometry(array.shape[1:], spacing, direction))


def blob(grid):
    """A smooth ellipsoid around the middle of the field of view, 0 to 1."""
    size = np.asarray(grid.size_zyx)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)
    mm = (index - (size - 1) / 2) * grid.spacing_mm
    radius = 0.36 * size * grid.spacing_mm
    distance = np.sqrt((((mm - 0.05 * radius) / radius) ** 2).sum(-1))
    return 1.0 / (1.0 + np.exp(12.0 * (distance - 1.0)))


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(SIGNED),
    st.tuples(*[st.floats(0.8, 2.5)] * 3),
    st.tuples(*[st.floats(0.6, 1.2)] * 3),
)
def test_there_and_back_keeps_place_and_grid(direction, old, new):
    source = geometry((26, 30, 34), old, direction)
    foreground = blob(source).astype(np.float32)
    preprocessing = Preprocessing(new, "none")
    prepared = preprocessing.prepare(Volume(foreground[None], source))
    np.testing.assert_allclose(prepared.geometry.spacing_mm, new, rtol=2e-4)
    restored = preprocessing.restore(prepared.array, prepared)
    assert restored.shape == (1, *source.size_zyx)
    assert prepared.source is source
    assert dice(restored[0] > 0.5, foreground > 0.5) >= 0.99


@pytest.mark.parametrize("direction", SIGNED, ids=range(48))
def test_same_spacing_is_bit_exact_in_any_orientation(direction):
    array = np.random.default_rng(0).random((2, 4, 5, 6), dtype=np.float32)
    volume = image(array, direction=direction)
    preprocessing = Preprocessing(UNIT, "none")
    prepared = preprocessing.prepare(volume)
    assert np.array_equal(preprocessing.restore(prepared.array, prepared), volume.array)


def test_restored_probabilities_stay_probabilities():
    source = geometry((7, 8, 9), (3.0, 1.0, 1.0))
    preprocessing = Preprocessing((1.3, 1.3, 1.3))
    size = preprocessing.network_geometry(source).size_zyx
    raw = np.random.default_rng(0).random((4, *size), dtype=np.float32)
    restored = preprocessing.restore(raw / raw.sum(0), source)
    np.testing.assert_allclose(restored.sum(0), 1.0, atol=1e-5)
    assert restored.min() >= 0


@pytest.mark.parametrize("size", [(1, 1, 2), (1, 40, 40), (2, 1, 1), (3, 3, 3)])
@pytest.mark.parametrize("spacing", [(0.1, 0.1, 0.1), (30.0, 30.0, 30.0)])
def test_thin_and_tiny_scans_never_vanish(size, spacing):
    volume = image(np.random.default_rng(0).random(size))
    for new in (spacing, tuple(reversed((*spacing[:2], 1.0)))):
        preprocessing = Preprocessing(tuple(max(mm, 0.3) for mm in new))
        prepared = preprocessing.prepare(volume)
        assert min(prepared.array.shape) >= 1
        assert np.isfinite(prepared.array).all()
        assert preprocessing.restore(prepared.array, prepared).shape == volume.array.shape


def test_zscore_uses_the_voxels_above_the_lowest_and_clips():
    rng = np.random.default_rng(0)
    array = np.zeros((10, 10, 10))
    array[5:] = rng.normal(500.0, 50.0, (5, 10, 10))
    array[9, 9, 9] = 1e6
    prepared = Preprocessing(UNIT, clip_percentiles=(1.0, 99.0)).prepare(image(array))
    tissue = prepared.array[0, 5:]
    assert abs(float(tissue.mean())) < 1e-3
    assert abs(float(tissue.std()) - 1.0) < 1e-3
    assert prepared.array.max() < 4
    assert np.unique(prepared.array[0, :5]).size == 1


def test_each_channel_has_its_own_statistics():
    rng = np.random.default_rng(0)
    array = np.stack([rng.normal(10, 1, (8, 8, 8)), rng.normal(-900, 70, (8, 8, 8))])
    prepared = Preprocessing(UNIT).prepare(image(array))
    np.testing.assert_allclose(prepared.array.mean(axis=(1, 2, 3)), 0, atol=0.02)
    np.testing.assert_allclose(prepared.array.std(axis=(1, 2, 3)), 1, atol=0.02)


def test_ct_window_maps_to_minus_one_and_one():
    array = np.array([-1000.0, -160.0, 40.0, 240.0, 3000.0]).reshape(1, 1, 5)
    prepared = Preprocessing(UNIT, "window").prepare(image(array))
    np.testing.assert_allclose(prepared.array.ravel(), [-1, -1, 0, 1, 1], atol=1e-6)


def test_constant_scan_becomes_zero_not_nan():
    prepared = Preprocessing((2.0, 2.0, 2.0)).prepare(image(np.full((4, 4, 4), 7.0)))
    assert (prepared.array == 0).all()
    assert prepared.air.all()


def test_air_is_only_where_every_voxel_below_is_lowest():
    array = np.full((8, 8, 8), -1000.0)
    array[5, 5, 5] = -999.0
    air = Preprocessing((2.0, 2.0, 2.0), "window").prepare(image(array)).air
    assert not air[2, 2, 2]
    assert air[0, 0, 0]
    two = np.stack([array, np.arange(512.0).reshape(8, 8, 8)])
    assert Preprocessing(UNIT).prepare(image(two)).air.sum() == 1


def test_label_follows_the_image():
    source = geometry((20, 24, 28), (1.5, 1.0, 0.8), SIGNED[17])
    mask = blob(source) > 0.5
    preprocessing = Preprocessing((1.2, 1.2, 1.2), "none")
    prepared = preprocessing.prepare(Volume(mask[None].astype(np.float32), source))
    label = preprocessing.prepare_label(Volume(mask.astype(np.uint8), source), 2)
    assert label.dtype == np.uint8
    assert label.shape == prepared.array.shape[1:]
    assert dice(label == 1, prepared.array[0] >= 0.5 - 1e-5) == 1.0


def test_table_there_and_back():
    preprocessing = Preprocessing((1.0, 2.0, 3.0), "window", (-10.0, 10.0), (1.0, 99.0))
    assert Preprocessing.from_table(preprocessing.as_table()) == preprocessing
    with pytest.raises(InputError, match="incomplete or damaged"):
        Preprocessing.from_table({"spacing_mm": [1, 2]})


def test_plan_fills_in_what_the_settings_leave_open():
    config = PreprocessingConfig()
    assert Preprocessing.plan(config, spacing_mm=(3.0, 1.0, 1.0)).normalization == "zscore"
    ct = Preprocessing.plan(config, spacing_mm=(3.0, 1.0, 1.0), is_ct=True)
    assert (ct.normalization, ct.spacing_mm) == ("window", (3.0, 1.0, 1.0))
    fixed = PreprocessingConfig(spacing_mm=UNIT, normalization="none")
    assert Preprocessing.plan(fixed, spacing_mm=(9.0, 9.0, 9.0), is_ct=True).normalization == "none"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0.0, 1.0, 1.0),), "spacing_mm"),
        (((1.0, 1.0, float("nan")),), "spacing_mm"),
        ((UNIT, "minmax"), "normalization"),
        ((UNIT, "window", (5.0, 5.0)), "rise"),
        ((UNIT, "zscore", (0.0, 1.0), (99.0, 1.0)), "rise"),
    ],
)
def test_senseless_settings_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Preprocessing(*arguments)


def test_a_real_label_survives_half_resolution(la2018):
    config = DataConfig()
    dataset = find_cases(la2018, config)
    preprocessing = Preprocessing((1.25, 1.25, 1.25))
    labels = (Label(0, "background"), Label(1, "atrium"))
    scores, volumes = [], []
    for case in dataset.cases[:80:20]:
        label = read_case_label(case, labels, config)
        coarse = preprocessing.prepare_label(label, 2)
        one_hot = np.stack([coarse == 0, coarse == 1]).astype(np.float32)
        back = preprocessing.restore(one_hot, label.geometry).argmax(0) == 1
        scores.append(dice(back, label.array == 1))
        volumes.append(back.sum() / (label.array == 1).sum())
    assert np.mean(scores) >= 0.97
    assert 0.99 <= np.mean(volumes) <= 1.01


@pytest.mark.parametrize("normalization", ["zscore", "window"])
@pytest.mark.parametrize("fill", [0.0, -3000.0])
def test_filled_in_voxels_count_for_nothing(normalization, fill):
    """The scan is prepared as it is without the filling, whatever value was filled in."""
    spacing = (2.0, 1.5, 1.0)
    tissue = np.random.default_rng(0).normal(60.0, 50.0, (20, 24, 30)).astype(np.float32)
    whole = np.full((20, 24, 48), fill, dtype=np.float32)
    whole[:, :, :30] = tissue
    before = whole.copy()
    preprocessing = Preprocessing(spacing, normalization)
    plain = preprocessing.prepare(image(tissue, spacing))
    filled = preprocessing.prepare(image(whole, spacing))
    assert np.allclose(filled.array[..., :30], plain.array, atol=1e-5)
    assert np.allclose(filled.array[..., 30:], plain.array.min(), atol=1e-5)
    assert filled.blank_source[:, :, 30:].all()
    assert not filled.blank_source[:, :, :30].any()
    assert filled.air[:, :, 31:].all()
    assert filled.blank[:, :, 31:].all()
    assert not filled.blank[:, :, :30].any()
    assert plain.blank is plain.blank_source is None
    assert np.array_equal(whole, before)


def test_a_voxel_is_blank_where_every_channel_is():
    both = np.random.default_rng(0).normal(60.0, 50.0, (2, 14, 14, 14)).astype(np.float32)
    both[0, :, :, :8] = both[1, :, :, :6] = 0.0
    prepared = Preprocessing(UNIT).prepare(image(both))
    assert prepared.blank_source[:, :, :6].all()
    assert not prepared.blank_source[:, :, 6:].any()
    both[1] += 1e-3
    both[1, 0, 0, 0] = -5.0
    both[1, :, :, :6] = np.random.default_rng(1).normal(60.0, 50.0, (14, 14, 6))
    assert Preprocessing(UNIT).prepare(image(both)).blank is None


def test_where_blank_voxels_are_not_excluded_nothing_is_blank_or_air():
    array = np.random.default_rng(0).normal(60.0, 5.0, (14, 14, 14)).astype(np.float32)
    array[:, :, :8] = 0.0
    kept = Preprocessing(UNIT, excludes_blank=False)
    prepared = kept.prepare(image(array))
    assert prepared.blank is prepared.blank_source is None
    assert not prepared.air.any()
    assert Preprocessing.from_table(kept.as_table()) == kept
    assert "excludes_blank" not in Preprocessing(UNIT).as_table()
    assert Preprocessing.from_table(Preprocessing(UNIT).as_table()) == Preprocessing(UNIT)


def test_a_blank_part_of_a_turned_array_is_found_in_its_own_axes():
    array = np.random.default_rng(0).normal(60.0, 50.0, (12, 14, 16)).astype(np.float32)
    array[:, :7] = 0.0
    prepared = Preprocessing(UNIT).prepare(image(array, direction=SIGNED[29]))
    assert np.array_equal(prepared.blank_source, array == 0.0)
    assert prepared.blank.sum() == prepared.blank_source.sum()


@pytest.mark.parametrize("normalization", ["zscore", "window", "none"])
def test_around_a_straightened_scan_lies_its_lowest_value_and_counts_as_blank(normalization):
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    noise = np.random.default_rng(0).normal(60.0, 20.0, (8, 12, 12))
    askew = image(noise, direction=turn @ np.eye(3)[:, ::-1])
    prepared = Preprocessing(UNIT, normalization).prepare(askew, straight=True)
    assert prepared.blank is not None
    assert prepared.blank[:, 0, 0].all()
    assert not prepared.blank[4, 8, 8]
    assert (prepared.array[0][prepared.blank] == prepared.array.min()).all()
    assert prepared.blank_source is None
