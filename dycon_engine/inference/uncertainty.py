"""How unsure a prediction is, per voxel in [0, 1]; and the passes that each kind needs."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dycon_engine.errors import InputError
from dycon_engine.networks.base import Network

ENTROPY, DISAGREEMENT, MC_DROPOUT, TTA = "entropy", "disagreement", "mc-dropout", "tta"
DROPOUT_PASSES = 8
SMALLEST = 1e-30  # its share of the entropy is 0 in float32
AXES = {"z": 2, "y": 3, "x": 4}  # of windows (B, C, D, H, W)
KINDS = {
    ENTROPY: "entropy of the calibrated probabilities; costs nothing extra",
    DISAGREEMENT: "Jensen-Shannon divergence of student and teacher, or of the two networks or "
    "scales that predict together; costs up to one more pass",
    MC_DROPOUT: f"entropy of the mean of {DROPOUT_PASSES} more passes with dropout on",
    TTA: "entropy of the mean over the scan and its mirror images along the axes that training "
    "mirrored; costs one more pass for each",
}

Apply = Callable[[Tensor], Tensor]


class Passes(NamedTuple):
    """How windows become logits.

    Attributes:
        apply: Windows (B, C, *patch) -> (B, sets x K, *patch) whose softmax over every K is
            calibrated; the first set is the plain pass, which gives the labels.
        sets: 1; 2 where the uncertainty comes from another set than the labels; 3 where it comes
            from two others.
    """

    apply: Apply
    sets: int


def passes(
    kind: str | None,
    network: Network,
    partner: Network | None,
    *,
    temperature: float,
    mirrored: str | None,
) -> Passes:
    """Return the passes that a `kind` of uncertainty needs; None = none.

    Args:
        kind: One of `KINDS`.
        network: Gives the labels.
        partner: The other of student and teacher, where there is one.
        temperature: Logits are divided by it.
        mirrored: Letters of zyx, as of `PackageInfo.mirrored_axes`.

    Raises:
        InputError: There is no partner, the network has no dropout, or no axis was mirrored.
    """
    if kind == DISAGREEMENT:
        return with_two_opinions(network, partner, temperature)
    if kind == TTA:
        return Passes(with_mirrors(network, temperature, mirrored), 2)
    if kind == MC_DROPOUT:
        return Passes(with_dropout(network, temperature), 2)
    return Passes(segmenter(network, temperature), 1)


def entropy(probabilities: Tensor | Sequence[Tensor]) -> Tensor:
    """Return the entropy (...) of (K, ...) in bits, at most 1.

    0 = certain; 1 = as unsure as the toss of a coin, or more. Where only two of many classes come
    into question it is the same as if there were no others.
    """
    return _negative_nats(probabilities).mul_(-1.0 / math.log(2.0)).clamp_(0.0, 1.0)


def _negative_nats(probabilities: Tensor | Sequence[Tensor]) -> Tensor:
    nats = torch.zeros(())
    for likely in probabilities:
        wide = likely.float()
        nats = wide.clamp(min=SMALLEST).log_().mul_(wide).add_(nats)  # torch.special.entr is slow
    return nats


def disagreement(one: Tensor, other: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence (...) of two (K, ...) divided by log 2: 0 the same."""
    mean = 0.5 * (one.float() + other.float())
    nats = 0.5 * (_negative_nats(one) + _negative_nats(other)) - _negative_nats(mean)
    return (nats / math.log(2.0)).clamp_(0.0, 1.0)


def segmenter(network: Network, temperature: float = 1.0) -> Apply:
    """Return windows (B, C, *patch) -> calibrated logits (B, K, *patch)."""
    return lambda image: network(image).logits.float() / temperature


def with_mirrors(network: Network, temperature: float, mirrored: str | None) -> Apply:
    """Return windows -> plain logits, and log of the mean probabilities over the mirror images too.

    Only along axes that training mirrored: of other mirror images the network knows nothing, and
    what it says of them is no uncertainty of the scan.

    Raises:
        InputError: There is no such axis, or it is not known.
    """
    if not mirrored:
        found = (
            "the package does not say along which axes its training mirrored scans"
            if mirrored is None
            else "this network was trained without mirrored scans (augmentation.flip_axes)"
        )
        raise InputError(f"uncertainty 'tta': {found}; use entropy or disagreement")
    mirrors = ((), *((AXES[axis],) for axis in mirrored))

    def apply(image: Tensor) -> Tensor:
        logits = [network(image.flip(axes)).logits.flip(axes) for axes in mirrors]
        calibrated = [one.float() / temperature for one in logits]
        return torch.cat((calibrated[0], _log_mean(calibrated)), dim=1)

    return apply


def with_dropout(network: Network, temperature: float, count: int = DROPOUT_PASSES) -> Apply:
    """Return windows -> plain logits and log of the mean probabilities of `count` with dropout.

    The dropped features follow from the number of the call alone, so that results can be repeated.

    Raises:
        InputError: The network has no dropout.
    """
    if not _dropout_modules(network):
        raise InputError(
            "uncertainty 'mc-dropout': this network was trained without dropout; "
            "use entropy or disagreement"
        )
    seeds = itertools.count()

    def apply(image: Tensor) -> Tensor:
        plain = network(image).logits.float() / temperature
        devices = [image.device] if image.device.type == "cuda" else []
        with _dropout_on(network), torch.random.fork_rng(devices=devices):
            torch.manual_seed(next(seeds))
            varied = [network(image).logits.float() / temperature for _ in range(count)]
        return torch.cat((plain, _log_mean(varied)), dim=1)

    return apply


def with_two_opinions(network: Network, partner: Network | None, temperature: float) -> Passes:
    """Return the passes of student and teacher, or of the parts that a composed network shows.

    The last two sets are the two to compare; the first is what gives the labels.

    Raises:
        InputError: There is neither a partner nor are there parts.
    """
    if partner is not None:
        one, other = segmenter(network, temperature), segmenter(partner, temperature)
        return Passes(lambda image: torch.cat((one(image), other(image)), dim=1), 2)
    if not network.has_views:
        raise InputError(
            "uncertainty 'disagreement': the package holds one network only; use entropy"
        )

    def apply(image: Tensor) -> Tensor:
        features = network.viewed(image)
        sets = (features.logits, *features.views.unbind(1))
        return torch.cat([logits.float() / temperature for logits in sets], dim=1)

    return Passes(apply, 3)


def _log_mean(logits: Sequence[Tensor]) -> Tensor:
    logs = torch.stack([one.log_softmax(1) for one in logits])
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
