"""Class prototypes: the mean feature of sure voxels, which unsure ones are pulled to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ABSENT = -1e4  # a logit no softmax sees


def prototype_loss(
    features: Tensor, p: Tensor, sure: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """Return the mean over unsure voxels of -log softmax_c(cos(f, m_c) / temperature)[class].

    m_c is the mean of the normalised features of the sure voxels of class c, without gradient: an
    unsure voxel is pulled to the prototype of its likeliest class and pushed from the others. 0
    where fewer than two classes have a sure voxel, or no unsure voxel is of a class that has.

    Args:
        features: (B, F, D, H, W).
        p: (B, K, D, H, W) probabilities of the classes.
        sure: (B, D, H, W) bool.
        temperature: Of the similarities.

    Source: Lu et al. 2025 write the aim; normalised features and a softmax are our form of it.
    """
    classes = p.shape[1]
    rows = F.normalize(features.float(), dim=1).movedim(1, -1).flatten(0, 3)
    label, known = p.argmax(1).flatten(), sure.flatten()
    member = F.one_hot(label, classes).to(rows.dtype) * known.unsqueeze(1)
    count = member.sum(0)
    present = count > 0
    with torch.autocast(rows.device.type, enabled=False):
        prototypes = F.normalize(member.T @ rows.detach(), dim=1)
        logits = (rows @ prototypes.T / temperature).masked_fill(~present, ABSENT)
    counted = ~known & present[label]  # with one class present all of `away` is 0
    away = F.cross_entropy(logits, label, reduction="none")
    return torch.where(counted, away, 0.0).sum() / counted.sum().clamp_min(1)
