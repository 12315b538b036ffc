"""Whoever uses a method finds its paper, and the two places that name it agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dycon_engine.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = (ROOT / "CITATION.cff").read_text(encoding="utf-8").partition("\nreferences:\n")[2]


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"supervised"}))
def test_every_method_is_cited_as_its_row_says(name):
    (entry,) = (e for e in REFERENCES.split("  - type: ") if f'notes: "--method {name}"\n' in e)
    title, year = (
        re.search(rf"^    {key}: \"?(.*?)\"?$", entry, re.MULTILINE)[1] for key in ("title", "year")
    )
    methods = (ROOT / "docs" / "reference" / "methods.md").read_text(encoding="utf-8")
    (row,) = (line for line in methods.splitlines() if line.startswith(f"| `{name}` |"))
    assert title in row
    assert year in row
    for number in re.findall(r"arxiv\.org/abs/([\d.]+)", entry):
        assert f"arXiv {number}" in row
    families = re.findall(r'family-names: "(.*)"', entry)
    assert families
    assert f"{', '.join(families[:-1])} & {families[-1]}: " in row
