"""What the leak audit says: the share of FeCL's gain that comes from labels it must not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dycon_engine.benchmarking.bootstrap import SAMPLES, described, drawn_means, interval
from dycon_engine.benchmarking.tables import FEW_SEEDS, Result, dice_table, seeds_words, shared

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
    dice = dice_table(runs, names)
    _, seeds, cases = dice.shape
    found = _Means(*dice.mean(axis=(1, 2)))
    figures = (
        f"Leak audit, mean Dice of {cases} cases, {seeds_words(runs)}: without FeCL "
        f"{found.none:.4f}, with pseudo-labels {found.both:.4f}, with the hidden labels "
        f"{found.oracle:.4f}."
    )
    return figures, _said(found, dice) + _not_in_it(seeds)


def _said(found: _Means, dice: NDArray[np.float64]) -> str:
    """Return the share of the leak, or why there is none."""
    if found.gain <= 0.0:
        return "FeCL gains nothing even with the hidden labels, so there is no share."
    if found.both < found.none:
        return (
            f"FeCL gains {found.gain:+.4f} with the hidden labels and loses with pseudo-labels "
            f"({found.both - found.none:+.4f}), so no share can be given."
        )
    if found.leak <= 0.0:
        return "Pseudo-labels gain as much as the hidden labels: no leak shows here."
    gained = (
        f"Of FeCL's gain of {found.gain:+.4f} with the hidden labels, {found.leak:+.4f} is the leak"
    )
    drawn = _Means(*drawn_means(dice))
    how, has = described(dice.shape[1]), drawn.gain > 0.0
    without = int(np.sum(~has))
    if without > MOST_WITHOUT * SAMPLES:
        return (
            f"{gained}; in {without} of {how}, FeCL gains nothing, so there may be no gain and no "
            "share is given."
        )
    low, high = interval(drawn.leak[has] / drawn.gain[has])
    share = f"{100.0 * found.leak / found.gain:.0f} %"
    ends = f"95 % interval {_percent(low)} to {_percent(high)}: percentiles of {how}"
    return f"{gained}: {share} ({ends})."


def _not_in_it(seeds: int) -> str:
    if seeds == 1:
        return " With one seed the noise between runs is not in it."
    few = " With so few seeds the noise between runs is hardly in it."
    return few if seeds < FEW_SEEDS else ""


def _percent(share: float) -> str:
    """Return a share in percent; one that is none in words."""
    if share > 1.0:
        return "above 100 % (pseudo-labels lose)"
    return "below 0 % (pseudo-labels gain more)" if share < 0.0 else f"{100.0 * share:.0f} %"
