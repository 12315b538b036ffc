"""No text cell of a CSV file is a formula, and every number stays one."""

from __future__ import annotations

import pytest

from dycon_engine.jobs.cells import cell, cells, row


@pytest.mark.parametrize("text", ['=HYPERLINK("x")', "+1+1", "-a", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_begins_like_a_formula_is_quoted(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["", "case 1", "a=b", "-1.5", "+2e-3", -1.5, 0, None, True])
def test_all_else_stays(value):
    assert cell(value) is value


def test_rows():
    assert cells(["=1", 2]) == ["'=1", 2]
    assert row({"name": "=1", "score": -0.5}) == {"name": "'=1", "score": -0.5}
