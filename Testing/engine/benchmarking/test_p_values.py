"""The simulation behind what docs/reference/benchmark.md says of p values."""

from __future__ import annotations

from benchmarks.p_values import wrong


def test_without_noise_between_runs_p_is_wrong_rarely_and_with_much_of_it_always() -> None:
    few, _ = wrong(40, cases=8, seeds=1, run_sd=0.0)
    most, missed = wrong(40, cases=8, seeds=1, run_sd=0.2)
    assert few <= 6
    assert min(most, missed) >= 34
