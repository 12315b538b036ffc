"""Optimizer, learning rate and number format follow the settings."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dycon_engine.config import TrainingConfig
from dycon_engine.errors import InputError
from dycon_engine.schedules import Progress
from dycon_engine.training.optimizer import (
    build_optimizer,
    choose_precision,
    learning_rate,
    load_optimizer,
)

CPU = torch.device("cpu")


def rates(schedule, steps=(0, 50, 99), **changes):
    config = TrainingConfig(schedule=schedule, learning_rate=1.0, **changes)
    return [learning_rate(config, Progress(step, 100)) for step in steps]


def test_the_schedules():
    assert rates("constant") == [1.0, 1.0, 1.0]
    assert rates("polynomial") == pytest.approx([1.0, 0.5**0.9, 0.01**0.9])
    assert rates("steps", milestones=(50, 90)) == pytest.approx([1.0, 0.1, 0.01])
    around = rates("steps", steps=(49, 50, 89, 90), milestones=(50, 90))
    assert around == pytest.approx([1.0, 0.1, 0.1, 0.01])
    first, middle, last = rates("one_cycle", steps=(0, 10, 99))
    assert first < 0.1
    assert middle == pytest.approx(1.0)
    assert last < 0.01


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_only_what_needs_a_gradient_is_optimized(name, kind):
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    optimizer = build_optimizer(layer.parameters(), TrainingConfig(optimizer=name), CPU)
    assert isinstance(optimizer, kind)
    assert [p is layer.weight for p in optimizer.param_groups[0]["params"]] == [True]
    assert optimizer.param_groups[0]["fused"] is True


def test_precision():
    assert choose_precision("auto", CPU).dtype is None
    assert choose_precision("bf16", CPU).dtype is torch.bfloat16
    assert choose_precision("fp16", torch.device("cuda")).needs_scaler
    with pytest.raises(InputError, match="fp16 needs a CUDA device"):
        choose_precision("fp16", CPU)
    mps = torch.device("mps")
    assert choose_precision("auto", mps).dtype is None
    with pytest.raises(InputError, match="bf16 needs CUDA or the CPU, found 'mps'"):
        choose_precision("bf16", mps)


def one_step(layer, optimizer, image):
    optimizer.zero_grad()
    layer(image).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_state_saved_in_another_layout_gives_the_same_update(name):
    """MPS keeps weights contiguous, CPU and CUDA channels last; fused kernels mind only memory."""
    torch.manual_seed(0)
    config, image = TrainingConfig(optimizer=name), torch.randn(2, 3, 4, 5, 6)
    whole = nn.Conv3d(3, 4, 3, padding=1).to(memory_format=torch.channels_last_3d)
    optimizer = build_optimizer(whole.parameters(), config, CPU)
    one_step(whole, optimizer, image)
    saved = copy.deepcopy(optimizer.state_dict())
    for values in saved["state"].values():
        values.update({key: value.contiguous() for key, value in values.items()})
    for group in saved["param_groups"]:
        group["fused"] = False
    other = nn.Conv3d(3, 4, 3, padding=1).to(memory_format=torch.channels_last_3d)
    other.load_state_dict(whole.state_dict())
    resumed = build_optimizer(other.parameters(), config, CPU)
    load_optimizer(resumed, saved, CPU)
    assert [group["fused"] for group in resumed.param_groups] == [True]
    for parameter, values in resumed.state.items():
        strides = {v.stride() for v in values.values() if v.shape == parameter.shape}
        assert strides == {parameter.stride()}
    one_step(whole, optimizer, image)
    one_step(other, resumed, image)
    assert torch.equal(whole.weight, other.weight)
    assert torch.equal(whole.bias, other.bias)
    load_optimizer(resumed, saved, torch.device("mps"))
    assert [group["fused"] for group in resumed.param_groups] == [False]
