"""The share of the leak: when there is one, over what, and how sure."""

from __future__ import annotations

import re

import pytest

from dycon_engine.benchmarking.leak import leak_share
from Testing.engine.benchmarking.small_results import result

TITLES = {"none": "off", "both": "soft", "oracle": "hidden"}
NAMES = ("off", "soft", "hidden")


def runs(*dice: list[float], seed: int = 0):
    return [result(name, seed, own) for name, own in zip(NAMES, dice, strict=False)]


def test_the_share_of_the_leak() -> None:
    first, share = leak_share(runs([0.6, 0.6], [0.64, 0.66], [0.7, 0.7]), TITLES)
    assert "mean Dice of 2 cases, seed 0: without FeCL 0.6000, with pseudo-labels 0.6500" in first
    assert "with the hidden labels 0.7000" in first
    assert "gain of +0.1000 with the hidden labels, +0.0500 is the leak: 50 % (95 %" in share
    assert leak_share(runs([0.6, 0.6], [0.64, 0.66]), TITLES) == ()


@pytest.mark.parametrize(
    ("both", "oracle", "words"),
    [
        ([0.64, 0.66], [0.5, 0.6], "FeCL gains nothing even with the hidden labels"),
        ([0.64, 0.66], [0.62, 0.64], "no leak shows"),
        ([0.5, 0.6], [0.7, 0.7], r"loses with pseudo-labels \(-0.0500\), so no share can be given"),
    ],
)
def test_there_is_not_always_a_share(both, oracle, words: str) -> None:
    _, said = leak_share(runs([0.6, 0.6], both, oracle), TITLES)
    assert re.search(words, said)
    assert "%" not in said


def test_only_seeds_that_all_scopes_have_count() -> None:
    stopped = [result("off", 1, [0.1, 0.1]), result("hidden", 2, [0.9, 0.9])]
    whole = runs([0.6, 0.6], [0.64, 0.66], [0.7, 0.7])
    assert leak_share([*whole, *stopped], TITLES) == leak_share(whole, TITLES)
    assert leak_share([*whole[:2], *stopped], TITLES) == ()


def test_the_interval_is_that_of_cases_and_seeds_and_always_the_same() -> None:
    """Two cases of one share each: samples hold one, the other or both."""
    found = runs([0.6, 0.6], [0.62, 0.68], [0.7, 0.7])
    _, share = leak_share(found, TITLES)
    assert "50 % (95 % interval 20 % to 80 %: percentiles of 2000 bootstrap samples of" in share
    assert "of cases alone, random seed 0). With one seed the noise between runs is not" in share
    assert "hardly" not in share
    assert leak_share(found, TITLES)[1] == share
    three = [one for seed in range(3) for one in runs([0.6], [0.61 + seed / 100], [0.7], seed=seed)]
    _, over_seeds = leak_share(three, TITLES)
    assert "80 % (95 % interval 70 % to 90 %" in over_seeds
    assert "of cases and seeds, random seed 0)." in over_seeds
    assert "noise between runs" not in over_seeds
    assert "hardly in it" in leak_share(three[:6], TITLES)[1]


def test_bounds_beyond_a_share_are_words_and_an_uncertain_gain_has_no_share() -> None:
    _, wide = leak_share(runs([0.6, 0.6], [0.55, 0.72], [0.7, 0.7]), TITLES)
    assert (
        "interval below 0 % (pseudo-labels gain more) to above 100 % (pseudo-labels lose)" in wide
    )
    _, none = leak_share(runs([0.6, 0.6], [0.61, 0.62], [0.5, 0.76]), TITLES)
    assert "gain of +0.0300 with the hidden labels, +0.0150 is the leak; in " in none
    assert "FeCL gains nothing, so there may be no gain and no share is given." in none
    assert "%" not in none
