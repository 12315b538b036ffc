"""Mean Dice over seeds and cases drawn anew: how far other runs and other cases could have led."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLES = 2000
SEED = 0
PERCENTILES = (2.5, 97.5)


def drawn_means(dice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return means (K, `SAMPLES`) of Dice (K, seeds, cases), each over seeds and cases drawn anew.

    Of n seeds or cases n - 1 are drawn, so that the mean scatters as that of n does: with n draws
    it would scatter less, by half of the variance for two seeds (Rao & Wu, JASA 1988). One alone
    is always drawn: nothing of its kind of chance is in the samples.
    """
    _, seeds, cases = dice.shape
    random = np.random.default_rng(SEED)
    of_seeds, of_cases = (_shares(random, count) for count in (seeds, cases))
    means: NDArray[np.float64] = np.einsum("bs,ksc,bc->kb", of_seeds, dice, of_cases, optimize=True)
    return means


def interval(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of drawn figures (N,): their percentiles."""
    low, high = np.percentile(drawn, PERCENTILES)
    return float(low), float(high)


def described(seeds: int) -> str:
    """Return in words what is drawn anew, with so many seeds."""
    what = "cases and seeds" if seeds > 1 else "cases alone"
    return f"{SAMPLES} bootstrap samples of {what}, random seed {SEED}"


def _shares(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return which share of each sample is which of `count`, (`SAMPLES`, count)."""
    draws = max(1, count - 1)
    return random.multinomial(draws, [1.0 / count] * count, size=SAMPLES) / draws
