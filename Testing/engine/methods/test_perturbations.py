"""Random intensity changes: reproducible, per patch, bounded."""

from __future__ import annotations

import torch

from dycon_engine.methods.perturbations import add_noise, strong_intensity


def image() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 2, 6, 7, 8)


def test_zero_strength_returns_the_image_and_draws_nothing() -> None:
    x = image()
    state = torch.get_rng_state()
    assert strong_intensity(x, 0.0) is x
    assert add_noise(x, 0.0) is x
    assert torch.equal(state, torch.get_rng_state())


def test_noise_is_clipped_at_two_deviations() -> None:
    noise = add_noise(torch.zeros(1, 1, 20, 20, 20), 0.1)
    assert noise.abs().max() <= 0.2 + 1e-6
    assert 0.08 < float(noise.std()) < 0.1


def test_the_same_generator_state_repeats_the_changes() -> None:
    x = image()
    torch.manual_seed(7)
    first = strong_intensity(x, 1.0)
    torch.manual_seed(7)
    assert torch.equal(first, strong_intensity(x, 1.0))
    assert not torch.equal(first, strong_intensity(x, 1.0))


def test_patches_change_differently_and_stay_themselves() -> None:
    x = image()
    same = x[:1].expand(8, -1, -1, -1, -1).clone()
    changed = strong_intensity(same, 1.0)
    assert torch.isfinite(changed).all()
    assert torch.equal(same, x[:1].expand_as(same))  # not in place
    distances = (changed[1:] - changed[:1]).abs().amax((1, 2, 3, 4))
    assert (distances > 1e-3).all()
    for patch in changed:  # still the same picture
        assert torch.corrcoef(torch.stack((patch.flatten(), x[0].flatten())))[0, 1] > 0.5


def test_channels_change_by_their_own_too() -> None:
    """Of two channels that are alike, mean and spread come out unlike."""
    torch.manual_seed(3)
    x = torch.rand(64, 1, 6, 6, 6).expand(-1, 2, -1, -1, -1)
    changed = strong_intensity(x, 1.0)
    mean, spread = changed.mean((2, 3, 4)), changed.std((2, 3, 4))
    assert float((mean[:, 0] - mean[:, 1]).abs().median()) > 0.1  # gain and offset
    assert float((spread[:, 0] - spread[:, 1]).abs().median()) > 0.01


def test_a_constant_image_stays_finite() -> None:
    assert torch.isfinite(strong_intensity(torch.zeros(4, 1, 4, 4, 4), 2.0)).all()
