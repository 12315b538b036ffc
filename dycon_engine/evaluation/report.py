"""The report of an evaluation: CSV, JSON, Markdown and one self-contained HTML page.

The page needs no network and no other file: pictures are inline, the style follows light and dark,
and it prints. It names cases, never paths.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dycon_engine.errors import InputError
from dycon_engine.evaluation.calibration import MOST_UNCERTAIN
from dycon_engine.evaluation.findings import sentences
from dycon_engine.evaluation.plots import draw_reliability, draw_risk_coverage, draw_strips
from dycon_engine.evaluation.summaries import (
    METRICS,
    Calibration,
    Difference,
    PredictionSet,
    Row,
    paired_differences,
    summary_rows,
)
from dycon_engine.jobs.cells import cells
from dycon_engine.jobs.files import make_folder, write_json, write_text
from dycon_engine.pictures.page import NOTICE, count, render
from dycon_engine.pictures.slices import Picture

FILES = ("report.csv", "report.json", "report.md", "report.html")
_OVERLAP = ("dice", "jaccard")


@dataclass(frozen=True)
class Report:
    """Everything a report shows.

    Attributes:
        title: Heading.
        created: Date and time, UTC.
        engine: Version of the engine.
        names: Class index -> name, background left out.
        sets: The compared predictions; differences are taken from the first.
        overlays: Pictures, best case first.
        warnings: Things to note, e.g. cases without a prediction.
        notes: Further sentences, e.g. how the models were trained.
    """

    title: str
    created: str
    engine: str
    names: dict[int, str]
    sets: tuple[PredictionSet, ...]
    overlays: tuple[Picture, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def rows(self) -> tuple[Row, ...]:
        """Return the summary table."""
        return summary_rows(self.sets, self.names)

    def differences(self) -> tuple[Difference, ...]:
        """Return the paired differences; none for a single prediction set."""
        return paired_differences(self.sets, self.names)


def check_free(output: Path, *, overwrite: bool) -> None:
    """Refuse a folder that already holds a report.

    Raises:
        InputError: It does and `overwrite` is off.
    """
    for name in FILES:
        if not overwrite and (output / name).exists():
            raise InputError(
                f"output '{output / name}' exists; choose another folder or add --overwrite"
            )


def write_report(output: Path, report: Report, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write report.csv, .json, .md and .html into `output` (made if absent); return the paths.

    Raises:
        InputError: A report is there and `overwrite` is off.
    """
    check_free(output, overwrite=overwrite)
    page = to_html(report)
    make_folder(output)
    write_text(output / "report.csv", to_csv(report))
    write_json(output / "report.json", to_table(report))
    write_text(output / "report.md", to_markdown(report))
    write_text(output / "report.html", page)
    return tuple(output / name for name in FILES)


def to_csv(report: Report) -> str:
    """Return one line per prediction set, case and class; undefined figures are empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    sizes = ("prediction_ml", "reference_ml")
    writer.writerow(["prediction", "case", "label", "name", *METRICS, "surface_defined", *sizes])
    for predictions in report.sets:
        for case in predictions.cases:
            for s in case.scores:
                figures = [_plain(getattr(s, metric)) for metric in METRICS]
                volumes = [
                    n * case.voxel_mm3 / 1000 for n in (s.prediction_voxels, s.reference_voxels)
                ]
                head = [predictions.name, case.case, s.label, report.names[s.label]]
                writer.writerow([*cells(head), *figures, str(s.surface_defined).lower(), *volumes])
    return stream.getvalue()


def to_table(report: Report) -> dict[str, Any]:
    """Return the report as plain JSON values; undefined figures are null."""
    table = {
        "title": report.title,
        "created": report.created,
        "engine": report.engine,
        "notice": NOTICE,
        "labels": {str(label): name for label, name in report.names.items()},
        "summary": [asdict(row) for row in report.rows()],
        "differences": [asdict(d) for d in report.differences()],
        "cases": [
            {"prediction": s.name, "case": case.case, "voxel_mm3": case.voxel_mm3}
            | {"scores": [asdict(score) for score in case.scores]}
            for s in report.sets
            for case in s.cases
        ],
        "calibration": {s.name: _calibration(s.calibration) for s in report.sets if s.calibration},
        "warnings": list(report.warnings),
        "notes": list(report.notes),
    }
    return dict(_without_nan(table))


def to_markdown(report: Report) -> str:
    """Return the summary as Markdown tables."""
    lines = [f"# {report.title}", "", f"{NOTICE}", "", f"{report.created}, {report.engine}.", ""]
    lines += [f"- {line}" for line in findings(report)]
    lines += [f"- Please note: {line}" for line in report.warnings]
    lines += ["", "Mean ± sd (median) over cases; undefined cases are counted, never 0 or 1.", ""]
    headings = ["Structure", "Prediction", *METRICS.values(), "Undefined"]
    lines += ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for row in report.rows():
        cells = [_cell(metric, row) for metric in METRICS]
        undefined = f"{row.metrics['hd95_mm'].undefined}{_absent(row)}"
        lines.append("| " + " | ".join([row.name, row.prediction, *cells, undefined]) + " |")
    for d in report.differences():
        interval = "" if math.isnan(d.low) else f", 95 % interval {d.low:+.3f} to {d.high:+.3f}"
        who = f"{d.name}, {METRICS[d.metric]}, {d.first} minus {d.second}"
        among = f"better in {d.better}, worse in {d.worse} of {count(d.pairs, 'case')}"
        lines += ["", f"{who}: {_signed(d.metric, d.mean)}{interval}; {among}."]
    return "\n".join(lines) + "\n"


def findings(report: Report) -> tuple[str, ...]:
    """Return what the figures say, one sentence per class and prediction set."""
    return sentences(report.sets, report.rows(), report.differences())


def to_html(report: Report) -> str:
    """Return the self-contained page."""
    from markupsafe import Markup  # noqa: PLC0415

    calibrated = [s for s in report.sets if s.calibration is not None]
    curves = (draw_reliability(report.sets), draw_risk_coverage(report.sets)) if calibrated else ()
    strips = [draw_strips(m, report.sets, report.names) for m in ("dice", "hd95_mm")]
    rows = report.rows()
    values = {
        "figure": _figure,
        "signed": _signed,
        "absent": _absent,
        "report": report,
        "rows": rows,
        "sets": report.sets,
        "cases": report.sets[0].cases,
        "names": list(report.names.values()),
        "metrics": METRICS,
        "compared": len(report.sets) > 1,
        "findings": findings(report),
        "warnings": report.warnings,
        "differences": report.differences(),
        "strips": [Markup(svg) for svg in strips],  # noqa: S704 - our own drawing
        "curves": [Markup(svg) for svg in curves],  # noqa: S704 - our own drawing
        "overlays": report.overlays,
        "calibration": calibrated,
        "plausible": all(row.plausible for row in rows),
    }
    return render(Path(__file__).with_name("report.html"), values)


def _absent(row: Row) -> str:
    return f", {row.absent} absent from both" if row.absent else ""


def _figure(metric: str, value: float) -> str:
    return f"{value:.3f}" if metric in _OVERLAP else f"{value:.2f}"


def _signed(metric: str, value: float) -> str:
    if math.isnan(value):
        return "undefined"
    return f"{value:+.3f}" if metric in _OVERLAP else f"{value:+.2f}"


def _cell(metric: str, row: Row) -> str:
    s = row.metrics[metric]
    if not s.defined:
        return "undefined"
    spread = "" if math.isnan(s.sd) else f" ± {_figure(metric, s.sd)}"
    return f"{_figure(metric, s.mean)}{spread} ({_figure(metric, s.median)})"


def _plain(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _calibration(found: Calibration | None) -> dict[str, Any]:
    assert found is not None  # noqa: S101 - the caller asked
    return {
        "ece_all": found.everywhere.ece,
        "ece_boundary": found.boundary.ece,
        "ece_reference": found.reference.ece,
        "errors_in_most_uncertain": {
            "share_of_voxels": MOST_UNCERTAIN,
            "mean": found.mean_captured,
            "cases": list(found.captured),
        },
        "aurc_boundary": found.risk.aurc,
        "band_mm": found.band_mm,
        "cases": found.cases,
        "reliability_boundary": {
            "edges": found.boundary.edges.tolist(),
            "confidence": found.boundary.confidence.tolist(),
            "accuracy": found.boundary.accuracy.tolist(),
            "voxels": found.boundary.voxels.tolist(),
        },
        "risk_coverage": {
            "coverage": found.risk.coverage.tolist(),
            "risk": found.risk.risk.tolist(),
        },
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def prediction_names(sets: Sequence[PredictionSet]) -> str:
    """Return the names for a title."""
    return " against ".join(s.name for s in sets)
