"""Cross-entropy and Dice against their twins, closed forms and finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from dycon_engine.losses import segmentation
from dycon_engine.losses.segmentation import cross_entropy, dice_loss
from dycon_engine.losses.uncertainty import posterior
from Testing.reference.naive_losses import naive_cross_entropy, naive_dice_loss


@pytest.mark.parametrize("classes", [2, 4])
def test_losses_equal_their_twins(classes: int) -> None:
    torch.manual_seed(classes)
    logits = 3 * torch.randn(2, classes, 3, 4, 2, dtype=torch.float64)
    label = torch.randint(0, classes, (2, 3, 4, 2))
    belief = posterior(logits)
    ce, dice = cross_entropy(belief.log_p, label), dice_loss(belief.p, label, smooth=0.5)
    assert float(ce) == pytest.approx(naive_cross_entropy(logits, label), rel=1e-10)
    assert float(dice) == pytest.approx(naive_dice_loss(logits, label, 0.5), rel=1e-10)


def test_gradients_equal_finite_differences() -> None:
    logits = torch.randn(1, 3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    label = torch.randint(0, 3, (1, 2, 2, 2))
    assert torch.autograd.gradcheck(
        lambda x: cross_entropy(posterior(x).log_p, label) + dice_loss(posterior(x).p, label),
        (logits,),
    )


def test_undecided_network_has_log_k() -> None:
    label = torch.randint(0, 5, (1, 2, 2, 2))
    ce = cross_entropy(posterior(torch.zeros(1, 5, 2, 2, 2)).log_p, label)
    assert float(ce) == pytest.approx(math.log(5))


def test_perfect_and_absent_classes_have_no_dice_loss() -> None:
    label = torch.zeros(1, 2, 2, 2, dtype=torch.long)
    certain = torch.zeros(1, 3, 2, 2, 2)
    certain[:, 0] = 1.0
    assert float(dice_loss(certain, label)) == 0.0
    label[0, 0, 0, 0] = 1
    assert float(dice_loss(certain, label)) == pytest.approx(0.25)  # class 1: 1 - 1/2; class 2: 0


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([1e4, -1e4]).view(1, 2, 1, 1, 1).requires_grad_()
    label = torch.ones(1, 1, 1, 1, dtype=torch.long)
    belief = posterior(logits)
    loss = cross_entropy(belief.log_p, label) + dice_loss(belief.p, label)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_on_cuda_a_reproducible_sum_is_taken_where_asked_for(monkeypatch) -> None:
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert not segmentation._needs_ordered_sum(cuda)
    torch.use_deterministic_algorithms(True)
    try:
        assert segmentation._needs_ordered_sum(cuda)
        assert not segmentation._needs_ordered_sum(cpu)  # the golden traces
    finally:
        torch.use_deterministic_algorithms(False)
    log_p = torch.randn(2, 3, 4, 4, 4).log_softmax(1)
    label = torch.randint(0, 3, (2, 4, 4, 4))
    usual, reductions = cross_entropy(log_p, label), []
    nll = torch.nn.functional.nll_loss

    def watched(*arguments, **options):
        reductions.append(options.get("reduction", "mean"))
        return nll(*arguments, **options)

    monkeypatch.setattr(segmentation, "_needs_ordered_sum", lambda _device: True)
    monkeypatch.setattr(segmentation.F, "nll_loss", watched)
    assert torch.allclose(cross_entropy(log_p, label), usual)
    assert reductions == ["none"]  # the only form of it that CUDA has a fixed order for
