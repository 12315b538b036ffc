"""Every problem of a data set at once, one plain line each, before the first training step.

Images come from the survey; of label files only those of labeled and validation cases are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.config import DataConfig, RunConfig
from dycon_engine.data import checks, duplicates, patients
from dycon_engine.data.blank import unpacked
from dycon_engine.data.cases import Case, Dataset, Label, read_stored_label, segment_names
from dycon_engine.data.doubtful import class_doubts
from dycon_engine.data.geometry import Spacing
from dycon_engine.data.hounsfield import Modality, modality, normalization_line, offset_warnings
from dycon_engine.data.naming import (
    class_problems,
    found_labels,
    name_findings,
    name_problems,
    taken_for,
)
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.splits import Split
from dycon_engine.data.survey import Scan, survey
from dycon_engine.data.unscanned import blank_classes
from dycon_engine.errors import DatasetError, DyconError

_CASES = re.compile(r"cases? ((?:'[^']*'(?:, | and )?)+)")
_NAME = re.compile(r"'([^']*)'")


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        errors: Why training cannot start; () = it can.
        notices: What the person should know.
        labels: As the data set says, else as the label files hold; `labels[0]` is the background.
        channels: As the data set says, else numbered.
        spacing_mm: Median of the labeled cases, axes in network order (z, y, x).
        modality: Whether the scans hold Hounsfield units, and why it seems so.
        draws_blank: Whether classes are drawn where the scans seem blank.
    """

    errors: tuple[checks.Finding, ...]
    notices: tuple[checks.Finding, ...]
    labels: tuple[Label, ...]
    channels: tuple[str, ...]
    spacing_mm: Spacing
    modality: Modality
    draws_blank: bool = False

    @property
    def is_ct(self) -> bool:
        """Whether the scans hold Hounsfield units."""
        return self.modality.is_ct

    @property
    def problems(self) -> tuple[str, ...]:
        """Why training cannot start, one line each."""
        return tuple(finding.message for finding in self.errors)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the person should know, one line each."""
        return tuple(finding.message for finding in self.notices)

    def findings(self) -> list[dict[str, Any]]:
        """Return all as plain values: severity (problem or warning), topic, cases, message."""
        return [
            {"severity": severity, "topic": f.topic, "cases": list(f.cases), "message": f.message}
            for severity, found in (("problem", self.errors), ("warning", self.notices))
            for f in found
        ]

    def require_usable(self) -> None:
        """Raise a DatasetError that holds every problem, where there is one."""
        if self.problems:
            raise DatasetError(self.problems)

    def preprocessing(self, config: RunConfig) -> Preprocessing:
        """Return the preprocessing of a run on this data."""
        return Preprocessing.plan(
            config.preprocessing,
            spacing_mm=self.spacing_mm,
            is_ct=self.is_ct,
            excludes_blank=not self.draws_blank,
        )

    def normalization(self, config: RunConfig) -> str:
        """Return how intensities are normalized in a run on this data and why, one line."""
        return normalization_line(self.preprocessing(config), config.preprocessing, self.modality)


def audit(
    dataset: Dataset,
    split: Split,
    config: RunConfig,
    *,
    scans: Sequence[Scan] | None = None,
    needs_unlabeled: bool = False,
) -> Audit:
    """Return everything wrong with `dataset` as it is about to be used.

    Args:
        dataset: The cases.
        split: Their roles.
        config: The run.
        scans: The survey where it was made already; else every image is read.
        needs_unlabeled: Whether the method cannot train without unlabeled cases.
    """
    scans = survey(dataset, config.data) if scans is None else scans
    used = set(split.sha256)
    by_name = {scan.name: scan for scan in scans if scan.name in used}
    drawn = [dataset.case(name) for name in (*split.labeled, *split.validation)]
    stored = [
        look_at_label(case, config.data, by_name[case.name])
        for case in drawn
        if case.label is not None and not by_name[case.name].problem
    ]
    names = config.data.label_names
    labels = dataset.labels or found_labels(stored, names)
    classes = renamed(labels, names)
    declared = bool(dataset.labels or names)
    usable = [scan for scan in by_name.values() if not scan.problem]
    kind = modality(usable, dataset.channels)
    trained = [facts for facts in stored if facts.name in split.labeled]
    draws_blank = any(blank_classes(trained, classes))  # no held-out label decides it
    errors = [
        *_listing(dataset.problems),
        *checks.unreadable(by_name.values()),
        *checks.voxel_problems(usable),
        *checks.channel_problems(usable, dataset.channels),
        *checks.label_problems(stored, by_name, dataset.labels),
        *class_problems(stored, classes, split),
        *name_problems(labels, names),
        *name_findings(stored, classes, declared=declared),
        *checks.role_problems(dataset, split, needs_unlabeled=needs_unlabeled),
        *duplicates.duplicate_problems(by_name, split),
        *patients.patient_problems(dataset, split, config.data),
        *patients.pattern_problems(dataset, split, config.data),
    ]
    notices = [
        *_listing(dataset.notes),
        *checks.assumed_spacing(dataset, config.data),
        *checks.spacing_warnings(usable),
        *checks.label_map_warnings(usable),
        *checks.unnamed_channel_warnings(usable, dataset),
        *offset_warnings(usable, config.preprocessing, kind),
        *checks.empty_warnings(stored),
        *(blank_classes(stored, classes) if draws_blank else ()),
        *(() if declared else class_doubts(stored, classes)),
        *taken_for(stored, classes),
        *duplicates.same_role_warnings(by_name, split),
        *patients.pattern_warnings(dataset, split, config.data),
        *patients.spelling_warnings(dataset, split, config.data),
        *checks.left_out(dataset, used),
    ]
    return Audit(
        errors=_unique(errors),
        notices=_unique(notices),
        labels=classes,
        channels=dataset.channels or _numbered(usable),
        spacing_mm=_median_spacing([by_name[name] for name in split.labeled] or usable),
        modality=kind,
        draws_blank=draws_blank,
    )


def look_at_label(case: Case, config: DataConfig, scan: Scan) -> checks.LabelFacts:
    """Return what is known of the label map of `case`; a failure becomes its `problem`.

    Args:
        case: With a label.
        config: Spacing of files without one.
        scan: Its image.
    """
    try:
        label, names = read_stored_label(case, config), segment_names(case)
    except (DyconError, OSError) as error:
        text = " ".join(str(error).split())
        text = text if f"case '{case.name}'" in text else f"case '{case.name}': {text}"
        return checks.LabelFacts(case.name, {}, problem=text)
    voxels, in_blank = _counts(label.array), {}
    if scan.geometry is not None and scan.geometry.size_zyx == label.geometry.size_zyx:
        blank = unpacked(scan.blank, scan.geometry.size_zyx)
        in_blank = {} if blank is None else _counts(label.array[blank])
    return checks.LabelFacts(case.name, voxels, label.geometry, names=names, blank=in_blank)


def _counts(labels: NDArray[Any]) -> dict[int, int]:
    """Return how many voxels have each value."""
    values, counts = np.unique(labels, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def renamed(labels: Sequence[Label], names: Sequence[str]) -> tuple[Label, ...]:
    """Return `labels` with their classes called `names`, where there are any."""
    if not names:
        return tuple(labels)
    pairs = zip(labels[1:], names, strict=False)
    return (labels[0], *(label._replace(name=name) for label, name in pairs))


def _median_spacing(scans: Sequence[Scan]) -> Spacing:
    spacings = [checks.oriented_spacing(scan) for scan in scans if scan.geometry is not None]
    if not spacings:
        return (1.0, 1.0, 1.0)
    z, y, x = (float(value) for value in np.median(spacings, axis=0))
    return (z, y, x)


def _numbered(scans: Sequence[Scan]) -> tuple[str, ...]:
    count = checks.usual_channels(scans)
    return ("image",) if count == 1 else tuple(f"channel {index}" for index in range(count))


def _listing(lines: Iterable[str]) -> Iterable[checks.Finding]:
    """Yield what was seen while the files were listed; the cases are those a line begins with."""
    for line in lines:
        match = _CASES.match(line)
        names = tuple(_NAME.findall(match[1])) if match else ()
        yield checks.Finding("listing", names, line)


def _unique(findings: Iterable[checks.Finding]) -> tuple[checks.Finding, ...]:
    """Return the findings, each message once and on one line."""
    unique: dict[str, checks.Finding] = {}
    for finding in findings:
        line = " ".join(finding.message.split())
        unique.setdefault(line, finding._replace(message=line))
    return tuple(unique.values())
