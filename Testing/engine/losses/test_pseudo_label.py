"""The loss against the teacher's soft labels: its twin, its best answer, its weights."""

from __future__ import annotations

import pytest
import torch

from dycon_engine.losses.pseudo_label import pseudo_label_loss
from dycon_engine.losses.uncertainty import posterior
from Testing.reference.naive_losses import naive_pseudo_label


def pair(classes: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    shape = (2, classes, 2, 2, 3)
    return torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("beta", [0.0, 2.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_it_equals_its_twin(beta: float, classes: int) -> None:
    s, t = pair(classes)
    found = pseudo_label_loss(posterior(s), posterior(t), beta=beta, smooth=0.5)
    assert float(found) == pytest.approx(naive_pseudo_label(s, t, beta, 0.5), rel=1e-9)


def test_voxels_that_do_not_count_are_as_if_they_were_not_there() -> None:
    s, t = pair(3)
    s.requires_grad_()
    where = torch.zeros(2, 2, 2, 3, dtype=torch.bool)
    where[..., :2] = True
    found = pseudo_label_loss(posterior(s), posterior(t), beta=1.0, where=where)
    found.backward()
    kept = naive_pseudo_label(s.detach()[..., :2], t[..., :2], 1.0, 1.0)
    assert float(found) == pytest.approx(kept, rel=1e-9)
    assert s.grad is not None
    assert s.grad[..., 2].abs().max() == 0.0
    assert pseudo_label_loss(posterior(s), posterior(t), beta=1.0, where=where & ~where) == 0.0


def test_the_best_answer_is_the_teachers_own() -> None:
    _, t = pair()
    s = t.clone().requires_grad_()
    pseudo_label_loss(posterior(s), posterior(t), beta=1.0).backward()
    torch.testing.assert_close(s.grad, torch.zeros_like(t), atol=1e-9, rtol=0.0)


def test_no_gradient_reaches_the_teacher() -> None:
    s, t = (x.requires_grad_() for x in pair())
    pseudo_label_loss(posterior(s), posterior(t), beta=1.0).backward()
    assert s.grad is not None
    assert t.grad is None


def test_unsure_voxels_count_less_as_beta_grows() -> None:
    t = torch.zeros(1, 2, 1, 1, 2, dtype=torch.float64)
    t[0, 1, 0, 0, 0] = 6.0  # a sure voxel beside one at even odds
    s = torch.zeros_like(t)
    s[0, 1, 0, 0, 0] = 6.0  # right where the teacher is sure
    s[0, 0, 0, 0, 1] = 4.0  # off where it is not
    losses = [float(pseudo_label_loss(posterior(s), posterior(t), beta=b)) for b in (0, 2, 20)]
    assert losses[0] > losses[1] > losses[2]


def test_its_gradient_is_that_of_finite_differences() -> None:
    s, t = pair(3)
    s.requires_grad_()
    target = posterior(t)
    torch.autograd.gradcheck(lambda x: pseudo_label_loss(posterior(x), target, beta=1.0), (s,))
