"""Networks made of networks: DEC-Seg's two scales, the mean of two, and their description."""

from __future__ import annotations

import math

import pytest
import torch

from dycon_engine.config import NetworkConfig
from dycon_engine.errors import InputError
from dycon_engine.networks import NetworkBuilder
from dycon_engine.networks.composing import Composition, compose
from dycon_engine.networks.dual_scale import CrossLevel, Fusion, _upsampled
from dycon_engine.networks.mean_of_two import MeanOfTwo

LAYOUTS = {
    "unet": NetworkConfig(filters=(4, 6, 8)),
    "laptop": NetworkConfig(filters=(4, 6, 8), stem=2),
    "vnet": NetworkConfig(name="vnet", filters=(4, 6, 8), norm="batch"),
}
KINDS = {
    "dec_seg": Composition(kind="dual_scale", cross_level=True, fusion=True),
    "no_fusion": Composition(kind="dual_scale", cross_level=True),
    "no_cross_level": Composition(kind="dual_scale", fusion=True),
    "mean": Composition(kind="mean_of_two", second="resunet3d"),
}


def make(layout: str, kind: str):
    torch.manual_seed(0)
    build = NetworkBuilder(LAYOUTS[layout], channels=2, classes=3)
    return compose(build, KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_and_a_gradient_for_every_parameter(layout, kind):
    network = make(layout, kind)
    size = (8, 24, 16) if layout == "laptop" else (4, 12, 8)  # half of it fits no stride
    features = network(torch.randn(2, 2, *size))
    assert features.logits.shape == (2, 3, *size)
    assert features.views.shape == (2, 2, 3, *size)
    assert features.embedding.shape[1] == network.embedding_features
    assert features.decoded.shape[1] == network.decoded_features
    (features.logits.square().mean() + features.views.square().mean()).backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_gives_views_where_they_are_asked_for(kind):
    network = make("unet", kind).eval()
    image = torch.randn(1, 2, 8, 8, 12)
    with torch.no_grad():
        plain, viewed = network(image), network.viewed(image)
    assert network.has_views
    assert viewed.views.shape == (1, 2, 3, 8, 8, 12)
    torch.testing.assert_close(plain.logits, viewed.logits)
    if kind == "no_fusion":
        assert torch.equal(viewed.logits, viewed.views[:, 0])


def test_the_mean_is_that_of_the_probabilities():
    network = make("unet", "mean").eval()
    image = torch.randn(2, 2, 8, 8, 8)
    with torch.no_grad():
        one, other = network.first(image).logits, network.second(image).logits
        found = network(image).logits
    torch.testing.assert_close(found.exp(), (one.softmax(1) + other.softmax(1)) / 2)


def test_padding_the_half_scale_moves_nothing():
    """Where half the size is a multiple of the stride nothing is padded; the rest must agree."""
    network = make("unet", "dec_seg").eval()
    image = torch.randn(1, 2, 8, 8, 12)  # half: 4 x 4 x 6, padded to 4 x 4 x 8
    half = network._halved(image)
    assert half.shape == (1, 2, 4, 4, 8)
    torch.testing.assert_close(half[..., :6], torch.nn.functional.avg_pool3d(image, 2))
    assert torch.equal(half[..., 6], half[..., 5])
    assert network._halved(torch.randn(1, 2, 8, 16, 8)).shape == (1, 2, 4, 8, 4)


def test_the_half_scale_lies_where_the_full_scale_does():
    """A ramp that is halved and doubled again is the same ramp, not half a voxel beside it."""
    network = make("unet", "dec_seg")
    ramp = torch.arange(12.0).expand(1, 2, 8, 8, 12)
    again = _upsampled(network._halved(ramp), (8, 8, 12))
    torch.testing.assert_close(again[..., 1:-1], ramp[..., 1:-1])


def test_cross_level_aggregation_reads_the_deeper_level():
    torch.manual_seed(0)
    join = CrossLevel(4, 6)
    own, deeper = torch.randn(2, 4, 8, 8, 8), torch.randn(2, 6, 4, 4, 4)
    first = join(own, deeper)
    assert first.shape == own.shape
    assert not torch.allclose(first, join(own, deeper + 1.0 * torch.randn_like(deeper)))


def test_every_level_is_joined_with_the_encoders_next_one():
    network = make("unet", "dec_seg").eval()
    image = torch.randn(1, 2, 8, 8, 8)
    with torch.no_grad():
        raw, joined = network.full_scale.encode(image), network._levels(image)
        for index, join in enumerate(network.cross_levels):
            assert torch.equal(joined[index], join(raw[index], raw[index + 1]))
    assert torch.equal(joined[-1], raw[-1])


def test_fusion_is_the_written_formula():
    torch.manual_seed(0)
    fuse = Fusion(4)
    fuse.before, fuse.behind = (
        torch.nn.ModuleList(torch.nn.Identity() for _ in range(2)) for _ in range(2)
    )
    x1, x2 = torch.randn(2, 4, 2, 2, 2), torch.randn(2, 4, 2, 2, 2)
    found = fuse(x1, x2).detach()
    weight, bias = fuse.gate.weight.detach().view(2, 8), fuse.gate.bias.detach()
    for b, z, y, x in torch.cartesian_prod(*(torch.arange(2),) * 4):
        u, v = x1[b, :, z, y, x], x2[b, :, z, y, x]
        a1 = u + 1 / (1 + (-v).exp()) * v
        a2 = v + 1 / (1 + (-u).exp()) * u
        gate = weight @ torch.cat((a1, a2)) + bias
        share = math.exp(gate[0]) / (math.exp(gate[0]) + math.exp(gate[1]))
        torch.testing.assert_close(found[b, :, z, y, x], share * a1 + (1 - share) * a2)


def test_networks_that_do_not_fit_are_refused_in_one_sentence():
    small = NetworkBuilder(LAYOUTS["unet"], channels=1, classes=2)()
    large = NetworkBuilder(NetworkConfig(filters=(4, 6, 8, 8)), channels=1, classes=2)()
    with pytest.raises(InputError, match=r"strides \(4, 4, 4\) and \(8, 8, 8\).*choose"):
        MeanOfTwo(small, large)
    with pytest.raises(InputError, match="did you mean 'vnet'"):
        compose(
            NetworkBuilder(LAYOUTS["unet"], channels=1, classes=2),
            Composition(kind="mean_of_two", second="vnett"),
        )


def test_one_network_stays_what_it_is():
    network = compose(NetworkBuilder(LAYOUTS["unet"], channels=1, classes=2), Composition())
    assert not network.has_views
    assert network(torch.randn(1, 1, 8, 8, 8)).views.numel() == 0
