"""The evaluation of one or several prediction sets, from files to the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dycon_engine import __version__
from dycon_engine.data.formats.readers import read_image
from dycon_engine.errors import InputError
from dycon_engine.evaluation import cases as scoring
from dycon_engine.evaluation import report
from dycon_engine.evaluation.overlays import draw_overlay
from dycon_engine.evaluation.summaries import PredictionSet
from dycon_engine.evaluation.voxels import VoxelSample
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.pictures.slices import Picture

BAND_MM = 5.0


@dataclass(frozen=True)
class Request:
    """What is compared with what.

    Attributes:
        names: One per prediction set.
        predictions: Files or folders.
        reference: File or folder.
        output: Folder of the report.
        probabilities: Folder per prediction set, or none at all.
        images: Folder or file of the scans, or None.
        labels: Names of the classes, ascending by value; empty: "label 1", ...
        title: Heading, or empty.
        notes: Sentences for the report.
        overwrite: Whether a report may be replaced.
    """

    names: tuple[str, ...]
    predictions: tuple[Path, ...]
    reference: Path
    output: Path
    probabilities: tuple[Path, ...]
    images: Path | None
    labels: tuple[str, ...]
    title: str
    notes: tuple[str, ...]
    overwrite: bool


def evaluate(request: Request, reporter: Reporter) -> dict[str, Any]:
    """Score, draw and write the report; return the summary of the job.

    Raises:
        InputError: Nothing to compare, grids that differ, a damaged file, a report in the way.
    """
    report.check_free(request.output, overwrite=request.overwrite)
    matchings = [scoring.match_cases(path, request.reference) for path in request.predictions]
    _check_same_cases(request, matchings)
    warnings = _unmatched(request, matchings)
    for line in warnings:
        reporter.warn("cases", line)
    sets, names = _score_sets(request, matchings, reporter)
    overlays = _overlays(request, matchings, sets, reporter)
    content = report.Report(
        title=request.title or f"Segmentation report: {report.prediction_names(sets)}",
        created=_now(),
        engine=__version__,
        names=names,
        sets=sets,
        overlays=overlays,
        warnings=warnings,
        notes=request.notes,
    )
    paths = report.write_report(request.output, content, overwrite=request.overwrite)
    for line in report.findings(content):
        reporter.tell(line)
    reporter.tell(f"Report: {paths[-1]}")
    return {
        "report": str(paths[-1]),
        "mean_dice": {f"{r.prediction}/{r.name}": r.metrics["dice"].mean for r in content.rows()},
    }


def _check_same_cases(request: Request, matchings: Sequence[scoring.Matching]) -> None:
    for name, matching in zip(request.names[1:], matchings[1:], strict=True):
        apart = matchings[0].pairs.keys() ^ matching.pairs.keys()
        if apart:
            raise InputError(
                f"predictions '{request.names[0]}' and '{name}' differ in case '{min(apart)}'; a "
                "comparison needs the same cases"
            )


def _unmatched(request: Request, matchings: Sequence[scoring.Matching]) -> tuple[str, ...]:
    lines = []
    for name, found in zip(request.names, matchings, strict=True):
        if found.unpredicted:
            lines.append(f"{name}: no prediction for reference {_listed(found.unpredicted)}")
        if found.unreferenced:
            lines.append(f"{name}: no reference for prediction {_listed(found.unreferenced)}")
    return tuple(lines)


def _listed(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _score_sets(
    request: Request, matchings: Sequence[scoring.Matching], reporter: Reporter
) -> tuple[tuple[PredictionSet, ...], dict[int, str]]:

    reporter.stage("score", sum(len(m.pairs) for m in matchings))
    done = 0
    scored: list[list[scoring.CaseScores]] = []
    calibrations = []
    for index, matching in enumerate(matchings):
        sample = VoxelSample(BAND_MM)
        folder = request.probabilities[index] if request.probabilities else None
        maps = scoring.files_by_case(folder, "probabilities") if folder else {}
        scored.append([])
        for case, pair in matching.pairs.items():
            reporter.check_cancelled()
            predicted, expected = scoring.read_pair(case, *pair)
            scored[-1].append(scoring.score_case(case, predicted, expected))
            map_path = scoring.find_companion(maps, case)
            if map_path is not None:
                sample.add(case, map_path, predicted, expected)
            done += 1
            reporter.advance(done)
        calibrations.append(sample.calibration())
    classes = scoring.classes_of(case for found in scored for case in found)
    names = _label_names(request.labels, classes)
    sets = tuple(
        PredictionSet(
            name, tuple(scoring.with_classes(c, tuple(names)) for c in found), calibration
        )
        for name, found, calibration in zip(request.names, scored, calibrations, strict=True)
    )
    return sets, names


def _label_names(given: Sequence[str], classes: Sequence[int]) -> dict[int, str]:
    if not given:
        return {label: f"label {label}" for label in classes}
    if len(given) >= max(classes):
        return {label: given[label - 1] for label in range(1, len(given) + 1)}
    if len(given) != len(classes):
        raise InputError(
            f"--labels: {len(given)} names for the label values {list(classes)}; give one each"
        )
    return dict(zip(classes, given, strict=True))


def _overlays(
    request: Request,
    matchings: Sequence[scoring.Matching],
    sets: Sequence[PredictionSet],
    reporter: Reporter,
) -> tuple[Picture, ...]:

    ordered = sorted(sets[0].cases, key=lambda c: c.mean_dice, reverse=True)
    chosen = {"worst": ordered[-1]}
    if len(ordered) > 1:
        chosen = {"best": ordered[0]} | chosen
    if len(ordered) > len(chosen):
        chosen = {"best": ordered[0], "median": ordered[len(ordered) // 2], "worst": ordered[-1]}
    images = scoring.files_by_case(request.images, "images") if request.images else {}
    if request.images and request.images.is_file():
        images = {ordered[0].case: request.images}
    reporter.stage("pictures", len(chosen))
    pictures = []
    for done, (word, case) in enumerate(chosen.items(), start=1):
        reporter.check_cancelled()
        title = f"{word.capitalize()}: case {case.case}, mean Dice {_dice_of(case.case, sets)}"
        pictures.append(_overlay(title, case.case, request, matchings, images))
        reporter.advance(done)
    return tuple(pictures)


def _overlay(
    title: str,
    case: str,
    request: Request,
    matchings: Sequence[scoring.Matching],
    images: Mapping[str, Path],
) -> Picture:
    pairs = {
        name: scoring.read_pair(case, *matching.pairs[case])
        for name, matching in zip(request.names, matchings, strict=True)
    }
    expected = pairs[request.names[0]][1]
    path = scoring.find_companion(images, case)
    image = None if path is None else read_image(path)
    if image is not None:
        scoring.check_grid(case, "image", image, expected)
    predictions = {name: predicted for name, (predicted, _) in pairs.items()}
    return draw_overlay(title, expected, predictions, image=image)


def _dice_of(case: str, sets: Sequence[PredictionSet]) -> str:
    found = {s.name: c.mean_dice for s in sets for c in s.cases if c.case == case}
    if len(found) == 1:
        return f"{next(iter(found.values())):.3f}"
    return ", ".join(f"{name} {dice:.3f}" for name, dice in found.items())


def _now() -> str:

    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
