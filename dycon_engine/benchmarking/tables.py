"""What the runs say together: means over seeds, paired tests, and what no table may say."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from dycon_engine.benchmarking.bootstrap import drawn_means, interval
from dycon_engine.benchmarking.running import LARGEST, PLAIN
from dycon_engine.errors import DyconError
from dycon_engine.evaluation.metrics import is_plausible
from dycon_engine.jobs.cells import cells

KINDS = (PLAIN, LARGEST)
METRICS: Mapping[str, str] = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "hd95_voxels": "HD95 [voxel]",
    "asd_voxels": "ASD [voxel]",
    "hd95_mm": "HD95 [mm]",
    "asd_mm": "ASD [mm]",
}
FEW_SEEDS = 3  # with fewer, a figure says little about the noise between runs
LEAST_P = 0.0001
Result = Mapping[str, Any]  # as in result.json


class Spread(NamedTuple):
    """Mean and sample sd over seeds; None where there is nothing to average."""

    mean: float | None
    sd: float | None


@dataclass(frozen=True)
class Row:
    """One method, with or without its smaller pieces.

    Attributes:
        method: Recipe.
        kind: `all pieces` or `largest component`.
        seeds: Number of runs.
        cases: Test cases of each.
        metrics: Metric -> mean and sd over the seeds of the mean over cases and classes.
        undefined: Surface distances that do not exist, of all runs; left out of their means.
        absent: Structures in neither label map, of all runs; they have no Dice and no Jaccard.
        ece: Near boundaries.
        train_minutes: Time of the training steps.
        memory_mib: Peak of training.
        oracle: Whether the runs saw labels that they must not see.
    """

    method: str
    kind: str
    seeds: int
    cases: int
    metrics: Mapping[str, Spread]
    undefined: int
    absent: int
    ece: Spread
    train_minutes: Spread
    memory_mib: Spread
    oracle: bool


@dataclass(frozen=True)
class Comparison:
    """A method against the reference one, on the same cases, each the mean over seeds.

    Attributes:
        method: What is compared.
        reference: With what.
        seeds: That both have; no others are used.
        difference: Mean difference of Dice.
        low: Lower end of its 95 % bootstrap interval over seeds and cases; one seed alone puts
            nothing of the noise between runs into it.
        high: Upper end.
        better: Cases with the higher Dice.
        cases: Number of pairs.
        p: Two-sided Wilcoxon signed-rank test over the cases; the noise between runs is not in it.
        adjusted: The same after Holm's correction for the number of comparisons.
    """

    method: str
    reference: str
    seeds: tuple[int, ...]
    difference: float
    low: float
    high: float
    better: int
    cases: int
    p: float
    adjusted: float


def summarize(results: Sequence[Result]) -> tuple[Row, ...]:
    """Return two rows per method, in the order in which methods first appear.

    Raises:
        DyconError: A mean Dice that its Jaccard does not allow; such a table is wrong somewhere.
    """
    methods = list(dict.fromkeys(str(result["method"]) for result in results))
    rows = []
    for method in methods:
        own = [result for result in results if result["method"] == method]
        for result in own:
            require_plausible(result)
        rows += [_row(method, kind, own) for kind in KINDS]
    return tuple(rows)


def require_plausible(result: Result) -> None:
    """Refuse a run whose mean Dice is above 2J / (1 + J) of its mean Jaccard.

    Raises:
        DyconError: It is.
    """
    for kind in KINDS:
        dice, jaccard = (_mean(_values(result, kind, name)) for name in ("dice", "jaccard"))
        if dice is not None and jaccard is not None and not is_plausible(dice, jaccard):
            raise DyconError(
                f"table refused: {result['method']}, seed {result['seed']}, {kind}: mean Dice "
                f"{dice:.4f} cannot come with mean Jaccard {jaccard:.4f} (at most "
                f"{2 * jaccard / (1 + jaccard):.4f}); delete its result.json to score it again"
            )


def compare(results: Sequence[Result], reference: str) -> tuple[Comparison, ...]:
    """Return every other method against `reference`, Dice of all pieces, with Holm's correction.

    Only seeds and cases that both have are used; a method without such is left out.
    """
    others = dict.fromkeys(str(r["method"]) for r in results if r["method"] != reference)
    pairs = ((method, shared(results, (method, reference))) for method in others)
    found = (_compared(runs, method, reference) for method, runs in pairs if runs)
    return _holm([comparison for comparison in found if comparison is not None])


def least_probability(cases: int) -> float:
    """Return the smallest p that the test of `compare` can give with so many cases."""
    return float(wilcoxon(range(1, cases + 1)).pvalue)


def probability(p: float) -> str:
    """Return a p value with four digits; none is 0."""
    return f"{p:.4f}" if p >= LEAST_P else f"<{LEAST_P:.4f}"


def shared(results: Sequence[Result], methods: Sequence[str]) -> tuple[Result, ...]:
    """Return the runs of `methods` with the seeds that all of these have."""
    seeds = {method: {r["seed"] for r in results if r["method"] == method} for method in methods}
    common = set.intersection(*seeds.values())
    return tuple(r for r in results if r["method"] in seeds and r["seed"] in common)


def seeds_words(results: Sequence[Result]) -> str:
    """Return the seeds of runs, e.g. `seeds 0, 1`."""
    seeds = sorted({result["seed"] for result in results})
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def dice_by_case(
    results: Sequence[Result], kind: str = PLAIN, metric: str = "dice"
) -> dict[str, dict[str, float]]:
    """Return method -> case -> the metric's mean over classes and seeds, each where defined.

    A case without any is left out.
    """
    gathered: dict[str, dict[str, list[float]]] = {}
    for result in results:
        cases = gathered.setdefault(str(result["method"]), {})
        for case in result["cases"]:
            mean = _mean([scores[metric] for scores in case[kind].values()])
            if mean is not None:
                cases.setdefault(case["case"], []).append(mean)
    return {
        method: {case: statistics.fmean(values) for case, values in cases.items()}
        for method, cases in gathered.items()
    }


def dice_table(runs: Sequence[Result], methods: Sequence[str]) -> NDArray[np.float64]:
    """Return Dice (methods, seeds, cases) of the cases that all `runs` have.

    Every method has the same seeds, as of `shared`.
    """
    by_run = {(str(r["method"]), r["seed"]): dice_by_case([r])[str(r["method"])] for r in runs}
    seeds = sorted({seed for _, seed in by_run})
    cases = sorted(set.intersection(*map(set, by_run.values())))
    return np.array(
        [[[by_run[name, seed][case] for case in cases] for seed in seeds] for name in methods]
    )


def mean_by_method(results: Sequence[Result], name: str) -> dict[str, float]:
    """Return method -> mean over its runs of the figure `name`, which all of them have."""
    methods = dict.fromkeys(str(result["method"]) for result in results)
    return {
        method: statistics.fmean(r[name] for r in results if r["method"] == method)
        for method in methods
    }


def to_csv(results: Sequence[Result]) -> str:
    """Return one line per run, case, class and kind; undefined figures are empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["method", "seed", "case", "class", "pieces", *METRICS])
    for result in results:
        for case in result["cases"]:
            for kind in KINDS:
                for name, scores in case[kind].items():
                    figures = [scores[m] for m in METRICS]
                    head = [result["method"], result["seed"], case["case"], name, kind]
                    writer.writerow([*cells(head), *figures])
    return stream.getvalue()


def _compared(runs: Sequence[Result], method: str, reference: str) -> Comparison | None:
    """Return the comparison over the cases that every run has; None where there is no such case."""
    dice = dice_table(runs, (method, reference))
    if not dice.size:
        return None
    own, other = drawn_means(dice)
    low, high = interval(own - other)
    differences = [float(each) for each in np.subtract(*dice.mean(axis=1))]
    p = float(wilcoxon(differences).pvalue) if any(differences) else 1.0
    return Comparison(
        method=method,
        reference=reference,
        seeds=tuple(sorted({run["seed"] for run in runs})),
        difference=statistics.fmean(differences),
        low=low,
        high=high,
        better=sum(value > 0 for value in differences),
        cases=len(differences),
        p=p,
        adjusted=p,
    )


def _row(method: str, kind: str, results: Sequence[Result]) -> Row:
    per_seed = {name: [_mean(_values(r, kind, name)) for r in results] for name in METRICS}
    surfaces, overlaps = (
        [value for r in results for value in _values(r, kind, name)] for name in ("hd95_mm", "dice")
    )
    return Row(
        method=method,
        kind=kind,
        seeds=len(results),
        cases=len(results[0]["cases"]),
        metrics={name: _spread(values) for name, values in per_seed.items()},
        undefined=sum(value is None for value in surfaces),
        absent=sum(value is None for value in overlaps),
        ece=_spread([r["ece"] for r in results]),
        train_minutes=_spread([r["train_minutes"] for r in results]),
        memory_mib=_spread([r["memory_mib"] for r in results]),
        oracle=any(r["oracle"] for r in results),
    )


def _values(result: Result, kind: str, metric: str) -> list[float | None]:
    return [scores[metric] for case in result["cases"] for scores in case[kind].values()]


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return statistics.fmean(defined) if defined else None


def _spread(values: Sequence[float | None]) -> Spread:
    defined = [value for value in values if value is not None]
    sd = statistics.stdev(defined) if len(defined) > 1 else None
    return Spread(_mean(values), sd)


def _holm(found: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the comparisons with p times (number left), never falling, at most 1."""
    order = sorted(range(len(found)), key=lambda index: found[index].p)
    adjusted, highest = dict[int, float](), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, found[index].p * (len(found) - rank)))
        adjusted[index] = highest
    return tuple(replace(c, adjusted=adjusted[index]) for index, c in enumerate(found))
