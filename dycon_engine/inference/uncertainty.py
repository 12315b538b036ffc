"""How unsure a prediction is, per voxel in [0, 1]; and the passes that each kind needs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from dycon_engine.errors import InputError
from dycon_engine.networks.base import Network

ENTROPY, DISAGREEMENT, MC_DROPOUT, TTA = "entropy", "disagreement", "mc-dropout", "tta"
KINDS = {
    ENTROPY: "entropy of the calibrated probabilities; costs nothing extra",
    DISAGREEMENT: "Jensen-Shannon divergence of student and teacher; costs one more pass",
    MC_DROPOUT: "entropy of the mean of several passes with dropout on",
    TTA: "entropy of the mean over the scan and its three mirror images",
}
DROPOUT_PASSES = 8
MIRRORS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (4,))

Apply = Callable[[Tensor], Tensor]


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy (...) of (K, ...) divided by log K: 0 certain, 1 all classes alike."""
    nats: Tensor = torch.special.entr(probabilities.float()).sum(0)  # -p log p, 0 at p = 0
    return nats.mul_(1.0 / math.log(probabilities.shape[0])).clamp_(0.0, 1.0)


def disagreement(one: Tensor, other: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence (...) of two (K, ...) divided by log 2: 0 the same."""
    log_k = math.log(one.shape[0])
    mean = 0.5 * (one.float() + other.float())
    nats = (entropy(mean) - 0.5 * (entropy(one) + entropy(other))) * log_k
    return (nats / math.log(2.0)).clamp_(0.0, 1.0)


def segmenter(network: Network) -> Apply:
    """Return windows (B, C, *patch) -> logits (B, K, *patch)."""
    return lambda image: network(image).logits


def mean_of_mirrors(network: Network, temperature: float) -> Apply:
    """Return windows -> log of the mean calibrated probabilities over the `MIRRORS`."""

    def apply(image: Tensor) -> Tensor:
        passes = [network(image.flip(axes)).logits.flip(axes) for axes in MIRRORS]
        return _log_mean(passes, temperature)

    return apply


def mean_of_dropout(network: Network, temperature: float, passes: int = DROPOUT_PASSES) -> Apply:
    """Return windows -> log of the mean calibrated probabilities with dropout on.

    Raises:
        InputError: The network has no dropout.
    """
    if not _dropout_modules(network):
        raise InputError(
            "uncertainty 'mc-dropout': this network was trained without dropout; "
            "use entropy, disagreement or tta"
        )

    def apply(image: Tensor) -> Tensor:
        with _dropout_on(network):
            return _log_mean([network(image).logits for _ in range(passes)], temperature)

    return apply


def _log_mean(logits: Sequence[Tensor], temperature: float) -> Tensor:
    logs = torch.stack([(one.float() / temperature).log_softmax(1) for one in logits])
    return logs.logsumexp(0) - math.log(len(logits))


def _dropout_modules(network: nn.Module) -> list[nn.Module]:
    """Return the modules that drop features: layers, and networks with a `dropout` of their own."""
    found = []
    for module in network.modules():
        rate = getattr(module, "p" if isinstance(module, DROPOUT_LAYERS) else "dropout", 0.0)
        if isinstance(rate, int | float) and rate > 0:
            found.append(module)
    return found


DROPOUT_LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@contextlib.contextmanager
def _dropout_on(network: nn.Module) -> Iterator[None]:
    """Only the dropping modules think they train; normalisation keeps its statistics."""
    modules = [module for module in _dropout_modules(network) if not module.training]
    for module in modules:
        module.training = True
    try:
        yield
    finally:
        for module in modules:
            module.training = False
