"""Whether one patient may be on two sides: by role, by spelling, by the slip of a pattern."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Dataset
from dycon_engine.data.checks import Finding, quoted, sampled
from dycon_engine.data.splits import Split, known_patient, patient_of

_PARTS = re.compile(r"\d+|[^\W\d_]+")


def patient_problems(dataset: Dataset, split: Split, config: DataConfig) -> Iterable[Finding]:
    """Yield patients who are in more than one of training, validation and test."""
    sides: dict[str, dict[str, str]] = defaultdict(dict)
    for role, names in split.roles.items():
        side = "training" if role in ("labeled", "unlabeled") else role
        for name in names:
            sides[patient_of(dataset.case(name), config)].setdefault(side, name)
    for by_side in sides.values():
        if len(by_side) > 1:
            names = tuple(by_side.values())
            known = (known_patient(dataset.case(name), config) or name for name in names)
            spelled = dict.fromkeys(unicodedata.normalize("NFC", name) for name in known)
            yield Finding(
                "patient",
                names,
                f"patient '{' = '.join(spelled)}': in {' and in '.join(by_side)} (cases "
                f"{quoted(names)}); all scans of a patient need one role",
            )


def pattern_problems(dataset: Dataset, split: Split, config: DataConfig) -> Iterable[Finding]:
    """Yield one line where `data.patient_pattern` tells the patient of no case at all."""
    strangers = _unmatched(dataset, split, config)
    if strangers and len(strangers) == len(split.sha256):
        yield Finding(
            "patient-names",
            strangers,
            f"data.patient_pattern '{config.patient_pattern}': matches no case name, e.g. "
            f"'{strangers[0]}', so that scans of one patient could be in training and validation; "
            "correct or remove it",
        )


def pattern_warnings(dataset: Dataset, split: Split, config: DataConfig) -> Iterable[Finding]:
    """Yield one line where `data.patient_pattern` leaves some cases without a patient."""
    strangers = _unmatched(dataset, split, config)
    if strangers and len(strangers) < len(split.sha256):
        verb = "is" if len(strangers) == 1 else "are each"
        yield Finding(
            "patient-names",
            strangers,
            f"data.patient_pattern '{config.patient_pattern}': does not match {_cases(strangers)}, "
            f"which {verb} taken for a patient; correct the pattern or the names",
        )


def spelling_warnings(dataset: Dataset, split: Split, config: DataConfig) -> Iterable[Finding]:
    """Yield patients whose names differ in nothing but punctuation, blanks or leading zeros."""
    spelled: dict[str, str] = {}
    cases: dict[str, list[str]] = defaultdict(list)
    for name in sorted(split.sha256):
        case = dataset.case(name)
        known = known_patient(case, config)
        if known is not None:
            patient = patient_of(case, config)
            spelled.setdefault(patient, unicodedata.normalize("NFC", known))
            cases[patient].append(name)
    for patients in _alike(list(spelled)):
        names = tuple(name for patient in patients for name in cases[patient])
        yield Finding(
            "patient-names",
            names,
            f"patients {quoted([spelled[patient] for patient in patients])} differ only in "
            f"punctuation, blanks or leading zeros ({_cases(names)}); spell them alike if they "
            "are one",
        )


def _unmatched(dataset: Dataset, split: Split, config: DataConfig) -> tuple[str, ...]:
    """Return the cases that have no patient although there is a pattern."""
    if config.patient_pattern is None:
        return ()
    names = sorted(split.sha256)
    return tuple(name for name in names if known_patient(dataset.case(name), config) is None)


def _alike(patients: Sequence[str]) -> list[tuple[str, ...]]:
    """Return groups of patients that may be one: '007' and '7', '12-34' and '1234'.

    Numbers stay apart from each other: '1-11' and '11-1' are two patients.
    """
    groups: dict[str, dict[str, None]] = defaultdict(dict)
    for patient in patients:
        parts = _PARTS.findall(patient)
        groups[_loose(parts)][patient] = None
        joined = "".join(parts)
        if joined in patients:
            groups[_loose(_PARTS.findall(joined))][patient] = None
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _loose(parts: Sequence[str]) -> str:
    """Return letters joined, numbers without leading zeros and with a mark around each."""
    return "".join(f"|{part.lstrip('0')}|" if part.isdecimal() else part for part in parts)


def _cases(names: Sequence[str]) -> str:
    return f"{'case' if len(names) == 1 else 'cases'} {sampled(names)}"
