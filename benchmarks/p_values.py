"""How often the benchmark's p value and interval are wrong about methods that are equal.

    python benchmarks/p_values.py [--simulations 400]

Two methods with the same expectation are drawn: every run is off by its own amount (sd .004 or
.007, one draw for all its scans: the noise between runs), every scan of a run by another (sd .008).
What a scan is worth to both cancels in the difference and is left out. Per number of cases and of
seeds `tables.compare` judges them as `dycon benchmark` does: p is wrong where it is below .05, the
95 % interval where it misses 0. Both should be so in 5 of 100.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dycon_engine.benchmarking.running import PLAIN
from dycon_engine.benchmarking.tables import compare

RUN_SD = (0.004, 0.007)
SCAN_SD = 0.008
CASES = (8, 20)
SEEDS = (1, 3, 5)
METHODS = ("one", "other")
DICE = 0.9
LEVEL = 0.05


def made_up(random: np.random.Generator, *, cases: int, seeds: int, run_sd: float) -> list[dict]:
    """Results of both methods as `result.json` has them, with nothing but the Dice."""
    results = []
    for method in METHODS:
        for seed in range(seeds):
            dice = DICE + random.normal(0.0, run_sd) + random.normal(0.0, SCAN_SD, cases)
            scored = [
                {"case": f"c{number}", PLAIN: {"structure": {"dice": float(value)}}}
                for number, value in enumerate(dice)
            ]
            results.append({"method": method, "seed": seed, "cases": scored})
    return results


def wrong(simulations: int, *, cases: int, seeds: int, run_sd: float) -> tuple[int, int]:
    """How many simulations end with p below .05, and with an interval that misses 0."""
    random = np.random.default_rng([cases, seeds, round(1000 * run_sd)])
    small = missed = 0
    for _ in range(simulations):
        [found] = compare(made_up(random, cases=cases, seeds=seeds, run_sd=run_sd), METHODS[0])
        small += found.p < LEVEL
        missed += not found.low <= 0.0 <= found.high
    return small, missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=400)
    simulations = parser.parse_args().simulations
    print(f"{'cases':>6}{'seeds':>7}{'run sd':>8}{'p < .05':>11}{'interval misses 0':>20}")
    for cases in CASES:
        for seeds in SEEDS:
            for run_sd in RUN_SD:
                counts = wrong(simulations, cases=cases, seeds=seeds, run_sd=run_sd)
                small, missed = (100.0 * count / simulations for count in counts)
                print(f"{cases:>6}{seeds:>7}{run_sd:>8.3f}{small:>9.1f} %{missed:>18.1f} %")


if __name__ == "__main__":
    main()
