"""Outlines of structures can be told apart, over the uncertainty and by color-blind eyes too."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps

from dycon_engine.data.formats import writers
from DyCONLib.models import read_model
from Testing.slicer.color_vision import apart

MODELS = Path(__file__).resolve().parents[3] / "DyCONSegmentation" / "Resources" / "Models"
OPACITY, HIDDEN = 0.6, 0.5  # of the overlay, as the panel starts
GRAYS = [(gray, gray, gray) for gray in (0.0, 0.15, 0.3, 0.5, 0.7)]
WARM = [color[:3] for color in colormaps["inferno"](np.linspace(HIDDEN, 1, 11))]
SEEN = [OPACITY * np.asarray(warm) + (1 - OPACITY) * np.asarray(g) for warm in WARM for g in GRAYS]
APART = 22.0  # CIE76; 2 is just seen side by side


def unit(color):
    return tuple(part / 255 for part in color)


def palette(where):
    from DyCONLib.mrml_segments import PALETTE

    if where == "spare":
        assert PALETTE == writers.PALETTE
        return PALETTE
    return [segment.color for segment in read_model(MODELS / f"{where}.dycon").segments]


@pytest.mark.parametrize("where", ["spare", "DyCONLeftAtriumLGE", "DyCONPhantomHeart"])
def test_structures_can_be_told_from_each_other_the_uncertainty_and_the_scan(where, slicer_scene):
    colors = [unit(color) for color in palette(where)]
    for one, two in itertools.combinations(colors, 2):
        assert apart(one, two) > APART
    for color in colors:
        assert min(apart(color, behind) for behind in (*WARM, *SEEN)) > APART
        assert min(apart(color, gray) for gray in GRAYS) > APART
