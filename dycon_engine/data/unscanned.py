"""Classes that are drawn where scans seem blank: there the network must be asked all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from dycon_engine.data.cases import Label, class_indices
from dycon_engine.data.checks import MAX_CLASSES, Finding, LabelFacts, sampled

MOST_BLANK = 0.01  # of the voxels of a class: the rim of what was filled in


def blank_classes(stored: Iterable[LabelFacts], labels: Sequence[Label]) -> Iterator[Finding]:
    """Yield each class of which more than `MOST_BLANK` lies where the scans are blank.

    Args:
        stored: What the label files hold.
        labels: The classes of the run.
    """
    if len(labels) > MAX_CLASSES:  # an image among the label maps; the audit refuses it
        return
    drawn: Counter[int] = Counter()
    blank: dict[int, Counter[str]] = {}
    for facts in stored:
        for value, index in class_indices(labels, facts.names).items():
            if index and value in facts.voxels:
                drawn[index] += facts.voxels[value]
                if facts.blank.get(value):
                    blank.setdefault(index, Counter())[facts.name] += facts.blank[value]
    for index, by_case in sorted(blank.items()):
        share = by_case.total() / drawn[index]
        if share > MOST_BLANK:
            names = tuple(sorted(by_case))
            yield Finding(
                "blank",
                names,
                f"class '{labels[index].name}': {share:.0%} of it is drawn where the scans are "
                f"blank, large blocks of one value at the rim (case{'s' * (len(names) > 1)} "
                f"{sampled(names)}); such voxels are taken for scanned now, so check "
                "for scans that were clipped, or labels drawn beyond what was scanned",
            )
