"""B22: twenty cases computed by hand; an empty mask is never 0 mm and never averaged silently.

Masks are drawn as lists of voxels (z, y, x) on a 6x6x6 grid with spacing 2 x 1 x 1 mm. Figures
(Dice, Jaccard, HD95 mm, ASD mm, ASSD mm) follow from pen and paper; NaN means undefined.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest

from dycon_engine.evaluation.metrics import score, summarize

NAN = math.nan
SPACING = (2.0, 1.0, 1.0)


class HandCase(NamedTuple):
    """A drawing and the figures that follow from it."""

    name: str
    prediction: list
    reference: list
    dice: float
    jaccard: float
    hd95: float
    asd: float
    assd: float


def block(z, y, x):
    return list(itertools.product(range(*z), range(*y), range(*x)))


A, B = (2, 2, 2), (2, 2, 5)
CUBE = block((1, 4), (1, 4), (1, 4))  # 27 voxels, 26 on the surface
SHELL = [v for v in CUBE if v != (2, 2, 2)]
LINE = block((2, 3), (2, 3), (1, 5))  # 4 voxels along x
PLATE = block((2, 3), (1, 4), (1, 4))  # 9 voxels in one slice
ALL = block((0, 6), (0, 6), (0, 6))
CASES = [
    HandCase("both empty: nothing to score", [], [], NAN, NAN, NAN, NAN, NAN),
    HandCase("only the prediction empty", [], [A], 0, 0, NAN, NAN, NAN),
    HandCase("only the reference empty", [A], [], 0, 0, NAN, NAN, NAN),
    HandCase("full prediction, empty reference", ALL, [], 0, 0, NAN, NAN, NAN),
    HandCase("empty prediction, full reference", [], ALL, 0, 0, NAN, NAN, NAN),
    HandCase("one voxel, the same", [A], [A], 1, 1, 0, 0, 0),
    HandCase("3 voxels apart along x", [A], [B], 0, 0, 3, 3, 3),
    HandCase("1 slice apart along z is 2 mm", [A], [(3, 2, 2)], 0, 0, 2, 2, 2),
    HandCase("diagonal in plane", [A], [(2, 5, 6 - 1)], 0, 0, 18**0.5, 18**0.5, 18**0.5),
    HandCase("1 slice and 1 voxel", [A], [(3, 3, 2)], 0, 0, 5**0.5, 5**0.5, 5**0.5),
    # one of two found: directions {0} and {0, 3}; 95 % of (0, 0, 3) lies at 0 + 0.9 * 3
    HandCase("half missed", [A], [A, B], 2 / 3, 1 / 2, 2.7, 0, 1),
    HandCase("one too many", [A, B], [A], 2 / 3, 1 / 2, 2.7, 1.5, 1),
    HandCase("the same cube", CUBE, CUBE, 1, 1, 0, 0, 0),
    HandCase("the whole grid twice", ALL, ALL, 1, 1, 0, 0, 0),
    # hollow cube: overlap 26; the reference misses only its center, whose shell stays the surface
    HandCase("hollow against full", SHELL, CUBE, 52 / 53, 26 / 27, 0, 0, 0),
    # line 1..4 against 2..5: overlap 3; two of eight distances are 1; 95 % of them is 1
    HandCase("line moved by 1", LINE, block((2, 3), (2, 3), (2, 6)), 6 / 8, 3 / 5, 1, 1 / 4, 1 / 4),
    # the lower half of the line: directions {0, 0} and {0, 0, 1, 2}; pooled 95 %: 1 + 0.75 * 1
    HandCase("half a line", LINE[:2], LINE, 4 / 6, 1 / 2, 1.75, 0, 3 / 6),
    HandCase("plate moved by a slice", PLATE, block((3, 4), (1, 4), (1, 4)), 0, 0, 2, 2, 2),
    # center of the plate: 8 voxels around it at 1 (4) and sqrt 2 (4); itself 0, twice
    HandCase("center of a plate", [A], PLATE, 2 / 10, 1 / 9, 2**0.5, 0, (4 + 32**0.5) / 10),
    # both ends of a line against its middle pair: {1, 1} and {1, 1}
    HandCase("ends and middle", [LINE[0], LINE[3]], LINE[1:3], 0, 0, 1, 1, 1),
]


def drawn(voxels):
    mask = np.zeros((6, 6, 6), dtype=np.uint8)
    for voxel in voxels:
        mask[voxel] = 1
    return mask


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_figures_computed_by_hand(case):
    [found] = score(drawn(case.prediction), drawn(case.reference), classes=(1,), spacing_mm=SPACING)
    figures = (found.dice, found.jaccard, found.hd95_mm, found.asd_mm, found.assd_mm)
    assert figures == pytest.approx(case[3:], rel=1e-12, abs=1e-12, nan_ok=True)
    assert found.surface_defined == (not math.isnan(case.hd95))
    assert math.isnan(found.hd95_voxels) == math.isnan(case.hd95)


def test_there_are_twenty_and_five_are_undefined():
    assert len(CASES) == 20
    summary = summarize(
        [
            score(drawn(c.prediction), drawn(c.reference), classes=(1,), spacing_mm=SPACING)[
                0
            ].hd95_mm
            for c in CASES
        ]
    )
    assert (summary.defined, summary.undefined) == (15, 5)
    defined = [c.hd95 for c in CASES if not math.isnan(c.hd95)]
    assert summary.mean == pytest.approx(sum(defined) / 15)
