"""The boundary loss against its twin, Kervadec's form, SciPy and hand-drawn cases."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from dycon_engine.losses.boundary import boundary_distance, boundary_loss
from Testing.reference.naive_boundary import naive_boundary_distance, naive_kervadec

ANISOTROPIC = (2.5, 1.0, 0.8)


def random_case(classes: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    label = torch.randint(0, classes, (2, 3, 4, 5))
    label[1] = label[1].clamp_max(1)  # class 2 is absent here
    return torch.randn(2, classes, 3, 4, 5).softmax(1), label


@pytest.mark.parametrize("reach_mm", [1.5, 4.0, 100.0])
def test_distance_equals_its_twin(reach_mm: float) -> None:
    label = random_case()[1]
    found = boundary_distance(label, 3, spacing_mm=ANISOTROPIC, reach_mm=reach_mm)
    assert found.shape == (2, 2, 3, 4, 5)
    for b in range(2):
        for value in (1, 2):
            expected = naive_boundary_distance(
                label[b], value, spacing_mm=ANISOTROPIC, reach_mm=reach_mm
            )
            for voxel, far in expected.items():
                assert found[b, value - 1][voxel].item() == pytest.approx(far, abs=1e-6)


def test_distance_on_a_large_anisotropic_patch_is_that_of_scipy() -> None:
    label = torch.zeros(1, 12, 40, 40, dtype=torch.long)
    label[0, 3:8, 10:30, 12:20] = 1
    found = boundary_distance(label, 2, spacing_mm=ANISOTROPIC, reach_mm=9.0)[0, 0]
    inside = label[0].numpy() == 1
    exact = distance_transform_edt(inside, ANISOTROPIC) + distance_transform_edt(
        ~inside, ANISOTROPIC
    )
    torch.testing.assert_close(9.0 * found, torch.from_numpy(exact.clip(max=9.0)).float())


def test_the_gradient_is_that_of_kervadec_and_the_value_differs_by_a_constant() -> None:
    p, label = random_case()
    options = {"spacing_mm": ANISOTROPIC, "reach_mm": 4.0}
    distance = boundary_distance(label, 3, **options)
    gaps, step = [], 1e-3
    for amount in (0.0, step):
        moved = p.double().clone()
        moved[0, 1] += amount
        gaps.append(
            boundary_loss(moved, label, distance).item() - naive_kervadec(moved, label, **options)
        )
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-9)
    assert gaps[0] > 0.0


def test_hand_drawn_line() -> None:
    label = torch.tensor([0, 0, 0, 1, 1, 0]).view(1, 1, 1, 6)
    found = boundary_distance(label, 2, spacing_mm=(9.0, 9.0, 2.0), reach_mm=5.0)
    assert found.flatten().tolist() == pytest.approx([1.0, 0.8, 0.4, 0.4, 0.4, 0.4])
    p = torch.zeros(1, 2, 1, 1, 6)
    p[:, 1] = torch.tensor([1.0, 0.0, 0.0, 0.5, 1.0, 0.0])
    p[:, 0] = 1.0 - p[:, 1]
    assert boundary_loss(p, label, found).item() == pytest.approx((1.0 + 0.5 * 0.4) / 6)


def test_nothing_is_asked_where_a_class_has_no_boundary_in_the_patch() -> None:
    """An absent class must not be pushed down everywhere: small structures would vanish."""
    label = torch.zeros(2, 4, 4, 4, dtype=torch.long)
    label[1] = 1
    distance = boundary_distance(label, 3, spacing_mm=(1.0, 1.0, 1.0), reach_mm=3.0)
    assert not distance.any()
    p = torch.full((2, 3, 4, 4, 4), 1 / 3, requires_grad=True)
    boundary_loss(p, label, distance).backward()
    assert p.grad is not None
    assert not p.grad.any()


def test_perfect_is_zero_and_farther_mistakes_cost_more() -> None:
    label = torch.zeros(1, 1, 1, 12, dtype=torch.long)
    label[..., :3] = 1
    distance = boundary_distance(label, 2, spacing_mm=(1.0, 1.0, 1.0), reach_mm=20.0)

    def loss(*wrong: int) -> float:
        found = label.clone()
        for place in wrong:
            found[..., place] = 1
        p = torch.stack((1.0 - found.float(), found.float()), dim=1)
        return boundary_loss(p, label, distance).item()

    assert loss() == 0.0
    costs = [loss(place) for place in range(3, 12)]
    assert costs == sorted(costs)
    assert costs[-1] == pytest.approx(9 * costs[0])
