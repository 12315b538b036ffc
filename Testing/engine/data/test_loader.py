"""The loader is a pure function of the step, whoever asks, in whatever process."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch.utils.data import DataLoader

from dycon_engine.config import AugmentationConfig, TrainingConfig
from dycon_engine.data import loader as loading
from dycon_engine.data.cache import LabeledCase, UnlabeledCase
from dycon_engine.data.loader import LABELED, BatchLoader

ROOT = Path(__file__).resolve().parents[3]
TRAINING = TrainingConfig(patch_size=(8, 12, 12), labeled_batch=2, unlabeled_batch=3)


def cases(count, kind=LabeledCase, seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        image = rng.standard_normal((1, 12, 16, 14)).astype(np.float16)
        label = (rng.random((12, 16, 14)) < 0.1).astype(np.uint8)
        name = f"case{index}"
        made.append(kind(name, image, label) if kind is LabeledCase else kind(name, image))
    return made


def make(labeled=4, unlabeled=5, *, rank=0, world=1, preset="strong", **training):
    return BatchLoader(
        cases(labeled),
        cases(unlabeled, UnlabeledCase, seed=1),
        training=dataclasses.replace(TRAINING, **training),
        augmentation=AugmentationConfig(preset=preset),
        rank=rank,
        world=world,
    )


def same(a, b):
    return all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("image", "label", "unlabeled")
    )


def test_unlabeled_patches_can_be_plain_crops():
    """Then the method changes them; labeled ones stay the same, bit for bit."""
    changed = make()
    plain = BatchLoader(
        changed.labeled,
        changed.unlabeled,
        training=TRAINING,
        augmentation=AugmentationConfig(unlabeled=False),
    )
    values = {value for case in plain.unlabeled for value in case.image.ravel().tolist()}
    for step in range(3):
        ours, theirs = plain.batch(step), changed.batch(step)
        assert torch.equal(ours.image, theirs.image)
        assert set(ours.unlabeled.ravel().tolist()) <= values
        assert not set(theirs.unlabeled.ravel().tolist()) <= values


def test_unlabeled_patches_can_come_from_all_training_cases():
    loader = make(2, 1, unlabeled_cases="all", preset="none")
    assert [case.name for case in loader.unlabeled] == ["case0", "case0", "case1"]
    assert not any(hasattr(case, "label") for case in loader.unlabeled)
    assert len(make(2, 1).unlabeled) == 1
    alone = make(2, 0, unlabeled_cases="all")
    assert alone.batch(0).unlabeled.shape == (3, 1, 8, 12, 12)
    assert make(2, 0).batch(0).unlabeled.shape == (0, 1, 8, 12, 12)


def test_a_batch_has_the_promised_shapes():
    batch = make().batch(0)
    assert batch.image.shape == (2, 1, 8, 12, 12)
    assert batch.label.shape == (2, 8, 12, 12)
    assert batch.unlabeled.shape == (3, 1, 8, 12, 12)
    assert (batch.image.dtype, batch.label.dtype) == (torch.float32, torch.int64)
    assert batch.image.is_contiguous()


def test_the_same_step_gives_the_same_batch_whoever_asks():
    loader = make()
    first = loader.batch(7)
    for step in (0, 3, 8):
        loader.batch(step)
    assert same(first, loader.batch(7))
    assert same(first, make().batch(7))
    assert same(first, pickle.loads(pickle.dumps(loader)).batch(7))  # noqa: S301 - our own
    assert not same(first, loader.batch(8))
    assert not same(first, make(seed=1).batch(7))


@pytest.mark.parametrize("unlabeled", [{"unlabeled": 0}, {"unlabeled": 1}, {"unlabeled_batch": 0}])
def test_labeled_draws_do_not_depend_on_the_unlabeled(unlabeled):
    for step in range(5):
        ours, theirs = make().batch(step), make(**unlabeled).batch(step)
        assert torch.equal(ours.image, theirs.image)
        assert torch.equal(ours.label, theirs.label)
    assert make(unlabeled=0).batch(0).unlabeled.shape == (0, 1, 8, 12, 12)


def test_processes_share_a_step_without_drawing_a_patch_twice():
    ranks = [make(rank=rank, world=2).batch(3) for rank in range(2)]
    assert not same(*ranks)
    alone = make(labeled_batch=4, unlabeled_batch=6).batch(3)
    assert torch.equal(torch.cat([batch.image for batch in ranks]), alone.image)
    assert torch.equal(torch.cat([batch.unlabeled for batch in ranks]), alone.unlabeled)


def test_each_case_is_used_equally(monkeypatch):
    loader = make(labeled=5, labeled_batch=2)
    used: Counter[int] = Counter()
    monkeypatch.setattr(
        "dycon_engine.data.loader.draw_patch", lambda rng, source, how: used.update([source])
    )
    monkeypatch.setattr(loader, "_source", lambda stream, index: index)
    for step in range(10):
        loader._patches(LABELED, step, 2)
    assert used == dict.fromkeys(range(5), 4)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("preset", ["strong", "paper"])
def test_prepared_ahead_is_the_same_as_asked_one_by_one(workers, preset):
    loader = make(workers=workers, preset=preset)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    batches = list(loader.iterate(3, 7))
    assert len(batches) == 4
    assert all(same(batch, loader.batch(step)) for step, batch in enumerate(batches, start=3))
    assert torch.equal(state, torch.get_rng_state())
    assert list(loader.iterate(4, 4)) == []


@pytest.mark.parametrize(
    ("chosen", "device", "pinned"),
    [
        ("auto", "cpu", 0),
        ("auto", None, 3),
        ("cuda", "cuda", 3),
        ("cpu", None, 0),
        ("cpu", "cpu", 0),
    ],
)
def test_batches_are_pinned_for_the_device_of_the_run(monkeypatch, chosen, device, pinned):
    """A GPU may be there and not in use: too old for this PyTorch, or no kernel runs on it."""
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(loading, "_pinned", lambda batch: calls.append(batch) or batch)
    loader = BatchLoader(
        cases(2),
        cases(2, UnlabeledCase),
        training=dataclasses.replace(TRAINING, device=chosen),
        augmentation=AugmentationConfig(preset="none"),
        device=None if device is None else torch.device(device),
    )
    assert len(list(loader.iterate(0, 3))) == 3
    assert len(calls) == pinned


def test_what_is_found_of_the_cases_is_not_sent_to_workers():
    loader = make()
    size = len(pickle.dumps(loader))
    loader.batch(0)
    assert len(pickle.dumps(loader)) == size


def test_spawned_workers_draw_the_same_from_mapped_cases(tmp_path, monkeypatch):
    """As on Windows and macOS; each gets the names of the files, not their voxels."""
    loader = make(workers=1)
    for case in (*loader.labeled, *loader.unlabeled):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, case.image)
        object.__setattr__(case, "image", np.load(path, mmap_mode="r"))
    monkeypatch.setattr(loading, "DataLoader", partial(DataLoader, multiprocessing_context="spawn"))
    for step, batch in enumerate(loader.iterate(0, 2)):
        assert same(batch, loader.batch(step))


def test_an_abandoned_iteration_ends():
    batches = make().iterate(0, 1000)
    next(batches)
    batches.close()


def test_an_error_in_a_case_reaches_the_caller():
    loader = make()
    loader.labeled = tuple(dataclasses.replace(case, image=None) for case in loader.labeled)
    with pytest.raises(TypeError):
        next(loader.iterate(0, 2))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups to signal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_serve_on_when_the_whole_group_is_told_to_end(tmp_path, number):
    """Else the main process fails for want of batches where it would save a checkpoint."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import signal, sys
        from Testing.engine.data.test_loader import make
        told = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: told.append(1))
        batches = make(workers=2).iterate(0, 40)
        next(batches)
        print("ready", flush=True)
        sys.stdin.readline()
        print(len(told), 1 + len(list(batches)), flush=True)
        """)
    )
    with subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        process_group=0,
    ) as parent:
        assert parent.stdout.readline().strip() == "ready"
        workers = psutil.Process(parent.pid).children()
        os.killpg(parent.pid, number)
        _, serving = psutil.wait_procs(workers, timeout=1.0)
        out, _ = parent.communicate("go on\n", timeout=120)
    assert len(serving) == 2
    assert out.split() == ["1", "40"]
    assert parent.returncode == 0
    assert not psutil.wait_procs(workers, timeout=5.0)[1]


def test_python_ends_though_an_iteration_is_left_open(tmp_path):
    """Workers that ignore SIGTERM would be waited for without end."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        from Testing.engine.data.test_loader import make
        sys.kept = make(workers=2).iterate(0, 100000)
        next(sys.kept)
        print("ready", flush=True)
        """)
    )
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as parent:
        try:
            assert parent.communicate(timeout=60) == ("ready\n", "")
        finally:
            parent.kill()
    assert parent.returncode == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's signal is Linux's")
def test_no_worker_outlives_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import sys, time
        from Testing.engine.data.test_loader import make
        batches = make(workers=2).iterate(0, 100000)
        next(batches)
        print("ready", flush=True)
        time.sleep(600)
        """)
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout.readline().strip() == "ready"
        workers = psutil.Process(parent.pid).children()
        parent.send_signal(signal.SIGKILL)
    assert len(workers) == 2
    _, left = psutil.wait_procs(workers, timeout=5.0)
    alive = [worker for worker in left if worker.status() != psutil.STATUS_ZOMBIE]
    for worker in alive:
        worker.kill()
    assert not alive
