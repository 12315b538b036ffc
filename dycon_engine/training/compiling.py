"""`training.compile`: networks compiled where that works here, and left as they were where not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dycon_engine.jobs.reporter import Reporter
from dycon_engine.networks.base import Features, Network
from dycon_engine.training.shipping import networks_of
from dycon_engine.training.trainer import Trainer


def compile_networks(trainer: Trainer, reporter: Reporter) -> None:
    """Compile the networks, or say that it does not work here and go on without.

    Every network is tried on zeros, with gradients and number format as in a step; the weights,
    the buffers and the gradients are afterwards what they were before.
    """
    networks = networks_of(trainer.method)
    for network in networks:
        network.compile()
    try:
        with _untouched(trainer.method):
            for network in networks:
                _try(network, trainer)
    except Exception as error:  # noqa: BLE001 - a missing compiler shows in many ways
        for network in networks:
            network._compiled_call_impl = None
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reporter.warn("compile", f"training.compile does not work here ({words}); going on without")


def _try(network: Network, trainer: Trainer) -> None:
    """Do one pass there and, where the network is trained, back."""
    config = trainer.config
    patches = config.labeled_batch + config.unlabeled_batch
    trained = any(parameter.requires_grad for parameter in network.parameters())
    zeros = torch.zeros(
        patches, network.channels, *config.patch_size, device=trainer.process.device
    )
    with torch.set_grad_enabled(trained), trainer.autocast():
        found = network(zeros)
    if trained:
        loss = torch.stack([part.float().sum() for part in _outputs(found)]).sum()
        loss.backward()  # type: ignore[no-untyped-call]


def _outputs(found: Features) -> list[Tensor]:
    parts = (found.logits, found.embedding, found.decoded, found.views, *found.levels)
    return [part for part in parts if part.requires_grad]


@contextmanager
def _untouched(method: nn.Module) -> Iterator[None]:
    """Bring back the buffers at the end, batch norm's running statistics above all."""
    before = [(buffer, buffer.clone()) for buffer in method.buffers()]
    method.train()
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, old in before:
                buffer.copy_(old)
        method.zero_grad(set_to_none=True)
