"""From mean logits on the network's grid to probabilities on the scan's own, piece by piece."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from dycon_engine.data.geometry import Geometry, Spacing
from dycon_engine.data.restoring import Restorer, pieces
from dycon_engine.data.straightening import StraightRestorer
from dycon_engine.errors import NonFiniteError
from dycon_engine.inference.blending import Slab
from dycon_engine.inference.memory import PIECE_VOXELS

Place = Callable[[NDArray[Any]], NDArray[Any]]  # an array on the scan's grid -> the view of a piece


def margins(logits: Tensor, sets: int = 1) -> Tensor:
    """Return by how much the background leads every other class, (B, sets x (K - 1), ...).

    All that probabilities follow from, in one channel less; the lead of the mean is the mean lead.

    Args:
        logits: (B, sets x K, ...).
        sets: How many times K classes they hold.
    """
    groups = logits.view(len(logits), sets, -1, *logits.shape[2:])
    return (groups[:, :, :1] - groups[:, :, 1:]).flatten(1, 2)


def restored(
    slabs: Iterable[Slab],
    source: Geometry,
    spacing_mm: Spacing,
    *,
    sets: int = 1,
    straight: Geometry | None = None,
) -> Iterator[tuple[Place, Tensor]]:
    """Yield the foreground probabilities (sets x (K - 1), d, h, w) as their rows are finished.

    The background is what is missing to 1: it is not carried through the resampling.

    Args:
        slabs: `margins` (sets x (K - 1), D, H, W) on the network's grid.
        source: The scan's own grid.
        spacing_mm: Voxel size of the network's grid.
        sets: How many times K - 1 classes they hold.
        straight: The network's grid where the scan was straightened; all rows then come at the end.

    Raises:
        NonFiniteError: There is NaN or infinity among them.
    """
    if straight is not None:
        yield from _turned_back(slabs, source, straight, sets)
        return
    restorer: Restorer | None = None
    for axis, rows, leads in slabs:
        restorer = restorer or Restorer(source, spacing_mm, axis=axis)
        for piece in restorer.chunks(rows):
            part = leads.narrow(axis + 1, piece.start - rows.start, piece.stop - piece.start)
            finished = restorer.add(piece, likelihoods(part, sets).cpu().numpy())
            if finished is not None:
                place = functools.partial(restorer.place, rows=finished[0])
                yield place, torch.from_numpy(finished[1])


def _turned_back(
    slabs: Iterable[Slab], source: Geometry, straight: Geometry, sets: int
) -> Iterator[tuple[Place, Tensor]]:
    restorer: StraightRestorer | None = None
    for axis, rows, leads in slabs:
        restorer = restorer or StraightRestorer(source, straight, axis=axis)
        plane = math.prod(n for a, n in enumerate(leads.shape[1:]) if a != axis)
        for piece in pieces(rows, max(1, PIECE_VOXELS // plane)):
            part = leads.narrow(axis + 1, piece.start - rows.start, piece.stop - piece.start)
            restorer.add(piece, likelihoods(part, sets).cpu().numpy())
    if restorer is not None:
        for rows, values in restorer.finish():
            yield functools.partial(_rows_of, rows=rows), values


def _rows_of(array: NDArray[Any], rows: slice) -> NDArray[Any]:
    """Return the view of some rows (z) of `array` (..., D, H, W)."""
    return array[..., rows, :, :]


def likelihoods(leads: Tensor, sets: int = 1) -> Tensor:
    """Return the probabilities (sets x (K - 1), ...) that follow from `margins` of the same shape.

    Raises:
        NonFiniteError: There is NaN or infinity among them.
    """
    if not bool(torch.isfinite(leads.sum())):
        raise NonFiniteError(
            "the network's output holds NaN or infinity; nothing was written, check the "
            "scan's intensities and the package"
        )
    groups = leads.view(sets, -1, *leads.shape[1:])
    if groups.shape[1] == 1:  # the same as softmax, in one third of the time
        return torch.sigmoid(-leads)
    nothing = torch.zeros_like(groups[:, :1])
    return torch.cat((nothing, -groups), dim=1).softmax(1)[:, 1:].flatten(0, 1)


def background(foreground: Tensor) -> Tensor:
    """Return what is missing to 1 (...) in the probabilities (K - 1, ...) of the other classes."""
    known = foreground[0] if len(foreground) == 1 else foreground.sum(0)
    return (1.0 - known).clamp_(min=0.0)


def complete(foreground: Tensor) -> Tensor:
    """Return the probabilities (K, ...) with the background in front of (K - 1, ...)."""
    return torch.cat((background(foreground)[None], foreground))


def most_likely(foreground: Tensor) -> Tensor:
    """Return the class (...) uint8 of largest probability; the first of equal ones.

    Args:
        foreground: (K - 1, ...) probabilities without the background.
    """
    if len(foreground) == 1:
        return (foreground[0] > 0.5).to(torch.uint8)  # noqa: PLR2004
    labels = torch.zeros(foreground.shape[1:], dtype=torch.uint8)
    best = 1.0 - foreground.sum(0)
    for index, likely in enumerate(foreground, start=1):  # much faster than argmax
        labels.masked_fill_(likely > best, index)
        best = torch.maximum(best, likely)
    return labels
