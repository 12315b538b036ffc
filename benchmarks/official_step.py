"""A DyCON training step in the manner of the released code, written anew from its description.

Equal mathematics to `dycon_engine` as far as the manner allows: contiguous tensors and PyTorch's
own instance norm, a softmax of its own for every loss, whole N x N matrices in FeCL, the teacher on
every patch with batch statistics, unfused SGD, a Python loop for the EMA, HD95 of the labeled
patches in every step. Not repeated: the label leak, softmax applied twice, the masked-out F-.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from medpy.metric.binary import hd95
from torch import Tensor, nn

from dycon_engine.data.batch import Batch
from dycon_engine.methods.cells import CellSource, join, labeled_cells, pseudo_cells
from dycon_engine.methods.dycon import DyconConfig, Embedded, Embedder
from dycon_engine.networks.base import Network
from dycon_engine.networks.blocks import BatchNorm, Conv3d, InstanceNorm


def plain(module: nn.Module) -> nn.Module:
    """Replace our layers by PyTorch's, everywhere, with the same weights; contiguous."""
    if isinstance(module, Network):
        module.rebuilds = False
    for name, child in module.named_children():
        layer = plain(child)
        if isinstance(child, InstanceNorm):
            layer = nn.InstanceNorm3d(len(child.weight), affine=True)
        elif isinstance(child, BatchNorm):
            layer = nn.BatchNorm3d(child.num_features)
        elif isinstance(child, Conv3d):
            layer = nn.Conv3d(
                child.in_channels, child.out_channels, child.kernel_size, child.stride,
                child.padding, child.dilation, bias=child.bias is not None,
            )  # fmt: skip
        if layer is not child:
            layer.load_state_dict(child.state_dict())
            setattr(module, name, layer)
    return module.to(memory_format=torch.contiguous_format)


def entropy(p: Tensor) -> Tensor:
    return -torch.sum(p * torch.log(p + 1e-6), dim=1)


def official_uncl(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    p_s, p_t = torch.softmax(student, 1), torch.softmax(teacher, 1)
    h_s, h_t = entropy(p_s).unsqueeze(1), entropy(p_t).unsqueeze(1)
    loss = F.mse_loss(p_s, p_t, reduction="none") / (torch.exp(beta * h_s) + torch.exp(beta * h_t))
    return loss.mean() + beta * (h_s + h_t).mean()


def official_fecl(
    embedding: Tensor,
    label: Tensor,
    valid: Tensor,
    *,
    teacher_embedding: Tensor,
    anchor_weight: Tensor,
    settings: DyconConfig,
) -> Tensor:
    """FeCL with every N x N matrix in memory."""
    z, t = F.normalize(embedding, dim=1), F.normalize(teacher_embedding, dim=1)
    both = (valid[:, None] & valid[None, :]).float()
    same = (label[:, None] == label[None, :]).float()
    positive = same * both * (1 - torch.eye(len(z), device=z.device))
    negative = (1 - same) * both
    cosine = torch.matmul(z, z.T)
    similarity = cosine / settings.tau
    exponent = torch.exp(similarity)
    closeness = (cosine + 1) / 2
    focal_positive = (1 - closeness) ** settings.gamma * anchor_weight[:, None]
    focal_negative = closeness**settings.gamma
    taught = torch.matmul(t, t.T) / settings.tau
    taught = torch.where(negative > 0, taught, torch.full_like(taught, -torch.inf))
    k = settings.teacher_negatives
    hardest = torch.exp(torch.topk(taught, k, dim=1).values).sum(1, keepdim=True) / k
    negative_sum = (negative * focal_negative * (exponent + hardest)).sum(1, keepdim=True)
    denominator = (positive * exponent).sum(1, keepdim=True) + negative_sum
    log_probability = similarity - torch.log(denominator + 1e-8)
    rows = -(positive * focal_positive * log_probability).sum(1) / positive.sum(1).clamp(min=1)
    return rows[positive.sum(1) > 0].mean()


def released_fecl(
    embedding: Tensor,
    label: Tensor,
    *,
    teacher_embedding: Tensor,
    anchor_weight: Tensor,
    settings: DyconConfig,
) -> Tensor:
    """FeCL by the steps of the released code, of all cells; a formula of its own.

    Every positive has its own denominator, the focal weights are set by boolean masks, and the
    teacher's negatives above a threshold are a term beside the others. Mended: the maximum is that
    of the row, and the entropy weight multiplies the focal loss.
    """
    z, t = F.normalize(embedding, dim=1), F.normalize(teacher_embedding, dim=1)
    same = torch.eq(label[:, None], label[None, :]).float()
    others = 1 - same
    not_self = 1 - torch.eye(len(z), device=z.device)
    similarity = torch.matmul(z, z.T) / settings.tau * not_self
    similarity = similarity - similarity.max(dim=1, keepdim=True).values.detach()
    exponent = torch.exp(similarity)
    negatives = (exponent * others).sum(1)
    share = exponent / (exponent + negatives[:, None] + 1e-18)
    pairs = -torch.log(share + 1e-18) * same * not_self
    focal = torch.ones_like(share)
    far = same.bool() & (share < 1.5)
    focal[far] = (1 - share[far]).pow(settings.gamma)
    near = others.bool() & (share > 0.5)
    focal[near] = share[near].pow(settings.gamma)
    rows = (pairs * focal).sum(1) / (same.sum(1) - 1 + 1e-18)
    loss = (rows * anchor_weight).mean()
    crossed = torch.matmul(z, t.T)
    hard = others.bool() & (crossed > 0.5)
    if hard.sum() > 0:
        loss = loss + (-torch.log(1 - crossed + 1e-18) * hard.float()).sum() / hard.float().sum()
    return loss


def official_dice(logits: Tensor, label: Tensor) -> Tensor:
    p, truth = torch.softmax(logits, 1)[:, 1], (label == 1).float()
    return 1 - (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1)


def official_gambling_entropy(p: Tensor) -> Tensor:
    q = torch.softmax(torch.log(p + 1e-6), 1) + (1 - p.max(1, keepdim=True).values)
    q = q / q.sum(1, keepdim=True)
    return -(q * torch.log(q + 1e-6)).sum(1)


@dataclass
class OfficialStep:
    """Student, teacher and optimizer; `teacher_graph` also records the teacher's graph."""

    student: nn.Module
    teacher: nn.Module
    optimizer: torch.optim.Optimizer
    config: DyconConfig
    teacher_graph: bool = False
    steps_done: int = 0
    watch_seconds: float = 0.0

    @staticmethod
    def build(
        network: Network, config: DyconConfig, *, teacher_graph: bool = False
    ) -> OfficialStep:
        """Return the step around `network`; the teacher starts as a copy, for comparison."""
        student = plain(Embedder(network, config))
        teacher = copy.deepcopy(student)
        optimizer = torch.optim.SGD(
            student.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, foreach=False
        )
        return OfficialStep(student, teacher, optimizer, config, teacher_graph)

    def __call__(self, batch: Batch) -> float:
        """Do one step; return the loss."""
        volumes = torch.cat((batch.image, batch.unlabeled))
        count = len(batch.image)
        student = self.student(volumes)
        noise = torch.clamp(torch.randn_like(volumes) * 0.1, -0.2, 0.2)
        with torch.set_grad_enabled(self.teacher_graph):
            teacher = self.teacher(volumes + noise)
        taught = Embedded(teacher.logits.detach(), teacher.embedding.detach())
        loss = self._loss(batch, student, taught)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0, foreach=False)
        self.optimizer.step()
        decay = min(1 - 1 / (self.steps_done + 1), 0.99)
        self.steps_done += 1
        for own, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            own.data.mul_(decay).add_(new.data, alpha=1 - decay)
        start = time.process_time()
        self._watch(student.logits[:count], batch.label)
        self.watch_seconds = time.process_time() - start
        return float(loss.detach())

    def _loss(self, batch: Batch, student: Embedded, teacher: Embedded) -> Tensor:
        count, c = len(batch.image), self.config
        loss = F.cross_entropy(student.logits[:count], batch.label)
        loss = loss + official_dice(student.logits[:count], batch.label)
        p_s, p_t = torch.softmax(student.logits, 1), torch.softmax(teacher.logits, 1)
        loss = loss + c.consistency_weight * F.mse_loss(p_s[count:], p_t[count:])
        uncl = official_uncl(student.logits[count:], teacher.logits[count:], c.beta_max)
        sources = [
            CellSource(student.embedding[part], teacher.embedding[part], p_s[part])
            for part in (slice(count), slice(count, None))
        ]
        cells = join(
            [
                labeled_cells(sources[0], batch.label, purity=c.cell_purity),
                pseudo_cells(sources[1], p_t[count:], confidence=c.cell_confidence),
            ]
        )
        fecl = official_fecl(
            cells.embedding,
            cells.label,
            cells.valid,
            teacher_embedding=cells.teacher,
            anchor_weight=torch.exp(official_gambling_entropy(cells.p)),
            settings=c,
        )
        return loss + c.contrast_weight * (fecl + uncl)

    @staticmethod
    def _watch(logits: Tensor, label: Tensor) -> float:
        """Return the mean HD95 of the labeled patches, as the released loop logs it every step."""
        found = torch.argmax(torch.softmax(logits, 1), 1).cpu().numpy()
        truth = label.cpu().numpy()
        both = [(p, t) for p, t in zip(found, truth, strict=True) if p.any() and t.any()]
        return float(np.mean([hd95(p, t) for p, t in both])) if both else 0.0
