"""The benchmark's results for people: Markdown, and one self-contained HTML page with plots."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dycon_engine import __version__
from dycon_engine.benchmarking.conditions import (
    calibration_note,
    chance_notes,
    device_notes,
    engine_note,
)
from dycon_engine.benchmarking.protocol import Protocol
from dycon_engine.benchmarking.running import PLAIN, marked
from dycon_engine.benchmarking.tables import (
    METRICS,
    Comparison,
    Result,
    Row,
    Spread,
    probability,
)
from dycon_engine.evaluation.cases import CaseScores
from dycon_engine.evaluation.metrics import Scores
from dycon_engine.evaluation.plots import draw_strips
from dycon_engine.evaluation.summaries import PredictionSet
from dycon_engine.pictures.page import NOTICE, render

ORACLE = (
    "An ORACLE run is an audit: its contrast saw the labels of unlabeled cases, which no method "
    "may. It is no result of semi-supervised learning."
)


@dataclass(frozen=True)
class Benchmark:
    """Everything that is shown.

    Attributes:
        protocol: The split and what others reported.
        rows: Two per method.
        comparisons: Against the reference method.
        results: All runs.
        conditions: What the runs had in common and what not, one line each.
        findings: Further sentences, e.g. of the leak audit.
    """

    protocol: Protocol
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    results: tuple[Result, ...]
    conditions: tuple[str, ...]
    findings: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what has to be known before reading a number."""
        oracle = (ORACLE,) if self.is_audit else ()
        return (
            *oracle,
            *self.conditions,
            engine_note(self.results),
            *device_notes(self.results),
            calibration_note(self.protocol, self.results),
            *chance_notes(self.comparisons),
            f"Split: {self.protocol.source}.",
            *filter(None, (self.protocol.availability,)),
        )

    @property
    def is_audit(self) -> bool:
        """Return whether a run saw labels that it must not see."""
        return any(row.oracle for row in self.rows)


def to_markdown(found: Benchmark) -> str:
    """Return the tables as Markdown."""
    lines = [f"# {found.protocol.title}, {found.protocol.name}", "", NOTICE, ""]
    lines += [f"- {line}" for line in (*found.notes, *found.findings)]
    heads = ["Method", "Pieces", "Seeds", *METRICS.values(), "Undefined", "ECE", "Train min", "MiB"]
    lines += ["", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in found.rows]
    if found.comparisons:
        heads = ["Method", "Against", "Seeds", "Dice", "95 % interval", "Better in"]
        heads += ["p (Wilcoxon)", "p (Holm)"]
        lines += ["", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        lines += [
            f"| {c.method} | {c.reference} | {len(c.seeds)} | {c.difference:+.4f} | "
            f"{c.low:+.4f} to {c.high:+.4f} | {c.better} of {c.cases} | {probability(c.p)} | "
            f"{probability(c.adjusted)} |"
            for c in found.comparisons
        ]
    lines += _published(found.protocol)
    return "\n".join(lines) + "\n"


def to_html(found: Benchmark) -> str:
    """Return the page."""
    from markupsafe import Markup  # noqa: PLC0415

    names = dict(enumerate(found.protocol.labels, start=1))
    sets = prediction_sets(found.results, found.protocol.labels)
    strips = [Markup(draw_strips(m, sets, names)) for m in ("dice", "hd95_mm")]  # noqa: S704
    values = {
        "found": found,
        "protocol": found.protocol,
        "engine": __version__,
        "metrics": METRICS,
        "cells": cells,
        "oracle": ORACLE,
        "probability": probability,
        "known": _known,
        "strips": strips,
    }
    return render(Path(__file__).with_name("page_of_benchmark.html"), values)


def prediction_sets(
    results: Sequence[Result], labels: Sequence[str], kind: str = PLAIN
) -> tuple[PredictionSet, ...]:
    """Return one set per method for the plots: every case the mean over seeds."""
    sets = []
    for method in dict.fromkeys(result["method"] for result in results):
        own = [result for result in results if result["method"] == method]
        cases = [
            CaseScores(
                own[0]["cases"][index]["case"],
                1.0,
                tuple(_averaged([r["cases"][index][kind][label] for r in own]) for label in labels),
            )
            for index in range(len(own[0]["cases"]))
        ]
        sets.append(PredictionSet(str(method), tuple(cases)))
    return tuple(sets)


def cells(row: Row) -> list[str]:
    """Return the texts of a row; a method whose runs saw hidden labels says so."""
    name = marked(row.method, oracle=row.oracle)
    digits = {"dice": 4, "jaccard": 4}
    figures = [_spread(row.metrics[metric], digits.get(metric, 2)) for metric in METRICS]
    others = [_spread(row.ece, 4), _spread(row.train_minutes, 1), _spread(row.memory_mib, 0)]
    undefined = f"{row.undefined}, {row.absent} absent" if row.absent else str(row.undefined)
    return [name, row.kind, str(row.seeds), *figures, undefined, *others]


def _published(protocol: Protocol) -> list[str]:
    """Return the lines of what others reported; none where nobody did."""
    if not protocol.published:
        return []
    note = f" {protocol.published_note}" if protocol.published_note else ""
    heads = ["Method", "Dice", "Jaccard", "HD95", "ASD", "Split", "Checkpoint"]
    rows = [
        (
            p.method,
            *map(_known, (p.dice, p.jaccard, p.hd95_voxels, p.asd_voxels)),
            p.split,
            p.checkpoint,
        )
        for p in protocol.published
    ]
    return [
        "",
        f"Published, percent and voxels; not run here, checkpoints chosen as stated.{note}",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _averaged(scores: Sequence[dict[str, float | None]]) -> Scores:
    values = {}
    for name in scores[0]:
        found = [float(value) for each in scores if (value := each[name]) is not None]
        values[name] = statistics.fmean(found) if found else math.nan
    whole = ("label", "prediction_voxels", "reference_voxels")
    return Scores(**{n: round(v) if n in whole else v for n, v in values.items()})  # type: ignore[arg-type]


def _spread(spread: Spread, digits: int) -> str:
    if spread.mean is None:
        return "-"
    sd = "" if spread.sd is None else f" ± {spread.sd:.{digits}f}"
    return f"{spread.mean:.{digits}f}{sd}"


def _known(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
