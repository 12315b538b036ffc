"""How far a stage and the whole job are, on a clock that the test moves."""

from __future__ import annotations

import pytest

from dycon_engine.jobs import progress
from dycon_engine.jobs.progress import Part, Progress


@pytest.fixture
def clock(monkeypatch):
    """The seconds that `time.monotonic` says, in a list of one."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_is_estimated_from_what_this_run_did(clock):
    """Steps of an earlier run took none of the time that passed."""
    job = Progress("train")
    job.begin("train", 100, done=60, part=None)
    clock[0] += 20.0
    event = job.advanced(70)
    assert (event.done, event.total, event.elapsed_s) == (70, 100, 20.0)
    assert event.remaining_s == pytest.approx(60.0)
    assert (event.overall, event.overall_remaining_s) == (-1.0, -1.0)


@pytest.mark.parametrize(("total", "done"), [(0, 5), (100, 60)])
def test_nothing_is_said_of_the_time_left_where_it_is_unknown(clock, total, done):
    """No size, or nothing done yet since the run was continued."""
    job = Progress("train")
    job.begin("train", total, done=60, part=None)
    clock[0] += 20.0
    assert job.advanced(done).remaining_s == -1.0


def test_events_come_twice_a_second_and_the_last_one_always(clock):
    job = Progress("train")
    job.begin("train", 100, done=0, part=None)
    assert job.advanced(1) is not None
    clock[0] += 0.25
    assert job.advanced(2) is None
    clock[0] += 0.25
    assert job.advanced(3) is not None
    assert job.advanced(100) is not None
    job.begin("validate", 10, done=0, part=None)
    assert job.advanced(1) is not None


def test_the_whole_job_goes_on_from_stage_to_stage(clock):
    job = Progress("predict")
    stage = job.begin("window", 10, done=0, part=Part(0.0, 0.4, 1, 2))
    assert (stage.item, stage.items) == (1, 2)
    assert (job.advanced(0).overall, job.advanced(10).overall) == (0.0, 0.4)
    clock[0] += 8.0
    job.begin("window", 10, done=0, part=Part(0.4, 0.8, 2, 2))
    clock[0] += 4.0
    event = job.advanced(5)
    assert event.overall == pytest.approx(0.6)
    assert event.overall_remaining_s == pytest.approx(8.0)
    assert event.elapsed_s == 4.0
