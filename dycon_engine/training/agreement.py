"""Whether a package would predict what validation scores, found out before any scan is read."""

from __future__ import annotations

import torch
from torch import Tensor

from dycon_engine.data.geometry import Size
from dycon_engine.errors import InputError
from dycon_engine.methods.base import Method
from dycon_engine.networks import NetworkBuilder
from dycon_engine.networks.composing import compose
from dycon_engine.training.shipping import predicting_network

STRIDES = (2, 2, 4)  # of the patch that is tried, at most: two voxels stay deep at half scale
NOISE, LEAST_NOISE = 0.1, 0.01  # of the standard deviation of a weight's tensor, and beside it
TOLERANCE = 1e-3  # of the largest logit: the two may compute in another order


@torch.no_grad()
def require_agreement(
    method: Method, name: str, *, network: NetworkBuilder, patch_size: Size
) -> None:
    """Check that `predictor()` gives what the package would, on one random patch.

    The package holds the first network found in `predictor()`, built anew as `composition()` says.
    The weights of `method` are shaken before, each tensor by itself: at the start a teacher is a
    copy of its student, and their mean would pass for either. No draw of the global random numbers
    is used up.

    Args:
        method: A trial; it is left with other weights and in evaluation mode.
        name: Of the method, for the message.
        network: Builds the networks of the run.
        patch_size: Of the run, voxels (z, y, x); the patch that is tried is no larger.

    Raises:
        InputError: A package would be another model, or none could be made.
    """
    where, kind = f"method '{name}'", method.composition().kind
    generator = torch.Generator().manual_seed(0)
    _shake(method, generator)
    predictor = method.predictor().eval()
    shipped = predicting_network(method, name)
    with torch.random.fork_rng(devices=[]):
        rebuilt = compose(network, method.composition())
    try:
        rebuilt.load_state_dict(shipped.state_dict())
    except RuntimeError:
        raise InputError(
            f"{where}: the network in predictor() has other weights than composition() describes "
            f"(kind {kind}), so no package could be loaded; let composition() return how it is made"
        ) from None
    sides = zip(patch_size, shipped.stride, STRIDES, strict=True)
    size = [step * max(1, min(side // step, most)) for side, step, most in sides]
    image = torch.randn(1, network.channels, *size, generator=generator)
    found, expected = predictor(image), rebuilt.eval()(image).logits
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(
            f"{where}: predictor() gives {given} for a patch, expected logits "
            f"{tuple(expected.shape)}; wrap the network in Logits (methods/teacher.py)"
        )
    if not _alike(found.float(), expected.float()):
        raise InputError(
            f"{where}: predictor() predicts otherwise than its package would, which holds only the "
            f"first network found in it (composition() is {kind}): another model would be shipped "
            "than the one validated; let predictor() return that network's logits unchanged, or "
            "make what it computes a network of its own (networks/composing.py)"
        )


def _shake(method: Method, generator: torch.Generator) -> None:
    """Add noise to every weight of `method`."""
    for weight in method.parameters():
        noise = torch.randn(weight.shape, generator=generator)
        weight.add_(noise * (NOISE * weight.std(correction=0) + LEAST_NOISE))


def _alike(found: Tensor, expected: Tensor) -> bool:
    """Return whether both lead over the background by the same: all that a prediction needs."""
    one, other = (logits[:, 1:] - logits[:, :1] for logits in (found, expected))
    reach = max(1.0, float(other.abs().max()))
    return torch.allclose(one, other, rtol=0.0, atol=TOLERANCE * reach, equal_nan=True)
