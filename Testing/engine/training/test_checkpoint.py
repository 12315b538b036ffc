"""Checkpoints: atomic, checked, the last few kept, never unpickled."""

from __future__ import annotations

import io
import pickle
import random

import pytest
import torch

from dycon_engine.errors import DamagedFileError, NonFiniteError
from dycon_engine.training.checkpoint import MAGIC, CheckpointStore, decode, encode


def content(step):
    return {"step": step, "weights": torch.arange(50.0) + step, "groups": [{"lr": 0.1}]}


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints", keep=3)


def never(text):
    raise AssertionError(text)


def test_what_was_saved_is_loaded_and_the_newest_few_are_kept(store):
    assert store.load_newest(never) is None
    for step in range(1, 6):
        store.save(step, content(step))
    assert store.steps() == [3, 4, 5]
    found = store.load_newest(never)
    assert found["step"] == 5
    assert torch.equal(found["weights"], content(5)["weights"])
    assert found["groups"] == [{"lr": 0.1}]


def test_a_damaged_newest_falls_back_to_the_one_before_and_says_so(store):
    for step in (1, 2, 3):
        path = store.save(step, content(step))
    path.write_bytes(path.read_bytes()[:-10])
    told = []
    assert store.load_newest(told.append)["step"] == 2
    assert len(told) == 1
    assert "step-00000003.ckpt" in told[0]


def test_only_damaged_ones_are_an_error_never_a_new_start(store):
    for step in (1, 2):
        store.save(step, content(step)).write_bytes(b"")
    with pytest.raises(DamagedFileError, match="all 2 checkpoints are damaged"):
        store.load_newest(lambda text: None)


def test_every_flipped_bit_is_noticed(tmp_path):
    """B5 for checkpoints: 500 of 500."""
    raw = encode(content(1))
    path = tmp_path / "step.ckpt"
    chance = random.Random(0)
    for _ in range(500):
        damaged = bytearray(raw)
        damaged[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError):
            decode(path)


@pytest.mark.parametrize("size", [0, 1, 8, 39, 40, 41, 500])
def test_a_truncated_file_is_refused(tmp_path, size):
    path = tmp_path / "step.ckpt"
    path.write_bytes(encode(content(1))[:size])
    with pytest.raises(DamagedFileError):
        decode(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_never_saved(store, value):
    store.save(1, content(1))
    bad = content(2) | {"optimizer": {"state": [{"momentum": torch.tensor([value])}]}}
    with pytest.raises(NonFiniteError, match=r"optimizer\.state\[0\]\.momentum"):
        store.save(2, bad)
    assert store.steps() == [1]


class Canary:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a checkpoint ran')",))


def test_code_in_a_checkpoint_never_runs(tmp_path):
    import hashlib  # noqa: PLC0415 - here only

    stream = io.BytesIO()
    torch.save({"weights": Canary()}, stream, pickle_module=pickle)
    payload = stream.getvalue()
    path = tmp_path / "step.ckpt"
    path.write_bytes(MAGIC + hashlib.sha256(payload).digest() + payload)
    with pytest.raises(DamagedFileError, match="does not load"):
        decode(path)
