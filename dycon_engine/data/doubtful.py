"""Classes that are there only because a value is: where nobody declared any, slips become classes.

A structure saved as 1 in some files and as 255 in others, or one stray voxel of value 7.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dycon_engine.data.cases import Label, class_indices
from dycon_engine.data.checks import MAX_CLASSES, Finding, LabelFacts, sampled

FEW_VOXELS = 10  # in all label maps together; less is hardly a structure
SEVERAL = 3  # label maps of which one alone shows a class

Counts = Mapping[int, Mapping[str, int]]  # class index -> case -> voxels


def class_doubts(stored: Iterable[LabelFacts], labels: Sequence[Label]) -> Iterator[Finding]:
    """Yield what hints at classes that nobody meant, each class once.

    Args:
        stored: What the label files hold.
        labels: The classes that were found in them.
    """
    if len(labels) > MAX_CLASSES:  # an image among the label maps; the audit refuses it
        return
    counts = _counts(stored, labels)
    apart = list(_never_together(counts))
    for group in apart:
        yield _one_structure(group, counts, labels)
    told = {index for group in apart for index in group}
    doubted: dict[tuple[tuple[str, ...], str], list[str]] = defaultdict(list)
    for index in sorted(counts.keys() - told):
        what = _rare(index, counts)
        if what:
            doubted[tuple(counts[index]), what].append(labels[index].name)
    for (where, what), names in doubted.items():
        yield Finding(
            "classes",
            where,
            f"class{'' if len(names) == 1 else 'es'} {sampled(names)}: {what}; erase a slip, else "
            "name the classes in data.label_names",
        )


def _rare(index: int, counts: Counts) -> str:
    """Return in which way a class is rare, '' where it is not."""
    where = tuple(counts[index])
    if sum(counts[index].values()) < FEW_VOXELS:
        return f"fewer than {FEW_VOXELS} voxels in all, {_in_cases(where)}"
    total = len({case for of_class in counts.values() for case in of_class})
    if len(where) == 1 and total >= SEVERAL:
        return f"only {_in_cases(where)}, of {total} with a structure"
    return ""


def _counts(stored: Iterable[LabelFacts], labels: Sequence[Label]) -> Counts:
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    for facts in sorted(stored, key=lambda facts: facts.name):
        indices = class_indices(labels, facts.names)
        for value, voxels in facts.voxels.items():
            index = indices.get(value, 0)
            if index and value > 0 and voxels:  # a negative value is a problem of its own
                counts[index][facts.name] = voxels
    return counts


def _never_together(counts: Counts) -> Iterator[tuple[int, ...]]:
    """Yield classes of which every label map with a structure shows exactly one, rarest first."""
    rest = sorted(counts, key=lambda index: (-len(counts[index]), index))
    cases = {case for of_class in counts.values() for case in of_class}
    while rest:
        rarest = rest.pop()
        group, seen = [], set(counts[rarest])
        for index in rest:
            if seen.isdisjoint(counts[index]):
                group.append(index)
                seen.update(counts[index])
        if group and seen == cases:
            rest = [index for index in rest if index not in group]
            yield (rarest, *reversed(group))


def _one_structure(group: Sequence[int], counts: Counts, labels: Sequence[Label]) -> Finding:
    *rarer, usual = group
    parts = [f"'{labels[index].name}' only {_in_cases(tuple(counts[index]))}" for index in rarer]
    return Finding(
        "classes",
        tuple(case for index in rarer for case in counts[index]),
        f"classes that never occur together: {', '.join(parts)}, '{labels[usual].name}' only in "
        "the others; give them one value where they are one structure, else name the classes in "
        "data.label_names",
    )


def _in_cases(names: Sequence[str]) -> str:
    return f"in case{'' if len(names) == 1 else 's'} {sampled(names)}"
