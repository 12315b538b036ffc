"""Instance norm and convolution against PyTorch's own, and the refusal of unfit inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dycon_engine.config import NetworkConfig
from dycon_engine.errors import InputError
from dycon_engine.networks import build_network
from dycon_engine.networks.blocks import Conv3d, InstanceNorm, normalization

FORMATS = (torch.contiguous_format, torch.channels_last_3d)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("batch", [1, 3])
def test_instance_norm_is_that_of_pytorch(memory_format, batch):
    x = (torch.randn(batch, 4, 3, 5, 6) * 3 + 2).to(memory_format=memory_format)
    ours, theirs = InstanceNorm(4), nn.InstanceNorm3d(4, affine=True)
    with torch.no_grad():
        for parameter, value in zip(theirs.parameters(), (2.0, -1.0), strict=True):
            parameter.uniform_(value - 0.5, value + 0.5)
    ours.load_state_dict(theirs.state_dict())
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.testing.assert_close(ours(a), theirs(b))
    ours(a).pow(3).sum().backward()
    theirs(b).pow(3).sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-3)
    assert ours(x).is_contiguous(memory_format=memory_format)


def test_instance_norm_of_a_single_voxel_is_its_shift():
    norm = InstanceNorm(2)
    norm.bias.data[:] = torch.tensor([1.0, -2.0])
    assert norm(torch.full((3, 2, 1, 1, 1), 7.0)).flatten(1).tolist() == [[1.0, -2.0]] * 3


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(
    "settings", [{"kernel_size": 3, "padding": 1}, {"kernel_size": 2, "stride": 2}]
)
def test_one_patch_without_gradients_gives_the_same(memory_format, settings):
    ours = Conv3d(3, 5, **settings)
    x = torch.randn(1, 3, 6, 8, 4).to(memory_format=memory_format)
    with torch.no_grad():
        predicted = ours(x)
    torch.testing.assert_close(predicted, ours(x).detach(), rtol=1e-5, atol=1e-5)
    ours.zero_grad()
    ours(x).sum().backward()
    assert ours.weight.grad is not None


@pytest.mark.parametrize("features", [3, 8, 16, 48])
def test_group_norm_takes_any_number_of_features(features):
    assert normalization("group", features)(torch.randn(2, features, 2, 2, 2)).isfinite().all()


def test_a_size_that_does_not_fit_is_refused_in_words():
    network = build_network(NetworkConfig(filters=(4, 4, 4)), channels=1, classes=2)
    with pytest.raises(InputError, match=r"6x8x8 voxels; expected multiples of 4x4x4; pad"):
        network(torch.zeros(1, 1, 6, 8, 8))
    with pytest.raises(InputError, match=r"\(1, 2, 8, 8, 8\); expected \(B, 1, D, H, W\)"):
        network(torch.zeros(1, 2, 8, 8, 8))
