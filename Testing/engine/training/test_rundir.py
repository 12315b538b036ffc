"""Whether the data of a resumed run is that which it was started with."""

from __future__ import annotations

import pytest

from dycon_engine.data.splits import Split
from dycon_engine.data.survey import Scan
from dycon_engine.errors import InputError
from dycon_engine.training.rundir import require_same_data

ROLES = {"a": "labeled", "b": "unlabeled", "c": "validation", "d": "test"}
SPLIT = Split(("a",), ("b",), ("c",), ("d",), {name: f"hash of {name}" for name in ROLES})


def scans(**changed):
    """Return the scans of the split, some with another hash, those of '' left out."""
    hashes = SPLIT.sha256 | changed
    return [Scan(name, sha256) for name, sha256 in hashes.items() if sha256]


def test_the_same_scans_in_any_order_and_more_of_them_are_the_same_data():
    require_same_data(SPLIT, [*reversed(scans()), Scan("new", "hash of new")])


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_what_is_trained_or_validated_on_must_be_there_unchanged(name):
    with pytest.raises(InputError, match=f"case '{name}': its voxels changed"):
        require_same_data(SPLIT, scans(**{name: "another"}))
    with pytest.raises(InputError, match=f"case '{name}': belongs to this run but is not in"):
        require_same_data(SPLIT, scans(**{name: ""}))


def test_test_cases_take_no_part_in_a_run():
    require_same_data(SPLIT, scans(d="another"))
    require_same_data(SPLIT, scans(d=""))


def test_a_scan_that_cannot_be_read_is_not_taken_for_a_changed_one():
    """Reading it in training says why."""
    require_same_data(SPLIT, [*scans(a=""), Scan("a", problem="cannot be read")])
