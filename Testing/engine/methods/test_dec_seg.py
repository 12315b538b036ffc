"""DEC-Seg's terms against what they are said to be, and its switches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dycon_engine.config import NetworkConfig
from dycon_engine.methods import build_method
from dycon_engine.networks import NetworkBuilder
from dycon_engine.networks.generator import ImageGenerator
from dycon_engine.schedules import Progress
from Testing.engine.methods.tiny import tiny_batch, tiny_method
from Testing.reference.naive_losses import (
    naive_cross_entropy,
    naive_dice_loss,
    naive_mean_squared,
)

END = Progress(10, 10)
EVERYTHING = {"cross_entropy", "dice", "scale", "perturbation", "generative"}


def real_method(**settings: object):
    """Without dropout and batch norm, so that a second pass gives the same."""
    torch.manual_seed(0)
    network = NetworkConfig(filters=(2, 3, 4))
    return build_method("dec_seg", settings, NetworkBuilder(network, channels=1, classes=2))


@pytest.mark.parametrize("fusion", [True, False])
def test_terms_equal_their_slow_twins(fusion: bool) -> None:
    method, batch = real_method(strong_intensity=0.0, use_fusion=fusion), tiny_batch(edge=8)
    terms = {name: term.item() for name, term in method(batch, END).items()}
    with torch.no_grad():
        known, other = method.network(batch.image), method.network(batch.unlabeled)
    outputs = [known.logits, *known.views.unbind(1)][0 if fusion else 1 :]
    assert terms["cross_entropy"] == pytest.approx(
        0.5 * sum(naive_cross_entropy(out, batch.label) for out in outputs), rel=1e-4
    )
    assert terms["dice"] == pytest.approx(
        0.5 * sum(naive_dice_loss(out, batch.label, 1.0) for out in outputs), rel=1e-4
    )
    full, half = torch.cat((known.views, other.views)).unbind(1)
    assert terms["scale"] == pytest.approx(naive_mean_squared(full, half), rel=1e-4)
    assert terms["perturbation"] == pytest.approx(0.0, abs=1e-9)  # nothing was perturbed
    p = other.logits.softmax(1)
    with torch.no_grad():
        gaps = [float(F.mse_loss(make(p), batch.unlabeled)) for make in method.generators]
    assert terms["generative"] == pytest.approx(sum(gaps), rel=1e-4)


def test_perturbed_patches_are_drawn_and_compared() -> None:
    terms = real_method()(tiny_batch(), END)
    assert terms["perturbation"] > 0.0


@pytest.mark.parametrize(
    ("settings", "gone"),
    [
        ({"scale_weight": 0.0}, {"scale"}),
        ({"perturbation_weight": 0.0}, {"perturbation"}),
        ({"generative_weight": 0.0}, {"generative"}),
        ({"use_cross_level": False}, set()),
        ({"use_fusion": False}, set()),
    ],
    ids=str,
)
def test_a_part_that_is_switched_off_is_absent_and_leaves_no_idle_parameter(
    settings: dict[str, object], gone: set[str]
) -> None:
    method = tiny_method("dec_seg", **settings)
    terms = method(tiny_batch(), END)
    assert set(terms) == EVERYTHING - gone
    torch.stack(list(terms.values())).sum().backward()
    idle = [path for path, parameter in method.named_parameters() if parameter.grad is None]
    assert idle == []


def test_without_fusion_the_full_scale_predicts() -> None:
    method = tiny_method("dec_seg", use_fusion=False).eval()
    image = tiny_batch().image
    with torch.no_grad():
        assert torch.equal(method.predictor()(image), method.network.viewed(image).views[:, 0])


def test_unlabeled_terms_rise() -> None:
    batch = tiny_batch(edge=8)
    start, end = (real_method()(batch, Progress(k, 10))["scale"].item() for k in (0, 10))
    assert start == pytest.approx(end * 2.718281828**-5, rel=1e-4)


@pytest.mark.parametrize("size", [(8, 8, 8), (6, 10, 9)])
def test_the_generator_draws_an_image_of_any_size(size: tuple[int, int, int]) -> None:
    drawn = ImageGenerator(3, 2, features=2)(torch.rand(2, 3, *size))
    assert drawn.shape == (2, 2, *size)
