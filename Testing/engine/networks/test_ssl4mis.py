"""Imported weights give the outputs of the networks they come from; others are refused.

Compared in float64: instance norms over a few voxels amplify the rounding of float32.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dycon_engine.errors import InputError
from dycon_engine.networks import build_network
from dycon_engine.networks.ssl4mis import convert_state_dict
from Testing.reference.ssl4mis_twins import run_unet, run_vnet, unet_twin, vnet_twin

SIZE = (1, 2, 16, 16, 32)


def lived(net: nn.Module) -> nn.Module:
    """Give norms and running statistics values as after training."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.2)
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.double().eval()


def imported(state, **settings):
    config, channels, classes, ours = convert_state_dict(state, **settings)
    network = build_network(config, channels=channels, classes=classes).eval()
    network.double().load_state_dict(ours)
    return network


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
@torch.no_grad()
def test_a_vnet_gives_the_same_logits(norm):
    twin = lived(vnet_twin(2, 3, norm, width=16 if norm == "group" else 6))
    network = imported(twin.state_dict())
    image = torch.randn(SIZE, dtype=torch.float64)
    assert (network.channels, network.classes) == (2, 3)
    torch.testing.assert_close(network(image).logits, run_vnet(twin, image), rtol=0.0, atol=1e-9)


@torch.no_grad()
def test_a_unet_gives_the_same_logits():
    twin = lived(unet_twin(2, 3, width=6))
    network = imported({"state_dict": {f"module.{k}": v for k, v in twin.state_dict().items()}})
    image = torch.randn(SIZE, dtype=torch.float64)
    torch.testing.assert_close(network(image).logits, run_unet(twin, image), rtol=0.0, atol=1e-9)


@torch.no_grad()
def test_a_network_trained_on_xyz_arrays_is_turned():
    twin = lived(vnet_twin(2, 3, "batch", width=6))
    network = imported(twin.state_dict(), axes="xyz")
    image = torch.randn(SIZE, dtype=torch.float64)
    theirs = run_vnet(twin, image.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
    torch.testing.assert_close(network(image).logits, theirs, rtol=0.0, atol=1e-9)


def test_the_converted_weights_are_copies():
    state = vnet_twin(1, 2, "batch").state_dict()
    *_, ours = convert_state_dict(state)
    before = state["out_conv.bias"].clone()
    ours["head.bias"] += 1.0
    assert torch.equal(state["out_conv.bias"], before)


def broken(name):
    state = dict(vnet_twin(1, 2, "batch", width=16).state_dict())
    if name == "other":
        return {"encoder.weight": torch.zeros(1), "epoch": 3}
    if name == "empty":
        return {}
    if name == "extra":
        return state | {"out_conv2.weight": torch.zeros(1)}
    if name == "missing":
        del state["block_four.conv.3.bias"]
    if name == "shape":
        state["block_four.conv.3.weight"] = torch.zeros(1, 1, 3, 3, 3)
    return state


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other", r"found encoder\.weight; expected a VNet"),
        ("empty", "found no tensors; expected"),
        ("extra", r"besides a vnet found out_conv2\.weight"),
        ("missing", r"'block_four\.conv\.3\.bias' is missing"),
        ("shape", r"encoder\.3\.1\.conv\.weight \(1, 1, 3, 3, 3\) instead of \(128"),
    ],
)
def test_anything_else_is_refused_by_name(name, message):
    with pytest.raises(InputError, match=message):
        convert_state_dict(broken(name))


def test_unknown_axes_are_refused():
    with pytest.raises(InputError, match="axes 'xzy'"):
        convert_state_dict(vnet_twin(1, 2, "batch").state_dict(), axes="xzy")
