"""Under which conditions the figures came about, one sentence each, beside every table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dycon_engine.benchmarking.bootstrap import described
from dycon_engine.benchmarking.protocol import Protocol
from dycon_engine.benchmarking.tables import (
    Comparison,
    Result,
    least_probability,
    mean_by_method,
    probability,
)
from dycon_engine.config import RECIPES
from dycon_engine.pictures.page import count
from dycon_engine.settings import Table


def recipe_notes(profile: str, configs: Mapping[str, Table]) -> tuple[str, ...]:
    """Return what sets the methods apart: the recipe each got of the profile, and what else.

    Args:
        profile: Of all runs.
        configs: Name in the tables -> settings, as of `plan.resolved`.
    """
    recipes = {name: _recipe(profile, config["method"]) for name, config in configs.items()}
    strengths = {
        name: _said(config["method"].get("strong_intensity")) for name, config in configs.items()
    }
    lines = [
        f"Recipe of {', '.join(names)} in profile {profile}: {text}."
        if text
        else f"No recipe in profile {profile}, own defaults: {', '.join(names)}."
        for text, names in _grouped(recipes).items()
    ]
    own = "; ".join(f"{text}: {', '.join(names)}" for text, names in _grouped(strengths).items())
    apart = (
        f"Not common: how a method itself changes its unlabeled patches (strong_intensity {own}) "
        "and the networks it trains beside that one."
    )
    return (*lines, apart)


def device_notes(results: Sequence[Result]) -> tuple[str, ...]:
    """Return on what the runs trained; nothing where none of them says it."""
    devices = Counter(str(result.get("device") or "not recorded") for result in results)
    if set(devices) <= {"not recorded"}:
        return ()
    if len(devices) == 1:
        return (f"Device of all runs: {next(iter(devices))}.",)
    said = "; ".join(f"{name}: {count(number, 'run')}" for name, number in devices.items())
    return (f"Devices differ, time and memory compare only on the same one: {said}.",)


def engine_note(results: Sequence[Result]) -> str:
    """Return with which state of the engine the runs were scored."""
    states = Counter(_state(result) for result in results)
    if len(states) == 1:
        return f"Engine of all runs: {next(iter(states))}."
    said = "; ".join(f"{state}: {count(number, 'run')}" for state, number in states.items())
    return f"Engines differ or are not known to be one: {said}."


def calibration_note(protocol: Protocol, results: Sequence[Result]) -> str:
    """Return of which probabilities the ECE is."""
    if not protocol.validation:
        return (
            "ECE: of probabilities that are not calibrated (T = 1), for want of validation cases."
        )
    known = [result for result in results if result.get("temperature") is not None]
    means = mean_by_method(known, "temperature")
    said = ", ".join(f"{name} {mean:.2f}" for name, mean in means.items()) or "not recorded"
    cases = count(len(protocol.validation), "validation case")
    return f"ECE: of probabilities calibrated by a temperature fitted on {cases}; mean T: {said}."


def chance_notes(comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Return what the p values can say at best, and what is not in them."""
    if not comparisons:
        return ()
    cases, number = max(c.cases for c in comparisons), len(comparisons)
    least = least_probability(cases)
    adjusted = min(1.0, number * least)
    smallest = (
        f"Smallest p that {count(cases, 'case')} can give: {probability(least)}; after Holm's "
        f"correction for {count(number, 'comparison')}: {probability(adjusted)}."
    )
    luck = (
        "The p values are over cases, each its mean over the seeds, and never contain the noise "
        "between runs: also with many seeds a small p can be luck of the seeds."
    )
    seeds = sorted({len(c.seeds) for c in comparisons})
    return (smallest, luck, *map(_interval_note, seeds))


def _interval_note(seeds: int) -> str:
    """Return what is in the intervals of a difference over so many seeds."""
    one = "nothing of the noise between runs is in them"
    several = "they contain the noise between runs as far as so many seeds show it"
    return (
        f"Intervals of the difference over {count(seeds, 'seed')}: 95 %, percentiles of "
        f"{described(seeds)}; {several if seeds > 1 else one}. They are not corrected for the "
        "number of comparisons."
    )


def _recipe(profile: str, method: Table) -> str:
    """Return the settings that the profile has for a method, with the values the run got."""
    names = RECIPES.get(profile, {}).get(method["name"], {})
    return ", ".join(f"{name} = {_said(method[name])}" for name in names)


def _state(result: Result) -> str:
    if not result.get("source"):
        return "not recorded"
    return f"dycon_engine {result.get('engine')}, code {result['source']}"


def _grouped(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Return text -> the names that have it."""
    groups: dict[str, list[str]] = {}
    for name, text in texts.items():
        groups.setdefault(text, []).append(name)
    return groups


def _said(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
