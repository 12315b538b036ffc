"""What a data set holds, in plain values, for people and panels."""

from __future__ import annotations

from typing import Any

from dycon_engine.data.cases import Dataset
from dycon_engine.data.splits import Split


def summarize(dataset: Dataset, split: Split | None = None) -> dict[str, Any]:
    """Return counts, channels, labels and layout of `dataset`, and its roles where split."""
    table: dict[str, Any] = {
        "layout": dataset.layout,
        "cases": len(dataset.cases),
        "with_label": sum(case.label is not None for case in dataset.cases),
        "patients_named": sum(case.patient is not None for case in dataset.cases),
        "channels": list(dataset.channels),
        "labels": [{"value": label.value, "name": label.name} for label in dataset.labels],
        "problems": list(dataset.problems),
        "notes": list(dataset.notes),
    }
    if split is not None:
        table["roles"] = {role: len(names) for role, names in split.roles.items()}
        table["split"] = split.hash()
    return table
