"""What the leak audit says: the share of FeCL's gain that comes from labels it must not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dycon_engine.benchmarking.tables import (
    FEW_SEEDS,
    Result,
    dice_by_case,
    seeds_words,
    shared,
)

SAMPLES = 2000
SEED = 0
PERCENTILES = (2.5, 97.5)
MOST_WITHOUT = 0.05  # bootstrap samples in which there is no gain to have a share of
NEEDED = ("none", "both", "oracle")


class _Means(NamedTuple):
    """Mean Dice without FeCL, with pseudo-labels and with the hidden labels; figures or arrays."""

    none: NDArray[np.float64]
    both: NDArray[np.float64]
    oracle: NDArray[np.float64]

    @property
    def gain(self) -> NDArray[np.float64]:
        return self.oracle - self.none

    @property
    def leak(self) -> NDArray[np.float64]:
        return self.oracle - self.both


def leak_share(results: Sequence[Result], titles: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the leak audit found, in sentences; none where no seed has run with all scopes.

    Args:
        results: All runs; only seeds and cases that all scopes have are used.
        titles: `fecl_scope` -> name in the tables: none, both and oracle at least.
    """
    names = [titles[scope] for scope in NEEDED]
    runs = shared(results, names)
    if not runs:
        return ()
    dice = _dice(runs, names)
    _, seeds, cases = dice.shape
    found = _Means(*dice.mean(axis=(1, 2)))
    figures = (
        f"Leak audit, mean Dice of {cases} cases, {seeds_words(runs)}: without FeCL "
        f"{found.none:.4f}, with pseudo-labels {found.both:.4f}, with the hidden labels "
        f"{found.oracle:.4f}."
    )
    if found.gain <= 0.0:
        return figures, "FeCL gains nothing even with the hidden labels, so there is no share."
    if found.both < found.none:
        return figures, (
            f"FeCL gains {found.gain:+.4f} with the hidden labels and loses with pseudo-labels "
            f"({found.both - found.none:+.4f}), so no share can be given."
        )
    if found.leak <= 0.0:
        return figures, "Pseudo-labels gain as much as the hidden labels: no leak shows here."
    share = (
        f"Of FeCL's gain of {found.gain:+.4f} with the hidden labels, {found.leak:+.4f} is the "
        f"leak: {100.0 * found.leak / found.gain:.0f} % ({_interval(dice)})."
    )
    few = " With so few seeds the noise between runs is hardly in it."
    return figures, share + (few if seeds < FEW_SEEDS else "")


def _dice(runs: Sequence[Result], names: Sequence[str]) -> NDArray[np.float64]:
    """Return Dice (scopes, seeds, cases) of the cases that all runs have."""
    by_run = {
        (str(run["method"]), run["seed"]): dice_by_case([run])[str(run["method"])] for run in runs
    }
    seeds = sorted({seed for _, seed in by_run})
    cases = sorted(set.intersection(*map(set, by_run.values())))
    return np.array(
        [[[by_run[name, seed][case] for case in cases] for seed in seeds] for name in names]
    )


def _interval(dice: NDArray[np.float64]) -> str:
    """Return the bootstrap interval of the share in words; seeds and cases are drawn anew."""
    _, seeds, cases = dice.shape
    random = np.random.default_rng(SEED)
    of_seeds, of_cases = (
        random.multinomial(count, [1.0 / count] * count, size=SAMPLES) / count
        for count in (seeds, cases)
    )
    means = np.einsum("bs,ksc,bc->kb", of_seeds, dice, of_cases, optimize=True)
    drawn = _Means(*means)
    has = drawn.gain > 0.0
    how = f"{SAMPLES} bootstrap samples of cases and seeds, random seed {SEED}"
    without = int(np.sum(~has))
    if without > MOST_WITHOUT * SAMPLES:
        return f"no interval: in {without} of {how}, FeCL gains nothing"
    low, high = np.percentile(drawn.leak[has] / drawn.gain[has], PERCENTILES)
    return f"95 % interval {_percent(low)} to {_percent(high)}: percentiles of {how}"


def _percent(share: float) -> str:
    """Return a share in percent; one that is none in words."""
    if share > 1.0:
        return "above 100 % (pseudo-labels lose)"
    return "below 0 % (pseudo-labels gain more)" if share < 0.0 else f"{100.0 * share:.0f} %"
