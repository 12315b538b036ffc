"""Rebuilding activations changes what autograd keeps, and neither values nor gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dycon_engine.config import NetworkConfig
from dycon_engine.networks import build_network, rebuilding
from dycon_engine.networks.blocks import BatchNorm, Conv3d, InstanceNorm
from dycon_engine.networks.rebuilding import rebuilt_activations, remember

NEAR = {"rtol": 1e-4, "atol": 1e-4}
SHAPES = {
    "vnet": {"name": "vnet", "upsampling": "transposed"},
    "trilinear": {"name": "unet3d", "upsampling": "trilinear"},
    "transposed": {"name": "unet3d", "upsampling": "transposed"},
    "stem": {"name": "unet3d", "upsampling": "transposed", "stem": 2},
}


def plain(network: nn.Module) -> nn.Module:
    """Return a copy made of PyTorch's own layers, which nothing rearranges."""
    twin = copy.deepcopy(network)
    twin.rebuilds = False

    def replace(module):
        for name, child in module.named_children():
            replace(child)
            if isinstance(child, BatchNorm):
                child.__class__ = nn.BatchNorm3d
            elif isinstance(child, Conv3d):
                child.__class__ = nn.Conv3d
            elif isinstance(child, InstanceNorm):
                norm = nn.InstanceNorm3d(len(child.weight), affine=True)
                norm.load_state_dict(child.state_dict())
                setattr(module, name, norm)

    replace(twin)
    return twin


def make(name: str, norm: str) -> nn.Module:
    torch.manual_seed(0)
    config = NetworkConfig(filters=(4, 6, 8), norm=norm, dropout=0.0, **SHAPES[name])
    network = build_network(config, channels=1, classes=2)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.1, 0.3)
    return network


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("name", SHAPES)
def test_logits_gradients_and_buffers_are_those_of_plain_layers(name, norm):
    network = make(name, norm)
    twin = plain(network)
    image = torch.randn(2, 1, 16, 8, 8)
    for one in (network, twin):
        features = one(image)
        (features.logits.pow(2).sum() + features.embedding.pow(3).sum()).backward()
    ours, theirs = dict(network.named_parameters()), dict(twin.named_parameters())
    for key, parameter in theirs.items():
        largest = float(parameter.grad.abs().max())
        assert float((ours[key].grad - parameter.grad).abs().max()) < 1e-4 * largest + 1e-5, key
    for ours_buffer, buffer in zip(network.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(ours_buffer, buffer, **NEAR)
    torch.testing.assert_close(network.eval()(image).logits, twin.eval()(image).logits, **NEAR)
    with torch.no_grad():
        torch.testing.assert_close(network(image).logits, twin(image).logits, **NEAR)
        torch.testing.assert_close(network.embed(image), twin(image).embedding, **NEAR)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("name", SHAPES)
def test_half_precision_gives_the_same_up_to_its_rounding(name, norm):
    """Beside it PyTorch's own layers in half precision, which round as often."""
    network = make(name, norm)
    image, gradients = torch.randn(2, 1, 32, 16, 16), []
    for one, dtype in (
        (network, None),
        (network, torch.bfloat16),
        (plain(network), torch.bfloat16),
    ):
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            logits = one(image).logits
        one.zero_grad()
        logits.float().square().mean().backward()
        gradients.append(
            torch.cat([p.grad.flatten() for p in one.parameters() if p.grad is not None])
        )
    exact, ours, theirs = gradients
    away = [float((found - exact).norm() / exact.norm()) for found in (ours, theirs)]
    assert away[0] < max(1.25 * away[1], 0.02) < 0.1


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("name", ["vnet", "trilinear"])
def test_half_of_what_autograd_would_keep_is_a_recipe(name, norm, half, monkeypatch):
    network, image = make(name, norm), torch.randn(2, 1, 16, 16, 16)
    kept: dict[str, dict[int, int]] = {"tensor": {}, "recipe": {}}
    pack = rebuilding._Recipes.pack

    def watched(self, tensor):
        packed = pack(self, tensor)
        kind = "tensor" if isinstance(packed, torch.Tensor) else "recipe"
        if not isinstance(tensor, nn.Parameter):
            kept[kind][tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return packed

    monkeypatch.setattr(rebuilding._Recipes, "pack", watched)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = network(image).logits
    logits.sum().backward()
    assert sum(kept["recipe"].values()) > 0.5 * sum(kept["tensor"].values()) > 0


def test_a_new_tensor_at_an_old_place_is_not_mistaken_for_the_old_one():
    with rebuilt_activations():
        x = torch.ones(64, requires_grad=True)
        for value in (2.0, 3.0):
            made = remember(x.detach() * value, torch.mul, x.detach(), torch.tensor(value))
            del made
            fresh = torch.full((64,), 5.0)  # may well lie where `made` lay
            (x * fresh).sum().backward()
    assert torch.equal(x.grad, torch.full((64,), 10.0))


def test_a_tensor_changed_since_is_kept_itself():
    w = torch.ones(8, requires_grad=True)
    with rebuilt_activations():
        made = remember(torch.full((8,), 2.0), torch.full_like, torch.ones(8), torch.tensor(2.0))
        made.add_(1.0)
        out = w * made
    out.sum().backward()
    assert torch.equal(w.grad, torch.full((8,), 3.0))
