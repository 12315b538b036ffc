"""What can be told of a data set before it is written: checks on the rows and on scene facts.

The engine audits the written files once more, with its own eyes.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from DyCONTrainingLib.cases import Role, Row
from DyCONTrainingLib.draft import (
    Draft,
    Finding,
    Fix,
    leave_out,
    problem,
    put_on_top,
    set_role,
    warning,
)
from DyCONTrainingLib.facts import Facts, ImageFacts, LabelFacts
from DyCONTrainingLib.labels import LabelMapping

SPACING_OUTLIER = 3.0  # times the median, as the engine's audit
ENOUGH_LABELED = 3  # to hold one of them out


def found(draft: Draft, facts: Facts, *, needs_unlabeled: bool = True) -> list[Finding]:
    """Return every finding, problems first."""
    findings = [
        *_roles(draft, needs_unlabeled=needs_unlabeled),
        *_held_out(draft, facts),
        *_voxels(draft.rows, facts),
        *_channels(draft.rows),
        *_labels(draft, facts),
        *_overlaps(draft, facts),
        *_duplicates(draft.rows, facts),
        *_patients(draft.rows),
        *_spacings(draft.rows, facts),
    ]
    return sorted(findings, key=lambda finding: finding.level)


def _roles(draft: Draft, *, needs_unlabeled: bool) -> Iterator[Finding]:
    roles = {row.role for row in draft.rows}
    if draft.rows and Role.LABELED not in roles:
        yield problem("no labeled case: add a scan with a segmentation, or give one the role")
    if draft.rows and needs_unlabeled and Role.UNLABELED not in roles:
        yield problem(
            "no unlabeled case, but the method learns from unlabeled scans: add scans without "
            "segmentation or choose the method 'supervised'"
        )
    for row in draft.rows:
        if row.role.needs_label and row.label is None:
            yield problem(
                f"case '{row.name}': is {row.role.words} but has no segmentation",
                [row],
                [set_role(Role.UNLABELED, row)],
            )


def _held_out(draft: Draft, facts: Facts) -> Iterator[Finding]:
    roles = {row.role for row in draft.rows}
    if Role.LABELED in roles and Role.HELD_OUT not in roles:
        yield warning(
            "no held-out case: the model will be neither scored nor calibrated",
            fixes=_hold_one_out(draft, facts),
        )


def _hold_one_out(draft: Draft, facts: Facts) -> list[Fix]:
    """Return the button that holds out the last labeled case that training can spare.

    It is the only scan of its patient, and each of its labels is drawn in another labeled case too.
    """
    labeled = [row for row in draft.rows if row.role is Role.LABELED and row.label is not None]
    if len(labeled) < ENOUGH_LABELED:
        return []
    scans = Counter(row.patient for row in draft.rows if row.patient)
    drawn = {row.images: _drawn(facts.labels.get(row.images), draft.mapping) for row in labeled}
    cases = Counter(value for values in drawn.values() for value in values)
    spare = [
        row
        for row in labeled
        if scans[row.patient] <= 1 and all(cases[value] > 1 for value in drawn[row.images])
    ]
    words = "Hold out one labeled case"
    return [replace(set_role(Role.HELD_OUT, row), words=words) for row in spare[-1:]]


def _drawn(label: LabelFacts | None, mapping: LabelMapping) -> set[int]:
    """Return the values of the labels that a segmentation holds voxels of."""
    voxels = label.voxels if label is not None else {}
    return {mapping.value_of(name) for name, count in voxels.items() if count} - {0}


def _voxels(rows: Iterable[Row], facts: Facts) -> Iterator[Finding]:
    for row in rows:
        image = facts.images.get(row.images)
        text = "" if image is None else _image_problem(image)
        if text:
            yield problem(f"case '{row.name}': {text}", [row], [leave_out(row)])


def _image_problem(image: ImageFacts) -> str:
    if image.problem:
        return image.problem
    if min(image.size_xyz) < 1 or max(image.size_xyz) == 1:
        return f"image has {'x'.join(map(str, image.size_xyz))} voxels, expected a scan"
    if not image.finite:
        return "image holds NaN or infinite voxels, expected numbers"
    if image.constant:
        return f"image is constant ({image.low:g} in every voxel), expected a scan"
    if not image.channels_agree:
        return "its channels lie on different grids; resample them onto the first"
    return ""


def _channels(rows: Sequence[Row]) -> Iterator[Finding]:
    usual = Counter(len(row.images) for row in rows).most_common(1)
    for row in rows:
        if len(row.images) != usual[0][0]:
            yield problem(
                f"case '{row.name}': has {len(row.images)} channels, the others {usual[0][0]}; "
                "join scans of one case as channels, or leave it out",
                [row],
                [leave_out(row)],
            )


def _labels(draft: Draft, facts: Facts) -> Iterator[Finding]:
    drawn: set[int] = set()
    unknown = False
    for row in draft.rows:
        label = facts.labels.get(row.images)
        if row.label is None or row.role is Role.UNLABELED:
            continue
        if label is None:
            unknown = True
            continue
        if row.role is Role.LABELED:
            drawn |= _drawn(label, draft.mapping)
        yield from _label(row, label, draft.mapping)
    if unknown or not any(row.role is Role.LABELED and row.label for row in draft.rows):
        return
    for each in draft.mapping.used:
        if each.value not in drawn:
            yield problem(
                f"label '{each.name}' (value {each.value}): in no labeled case, expected in at "
                "least one; draw it, or leave its segments out"
            )


def _label(row: Row, label: LabelFacts, mapping: LabelMapping) -> Iterator[Finding]:
    kept = {name: n for name, n in label.voxels.items() if mapping.value_of(name)}
    make_unlabeled = set_role(Role.UNLABELED, row)
    if label.outside_ml and not sum(label.voxels.values()):
        yield problem(
            f"case '{row.name}': the segmentation lies outside the scan; it belongs to another "
            "scan or has lost its transform",
            [row],
            [make_unlabeled],
        )
    elif not sum(kept.values()):
        yield warning(
            f"case '{row.name}': the segmentation is empty; right only if the structure is not "
            "in the scan",
            [row],
            [make_unlabeled],
        )
    elif empty := sorted(name for name, voxels in kept.items() if not voxels):
        yield warning(f"case '{row.name}': empty segments: {_quoted(empty)}", [row])
    elif label.outside_ml:
        yield warning(
            f"case '{row.name}': {label.outside_ml:.2g} ml of the segmentation lie outside the "
            "scan and are cut off",
            [row],
        )
    if label.is_prediction:
        yield warning(
            f"case '{row.name}': the segmentation was made by a model; check and correct it "
            "before a model learns from it",
            [row],
            [make_unlabeled],
        )


def _overlaps(draft: Draft, facts: Facts) -> Iterator[Finding]:
    if draft.mapping.on_top:
        return
    shared: dict[tuple[int, int], list[tuple[Row, int]]] = defaultdict(list)
    for row in draft.rows:
        label = facts.labels.get(row.images)
        if label is None or row.role is Role.UNLABELED:
            continue
        for names, voxels in label.overlaps.items():
            first, second = sorted(draft.mapping.value_of(name) for name in names)
            if first and first != second:
                shared[first, second].append((row, voxels))
    name_of = {each.value: each.name for each in draft.mapping.classes}
    for values, places in shared.items():
        labels = [name_of[value] for value in values]
        yield problem(
            f"segments overlap: {_quoted(labels)} share {sum(n for _, n in places)} voxels in "
            f"{_quoted([row.name for row, _ in places])}; a voxel has one label: which is on top?",
            [row for row, _ in places],
            [put_on_top(value, name_of[value]) for value in values],
        )


def _duplicates(rows: Iterable[Row], facts: Facts) -> Iterator[Finding]:
    same: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        image = facts.images.get(row.images)
        if image is not None and image.sha256:
            same[image.sha256].append(row)
    for group in same.values():
        if len(group) < 2:  # noqa: PLR2004 - a pair
            continue
        keep = next((row for row in group if row.role.needs_label), group[0])
        others = [row for row in group if row is not keep]
        roles = list(dict.fromkeys(row.role.words for row in group))
        text = f"cases {_quoted([row.name for row in group])}: hold the same voxels"
        if len(roles) > 1:
            yield problem(f"{text} but are {' and '.join(roles)}", group, [leave_out(*others)])
        else:
            yield warning(f"{text} ({roles[0]}); one would do", group, [leave_out(*others)])


def _patients(rows: Iterable[Row]) -> Iterator[Finding]:
    scans: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.patient:
            scans[row.patient].append(row)
    for patient, group in scans.items():
        sides = list(dict.fromkeys(row.role.side for row in group))
        if len(sides) > 1:
            roles = list(dict.fromkeys(row.role.words for row in group))
            apart = [row for row in group if row.role.side == "training"]
            yield problem(
                f"patient '{patient}': scans {_quoted([row.name for row in group])} are "
                f"{' and '.join(roles)}; all scans of a patient need one side",
                group,
                [leave_out(*apart)],
            )


def _spacings(rows: Iterable[Row], facts: Facts) -> Iterator[Finding]:
    known = {row.images: facts.images[row.images] for row in rows if row.images in facts.images}
    usable = [image.spacing_mm for image in known.values() if not _image_problem(image)]
    if not usable:
        return
    median = [statistics.median(values) for values in zip(*usable, strict=True)]
    for row in rows:
        image = known.get(row.images)
        if image is None or _image_problem(image):
            continue
        ratios = [own / usual_mm for own, usual_mm in zip(image.spacing_mm, median, strict=True)]
        if max(max(ratio, 1 / ratio) for ratio in ratios) > SPACING_OUTLIER:
            yield warning(
                f"case '{row.name}': spacing {_mm(image.spacing_mm)} mm is far from the usual "
                f"{_mm(median)} mm; check that it is the same kind of scan",
                [row],
                [leave_out(row)],
            )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _mm(spacing: Iterable[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in spacing)
