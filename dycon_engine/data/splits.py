"""Who is labeled, unlabeled, validation and test: decided once, by patient, frozen by content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Case, Dataset, folded
from dycon_engine.data.survey import Scan, survey
from dycon_engine.errors import InputError

HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class Split:
    """Case names by role, and the hash of each case's voxels ('' where unreadable)."""

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    sha256: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that no case has two roles.

        Raises:
            InputError: One has.
        """
        names = [name for role in self.roles.values() for name in role]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"case '{twice[0]}': has two roles in the split; keep one")

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """Names by role."""
        return {
            "labeled": self.labeled,
            "unlabeled": self.unlabeled,
            "validation": self.validation,
            "test": self.test,
        }

    def hash(self) -> str:
        """Return a sha256 of roles and voxels; no label takes part."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Return the split as canonical JSON."""
        content = {role: list(names) for role, names in self.roles.items()}
        return json.dumps(content | {"sha256": dict(self.sha256)}, sort_keys=True, indent=1)

    @staticmethod
    def from_json(text: str) -> Split:
        """Return the split of `to_json`.

        Raises:
            InputError: The text is not one of `to_json`.
        """
        try:
            content = json.loads(text)
            roles = [content[r] for r in ("labeled", "unlabeled", "validation", "test")]
            hashes = {str(name): str(value) for name, value in content["sha256"].items()}
            labeled, unlabeled, validation, test = (tuple(map(str, names)) for names in roles)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"split file is incomplete or damaged ({error!r}); start the run again"
            ) from error
        return Split(labeled, unlabeled, validation, test, hashes)


def split_cases(
    dataset: Dataset, config: DataConfig, *, scans: Sequence[Scan] | None = None
) -> Split:
    """Return the split of `dataset`.

    Roles that the data set gives win. Of the rest, in the order of the list file (else shuffled by
    the seed), the last labeled ones are validation, those before them test, the first are labeled
    and all others unlabeled. All scans of one patient stay on one side of the held-out line.

    Args:
        dataset: The cases.
        config: Counts, order, seed and patient pattern.
        scans: The survey where it was made already; else every image is read for its hash.

    Raises:
        InputError: The order names an unknown case, or more labels are asked for than there are.
    """
    cases = _in_order(dataset, config)
    roles = _roles(cases, config)
    scans = survey(dataset, config) if scans is None else scans
    hashes = {scan.name: scan.sha256 for scan in scans}
    members = {
        role: tuple(case.name for case in cases if roles.get(case.name) == role)
        for role in ("labeled", "unlabeled", "validation", "test")
    }
    return Split(**members, sha256={name: hashes[name] for name in sorted(roles)})


def apply_split(dataset: Dataset, split: Split) -> Dataset:
    """Return what training may see: roles set, no label but those of labeled and validation."""
    cases = []
    for role, names in split.roles.items():
        for name in names:
            case = dataset.case(name)
            label = case.label if role in ("labeled", "validation") else None
            cases.append(dataclasses.replace(case, role=role, label=label))
    return dataclasses.replace(dataset, cases=tuple(cases))


def patient_of(case: Case, config: DataConfig) -> str:
    """Return whose scan `case` is, as patients are compared; the case itself where unknown.

    Capitals, blanks and how accents are stored make no other patient.

    Raises:
        InputError: The pattern is not a regular expression.
    """
    name = known_patient(case, config) or case.name
    return folded(unicodedata.normalize("NFC", name))


def known_patient(case: Case, config: DataConfig) -> str | None:
    """Return whose scan `case` is, as the data set or `data.patient_pattern` spells it.

    None where the data set does not say and the pattern, or its first group, finds nothing.

    Raises:
        InputError: The pattern is not a regular expression.
    """
    if case.patient or config.patient_pattern is None:
        return case.patient or None
    try:
        match = re.search(config.patient_pattern, case.name)
    except re.error as error:
        raise InputError(
            f"data.patient_pattern '{config.patient_pattern}': not a regular expression "
            f"({error}); correct it"
        ) from error
    return (match[1] if match.groups() else match[0]) or None if match else None


def read_list(path: Path) -> tuple[str, ...]:
    """Return the names of a list file, one per line; empty lines and `#` lines are skipped.

    Accents are joined to their letters (NFC), as in the names of cases.

    Raises:
        InputError: It cannot be read or names a case twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(f"list '{path}': cannot be read ({reason}); check the path") from error
    names = [unicodedata.normalize("NFC", line.strip()) for line in lines]
    names = [name for name in names if name and not name.startswith("#")]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"list '{path}': names '{twice[0]}' twice; keep one line")
    return tuple(names)


def _in_order(dataset: Dataset, config: DataConfig) -> list[Case]:
    if config.order is None:
        if dataset.ordered:
            return list(dataset.cases)
        return sorted(dataset.cases, key=lambda case: _shuffled(case.name, config.seed))
    path = Path(config.order)
    folder = dataset.root if dataset.root.is_dir() else dataset.root.parent
    if not path.is_absolute() and not path.exists():
        path = folder / path
    names = read_list(path)
    by_name = {case.name: case for case in dataset.cases}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise InputError(
            f"list '{path}': {len(unknown)} of {len(names)} names are not in the data set, "
            f"first '{unknown[0]}'; remove them or add the scans"
        )
    return [by_name[name] for name in names]


def _shuffled(name: str, seed: int) -> str:
    """Return a sort key that does not depend on the other cases."""
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest()


def _roles(cases: Sequence[Case], config: DataConfig) -> dict[str, str]:
    """Return the role per case name; cases that must be left out have none."""
    roles = {case.name: case.role for case in cases if case.role is not None}
    given = set(roles.values())
    open_cases = [case for case in cases if case.role is None]
    validation = 0 if "validation" in given else _validation_count(cases, config)
    test = 0 if "test" in given else config.test
    for role, count in (("validation", validation), ("test", test)):
        _hold_out(cases, roles, role, count, config)
    held_out = {patient_of(case, config) for case in cases if roles.get(case.name) in HELD_OUT}
    left = [
        case
        for case in open_cases
        if case.name not in roles and patient_of(case, config) not in held_out
    ]
    labelable = [case.name for case in left if case.label is not None]
    wanted = len(labelable)
    if config.labeled is not None:
        wanted = config.labeled - sum(role == "labeled" for role in roles.values())
    if wanted > len(labelable):
        raise InputError(
            f"data.labeled: {config.labeled} asked for, but only {len(labelable)} cases with a "
            "label are left beside validation and test; lower one of the three"
        )
    labeled = set(labelable[: max(wanted, 0)])
    for case in left:
        roles[case.name] = "labeled" if case.name in labeled else "unlabeled"
    return roles


def _validation_count(cases: Sequence[Case], config: DataConfig) -> int:
    if config.validation is not None:
        return config.validation
    labelable = sum(case.label is not None and case.role is None for case in cases)
    usable = labelable - config.test if config.labeled is None else config.labeled
    return usable // 5 if labelable > usable // 5 else 0


def _hold_out(
    cases: Sequence[Case], roles: dict[str, str], role: str, count: int, config: DataConfig
) -> None:
    """Give `role` to the last `count` labeled cases, whole patients at a time."""
    taken = 0
    placed = {patient_of(case, config) for case in cases if roles.get(case.name, role) != role}
    for case in reversed(cases):
        if taken >= count:
            return
        patient = patient_of(case, config)
        if case.label is None or case.name in roles or patient in placed:
            continue
        for other in cases:
            if (
                other.label is not None
                and other.name not in roles
                and patient_of(other, config) == patient
            ):
                roles[other.name] = role
                taken += 1
    if taken < count:
        raise InputError(
            f"data.{role}: {count} asked for, but only {taken} cases with a label are there; "
            "lower it"
        )
