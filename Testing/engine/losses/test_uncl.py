"""UnCL against its twin, its closed forms and finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from dycon_engine.losses.consistency import mean_squared
from dycon_engine.losses.uncertainty import Posterior, posterior
from dycon_engine.losses.uncl import uncl
from Testing.reference.naive_losses import naive_uncl


def pair(seed: int = 0, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    shape = (2, classes, 2, 2, 3)
    return torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("beta", [0.0, 0.5, 5.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_parts_equal_their_twin(beta: float, classes: int) -> None:
    s, t = pair(classes=classes)
    parts = uncl(posterior(s), posterior(t), beta=beta)
    consistency, entropy = naive_uncl(s, t, beta)
    assert float(parts.consistency) == pytest.approx(consistency, rel=1e-9)
    assert float(parts.entropy) == pytest.approx(entropy, rel=1e-9)
    assert float(parts.student_entropy + parts.teacher_entropy) == pytest.approx(entropy, rel=1e-9)


def test_the_entropy_is_of_the_voxels_that_count() -> None:
    torch.manual_seed(0)
    s, t = torch.randn(2, 2, 3, 2, 2, 3, dtype=torch.float64)
    s.requires_grad_()
    where = torch.zeros(2, 2, 2, 3, dtype=torch.bool)
    where[..., :2] = True
    found = uncl(posterior(s), posterior(t), beta=1.0, where=where)
    found.entropy.backward()
    assert float(found.entropy) == pytest.approx(naive_uncl(s[..., :2], t[..., :2], 1.0)[1])
    assert s.grad is not None
    assert s.grad[..., 2].abs().max() == 0.0
    assert uncl(posterior(s), posterior(t), beta=1.0, where=where & ~where).entropy == 0.0


def test_beta_zero_is_half_the_mean_squared_difference() -> None:
    s, t = pair()
    expected = mean_squared(posterior(s).p, posterior(t).p) / 2
    torch.testing.assert_close(uncl(posterior(s), posterior(t), beta=0.0).consistency, expected)


def test_equal_predictions_leave_only_the_entropy() -> None:
    undecided = posterior(torch.zeros(1, 2, 2, 2, 2))
    parts = uncl(undecided, undecided, beta=5.0)
    assert float(parts.consistency) == 0.0
    assert float(parts.entropy) == pytest.approx(2 * math.log(2))


def test_the_entropy_term_outweighs_consistency_at_the_released_beta() -> None:
    """Why lambda_H is a number of its own: p_s = .6, p_t = .9, beta = lambda_H = 5."""
    logit = torch.tensor(math.log(0.6 / 0.4), dtype=torch.float64, requires_grad=True)
    student = posterior(torch.stack((logit * 0, logit)).view(1, 2, 1, 1, 1))
    teacher = torch.tensor([0.1, 0.9], dtype=torch.float64).view(1, 2, 1, 1, 1)
    parts = uncl(student, Posterior(teacher.log(), teacher), beta=5.0)
    (pull,) = torch.autograd.grad(parts.consistency, logit, retain_graph=True)
    (sharpen,) = torch.autograd.grad(5.0 * parts.entropy, logit)
    assert 20 < abs(float(sharpen / pull)) < 200


@pytest.mark.parametrize("detach", [True, False])
def test_gradient_reaches_the_weights_only_when_asked(detach: bool) -> None:
    s, t = pair()
    s.requires_grad_()
    teacher = posterior(t)

    def loss(x: torch.Tensor) -> torch.Tensor:
        parts = uncl(posterior(x), teacher, beta=2.0, detach_weights=detach)
        return parts.consistency + 0.3 * parts.entropy

    if not detach:
        assert torch.autograd.gradcheck(loss, (s,))
        return
    (gradient,) = torch.autograd.grad(loss(s), s)
    full = uncl(posterior(s), teacher, beta=2.0, detach_weights=False)
    (other,) = torch.autograd.grad(full.consistency + 0.3 * full.entropy, s)
    assert not torch.allclose(gradient, other)
