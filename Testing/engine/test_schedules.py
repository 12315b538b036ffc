"""Schedules against their closed forms."""

from __future__ import annotations

import math

import pytest

from dycon_engine.schedules import (
    Progress,
    cycle,
    ema_decay,
    exponential_interpolation,
    one_cycle,
    polynomial,
    sigmoid_rampup,
    step_decay,
)


def test_progress_is_a_share_of_the_budget():
    assert Progress(0, 10).fraction == 0.0
    assert Progress(5, 10).fraction == 0.5
    assert Progress(20, 10).fraction == 1.0
    assert Progress(0, 0).fraction == 0.0


def test_sigmoid_rampup():
    assert sigmoid_rampup(0.0) == pytest.approx(math.exp(-5))
    assert sigmoid_rampup(0.5) == pytest.approx(math.exp(-1.25))
    assert sigmoid_rampup(1.0) == sigmoid_rampup(7.0) == 1.0


def test_beta_of_dycon_is_geometric():
    assert exponential_interpolation(5.0, 0.5, 0.0) == 5.0
    assert exponential_interpolation(5.0, 0.5, 1.0) == pytest.approx(0.5)
    assert exponential_interpolation(5.0, 0.5, 0.5) == pytest.approx(math.sqrt(2.5))
    assert exponential_interpolation(0.0, 0.0, 0.3) == 0.0


def test_ema_decay_starts_as_a_plain_mean():
    assert [ema_decay(step, 0.99) for step in (0, 1, 3)] == [0.0, 0.5, 0.75]
    assert ema_decay(10_000, 0.99) == 0.99


def test_learning_rate_factors():
    assert polynomial(0.0) == 1.0
    assert polynomial(1.0) == 0.0
    assert polynomial(0.5, 2.0) == 0.25
    assert one_cycle(0.0) == pytest.approx(0.04)
    assert one_cycle(0.1) == pytest.approx(1.0)
    assert one_cycle(1.0) == pytest.approx(0.0)
    assert one_cycle(1.0, floor=0.1) == pytest.approx(0.1)
    factors = [step_decay(step, (2, 4)) for step in range(6)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_cycles_start_anew_and_the_last_one_ends():
    assert [cycle(Progress(step, 8), 1) for step in (0, 4, 8)] == [0.0, 0.5, 1.0]
    assert [cycle(Progress(step, 8), 2) for step in (0, 2, 4, 6, 8)] == [0.0, 0.5, 0.0, 0.5, 1.0]
    assert cycle(Progress(9, 8), 2) == 1.0
