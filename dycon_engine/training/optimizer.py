"""Optimizer, learning rate and number format, from the settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from dycon_engine import schedules
from dycon_engine.config import TrainingConfig
from dycon_engine.errors import InputError
from dycon_engine.networks.devices import computes_bf16
from dycon_engine.schedules import Progress
from dycon_engine.settings import Table

FUSED_DEVICES = ("cpu", "cuda")


class Precision(NamedTuple):
    """Number format of the convolutions; `dtype` None is float32 without autocast."""

    dtype: torch.dtype | None
    name: str

    @property
    def needs_scaler(self) -> bool:
        """Whether gradients underflow without loss scaling."""
        return self.dtype is torch.float16


def build_optimizer(
    parameters: Iterable[nn.Parameter], config: TrainingConfig, device: torch.device
) -> Optimizer:
    """Return the optimizer over those `parameters` that need a gradient."""
    trainable = [p for p in parameters if p.requires_grad]
    fused = is_fused(device)
    if config.optimizer == "sgd":
        return SGD(
            trainable,
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=fused,
        )
    return AdamW(trainable, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)


def is_fused(device: torch.device) -> bool:
    """Return whether one kernel updates all weights there."""
    return device.type in FUSED_DEVICES


def load_optimizer(optimizer: Optimizer, state: Table, device: torch.device) -> None:
    """Go on from the `state` of an optimizer, maybe of another device.

    Fused kernels follow the memory of weights and state side by side, so each takes the layout of
    its weights; whether they are fused is up to the device.
    """
    groups = [group | {"fused": is_fused(device)} for group in state["param_groups"]]
    optimizer.load_state_dict({**state, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def learning_rate(config: TrainingConfig, progress: Progress) -> float:
    """Return the learning rate of the step after `progress.step` done ones."""
    factors = {
        "constant": lambda: 1.0,
        "polynomial": lambda: schedules.polynomial(progress.fraction),
        "one_cycle": lambda: schedules.one_cycle(schedules.cycle(progress, config.cycles)),
        "steps": lambda: schedules.step_decay(progress.step, config.milestones),
    }
    return config.learning_rate * factors[config.schedule]()


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """Return the number format; auto is bf16 (else fp16) on CUDA and float32 elsewhere.

    Raises:
        InputError: fp16 or bf16 is wanted where it cannot work.
    """
    if wanted == "auto":
        if device.type != "cuda":
            return Precision(None, "fp32")
        wanted = "bf16" if computes_bf16(device) else "fp16"
    if wanted == "fp16" and device.type != "cuda":
        raise InputError(
            f"training.precision: fp16 needs a CUDA device, found '{device.type}'; use auto or fp32"
        )
    if wanted == "bf16" and device.type == "mps":
        raise InputError(
            "training.precision: bf16 needs CUDA or the CPU, found 'mps', whose transposed "
            "convolutions are float32 only; use auto or fp32"
        )
    dtypes = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    return Precision(dtypes[wanted], wanted)
