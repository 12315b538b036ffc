"""One student pass over labeled and unlabeled patches, without the ones touching the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from dycon_engine.methods.views import View

T = TypeVar("T", bound=tuple[Any, ...])


def student_passes(
    student: Callable[[Tensor], T], labeled: Tensor, unlabeled: Callable[[], Tensor]
) -> tuple[T, T]:
    """Return the student's named tuple of tensors for both kinds of patches.

    One joint forward pass where every patch is treated alone (a larger batch is cheaper per patch);
    two where batch norm or dropout would let the unlabeled patches change the supervised terms.

    Args:
        student: (B, C, D, H, W) -> a named tuple of tensors (B, ...), or tuples of them.
        labeled: (B, C, D, H, W).
        unlabeled: Makes (U, C, D, H, W); called after the labeled pass where that one draws at
            random, so that its draws do not depend on U.
    """
    first, second, _ = viewed_passes(student, labeled, lambda: View(unlabeled()))
    return first, second


def viewed_passes(
    student: Callable[[Tensor], T], labeled: Tensor, unlabeled: Callable[[], View]
) -> tuple[T, T, View]:
    """Return what `student_passes` does, and the view of the unlabeled patches that was drawn."""
    if isinstance(student, nn.Module) and mixes_patches(student):
        first = student(labeled)
        view = unlabeled()
        return first, student(view.image), view
    view = unlabeled()
    joint = student(torch.cat((labeled, view.image)))
    count = len(labeled)
    return _patches(joint, slice(None, count)), _patches(joint, slice(count, None)), view


def _patches(found: T, which: slice) -> T:
    """Return the tensors of some patches, also of those that are tuples of tensors."""
    kind: Any = type(found)
    return cast(
        T,
        kind(
            *(
                tuple(t[which] for t in part) if isinstance(part, tuple) else part[which]
                for part in found
            )
        ),
    )


def mixes_patches(module: nn.Module) -> bool:
    """Return whether a patch's result depends on its batch or on random draws while training."""
    return module.training and any(
        isinstance(part, _BatchNorm) or _drops(part) for part in module.modules()
    )


def _drops(part: nn.Module) -> bool:
    """Return whether `part` is a dropout layer, or a network that drops by itself."""
    share = part.p if isinstance(part, _DropoutNd) else getattr(part, "dropout", 0.0)
    return isinstance(share, float) and share > 0.0
