"""The losses of two networks against their twins."""

from __future__ import annotations

import pytest
import torch

from dycon_engine.losses.cross_supervision import (
    cross_pseudo_loss,
    disagreement,
    low_entropy,
    masked_cross_entropy,
    masked_squared_error,
    masked_supervision,
)
from dycon_engine.losses.prototypes import prototype_loss
from dycon_engine.losses.uncertainty import posterior
from Testing.reference.naive_cross_supervision import (
    naive_cross_pseudo,
    naive_disagreement,
    naive_low_entropy,
    naive_masked_squared_error,
    naive_masked_supervision,
    naive_prototypes,
)

SHAPE = (2, 3, 3, 2, 3)


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return 2.0 * torch.randn(SHAPE), 2.0 * torch.randn(SHAPE)


@pytest.mark.parametrize("kl_weighting", [True, False])
def test_cross_pseudo_equals_its_twin(logits, kl_weighting: bool) -> None:
    s, o = logits
    value = cross_pseudo_loss(posterior(s), posterior(o), kl_weighting=kl_weighting)
    expected = naive_cross_pseudo(s, o, kl_weighting=kl_weighting)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_cross_pseudo_teaches_the_student_only(logits) -> None:
    s, o = (tensor.requires_grad_() for tensor in logits)
    cross_pseudo_loss(posterior(s), posterior(o)).backward()
    assert s.grad.abs().sum() > 0.0
    assert o.grad is None or not o.grad.any()


def test_agreement_without_doubt_costs_nothing() -> None:
    sure = posterior(torch.tensor([50.0, -50.0]).view(1, 2, 1, 1, 1))
    assert float(cross_pseudo_loss(sure, sure)) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("confidence", [0.0, 0.6, 0.99])
def test_disagreement_equals_its_twin(logits, confidence: float) -> None:
    found = disagreement(posterior(logits[0]), posterior(logits[1]), confidence)
    assert found.flatten().tolist() == naive_disagreement(*logits, confidence)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_low_entropy_equals_its_twin(logits, share: float) -> None:
    found = low_entropy(posterior(logits[0]), posterior(logits[1]), share)
    assert found.flatten().tolist() == naive_low_entropy(*logits, share)
    assert found.all() == (share == 1.0)


def test_what_is_dropped_is_the_unsure_part() -> None:
    logit = torch.tensor([0.1, 4.0, 0.2, 5.0]).view(1, 1, 1, 1, 4)
    belief = posterior(torch.cat((logit, -logit), dim=1))
    assert low_entropy(belief, belief, 0.5).flatten().tolist() == [False, True, False, True]


def test_masked_supervision_equals_its_twin_and_is_zero_for_an_empty_mask(logits) -> None:
    torch.manual_seed(1)
    label, mask = torch.randint(0, 3, (2, 3, 2, 3)), torch.rand(2, 3, 2, 3) < 0.4
    belief = posterior(logits[0])
    ce, dice = naive_masked_supervision(logits[0], label, mask.flatten().tolist())
    assert float(masked_cross_entropy(belief, label, mask)) == pytest.approx(ce, rel=1e-5)
    assert float(masked_supervision(belief, label, mask)) == pytest.approx(ce + dice, rel=1e-5)
    assert float(masked_supervision(belief, label, torch.zeros_like(mask))) == 0.0


def test_the_masked_squared_error_equals_its_twin_and_is_zero_for_an_empty_mask(logits) -> None:
    torch.manual_seed(1)
    label, mask = torch.randint(0, 3, (2, 3, 2, 3)), torch.rand(2, 3, 2, 3) < 0.4
    belief = posterior(logits[0])
    expected = naive_masked_squared_error(logits[0], label, mask.flatten().tolist())
    assert float(masked_squared_error(belief, label, mask)) == pytest.approx(expected, rel=1e-5)
    assert float(masked_squared_error(belief, label, torch.zeros_like(mask))) == 0.0


def test_prototypes_equal_their_twin() -> None:
    torch.manual_seed(2)
    features, p = torch.randn(2, 4, 3, 2, 3), torch.randn(SHAPE).softmax(1)
    sure = torch.rand(2, 3, 2, 3) < 0.5
    value = prototype_loss(features, p, sure, temperature=0.3)
    expected = naive_prototypes(features, p, sure.flatten().tolist(), 0.3)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert expected > 0.0


def test_a_class_without_a_sure_voxel_has_no_prototype_and_asks_nothing() -> None:
    torch.manual_seed(3)
    features = torch.randn(1, 4, 2, 2, 4, requires_grad=True)
    p = torch.zeros(1, 3, 2, 2, 4)
    p[:, 0, :, :, :2], p[:, 1, :, :, 2:3], p[:, 2, :, :, 3:] = 1.0, 1.0, 1.0
    sure = torch.zeros(1, 2, 2, 4, dtype=torch.bool)
    sure[..., 0] = sure[..., 2] = True  # classes 0 and 1; class 2 is never sure
    value = prototype_loss(features, p, sure)
    value.backward()
    touched = features.grad.abs().sum(1)[0]
    assert touched[..., 1].all()  # unsure voxels of class 0 are pulled
    assert not touched[..., [0, 2, 3]].any()
    assert float(prototype_loss(features.detach(), p, torch.zeros_like(sure))) == 0.0
