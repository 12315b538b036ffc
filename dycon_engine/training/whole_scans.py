"""The network in training over whole scans, in `margins` as `predict` does it."""

from __future__ import annotations

import torch
from torch import nn

from dycon_engine.config import RunConfig
from dycon_engine.data.preprocessing import Prepared
from dycon_engine.inference.blending import Apply, Watch
from dycon_engine.inference.probabilities import margins
from dycon_engine.inference.sliding_window import Options
from dycon_engine.training.optimizer import choose_precision


def leading(network: nn.Module) -> Apply:
    """Return `network`, windows -> logits, as a function from windows to `margins`."""
    return lambda patches: margins(network(patches).float())


def over_scan(
    prepared: Prepared, config: RunConfig, classes: int, device: torch.device, watch: Watch
) -> Options:
    """Return how the windows of `leading` networks go over a scan, in the run's number format.

    On the CPU that is float32, as `predict` has it there.

    Args:
        prepared: The scan.
        config: The run.
        classes: K, background included.
        device: Where the network is.
        watch: Progress, notices and cancellation.
    """
    return Options(
        patch_size=config.training.patch_size,
        classes=classes - 1,
        background=tuple(range(classes - 1)),  # air: it leads everywhere
        config=config.inference,
        air=prepared.air,
        blank=prepared.blank,
        device=device,
        dtype=whole_scan_dtype(config, device),
        watch=watch,
    )


def whole_scan_dtype(config: RunConfig, device: torch.device) -> torch.dtype:
    """Return the number format of the convolutions over whole scans in a run."""
    if device.type != "cuda":
        return torch.float32
    return choose_precision(config.training.precision, device).dtype or torch.float32
