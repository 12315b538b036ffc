"""B5, our own caches: every flipped bit and every cut is noticed and the entry made again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dycon_engine.config import DataConfig
from dycon_engine.data import cache
from dycon_engine.data.cache import prepare_training
from dycon_engine.data.cases import Label
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.splits import split_cases
from Testing.tiny_scans import write_pairs

FLIPS = 500
LABELS = (Label(0, "background"), Label(1, "x"))


@pytest.fixture
def run(tmp_path):
    """Prepare one labeled case; returns the training data."""
    config = DataConfig(labeled=1, validation=0)
    root = write_pairs(tmp_path / "data", 1, 1)
    dataset = dataclasses.replace(find_cases(root, config), labels=LABELS)
    split = split_cases(dataset, config)
    preprocessing = Preprocessing((1.0, 1.0, 1.0))
    return lambda: prepare_training(dataset, split, preprocessing, config, tmp_path / "cache")


def same(one, other):
    return (
        np.array_equal(one.labeled[0].image, other.labeled[0].image)
        and np.array_equal(one.labeled[0].label, other.labeled[0].label)
        and one.seen == other.seen
    )


@pytest.fixture
def refused(monkeypatch):
    """Count how often an entry on disk was not accepted."""
    count = []
    check = cache._checked_facts

    def counted(entry):
        facts = check(entry)
        count.append(facts is None)
        return facts

    monkeypatch.setattr(cache, "_checked_facts", counted)
    return count


def flip(path, rng):
    """Flip one bit of `path`; return the bytes it held."""
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path.write_bytes(damaged)
    return content


def test_every_flip_is_noticed(run, monkeypatch, tmp_path):
    entries = []
    with monkeypatch.context() as patch:
        load = cache._checked_facts
        patch.setattr(cache, "_checked_facts", lambda entry: entries.append(entry) or load(entry))
        run()
    rng = np.random.default_rng(5)
    [entry] = entries
    files = sorted((tmp_path / "cache").iterdir())
    assert len(files) == 3
    assert cache._checked_facts(entry) is not None
    for index in range(FLIPS):
        path = files[index % 3]
        content = flip(path, rng)
        assert cache._checked_facts(entry) is None, path.name
        path.write_bytes(content)
    assert cache._checked_facts(entry) is not None


def test_a_flipped_entry_is_made_again(run, refused, tmp_path):
    rng = np.random.default_rng(6)
    whole = run()
    for path in sorted((tmp_path / "cache").iterdir()):
        refused.clear()
        flip(path, rng)
        assert same(run(), whole)
        assert refused == [True]


def test_cut_missing_and_foreign_files_are_made_again(run, refused, tmp_path):
    whole = run()
    files = sorted((tmp_path / "cache").iterdir())
    for path in files:
        content = path.read_bytes()
        for damage in (b"", content[: len(content) // 2], content + b"x", b"{}", b"[1]", None):
            refused.clear()
            path.unlink() if damage is None else path.write_bytes(damage)
            assert same(run(), whole)
            assert refused == [True]
    assert sorted((tmp_path / "cache").iterdir()) == files


def test_killed_between_the_files_leaves_no_accepted_entry(run, refused, monkeypatch, tmp_path):
    real = cache.atomic_write
    for survive in range(3):
        for path in (tmp_path / "cache").glob("*"):
            path.unlink()
        done = []

        def write(path, how, done=done, survive=survive, **rest):
            if len(done) == survive:
                raise KeyboardInterrupt
            done.append(path)
            real(path, how, **rest)

        with monkeypatch.context() as patch:
            patch.setattr(cache, "atomic_write", write)
            patch.setattr(cache, "write_text", lambda path, text: write(path, None))
            with pytest.raises(KeyboardInterrupt):
                run()
        refused.clear()
        run()
        assert refused == [True]
