"""Optimizer, learning rate and number format, from the settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from dycon_engine import schedules
from dycon_engine.config import TrainingConfig
from dycon_engine.errors import InputError
from dycon_engine.schedules import Progress

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
    fused = device.type in FUSED_DEVICES
    if config.optimizer == "sgd":
        return SGD(
            trainable,
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=fused,
        )
    return AdamW(trainable, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)


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
        InputError: fp16 is wanted where it cannot work.
    """
    if wanted == "auto":
        if device.type != "cuda":
            return Precision(None, "fp32")
        wanted = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if wanted == "fp16" and device.type != "cuda":
        raise InputError(
            f"training.precision: fp16 needs a CUDA device, found '{device.type}'; use auto or bf16"
        )
    dtypes = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    return Precision(dtypes[wanted], wanted)
