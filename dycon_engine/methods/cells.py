"""Embedding cells with a class: what FeCL contrasts.

A cell is one position of the embedding grid; it covers a block of voxels. Its class and its
probabilities are averages over that block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Cells(NamedTuple):
    """N cells of some patches.

    Attributes:
        embedding: (N, E) of the student.
        teacher: (N, E) of the teacher; None where not all patches passed it.
        label: (N,) int64 class.
        valid: (N,) bool; False where the class is not clear enough.
        p: (N, K) the student's mean probabilities.
    """

    embedding: Tensor
    teacher: Tensor | None
    label: Tensor
    valid: Tensor
    p: Tensor


class CellSource(NamedTuple):
    """What is known of some patches before their cells have a class.

    Attributes:
        embedding: (B, E, d, h, w) of the student.
        teacher: The same shape, of the teacher; empty where no term needs it.
        p: (B, K, D, H, W) probabilities of the student.
    """

    embedding: Tensor
    teacher: Tensor
    p: Tensor


def labeled_cells(source: CellSource, label: Tensor, *, purity: float) -> Cells:
    """Return the cells of labeled patches, valid where one class fills at least `purity` of it.

    For two classes, purity 0.8 drops the cells whose foreground fraction lies in (.2, .8).

    Args:
        source: B labeled patches.
        label: (B, D, H, W) int64 reference.
        purity: Share of a cell.
    """
    grid, classes = source.embedding.shape[2:], source.p.shape[1]
    one_class = ((label == c).to(source.p.dtype)[:, None] for c in range(classes))
    share, winner = torch.cat([block_mean(each, grid) for each in one_class], 1).max(1)
    return _cells(source, winner, share >= purity)


def pseudo_cells(source: CellSource, p_teacher: Tensor, *, confidence: float) -> Cells:
    """Return the cells of unlabeled patches with the teacher's class, valid where it is sure.

    Args:
        source: U unlabeled patches.
        p_teacher: (U, K, D, H, W) probabilities of the teacher.
        confidence: Least mean probability of the winning class.
    """
    share, winner = block_mean(p_teacher, source.embedding.shape[2:]).max(1)
    return _cells(source, winner, share >= confidence)


def join(parts: Sequence[Cells]) -> Cells:
    """Return the cells of several groups of patches as one set."""
    teachers = [part.teacher for part in parts if part.teacher is not None]
    return Cells(
        torch.cat([part.embedding for part in parts]),
        torch.cat(teachers) if len(teachers) == len(parts) else None,
        torch.cat([part.label for part in parts]),
        torch.cat([part.valid for part in parts]),
        torch.cat([part.p for part in parts]),
    )


def block_mean(p: Tensor, grid: Sequence[int]) -> Tensor:
    """Return (B, K, D, H, W) averaged over equal blocks, as (B, K, d, h, w) of a coarser `grid`.

    Source: the adaptive pooling of the same shapes, bit for bit; that one MPS does not have.
    """
    depth, height, width = (n // cells for n, cells in zip(p.shape[2:], grid, strict=True))
    return F.avg_pool3d(p, (depth, height, width))


def _cells(source: CellSource, winner: Tensor, valid: Tensor) -> Cells:
    return Cells(
        _rows(source.embedding),
        _rows(source.teacher) if len(source.teacher) else None,
        winner.flatten(),
        valid.flatten(),
        _rows(block_mean(source.p, source.embedding.shape[2:])),
    )


def _rows(grid: Tensor) -> Tensor:
    """Return (B, E, d, h, w) as (B * d * h * w, E)."""
    return grid.permute(0, 2, 3, 4, 1).flatten(0, 3)
