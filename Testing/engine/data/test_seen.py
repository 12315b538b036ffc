"""What is recorded of the training scans: ranges that hold every scan, stable there and back."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from dycon_engine.data.geometry import Geometry
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.seen import (
    Seen,
    facts_from_table,
    facts_table,
    histogram_distance,
    nearest_distance,
    scan_facts,
)
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError

PREPROCESSING = Preprocessing((1.0, 1.0, 1.0))


def facts(seed, *, spacing=(1.0, 1.0, 1.0), low=0.0, high=100.0, channels=1):
    rng = np.random.default_rng(seed)
    array = rng.uniform(low, high, (channels, 10, 12, 14)).astype(np.float32)
    array[:, :5] = low - 1.0
    image = Volume(array, Geometry.from_parts((10, 12, 14), spacing))
    return scan_facts(image, PREPROCESSING.prepare(image))


def test_ranges_hold_every_scan():
    scans = [facts(0), facts(1, spacing=(3.0, 1.0, 2.0)), facts(2, low=500, high=900)]
    seen = Seen.of(scans)
    assert seen.cases == 3
    assert seen.spacing_mm == ((1.0, 3.0), (1.0, 1.0), (1.0, 2.0))
    assert seen.size_mm == ((10.0, 30.0), (12.0, 12.0), (14.0, 28.0))
    assert seen.percentiles[0][0].low < 5
    assert seen.percentiles[0][2].high > 890
    assert seen.non_air == (0.5, 0.5)
    assert len(seen.exemplars) == 3
    assert 0 < seen.neighbor_distance < 0.1


def test_axes_are_those_of_the_network():
    array = np.random.default_rng(0).random((1, 4, 5, 6), dtype=np.float32)
    turned = np.eye(3)  # array z to L, y to P, x to S
    image = Volume(array, Geometry.from_parts((4, 5, 6), (1.0, 2.0, 3.0), direction=turned))
    found = scan_facts(image, PREPROCESSING.prepare(image))
    assert found.spacing_mm == (3.0, 2.0, 1.0)
    assert found.size_mm == (18.0, 10.0, 4.0)


def test_the_histogram_tells_shapes_apart_whatever_the_scale():
    flat, scaled = facts(0).histogram, facts(1, low=-5000, high=9000).histogram
    rng = np.random.default_rng(0)
    skewed = rng.exponential(1.0, (1, 10, 12, 14)).astype(np.float32)
    image = Volume(skewed, Geometry.from_parts((10, 12, 14)))
    other = scan_facts(image, PREPROCESSING.prepare(image)).histogram
    assert histogram_distance(flat, scaled) < 0.03
    assert histogram_distance(flat, other) > 0.15
    assert abs(sum(flat[0]) - 1.0) < 1e-9


def test_texture_is_that_of_the_loops_and_tells_blur_and_noise_whatever_the_scale():
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(14) / 2.0) * np.ones((10, 12, 1)) * 100
    textures = {}
    for name, values in {
        "plain": waves,
        "scaled": 7.0 * waves + 300.0,
        "noisy": waves + rng.normal(0, 100, waves.shape),
        "slow": np.sin(np.arange(14) / 6.0) * np.ones((10, 12, 1)) * 100,
    }.items():
        image = Volume(values[None].astype(np.float32), Geometry.from_parts((10, 12, 14)))
        prepared = PREPROCESSING.prepare(image)
        [textures[name]] = scan_facts(image, prepared).texture
        if name == "noisy":
            seen = prepared.array[0].astype(np.float64)
            inside = ~prepared.air
            naive = []
            for step in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
                squares = [
                    (seen[place] - seen[other]) ** 2
                    for place in np.ndindex(seen.shape)
                    if all(i + s < n for i, s, n in zip(place, step, seen.shape, strict=True))
                    and inside[place]
                    and inside[other := tuple(np.add(place, step))]
                ]
                naive.append(np.sqrt(np.mean(squares)))
            expected = np.mean(naive) / seen[inside].std()
            assert textures[name] == pytest.approx(expected, rel=1e-4)
    assert textures["scaled"] == pytest.approx(textures["plain"], rel=0.01)
    assert textures["slow"] < 0.7 * textures["plain"] < 0.3 * textures["noisy"]


def test_volumes_of_labels_range_over_the_scans_that_hold_them():
    seen = Seen.of([facts(0)] * 3, [(5.0, 0.0, 0.0), (2.0, 0.0, 7.0), (9.0, 0.0, 0.0)])
    assert seen.volumes_ml == ((2.0, 9.0), (0.0, 0.0), (7.0, 7.0))
    assert Seen.of([facts(0)]).volumes_ml == ()


def test_a_constant_scan_has_facts():
    image = Volume(np.full((1, 3, 3, 3), 4.0, np.float32), Geometry.from_parts((3, 3, 3)))
    found = scan_facts(image, PREPROCESSING.prepare(image))
    assert found.non_air == 0.0
    assert found.percentiles == ((4.0, 4.0, 4.0),)
    assert found.texture == (0.0,)


def test_the_nearest_of_the_exemplars_counts_and_not_their_mean():
    low, high = ((1.0, 0.0, 0.0),), ((0.0, 0.0, 1.0),)
    middle = ((0.0, 1.0, 0.0),)
    assert nearest_distance(high, (low, high)) == 0.0
    assert nearest_distance(middle, (low, high)) == pytest.approx(1 / 3)
    assert nearest_distance(middle, ()) == 0.0
    kinds = [dataclasses.replace(facts(0), histogram=shape) for shape in (low, low, high, high)]
    assert Seen.of(kinds).neighbor_distance == 0.0
    lonely = Seen.of([*kinds[:2], kinds[2]])
    assert lonely.neighbor_distance == pytest.approx(0.8 * 2 / 3)  # of 0, 0 and 2/3
    assert Seen.of(kinds[:1]).neighbor_distance == 0.0


def test_of_many_scans_some_histograms_are_kept():
    many = Seen.of([facts(0)] * 100)
    assert (many.cases, len(many.exemplars)) == (100, 64)


def test_a_package_without_exemplars_can_be_read():
    table = Seen.of([facts(0)]).as_table()
    for name in ("exemplars", "neighbor_distance", "texture", "volumes_ml"):
        del table[name]
    older = Seen.from_table(table)
    assert (older.exemplars, older.texture, older.volumes_ml) == ((), (), ())


def test_tables_there_and_back_through_json():
    scans = [facts(seed, channels=2) for seed in range(3)]
    seen = Seen.of(scans, [(1.5,), (2.5,), (0.0,)])
    assert Seen.from_table(json.loads(json.dumps(seen.as_table()))) == seen
    assert facts_from_table(json.loads(json.dumps(facts_table(scans[0])))) == scans[0]
    with pytest.raises(InputError, match="incomplete or damaged"):
        Seen.from_table({"cases": 3})
