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


def test_a_constant_scan_has_facts():
    image = Volume(np.full((1, 3, 3, 3), 4.0, np.float32), Geometry.from_parts((3, 3, 3)))
    found = scan_facts(image, PREPROCESSING.prepare(image))
    assert found.non_air == 0.0
    assert found.percentiles == ((4.0, 4.0, 4.0),)


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
    del table["exemplars"], table["neighbor_distance"]
    assert Seen.from_table(table).exemplars == ()


def test_tables_there_and_back_through_json():
    scans = [facts(seed, channels=2) for seed in range(3)]
    seen = Seen.of(scans)
    assert Seen.from_table(json.loads(json.dumps(seen.as_table()))) == seen
    assert facts_from_table(json.loads(json.dumps(facts_table(scans[0])))) == scans[0]
    with pytest.raises(InputError, match="incomplete or damaged"):
        Seen.from_table({"cases": 3})
