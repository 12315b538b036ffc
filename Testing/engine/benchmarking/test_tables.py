"""What is computed of many runs, against figures done by hand."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import wilcoxon

from dycon_engine.benchmarking.bootstrap import drawn_means
from dycon_engine.benchmarking.page import Benchmark, cells, to_html, to_markdown
from dycon_engine.benchmarking.protocol import load_protocol
from dycon_engine.benchmarking.running import LARGEST, PLAIN
from dycon_engine.benchmarking.tables import (
    compare,
    dice_by_case,
    probability,
    summarize,
    to_csv,
)
from dycon_engine.errors import DyconError
from dycon_engine.methods import METHODS
from Testing.engine.benchmarking.small_results import LABEL, result, scores


def test_mean_and_sd_are_over_seeds_of_the_means_over_cases() -> None:
    plain, largest = summarize([result("a", 0, [0.8, 0.9]), result("a", 1, [0.6, 0.7])])
    assert (plain.kind, largest.kind) == (PLAIN, LARGEST)
    assert plain.metrics["dice"].mean == pytest.approx(0.75)
    assert plain.metrics["dice"].sd == pytest.approx(0.2 / math.sqrt(2))
    assert largest.metrics["dice"].mean == pytest.approx(0.76)
    assert (plain.seeds, plain.cases, plain.undefined) == (2, 2, 0)
    assert plain.memory_mib.mean is None


def test_one_seed_has_no_sd_and_undefined_distances_are_counted_not_averaged() -> None:
    first = result("a", 0, [0.8, 0.9])
    first["cases"][0][PLAIN] = scores(0.0, None)
    plain, largest = summarize([first])
    assert plain.metrics["dice"].sd is None
    assert plain.metrics["hd95_mm"].mean == 3.0
    assert (plain.undefined, largest.undefined) == (1, 0)


def test_a_table_that_cannot_be_is_refused() -> None:
    bad = result("a", 3, [0.8, 0.9])
    for case in bad["cases"]:
        case[LARGEST][LABEL]["jaccard"] -= 0.05
    with pytest.raises(DyconError, match=r"table refused: a, seed 3, largest component: mean Dice"):
        summarize([result("b", 0, [0.5, 0.5]), bad])


def test_methods_are_compared_on_the_same_cases_with_holms_correction() -> None:
    base = [0.60, 0.62, 0.64, 0.66, 0.68, 0.70, 0.72, 0.74]
    better = [d + 0.01 * (i + 1) for i, d in enumerate(base)]
    mixed = [d + (0.01 if i % 2 else -0.012) for i, d in enumerate(base)]
    results = [result("ref", 0, base), result("up", 0, better), result("mixed", 0, mixed)]
    up, other = compare(results, "ref")
    assert (up.method, up.better, up.cases) == ("up", 8, 8)
    assert up.difference == pytest.approx(0.045)
    assert up.p == pytest.approx(
        float(wilcoxon([b - a for a, b in zip(base, better, strict=True)]).pvalue)
    )
    assert up.adjusted == pytest.approx(2 * up.p)
    assert other.adjusted == pytest.approx(other.p)
    assert other.p > 0.2
    (same,) = compare([results[0], result("same", 0, base)], "ref")
    assert same.p == same.adjusted == 1.0
    assert compare(results, "absent") == ()


def test_only_seeds_that_both_methods_have_are_compared() -> None:
    """The benchmark was stopped: seed 1 of `up` is missing, `late` has no seed of the others."""
    base = [result("ref", 0, [0.6, 0.7, 0.8]), result("up", 0, [0.65, 0.75, 0.85])]
    unpaired = [result("ref", 1, [0.1, 0.1, 0.1]), result("late", 2, [0.9, 0.9, 0.9])]
    (found,) = compare([*base, *unpaired], "ref")
    assert (found,) == compare(base, "ref")
    assert (found.method, found.seeds, found.cases) == ("up", (0,), 3)
    assert found.difference == pytest.approx(0.05)


def test_the_interval_of_a_difference_holds_cases_and_where_there_are_several_seeds() -> None:
    """Two cases, then three seeds, that differ by .01 and .03 or by .01, .03 and .08."""
    by_case = [result("ref", 0, [0.6, 0.7]), result("up", 0, [0.61, 0.73])]
    (cases,) = compare(by_case, "ref")
    assert (cases.low, cases.high) == pytest.approx((0.01, 0.03))
    gains = (0.01, 0.03, 0.08)
    by_seed = [result("ref", s, [0.6, 0.7]) for s in range(3)]
    by_seed += [result("up", s, [0.6 + gain, 0.7 + gain]) for s, gain in enumerate(gains)]
    (seeds,) = compare(by_seed, "ref")
    assert (seeds.low, seeds.high) == pytest.approx((0.01, 0.08))
    (one,) = compare([r for r in by_seed if r["seed"] == 1], "ref")
    assert (one.low, one.high) == pytest.approx((0.03, 0.03))
    (alone,) = compare([result("ref", 0, [0.6]), result("up", 0, [0.7])], "ref")
    assert alone.low == alone.high == pytest.approx(0.1)


def test_the_mean_over_drawn_seeds_scatters_as_that_over_runs_does() -> None:
    """Its variance is that of the mean of n, s^2 / n, also for two seeds."""
    random = np.random.default_rng(1)
    for seeds in (2, 3, 6):
        dice = random.normal(size=(1, seeds, 1))
        assert drawn_means(dice).var() == pytest.approx(dice.var(ddof=1) / seeds, rel=0.1)


def absent(found: dict[str, Any], case: int) -> dict[str, Any]:
    """Return a result whose case holds the structure neither in prediction nor in reference."""
    found["cases"][case][PLAIN] = scores(0.0, None)
    found["cases"][case][PLAIN][LABEL] |= {"dice": None, "jaccard": None}
    return found


def test_a_structure_absent_from_both_counts_in_no_mean_and_is_said() -> None:
    (plain, _) = summarize([absent(result("a", 0, [0.9, 0.4, 0.6]), 0)])
    assert plain.metrics["dice"].mean == pytest.approx(0.5)
    assert (plain.cases, plain.undefined, plain.absent) == (3, 1, 1)
    assert "1, 1 absent" in cells(plain)
    (nothing, _) = summarize([absent(result("a", 0, [0.9]), 0)])
    assert nothing.metrics["dice"].mean is None
    pair = [absent(result("a", 0, [0.9, 0.4]), 0), result("b", 0, [0.0, 0.6])]
    (found,) = compare(pair, "a")
    assert (found.cases, found.difference) == (1, pytest.approx(0.2))
    assert compare([absent(result("a", 0, [0.9]), 0), result("b", 0, [0.0])], "a") == ()
    assert f"a,0,c0,{LABEL},{PLAIN},,,,,," in to_csv(pair)
    assert "1 undefined" in to_html(Benchmark(load_protocol("la-1"), (), (), tuple(pair), ()))


def test_seeds_are_averaged_per_case_before_the_test() -> None:
    means = dice_by_case([result("a", 0, [0.5, 0.7]), result("a", 1, [0.7, 0.9])])
    assert means == {"a": {"c0": pytest.approx(0.6), "c1": pytest.approx(0.8)}}


def test_every_case_is_in_the_csv() -> None:
    lines = to_csv([result("a", 0, [0.5, 0.7], hd95=None)]).splitlines()
    assert len(lines) == 1 + 2 * 2
    assert lines[1].startswith(f"a,0,c0,{LABEL},{PLAIN},0.5,")
    assert lines[1].endswith(",,,,")


def test_a_name_is_no_formula_in_the_csv() -> None:
    (found,) = [result("a", 0, [0.5])]
    found["cases"][0]["case"] = "=1+1"
    assert to_csv([found]).splitlines()[1].startswith("a,0,'=1+1,")


def test_all_methods_and_more_have_a_box_of_their_own() -> None:
    names = [*METHODS, "one more", "leaky (ORACLE)"]
    results = [result(name, 0, [0.8, 0.7 + n / 100]) for n, name in enumerate(names)]
    results[-1] |= {"oracle": True}
    found = Benchmark(
        protocol=load_protocol("la-1"),
        rows=summarize(results),
        comparisons=compare(results, "supervised"),
        results=tuple(results),
        conditions=(),
    )
    page = to_html(found)
    plots = "".join(page.split("<svg")[1:])
    for name in names:
        assert plots.count(name.split()[0]) >= 2, name  # below its box, in both plots
    assert page.count("leaky (ORACLE)") >= 2  # the rows and the comparison
    assert page.count('rowspan="2"') == len(names)
    assert "(ORACLE) (ORACLE)" not in page
    assert "(ORACLE)" in plots
    assert '<p class="notice"><strong>Oracle audit.</strong>' in page


def test_no_probability_is_zero() -> None:
    assert [probability(p) for p in (0.5, 0.0001, 0.00009, 0.0)] == [
        "0.5000", "0.0001", "<0.0001", "<0.0001",
    ]  # fmt: skip


def test_the_page_and_the_markdown_say_what_was_compared() -> None:
    results = [result(m, s, [0.8 + s / 100, 0.7]) for m in ("dycon", "supervised") for s in (0, 1)]
    leaky = copy.deepcopy(results[0]) | {"method": "leaky", "oracle": True}
    everything = (*results, leaky)
    found = Benchmark(
        protocol=load_protocol("la-8"),
        rows=summarize(everything),
        comparisons=compare(everything, "supervised"),
        results=everything,
        conditions=("Every method: the same.",),
    )
    for text in (to_html(found), to_markdown(found)):
        assert "leaky (ORACLE)" in text
        assert "labels of unlabeled cases" in text
        assert "best on the test cases" in text
        assert "0.7525" in text
        assert "± 0.0035" in text
        assert "Every method: the same." in text
    assert "<svg" in to_html(found)
    assert 'src="http' not in to_html(found)
