"""Which cases are drawn as best, median and worst."""

from __future__ import annotations

import dataclasses
import math

import pytest

from dycon_engine.evaluation import examples
from dycon_engine.evaluation.cases import CaseScores, absent
from dycon_engine.evaluation.summaries import PredictionSet


@pytest.mark.parametrize(
    ("dice", "chosen"),
    [
        ((0.1, 0.9, 0.5, 0.7, 0.3), {"best": "b", "median": "c", "worst": "a"}),
        ((0.1, 0.9, math.nan, 0.7, math.nan), {"best": "b", "median": "d", "worst": "a"}),
        ((0.1, 0.9, math.nan), {"best": "b", "worst": "a"}),
        ((math.nan, 0.9), {"worst": "b"}),
        ((math.nan,), {}),
    ],
)
def test_the_median_lies_in_the_middle_and_what_nobody_drew_is_no_example(dice, chosen):
    cases = tuple(
        CaseScores(name, 1.0, (dataclasses.replace(absent(1), dice=value),))
        for name, value in zip("abcde", dice, strict=False)
    )
    assert examples._chosen(PredictionSet("A", cases)) == chosen
