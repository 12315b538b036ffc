"""Sentences beside the tables: what the runs had in common, what not, and what p and ECE are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dycon_engine.benchmarking.conditions import (
    calibration_note,
    chance_notes,
    device_notes,
    engine_note,
    recipe_notes,
)
from dycon_engine.benchmarking.page import Benchmark, to_html, to_markdown
from dycon_engine.benchmarking.plan import resolved
from dycon_engine.benchmarking.protocol import load_protocol
from dycon_engine.benchmarking.tables import compare, summarize
from dycon_engine.config import RECIPES
from dycon_engine.methods import METHODS
from Testing.engine.benchmarking.small_results import LABEL, result


def notes(profile: str, *methods: str, settings: tuple[str, ...] = ()) -> tuple[str, ...]:
    return recipe_notes(profile, {m: resolved(profile, m, settings) for m in methods})


@pytest.mark.parametrize("profile", RECIPES)
def test_every_method_is_named_with_the_recipe_it_got(profile: str) -> None:
    lines = notes(profile, *METHODS)
    for method in METHODS:
        recipe = RECIPES[profile].get(method, {})
        (line,) = (line for line in lines[:-1] if f" {method}" in line.replace(",", " "))
        assert line.startswith("Recipe of" if recipe else "No recipe")
        assert all(f"{name} = " in line for name in recipe)


def test_what_the_recipe_became_is_said_and_what_is_not_common() -> None:
    lines = notes("laptop", "dycon", "supervised", settings=())
    assert "mixing = 1.0" in lines[0]
    assert lines[1] == "No recipe in profile laptop, own defaults: supervised."
    assert lines[2].startswith("Not common: how a method itself changes its unlabeled patches")
    assert "1.0: dycon; none: supervised" in lines[2]
    changed = notes("laptop", "dycon", settings=("method.mixing=0.5",))
    assert "mixing = 0.5" in changed[0]


def test_devices_are_those_of_the_runs() -> None:
    cpu, gpu = (result("a", n, [0.5], device=d) for n, d in enumerate(("cpu", "cuda:0 (H100)")))
    assert device_notes([cpu, cpu]) == ("Device of all runs: cpu.",)
    (both,) = device_notes([cpu, gpu, result("a", 2, [0.5])])
    assert "only on the same one: cpu: 1 run; cuda:0 (H100): 1 run; not recorded: 1 run." in both
    assert device_notes([result("a", 2, [0.5])]) == ()


def test_the_state_of_the_engine_is_that_of_the_runs() -> None:
    one, other = (result("a", 0, [0.5], engine="0.1.0", source=code) for code in ("12ab", "34cd"))
    assert engine_note([one, one]) == "Engine of all runs: dycon_engine 0.1.0, code 12ab."
    said = engine_note([one, other, one, result("a", 2, [0.5])])
    assert said.startswith("Engines differ or are not known to be one: dycon_engine 0.1.0, code 12")
    assert said.endswith("12ab: 2 runs; dycon_engine 0.1.0, code 34cd: 1 run; not recorded: 1 run.")
    assert engine_note([result("a", 2, [0.5])]) == "Engine of all runs: not recorded."


def test_the_ece_is_said_to_be_calibrated_or_not() -> None:
    results = [result("a", n, [0.5], temperature=1.0 + n / 2) for n in (0, 1)]
    assert "not calibrated (T = 1)" in calibration_note(load_protocol("la-8"), results)
    said = calibration_note(load_protocol("brats19-25"), [*results, result("b", 0, [0.5])])
    assert said.endswith("a temperature fitted on 25 validation cases; mean T: a 1.25.")
    old = calibration_note(load_protocol("isles22-5"), [result("b", 0, [0.5])])
    assert old.endswith("mean T: not recorded.")


def compared(seeds: int, cases: int = 8, methods: int = 7):
    made = [
        result(f"m{m}", seed, [0.5 + m / 100 + i / 1000 for i in range(cases)])
        for m in range(methods)
        for seed in range(seeds)
    ]
    return made, compare(made, "m0")


def test_the_smallest_p_is_that_of_cases_and_comparisons() -> None:
    """8 cases, all better: 2 of 2^8 signs; the best of 6 comparisons is corrected by 6."""
    said, *_ = chance_notes(compared(3)[1])
    assert said == (
        "Smallest p that 8 cases can give: 0.0078; after Holm's correction for 6 comparisons: "
        "0.0469."
    )
    assert "for 1 comparison: 1.0000" in chance_notes(compared(3, cases=1, methods=2)[1])[0]
    assert chance_notes(()) == ()


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (1, "cases alone, random seed 0; nothing of the noise between runs is in them"),
        (2, "over 2 seeds: 95 %, percentiles of 2000 bootstrap samples of cases and seeds"),
        (4, "as far as so many seeds show it"),
    ],
)
def test_the_noise_between_runs_is_never_in_the_p_values_and_maybe_in_the_interval(
    seeds: int, words: str
) -> None:
    made, comparisons = compared(seeds)
    found = Benchmark(
        protocol=load_protocol("la-8"),
        rows=summarize(made),
        comparisons=comparisons,
        results=tuple(made),
        conditions=(),
    )
    for text in (to_html(found), to_markdown(found)):
        assert "Smallest p that 8 cases can give: 0.0078" in text
        assert "not calibrated (T = 1)" in text
        assert "never contain the noise between runs: also with many seeds" in text
        assert words in text


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("la-8", ("cropped around the reference, in the test cases too", "the same")),
        (
            "pancreas-12",
            ("keeps the whole CT, which is harder", "another", "PANCREAS_0070 are said"),
        ),
    ],
)
def test_what_sets_published_figures_apart_stands_beside_them(protocol: str, words) -> None:
    """And what is known of cases that are gone stands in the conditions."""
    made, comparisons = compared(1)
    rows = summarize(made)
    of_labels = replace(load_protocol(protocol), labels=(LABEL,))
    found = Benchmark(of_labels, rows, comparisons, tuple(made), ())
    for text in (to_html(found), to_markdown(found)):
        assert all(word in text for word in words)
        assert "Split" in text
