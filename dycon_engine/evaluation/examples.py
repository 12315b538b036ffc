"""Pictures of an evaluation's best, median and worst case."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dycon_engine.data.cases import spaced
from dycon_engine.data.formats.readers import read_image
from dycon_engine.data.geometry import Spacing
from dycon_engine.data.volume import Volume
from dycon_engine.errors import DyconError, InputError
from dycon_engine.evaluation import cases as scoring
from dycon_engine.evaluation.overlays import draw_overlay
from dycon_engine.evaluation.summaries import PredictionSet
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.pictures.slices import Picture


@dataclass(frozen=True)
class Scans:
    """The files that pictures are made of.

    Attributes:
        matchings: Predictions and references, one per prediction set.
        images: Scan of each case; None: none were given.
        spacing_mm: Voxel size (z, y, x) of files that carry none (HDF5).
    """

    matchings: Sequence[scoring.Matching]
    images: Mapping[str, Path] | None
    spacing_mm: Spacing | None


def draw_examples(
    scans: Scans, sets: Sequence[PredictionSet], reporter: Reporter, warn: Callable[[str], None]
) -> tuple[Picture, ...]:
    """Draw the best, median and worst case of the first prediction set, with all sets' outlines."""
    chosen = _chosen(sets[0])
    reporter.stage("pictures", len(chosen))
    pictures = []
    for done, (word, case) in enumerate(chosen.items(), start=1):
        reporter.check_cancelled()
        title = f"{word.capitalize()}: case {case}, mean Dice {_dice_of(case, sets)}"
        pictures.append(_draw(title, case, scans, [s.name for s in sets], warn))
        reporter.advance(done)
    return tuple(pictures)


def _chosen(first: PredictionSet) -> dict[str, str]:
    """Return what each case is an example of, and its name; fewer with fewer than three cases.

    A case in which nothing was found and nothing was to be found is no example.
    """
    scored = [case for case in first.cases if not math.isnan(case.mean_dice)]
    ordered = sorted(scored, key=lambda case: case.mean_dice, reverse=True)
    places = {"best": 0, "median": len(ordered) // 2, "worst": len(ordered) - 1}
    few: dict[int, tuple[str, ...]] = {0: (), 1: ("worst",), 2: ("best", "worst")}
    words = few.get(len(ordered), tuple(places))
    return {word: ordered[places[word]].case for word in words}


def _draw(
    title: str, case: str, scans: Scans, names: Sequence[str], warn: Callable[[str], None]
) -> Picture:
    pairs = {
        name: scoring.read_pair(case, *matching.pairs[case], spacing_mm=scans.spacing_mm)
        for name, matching in zip(names, scans.matchings, strict=True)
    }
    references = [reference for _, reference in pairs.values()]
    expected = max(references, key=lambda volume: volume.array.size)  # the least cropped one
    image = None
    if scans.images is not None:
        try:
            image = _background(case, scans.images, expected, scans.spacing_mm)
        except DyconError as error:  # a picture less good is no reason to lose the scores
            warn(f"{error}; the picture is drawn without the scan")
    predictions = {
        name: scoring.on_reference(case, "prediction", predicted, expected, cropped=True)
        for name, (predicted, _) in pairs.items()
    }
    return draw_overlay(title, expected, predictions, image=image)


def _background(
    case: str, images: Mapping[str, Path], expected: Volume, spacing_mm: Spacing | None
) -> Volume:
    if case not in images:
        raise InputError(f"case '{case}': no scan among the images")
    image = spaced(read_image(images[case]), images[case], spacing_mm)
    return scoring.on_reference(case, "image", image, expected)


def _dice_of(case: str, sets: Sequence[PredictionSet]) -> str:
    found = {s.name: c.mean_dice for s in sets for c in s.cases if c.case == case}
    if len(found) == 1:
        return _figure(next(iter(found.values())))
    return ", ".join(f"{name} {_figure(dice)}" for name, dice in found.items())


def _figure(dice: float) -> str:
    return "undefined" if math.isnan(dice) else f"{dice:.3f}"
