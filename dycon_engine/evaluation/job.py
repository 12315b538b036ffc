"""The evaluation of one or several prediction sets, from files to the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dycon_engine import __version__
from dycon_engine.data.cases import require_voxel_size, spaced
from dycon_engine.data.formats.readers import read_image
from dycon_engine.data.geometry import Spacing
from dycon_engine.errors import InputError
from dycon_engine.evaluation import cases as scoring
from dycon_engine.evaluation import names as naming
from dycon_engine.evaluation import report
from dycon_engine.evaluation.examples import Scans, draw_examples
from dycon_engine.evaluation.summaries import Calibration, PredictionSet, Row
from dycon_engine.evaluation.voxels import VoxelSample, channel_values
from dycon_engine.jobs.reporter import Reporter

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
        labels: Names of the classes, ascending by value, background left out; empty: "label 1", ...
        spacing_mm: Voxel size (z, y, x) of files that carry none (HDF5).
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
    spacing_mm: Spacing | None
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
    warnings = _Warnings(reporter)
    for line in _unmatched(request, matchings):
        warnings.add("cases", line)
    maps = _maps(request, matchings, warnings)
    images = _companions(request.images, "images", matchings[0])
    files = (*_label_files(matchings), *images.values(), *(p for m in maps for p in m.values()))
    require_voxel_size(files, request.spacing_mm)
    sets, names = _score_sets(request, matchings, maps, reporter, warnings)
    overlays = draw_examples(
        Scans(matchings, None if request.images is None else images, request.spacing_mm),
        sets,
        reporter,
        lambda line: warnings.add("images", line),
    )
    content = report.Report(
        title=request.title or f"Segmentation report: {report.prediction_names(sets)}",
        created=_now(),
        engine=__version__,
        names=names,
        sets=sets,
        overlays=overlays,
        warnings=tuple(warnings.lines),
        notes=request.notes,
    )
    paths = report.write_report(request.output, content, overwrite=request.overwrite)
    for line in report.findings(content):
        reporter.tell(line)
    reporter.tell(f"Report: {paths[-1]}")
    return {
        "report": str(paths[-1]),
        "mean_dice": {f"{r.prediction}/{r.name}": _mean_dice(r) for r in content.rows()},
    }


def _mean_dice(row: Row) -> float | None:
    """Return the mean over the cases that hold the structure; None where none does."""
    dice = row.metrics["dice"]
    return dice.mean if dice.defined else None


def _label_files(matchings: Sequence[scoring.Matching]) -> tuple[Path, ...]:
    """Return every prediction and reference, each once."""
    pairs = (pair for matching in matchings for pair in matching.pairs.values())
    return tuple(dict.fromkeys(path for pair in pairs for path in pair))


class _Warnings:
    """What the person should know: said when it is found, and kept for the report."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.lines: list[str] = []

    def add(self, topic: str, line: str) -> None:
        self._reporter.warn(topic, line)
        self.lines.append(line)


def _companions(path: Path | None, what: str, matching: scoring.Matching) -> dict[str, Path]:
    """Return the scan or probability map of each case; one file and one case belong together."""
    if path is None:
        return {}
    files = scoring.files_by_case(path, what)
    if path.is_file() and len(matching.pairs) == 1:
        return {next(iter(matching.pairs)): path}
    found = {case: scoring.find_companion(files, case) for case in matching.pairs}
    return {case: file for case, file in found.items() if file is not None}


def _maps(
    request: Request, matchings: Sequence[scoring.Matching], warnings: _Warnings
) -> list[dict[str, Path]]:
    """Return the probability maps of every prediction set, by case.

    Raises:
        InputError: They were given and belong to none of its cases.
    """
    found = []
    for index, (name, matching) in enumerate(zip(request.names, matchings, strict=True)):
        folder = request.probabilities[index] if request.probabilities else None
        maps = _companions(folder, "probabilities", matching)
        without = [case for case in matching.pairs if case not in maps]
        if folder is not None and not maps:
            raise InputError(
                f"probabilities '{folder}': hold no map of the cases of '{name}', e.g. "
                f"'{without[0]}'; expected CASE.nii.gz or CASE_probabilities.nii.gz"
            )
        if folder is not None and without:
            warnings.add("probabilities", f"{name}: no probability map for {_listed(without)}")
        found.append(maps)
    return found


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
    request: Request,
    matchings: Sequence[scoring.Matching],
    maps: Sequence[Mapping[str, Path]],
    reporter: Reporter,
    warnings: _Warnings,
) -> tuple[tuple[PredictionSet, ...], dict[int, str]]:
    files = _label_files(matchings)
    naming.require_same_values(files)
    reporter.stage("score", sum(len(m.pairs) for m in matchings))
    done = 0
    scored: list[list[scoring.CaseScores]] = []
    for matching in matchings:
        scored.append([])
        for case, pair in matching.pairs.items():
            reporter.check_cancelled()
            maps_of_case = scoring.read_pair(case, *pair, spacing_mm=request.spacing_mm)
            scored[-1].append(scoring.score_case(case, *maps_of_case))
            done += 1
            reporter.advance(done)
    classes = scoring.classes_of(case for found in scored for case in found)
    names = naming.label_names(request.labels, classes)
    lines = list(naming.renamed(files, names)) if request.labels else []
    lines += naming.unused_names(request.labels, names)
    for name, found in zip(request.names, scored, strict=True):
        lines += naming.one_sided(name, found)
    for line in lines:
        warnings.add("labels", line)
    calibrations = _calibrations(request, matchings, maps, scored, reporter, warnings)
    sets = tuple(
        PredictionSet(
            name, tuple(scoring.with_classes(c, tuple(names)) for c in found), calibration
        )
        for name, found, calibration in zip(request.names, scored, calibrations, strict=True)
    )
    return sets, names


def _calibrations(
    request: Request,
    matchings: Sequence[scoring.Matching],
    maps: Sequence[Mapping[str, Path]],
    scored: Sequence[Sequence[scoring.CaseScores]],
    reporter: Reporter,
    warnings: _Warnings,
) -> list[Calibration | None]:
    """Return what the probability maps of every prediction set are worth, None without maps."""
    total = sum(map(len, maps))
    if total:
        reporter.stage("calibration", total)
    done = 0
    calibrations = []
    for matching, files, cases in zip(matchings, maps, scored, strict=True):
        sample = VoxelSample(BAND_MM)
        scores = [score for case in cases for score in case.scores]
        references = {score.label for score in scores if score.reference_voxels}
        predictions = {score.label for score in scores if score.prediction_voxels}
        for case, file in files.items():
            reporter.check_cancelled()
            probabilities = spaced(read_image(file), file, request.spacing_mm)
            values = channel_values(len(probabilities.array), references, predictions)
            if values is None:
                warnings.add(
                    "probabilities",
                    f"case '{case}': its probability map has {len(probabilities.array)} channels, "
                    f"the references hold the values {sorted({0, *references})}; which belongs to "
                    "which is unknown, it is left out of the calibration",
                )
            else:
                pair = scoring.read_pair(case, *matching.pairs[case], spacing_mm=request.spacing_mm)
                sample.add(case, probabilities, *pair, values)
            done += 1
            reporter.advance(done)
        calibrations.append(sample.calibration())
    return calibrations


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
