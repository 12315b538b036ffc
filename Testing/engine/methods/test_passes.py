"""Joint where patches are alone, apart where they would mix."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from dycon_engine.config import NetworkConfig
from dycon_engine.methods.passes import mixes_patches, student_passes
from dycon_engine.networks.build import build_network


class Out(NamedTuple):
    """What a student gives."""

    logits: Tensor


class Recorder(nn.Module):
    """Notes the size of every batch it sees."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Out:  # noqa: D102
        self.sizes.append(len(x))
        return Out(self.parts(x))


@pytest.mark.parametrize(
    ("part", "sizes"),
    [
        (nn.Conv3d(1, 2, 1), [5]),
        (nn.InstanceNorm3d(1), [5]),
        (nn.Dropout(0.0), [5]),
        (nn.BatchNorm3d(1), [2, 3]),
        (nn.Dropout3d(0.5), [2, 3]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_joint_pass_unless_patches_would_mix(part: nn.Module, sizes: list[int]) -> None:
    student = Recorder(part)
    labeled, unlabeled = torch.randn(2, 1, 4, 4, 4), torch.randn(3, 1, 4, 4, 4)
    first, second = student_passes(student, labeled, lambda: unlabeled)
    assert student.sizes == sizes
    assert isinstance(first, Out)
    assert (len(first.logits), len(second.logits)) == (2, 3)
    if len(sizes) == 1:
        torch.testing.assert_close(first.logits, student(labeled).logits)
        torch.testing.assert_close(second.logits, student(unlabeled).logits)


@pytest.mark.parametrize(
    ("norm", "dropout", "mixes"),
    [
        ("instance", 0.0, False),
        ("group", 0.0, False),
        ("batch", 0.0, True),
        ("instance", 0.3, True),
    ],
)
def test_our_networks_tell_whether_they_mix(norm: str, dropout: float, mixes: bool) -> None:
    config = NetworkConfig(filters=(4, 8), norm=norm, dropout=dropout)
    network = build_network(config, channels=1, classes=2)
    assert mixes_patches(network) is mixes
    assert not mixes_patches(network.eval())
