"""The box around a mask."""

from __future__ import annotations

import numpy as np

from dycon_engine.data.volume import bounding_box


def test_bounding_box_is_tight_and_none_for_nothing():
    mask = np.zeros((5, 6, 7), dtype=bool)
    assert bounding_box(mask) is None
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert bounding_box(mask) == (slice(1, 4), slice(2, 3), slice(3, 7))
