"""What a run on a data set would find, told without starting one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dycon_engine.config import RunConfig
from dycon_engine.data.audit import audit
from dycon_engine.data.cases import Case
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.splits import split_cases
from dycon_engine.data.survey import Scan, survey
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.methods import METHODS
from dycon_engine.settings import known


def audit_data(root: Path, config: RunConfig, reporter: Reporter) -> dict[str, Any]:
    """Return problems, warnings, cases, labels and channels of the data set in `root`.

    `findings` are problems and warnings once more, with the topic and the cases of each; `listing`
    repeats those problems that lie in how the files are named, not in what they hold.

    Raises:
        InputError: Nothing is there, or the settings fit no split.
        CancelledError: As asked for.
    """
    method = METHODS[known(config.method.name, METHODS, "method")]
    dataset = find_cases(root, config.data)
    reporter.hide(case.name for case in dataset.cases)
    reporter.stage("audit", len(dataset.cases))

    def on_case(done: int, _total: int) -> None:
        reporter.advance(done)
        reporter.check_cancelled()

    scans = survey(dataset, config.data, on_case)
    split = split_cases(dataset, config.data, scans=scans)
    needed = method.needs_unlabeled and config.training.unlabeled_cases != "all"
    found = audit(dataset, split, config, scans=scans, needs_unlabeled=needed)
    role_of = {name: role for role, names in split.roles.items() for name in names}
    pairs = zip(dataset.cases, scans, strict=True)
    return {
        "layout": dataset.layout,
        "findings": found.findings(),
        "problems": list(found.problems),
        "warnings": list(found.warnings),
        "normalization": found.normalization(config),
        "listing": [*dataset.problems, *dataset.notes],
        "labels": [label._asdict() for label in found.labels if label.value],
        "channels": list(dataset.channels),
        "cases": [_row(case, role_of.get(case.name), scan) for case, scan in pairs],
    }


def _row(case: Case, role: str | None, scan: Scan) -> dict[str, Any]:
    grid = scan.geometry
    return {
        "name": case.name,
        "images": [str(path) for path in case.images],
        "label": None if case.label is None else str(case.label),
        "role": role,
        "patient": case.patient,
        "channels": scan.channels,
        "size_zyx": None if grid is None else [int(n) for n in grid.size_zyx],
        "spacing_zyx_mm": None if grid is None else [float(mm) for mm in grid.spacing_mm],
        "sha256": scan.sha256,
    }
