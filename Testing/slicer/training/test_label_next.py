"""The order in which scans are worth labeling, as a run's model left it beside the run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

ORDER = [
    {"name": "case-003", "reason": "unsure at the border", "thumbnail": "far.png"},
    {"name": "case-001", "reason": "unsure everywhere"},
    {"name": "case-009", "reason": "left out meanwhile"},
    {"name": "case-002"},
]


def table(*labeled):
    """Cases 1 to 3, and one that is not saved yet."""
    from DyCONTrainingLib.cases import InDataset, Role, row

    rows = [row(f"scan {n}", [InDataset(f"images/case-00{n}.nrrd")]) for n in range(1, 5)]
    return tuple(
        replace(
            each,
            alias=f"case-00{n}" if n < 4 else "",
            role=Role.LABELED if n in labeled else Role.UNLABELED,
        )
        for n, each in enumerate(rows, 1)
    )


def write(run, text):
    (run / "label_next").mkdir(parents=True)
    (run / "label_next/label_next.json").write_text(text)
    for name in ("far.png", "case-001.png"):
        (run / "label_next" / name).write_bytes(b"")


def test_the_order_of_the_model_in_the_persons_words(tmp_path):
    from DyCONTrainingLib.label_next import read_ranking

    write(tmp_path, json.dumps({"label_next": ORDER}))
    found = read_ranking(tmp_path, table())
    assert [(each.rank, each.title, each.reason) for each in found] == [
        (1, "scan 3", "unsure at the border"),
        (2, "scan 1", "unsure everywhere"),
        (3, "scan 2", ""),
    ]
    pictures = [each.thumbnail and each.thumbnail.name for each in found]
    assert pictures == ["far.png", "case-001.png", None]


def test_what_is_labeled_meanwhile_is_not_asked_for_again(tmp_path):
    from DyCONTrainingLib.label_next import read_ranking

    write(tmp_path, json.dumps({"label_next": ORDER}))
    found = read_ranking(tmp_path, table(3))
    assert [(each.rank, each.alias) for each in found] == [(1, "case-001"), (2, "case-002")]


@pytest.mark.parametrize("text", ["", "[]", '{"label_next": ', '{"other": []}'])
def test_without_an_order_nothing_is_listed(tmp_path, text):
    from DyCONTrainingLib.label_next import read_ranking

    assert read_ranking(tmp_path, table()) == []
    write(tmp_path, text)
    assert read_ranking(tmp_path, table()) == []
