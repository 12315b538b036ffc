"""What every network promises: shapes, gradients, layout, autocast, compilation, and its errors."""

from __future__ import annotations

import copy

import pytest
import torch

from dycon_engine.config import NETWORK_NAMES, NetworkConfig
from dycon_engine.errors import InputError
from dycon_engine.methods import METHODS, build_method
from dycon_engine.networks import NETWORKS, Features, Network, build_network
from dycon_engine.settings import schema

SMALL = {
    "unet": NetworkConfig(filters=(4, 6, 8), dropout=0.3),
    "trilinear": NetworkConfig(filters=(4, 6, 8), upsampling="trilinear", negative_slope=0.0),
    "stem": NetworkConfig(filters=(4, 6), stem=2),
    "vnet": NetworkConfig(name="vnet", filters=(4, 6, 8), dropout=0.5),
    "residual": NetworkConfig(name="resunet3d", filters=(4, 6, 8), dropout=0.3),
    "mednext": NetworkConfig(name="mednext", filters=(4, 8, 16), dropout=0.3),
}
NORMS = ("instance", "batch", "group", "none")


def make(layout: str, norm: str = "instance"):
    torch.manual_seed(0)
    settings = SMALL[layout]
    config = NetworkConfig(**{**settings.__dict__, "norm": norm})
    return build_network(config, channels=2, classes=3)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("layout", SMALL)
def test_shapes_and_gradients(layout, norm):
    network = make(layout, norm)
    image = torch.randn(2, 2, 8, 12, 16)
    features = network(image)
    assert network.stride == (4, 4, 4)
    assert features.logits.shape == (2, 3, 8, 12, 16)
    assert features.embedding.shape == (2, network.embedding_features, 2, 3, 4)
    assert features.decoded.shape[:2] == (2, network.decoded_features)
    assert features.decoded.shape[2:] == ((4, 6, 8) if layout == "stem" else (8, 12, 16))
    features.logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("layout", SMALL)
def test_the_layout_in_memory_changes_nothing_but_speed(layout):
    network = make(layout).eval()
    contiguous = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    image = torch.randn(2, 2, 8, 8, 8)
    torch.testing.assert_close(
        network(image).logits, contiguous(image).logits, rtol=1e-4, atol=1e-5
    )
    if layout != "mednext":  # its depthwise convolutions choose their own layout on CPU
        assert network(image).embedding.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("layout", SMALL)
def test_samples_do_not_influence_each_other(layout):
    network = make(layout).eval()
    image = torch.randn(2, 2, 8, 8, 8)
    alone = network(image[:1]).logits
    torch.testing.assert_close(network(image).logits[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("layout", SMALL)
def test_bfloat16_autocast_is_finite(layout, norm):
    # The deepest level must not be 2x2x2: there PyTorch 2.13 on CPU makes the weight gradient of a
    # bfloat16 convolution from memory that nobody wrote (a plain nn.Conv3d shows it).
    network = make(layout, norm)
    with torch.autocast("cpu", torch.bfloat16):
        features = network(torch.randn(2, 2, 16, 12, 16))
    features.logits.float().mean().backward()
    assert features.logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("layout", SMALL)
def test_dropout_acts_in_training_only_and_the_classifier_can_be_drawn_again(layout):
    network = make(layout)
    image = torch.randn(1, 2, 8, 8, 8)
    active = network.dropout > 0
    assert torch.equal(network(image).logits, network(image).logits) != active
    network.eval()
    features = network(image)
    assert torch.equal(network(image).logits, features.logits)
    assert torch.equal(network.classify(features.decoded), features.logits)


@pytest.mark.parametrize("layout", SMALL)
def test_the_whole_network_is_one_graph(layout):
    network = make(layout).eval()
    image = torch.randn(2, 2, 8, 8, 8)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(image).logits, network(image).logits)


def test_an_unknown_network_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'vnet'"):
        build_network(NetworkConfig(name="vnett"), channels=1, classes=2)


def test_the_names_that_a_setting_takes_are_those_that_can_be_built():
    assert list(NETWORKS) == sorted(NETWORKS)
    assert tuple(NETWORKS) == NETWORK_NAMES
    for kind, name in ((NetworkConfig, "name"), (METHODS["dual_network"].Config, "second_network")):
        (entry,) = (entry for entry in schema(kind) if entry["name"] == name)
        assert entry["choices"] == list(NETWORK_NAMES)


class ForwardOnly(Network):
    """No more than an architecture must have."""

    stride, channels, classes = (1, 1, 1), 1, 2
    level_features, embedding_features, decoded_features = (2, 2), 2, 2

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv3d(1, 2, 1)

    def forward(self, image):  # noqa: D102
        return Features(*[self.convolution(image)] * 3)


@pytest.mark.parametrize("part", ["encode", "decode", "classify", "without_encoder"])
def test_a_part_that_an_architecture_does_not_have_is_named(part):
    arguments = () if part == "without_encoder" else (torch.zeros(1, 1, 2, 2, 2),)
    with pytest.raises(InputError, match=f"network ForwardOnly: has no `{part}`, which this"):
        getattr(ForwardOnly(), part)(*arguments)


def test_forward_is_enough_for_methods_that_make_nothing_of_its_parts():
    build_method("supervised", {}, lambda **_: ForwardOnly())
    with pytest.raises(InputError, match="`without_encoder`, which this method needs; choose"):
        build_method("dec_seg", {}, lambda **_: ForwardOnly())


@pytest.mark.parametrize("filters", [(), (8,), (8, 0)])
def test_too_few_levels_are_refused(filters):
    with pytest.raises(InputError, match=r"network\.filters: found"):
        build_network(NetworkConfig(filters=filters), channels=1, classes=2)


@pytest.mark.parametrize("name", ["mednext", "vnet"])
@pytest.mark.parametrize("settings", [{"stem": 2}, {"upsampling": "trilinear"}])
def test_what_an_architecture_does_not_have_is_refused(name, settings):
    with pytest.raises(InputError, match=r"set network\.stem=1"):
        build_network(NetworkConfig(name=name, **settings), channels=1, classes=2)
