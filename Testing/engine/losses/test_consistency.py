"""Mean squared differences against their twin."""

from __future__ import annotations

import pytest
import torch

from dycon_engine.losses.consistency import masked_mean_squared, mean_squared
from dycon_engine.losses.uncertainty import posterior
from Testing.reference.naive_losses import naive_mean_squared


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 2, 3, 2), torch.randn(2, 3, 2, 3, 2)


def test_mean_squared_equals_its_twin(logits) -> None:
    s, t = logits
    value = mean_squared(posterior(s).p, posterior(t).p)
    assert float(value) == pytest.approx(naive_mean_squared(s, t), rel=1e-5)


def test_only_voxels_of_the_mask_count(logits) -> None:
    s, t = logits
    mask = torch.rand(2, 2, 3, 2) < 0.4
    value = masked_mean_squared(posterior(s).p, posterior(t).p, mask)
    assert float(value) == pytest.approx(naive_mean_squared(s, t, mask), rel=1e-5)


def test_an_empty_mask_gives_zero_and_a_full_one_the_plain_mean(logits) -> None:
    p, q = posterior(logits[0]).p, posterior(logits[1]).p
    mask = torch.zeros(2, 2, 3, 2, dtype=torch.bool)
    assert float(masked_mean_squared(p, q, mask)) == 0.0
    torch.testing.assert_close(masked_mean_squared(p, q, ~mask), mean_squared(p, q))
