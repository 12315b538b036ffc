"""Entropies against twins and closed forms; precision under autocast."""

from __future__ import annotations

import math

import pytest
import torch

from dycon_engine.losses.uncertainty import (
    entropy,
    foreground_fraction,
    gambling_entropy,
    posterior,
)
from Testing.reference.naive_losses import naive_entropy, naive_gambling_entropy, naive_softmax


def test_entropy_equals_its_twin() -> None:
    torch.manual_seed(0)
    logits = 2 * torch.randn(1, 4, 2, 2, 3)
    expected = [naive_entropy(p) for p in naive_softmax(logits)[0]]
    torch.testing.assert_close(entropy(posterior(logits)).flatten(), torch.tensor(expected))


def test_entropy_of_a_coin_is_log_two_and_of_certainty_zero() -> None:
    assert float(entropy(posterior(torch.zeros(1, 2, 1, 1, 1)))) == pytest.approx(math.log(2))
    certain = torch.tensor([200.0, 0.0]).view(1, 2, 1, 1, 1)
    assert float(entropy(posterior(certain))) == 0.0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_gambling_entropy_equals_its_twin(temperature: float) -> None:
    torch.manual_seed(1)
    p = torch.softmax(3 * torch.randn(6, 3), 1)
    expected = [naive_gambling_entropy(row, temperature) for row in p.tolist()]
    actual = gambling_entropy(p, temperature=temperature)
    torch.testing.assert_close(actual, torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_gambling_entropy_is_zero_where_certain_and_largest_where_not() -> None:
    p = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5]], requires_grad=True)
    h = gambling_entropy(p)
    low, middle, high = h.detach().tolist()
    assert low == pytest.approx(0.0, abs=1e-6)
    assert low < middle < high == pytest.approx(math.log(2))
    h.sum().backward()
    assert torch.isfinite(p.grad).all()


def test_half_precision_logits_give_single_precision_probabilities() -> None:
    logits = torch.randn(1, 2, 4, 4, 4, dtype=torch.bfloat16)
    belief = posterior(logits)
    assert belief.p.dtype == torch.float32
    torch.testing.assert_close(belief.p, torch.softmax(logits.float(), 1))


def test_foreground_fraction_counts_voxels_won_by_any_foreground_class() -> None:
    p = torch.tensor([[0.6, 0.2, 0.2], [0.4, 0.5, 0.1], [0.34, 0.33, 0.33], [0.3, 0.3, 0.4]])
    p = p.T.reshape(1, 3, 1, 2, 2)
    assert float(foreground_fraction(p)) == pytest.approx(0.5)
    for counted, share in (
        ([True, True, False, False], 0.5),
        ([False, True, False, True], 1.0),
        ([True, False, True, False], 0.0),
        ([False] * 4, 0.0),
    ):
        where = torch.tensor(counted).reshape(1, 1, 2, 2)
        assert float(foreground_fraction(p, where)) == pytest.approx(share)
