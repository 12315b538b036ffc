"""Signed distances against their twin, SciPy and hand-made cases."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.ndimage import distance_transform_edt

from dycon_engine.losses.signed_distance import signed_distance, squared_distance, to_probability
from Testing.reference.naive_shapes import naive_signed_distance


def test_signed_distance_equals_its_twin() -> None:
    torch.manual_seed(0)
    label = torch.randint(0, 3, (2, 4, 5, 3))
    label[1] = label[1].clamp_max(1)  # class 2 is absent here
    found = signed_distance(label, 3)
    assert found.shape == (2, 2, 4, 5, 3)
    for b in range(2):
        for value in (1, 2):
            for voxel, expected in naive_signed_distance(label[b], value).items():
                assert found[b, value - 1][voxel].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [(3, 40, 50), (50, 3, 40), (40, 50, 3)])
def test_squared_distance_is_exact_along_every_axis(size: tuple[int, int, int]) -> None:
    mask = torch.zeros(2, *size, dtype=torch.bool)
    mask[0, 0, 0, 0] = mask[0, -1, -1, 0] = mask[1, 1, 2, 2] = True
    found = squared_distance(mask).sqrt()
    for b in range(2):
        torch.testing.assert_close(
            found[b].double(), torch.from_numpy(distance_transform_edt(~mask[b].numpy()))
        )


def test_hand_drawn_line() -> None:
    label = torch.tensor([0, 0, 1, 1, 1, 0, 0, 0]).view(1, 1, 1, 8)
    expected = [2 / 3, 1 / 3, -0.5, -1.0, -0.5, 1 / 3, 2 / 3, 1.0]
    assert signed_distance(label, 2).flatten().tolist() == pytest.approx(expected)


def test_a_patch_without_the_class_is_far_outside_and_a_full_one_deep_inside() -> None:
    label = torch.zeros(2, 3, 3, 3, dtype=torch.long)
    label[1] = 1
    found = signed_distance(label, 2)
    assert (found[0] == 1.0).all()
    assert (found[1] == -1.0).all()
    assert math.isinf(squared_distance(label == 1)[0].max())


def test_the_way_back_gives_the_label() -> None:
    torch.manual_seed(1)
    label = (torch.rand(2, 6, 6, 6) < 0.3).long()
    found = to_probability(signed_distance(label, 2), 1500.0)[:, 0]
    torch.testing.assert_close(found, label.float())
