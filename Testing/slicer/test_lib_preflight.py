"""The engine itself says what this computer can do, in a child process."""

from __future__ import annotations

import os
import sys
import time

import psutil
import pytest

from dycon_engine.errors import DyconError
from DyCONLib import question
from DyCONLib.preflight import Device, Machine, Preflight


def answer(question, limit_s=90.0):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        machine = question.poll()
        if machine is not None:
            return machine
        time.sleep(0.05)
    raise AssertionError("no answer")


def python(folder, code):
    """An interpreter that does `code` instead of what it is asked."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport sys, time\n{code}\n")
    path.chmod(0o755)
    return path


def test_this_computer(tmp_path, new_children):
    before = psutil.Process().num_fds()
    machine = answer(Preflight(tmp_path / "not" / "there" / "yet"))
    cpu = next(device for device in machine.devices if device.kind == "cpu")
    assert cpu.works
    assert machine.best.works
    assert 0 < machine.memory_gib <= psutil.virtual_memory().total / 2**30
    disk = psutil.disk_usage(str(tmp_path)).free / 2**30
    assert machine.disk_gib == pytest.approx(disk, abs=1.0)
    assert machine.cores == len(os.sched_getaffinity(0))
    assert machine.torch == sys.modules["torch"].__version__
    assert psutil.Process().num_fds() == before
    assert new_children() == set()


def test_the_engines_refusal_is_told_in_its_words(tmp_path):
    asks = Preflight(tmp_path, python=python(tmp_path, "sys.exit('DyCON: no good')"))
    with pytest.raises(DyconError, match=r"^no good$"):
        answer(asks)


@pytest.mark.parametrize("said", ["", "hello", "[]", '{"machine": {"devices": []}}'])
def test_an_answer_that_makes_no_sense_is_refused(tmp_path, said):
    asks = Preflight(tmp_path, python=python(tmp_path, f"print({said!r})"))
    with pytest.raises(DyconError, match="no usable answer"):
        answer(asks)


def test_no_answer_in_time_ends_the_question(tmp_path, monkeypatch, new_children):
    monkeypatch.setattr(question, "LIMIT_S", 0.5)
    asks = Preflight(tmp_path, python=python(tmp_path, "time.sleep(600)"))
    with pytest.raises(DyconError, match="did not answer"):
        answer(asks)
    assert new_children() == set()


def test_the_question_can_be_taken_back_at_any_time(tmp_path, new_children):
    asks = Preflight(tmp_path, python=python(tmp_path, "time.sleep(600)"))
    assert asks.poll() is None
    asks.kill()
    asks.kill()
    assert new_children() == set()


def machine(*devices):
    return Machine(devices, memory_gib=1, disk_gib=1, cores=1, torch="2", raw={})


def test_a_graphics_card_that_cannot_compute_is_told_and_not_chosen():
    cpu = Device("cpu", "x86_64", works=True, free_gib=None, total_gib=None)
    new = Device("cuda", "newest", works=False, free_gib=8.0, total_gib=8.0)
    good = Device("cuda", "card", works=True, free_gib=8.0, total_gib=8.0)
    assert machine(cpu, new).best == cpu
    assert machine(cpu, new).broken_gpu == new
    assert machine(cpu, good).best == good
    assert machine(cpu, good).broken_gpu is None
