"""Which classes the label files hold, by value and by name, and whether their names agree.

Only `.seg.nrrd` files name what they hold. 3D Slicer numbers segments in the order in which they
were drawn, so a value may mean another structure in every file: the names tell (`class_indices`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dycon_engine.data.cases import Label, class_indices, folded
from dycon_engine.data.checks import Finding, LabelFacts, quoted
from dycon_engine.data.splits import Split


class Segment(NamedTuple):
    """A named value that is drawn in a case; `key` is the name as names are compared."""

    case: str
    value: int
    name: str
    key: str


def found_labels(stored: Sequence[LabelFacts], names: Sequence[str] = ()) -> tuple[Label, ...]:
    """Return background and the classes that the label maps hold.

    By value, called as the files call them. Where values and names of several files disagree: by
    name, in alphabetical order, unless `names` calls the classes otherwise than the files.
    """
    segments = _drawn(stored)
    name_of = {segment.value: segment.name for segment in reversed(segments)}
    if not _agree(segments):
        wanted = {folded(name) for name in names}
        found = {segment.key: segment.name for segment in reversed(segments)}
        if not wanted or set(found) <= wanted:
            classes = [Label(index, found[key]) for index, key in enumerate(sorted(found), 1)]
            return (Label(0, "background"), *classes)
        name_of = {}
    values = sorted({value for facts in stored for value in facts.voxels} - {0})
    alone = len(values) == 1
    plain = {value: "foreground" if alone else f"label {value}" for value in values}
    return (
        Label(0, "background"),
        *(Label(value, name_of.get(value, plain[value])) for value in values),
    )


def class_problems(
    stored: Sequence[LabelFacts], labels: Sequence[Label], split: Split
) -> Iterable[Finding]:
    """Yield classes that no labeled case shows."""
    readable = [facts for facts in stored if not facts.problem and facts.name in split.labeled]
    drawn = {
        index
        for facts in readable
        for value, index in class_indices(labels, facts.names).items()
        if value in facts.voxels
    }
    if not readable:
        return
    if len(labels) <= 1:
        text = "labels: every labeled case is empty, expected a drawn structure; check the labels"
        yield Finding("classes", (), text)
    for index, label in enumerate(labels):
        if index and index not in drawn:
            yield Finding(
                "classes",
                (),
                f"class '{label.name}' (value {label.value}): in no labeled case, expected in at "
                "least one; draw it, take other cases or remove it from the list of labels",
            )


def name_problems(labels: Sequence[Label], names: Sequence[str]) -> Iterable[Finding]:
    """Yield names of classes that do not fit the classes that are there."""
    if names and len(names) != len(labels) - 1:
        yield Finding(
            "label-names",
            (),
            f"data.label_names: {len(names)} names, expected {len(labels) - 1} (one for each "
            "label value above 0); name them in the order of their values",
        )


def name_findings(
    stored: Sequence[LabelFacts], labels: Sequence[Label], *, declared: bool
) -> Iterable[Finding]:
    """Yield names of segments that contradict each other or fit no class.

    Args:
        stored: What the label files hold.
        labels: The classes of the run.
        declared: Whether the data set or the settings say them, not the label files.
    """
    segments = _drawn(stored)
    yield from _twice(segments)
    yield from _strangers(stored, labels)
    if not declared or len(labels) > 2:  # noqa: PLR2004 - one declared structure: nothing to swap
        yield from _names_of_one_value(stored, labels if declared else ())
        yield from _values_of_one_name(segments, labels)
    if not declared and not _agree(segments):
        yield from _nameless(stored, segments)


def taken_for(stored: Sequence[LabelFacts], labels: Sequence[Label]) -> Iterable[Finding]:
    """Yield segments that are read as a class of another name, because of their value."""
    cases: dict[tuple[str, int, str], list[str]] = defaultdict(list)
    names = {facts.name: class_indices(labels, facts.names) for facts in stored}
    for segment in _drawn(stored):
        index = names[segment.case].get(segment.value)
        if index is not None and folded(labels[index].name) != segment.key:
            cases[segment.name, segment.value, labels[index].name].append(segment.case)
    for (name, value, taken), found in cases.items():
        yield Finding(
            "label-names",
            tuple(found),
            f"segment '{name}' (value {value}) of {_cases(found)} is taken for '{taken}'; rename "
            "it where it is something else",
        )


def _drawn(stored: Iterable[LabelFacts]) -> list[Segment]:
    return [
        Segment(facts.name, value, name, folded(name))
        for facts in stored
        for value, name in sorted(facts.names.items())
        if value in facts.voxels
    ]


def _agree(segments: Iterable[Segment]) -> bool:
    """Return whether every value has one name, and every name one value."""
    pairs = {(segment.value, segment.key) for segment in segments}
    return len({value for value, _ in pairs}) == len({key for _, key in pairs}) == len(pairs)


def _twice(segments: Iterable[Segment]) -> Iterable[Finding]:
    seen: dict[tuple[str, str], Segment] = {}
    for segment in segments:
        other = seen.setdefault((segment.case, segment.key), segment)
        if other is not segment:
            yield Finding(
                "label-names",
                (segment.case,),
                f"case '{segment.case}': label values {other.value} and {segment.value} are both "
                f"called '{segment.name}', expected one segment per structure; rename or join them",
            )


def _strangers(stored: Iterable[LabelFacts], labels: Sequence[Label]) -> Iterable[Finding]:
    for facts in stored:
        known = class_indices(labels, facts.names)
        for segment in _drawn([facts]):
            if segment.value not in known:
                yield Finding(
                    "label-names",
                    (facts.name,),
                    f"case '{facts.name}': segment '{segment.name}' (value {segment.value}) is "
                    f"none of the classes {quoted([label.name for label in labels[1:]])}; rename "
                    "it or correct the list of labels",
                )


def _names_of_one_value(stored: Sequence[LabelFacts], labels: Sequence[Label]) -> Iterable[Finding]:
    """Yield names that share a value in two cases and may mean one structure or two.

    Two structures they are where both are classes of `labels`, or are in one file together.
    """
    classes = {folded(label.name) for label in labels[1:]}
    together = [{folded(name) for name in facts.names.values()} for facts in stored]
    together.append(classes)
    first: dict[int, dict[str, Segment]] = defaultdict(dict)
    for segment in _drawn(stored):
        others = first[segment.value]
        if segment.key in others:
            continue
        unclear = [
            other
            for other in others.values()
            if not any({other.key, segment.key} <= names for names in together)
        ]
        others[segment.key] = segment
        for other in unclear[:1]:
            yield _between(
                other,
                segment,
                f"label value {segment.value} is called '{other.name}' in one and "
                f"'{segment.name}' in the other; call one structure by one name, or list the "
                "classes in a manifest",
            )


def _values_of_one_name(segments: Iterable[Segment], labels: Sequence[Label]) -> Iterable[Finding]:
    """Yield names with two values that are the name of no class."""
    classes = {folded(label.name) for label in labels[1:]}
    first: dict[str, Segment] = {}
    for segment in segments:
        other = first.setdefault(segment.key, segment)
        if other.value != segment.value and segment.key not in classes:
            yield _between(
                other,
                segment,
                f"'{segment.name}' is label value {other.value} in one and {segment.value} in the "
                "other; name the classes as the files do, or give it one value",
            )


def _between(one: Segment, other: Segment, words: str) -> Finding:
    cases = (one.case, other.case)
    return Finding("label-names", cases, f"cases {quoted(cases)}: {words}")


def _nameless(stored: Iterable[LabelFacts], segments: Sequence[Segment]) -> Iterable[Finding]:
    """Yield label files without names where those with names disagree on the values."""
    example = segments[0]
    for facts in stored:
        if not facts.names and set(facts.voxels) - {0}:
            yield Finding(
                "label-names",
                (facts.name,),
                f"case '{facts.name}': its label file names no structures, and in the others one "
                f"structure has several values (e.g. '{example.name}', case '{example.case}'); "
                "save it as .seg.nrrd with the same names",
            )


def _cases(names: Sequence[str]) -> str:
    shown = quoted(names[:3]) + (", ..." if len(names) > 3 else "")  # noqa: PLR2004 - as a sample
    return f"{'case' if len(names) == 1 else 'cases'} {shown}"
