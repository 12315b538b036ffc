"""Uncertainty lies in [0, 1] with known ends, and each kind makes the passes it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dycon_engine.config import NetworkConfig
from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import InputError
from dycon_engine.inference.regions import uncertain_regions
from dycon_engine.inference.uncertainty import (
    disagreement,
    entropy,
    segmenter,
    with_dropout,
    with_mirrors,
)
from dycon_engine.networks import build_network


def network(**changes):
    torch.manual_seed(0)
    config = NetworkConfig(**({"filters": (4, 8)} | changes))
    return build_network(config, channels=1, classes=3).eval()


@pytest.mark.parametrize("classes", [2, 4, 14])
def test_an_undecided_boundary_of_two_classes_is_one_however_many_there_are(classes):
    torn = torch.zeros(classes, 1, 1, 1)
    torn[:2] = 0.5
    assert float(entropy(torn)) == pytest.approx(1.0, abs=1e-6)
    (region,) = uncertain_regions(
        entropy(torn).numpy(),
        np.zeros((1, 1, 1), np.uint8),
        Geometry.from_parts((1, 1, 1)),
        [str(k) for k in range(classes)],
    )
    assert region.mean_uncertainty == 1.0


@pytest.mark.parametrize("classes", [2, 3, 14])
def test_entropy_is_one_where_all_classes_are_alike_and_zero_where_one_is_certain(classes):
    even = torch.full((classes, 2, 2, 2), 1.0 / classes)
    certain = torch.zeros(classes, 2, 2, 2)
    certain[1] = 1.0
    assert torch.allclose(entropy(even), torch.ones(2, 2, 2), atol=1e-6)
    assert (entropy(certain) == 0).all()


def test_entropy_of_two_classes_in_closed_form():
    p = torch.tensor([0.2, 0.8]).view(2, 1, 1, 1)
    expected = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8)) / math.log(2)
    assert float(entropy(p)) == pytest.approx(expected, abs=1e-6)


def test_disagreement_is_zero_for_the_same_and_one_for_the_opposite():
    one = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)
    unsure = torch.tensor([0.5, 0.5]).view(2, 1, 1, 1)
    assert float(disagreement(one, one.flip(0))) == pytest.approx(1.0, abs=1e-6)
    assert float(disagreement(unsure, unsure)) == pytest.approx(0.0, abs=1e-6)
    found = disagreement(one, unsure)
    assert float(found) == pytest.approx(float(disagreement(unsure, one)))
    nats = 0.5 * math.log(1 / 0.75) + 0.5 * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(2))
    assert float(found) == pytest.approx(nats / math.log(2), abs=1e-6)


def test_rounding_never_leaves_the_range():
    """Float32 makes a sum of probabilities, and a difference of entropies, miss by a little."""
    for classes in range(2, 30):
        even = torch.full((classes, 1, 1, 1), 1.0 / classes)
        logits = 3 * torch.randn(classes, 10, 10, 10)
        drawn, near = logits.softmax(0), (logits + 1e-5 * torch.randn_like(logits)).softmax(0)
        sure = torch.eye(2)[:, [0]].view(2, 1, 1, 1)
        for values in (
            entropy(even * (1 + 1e-6)),
            entropy(drawn),
            disagreement(drawn, near),
            disagreement(drawn, drawn.flip(0)),
            disagreement(sure * (1 + 1e-6), sure.flip(0)),
        ):
            assert values.min() >= 0.0
            assert values.max() <= 1.0


@pytest.mark.parametrize(("mirrored", "each"), [("zyx", ((2,), (3,), (4,))), ("x", ((4,),))])
def test_mirrors_average_the_calibrated_probabilities_and_undo_the_flips(mirrored, each):
    net, image, temperature = network(), torch.randn(1, 1, 8, 8, 8), 1.7
    with torch.no_grad():
        plain, logs = with_mirrors(net, temperature, mirrored)(image).split(3, dim=1)
        passes = [
            (net(image.flip(axes)).logits.flip(axes) / temperature).softmax(1)
            for axes in ((), *each)
        ]
    found = logs.exp()
    assert torch.allclose(plain.softmax(1), passes[0], atol=1e-5)
    assert torch.allclose(found, torch.stack(passes).mean(0), atol=1e-5)
    assert torch.allclose(found.sum(1), torch.ones(1, 8, 8, 8), atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"name": "vnet", "norm": "batch"}])
def test_dropout_varies_the_passes_and_leaves_the_network_as_it_was(changes):
    net, image = network(dropout=0.5, **changes), torch.randn(1, 1, 8, 8, 8)
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    with torch.no_grad():
        plain = segmenter(net)(image)
        apply, repeated = (with_dropout(net, 1.0, count=2) for _ in range(2))
        one, two = apply(image), apply(image)
        state = torch.random.get_rng_state()
        again = repeated(image)
        after = segmenter(net)(image)
    assert torch.equal(one, again)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(one[:, :3], two[:, :3])
    assert not torch.allclose(one[:, 3:], two[:, 3:])
    assert torch.equal(one[:, :3], plain)
    assert torch.equal(plain, after)
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(value, buffers[name]) for name, value in net.named_buffers())


def test_passes_with_dropout_are_calibrated():
    net, image = network(dropout=0.5), torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        plain, varied = with_dropout(net, 1.0, count=1)(image).split(3, dim=1)
        softened = with_dropout(net, 2.0, count=1)(image)  # drops the same features
    assert torch.allclose(softened[:, :3], plain / 2.0, atol=1e-6)
    assert torch.allclose(softened[:, 3:], (varied / 2.0).log_softmax(1), atol=1e-5)


@pytest.mark.parametrize(
    ("mirrored", "words"), [("", "trained without mirrored scans"), (None, "does not say")]
)
def test_mirror_images_that_training_never_showed_are_refused(mirrored, words):
    with pytest.raises(InputError, match=f"'tta': .*{words}.*; use entropy or disagreement"):
        with_mirrors(network(), 1.0, mirrored)


def test_without_dropout_it_is_refused_in_words():
    with pytest.raises(InputError, match="trained without dropout"):
        with_dropout(network(), 1.0)
