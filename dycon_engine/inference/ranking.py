"""Which unlabeled scan to label next: the least certain first, unlike ones before look-alikes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dycon_engine.data.preprocessing import Prepared
from dycon_engine.data.seen import scan_facts
from dycon_engine.data.volume import Volume
from dycon_engine.inference.blending import Watch
from dycon_engine.inference.domain import Flag, domain_flags
from dycon_engine.inference.pictures import Scene, draw_thumbnail, label_colors
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.probabilities import background, complete, likelihoods, most_likely
from dycon_engine.inference.uncertainty import Passes, entropy
from dycon_engine.package import PackageInfo

FOREGROUND = 0.05  # voxels at least so likely foreground are looked at
UNCERTAIN = 0.75
TIE = 0.05  # of the range of all scores: closer ones are equal, and the less alike goes first


class Impression(NamedTuple):
    """What the model makes of one scan.

    Attributes:
        name: Of the case.
        mean_entropy: Over the voxels that may be foreground, in [0, 1].
        uncertain_share: Of those voxels, the share above `UNCERTAIN`.
        foreground_ml: Volume of what is labeled.
        descriptor: (F,) mean deepest features, of length 1.
        thumbnail: PNG of the place to look at; empty where it was not asked for.
        flags: How the scan differs from those the model was trained on.
    """

    name: str
    mean_entropy: float
    uncertain_share: float
    foreground_ml: float
    descriptor: NDArray[np.float64]
    thumbnail: bytes = b""
    flags: tuple[Flag, ...] = ()

    @property
    def score(self) -> float:
        """How much there is to learn, in [0, 1]; 1 where the model found nothing at all."""
        if self.foreground_ml == 0.0:
            return 1.0
        return 0.5 * (self.mean_entropy + self.uncertain_share)


class Ranked(NamedTuple):
    """One case in the order of labeling; `distance` to the nearest case before it, in [0, 2]."""

    rank: int
    name: str
    score: float
    mean_entropy: float
    uncertain_share: float
    foreground_ml: float
    distance: float
    reason: str


def impression(
    name: str,
    image: Volume,
    predictor: Predictor,
    *,
    watch: Watch | None = None,
    thumbnail: bool = False,
) -> Impression:
    """Return what the model makes of `image` (C, D, H, W), with a `thumbnail` where asked for.

    Raises:
        CancelledError: `watch` said so.
        NonFiniteError: The network gave NaN or infinity.
        OutOfMemoryError: The scan does not fit.
    """
    info = predictor.package.info
    prepared = predictor.prepare(image)
    flags = domain_flags(scan_facts(image, prepared), info.seen)
    means: list[Tensor] = []  # (B, F) of the windows of the last pass
    pooled: list[Tensor] = []

    def apply(patches: Tensor) -> Tensor:
        features = predictor.network(patches)
        means[:] = [features.embedding.float().mean((2, 3, 4))]
        return features.logits.float() / info.calibration.temperature

    def keep(count: int) -> None:
        if count:
            pooled.append(means[0][:count].sum(0).cpu())

    looked_at = uncertain = found = 0
    total = 0.0
    scene = _empty_scene(prepared, info) if thumbnail else None
    watch = dataclasses.replace(watch or Watch(), on_pass=keep)
    for slab in predictor.slabs(prepared, Passes(apply, sets=1), watch=watch):
        likely = likelihoods(slab.logits).cpu()
        if prepared.blank is not None:
            likely.masked_fill_(torch.from_numpy(prepared.blank[slab.where]), 0.0)
        unsure, labels = entropy(complete(likely)), most_likely(likely)
        if scene is not None and scene.uncertainty is not None:
            scene.labels[slab.where] = labels.numpy()
            scene.uncertainty[slab.where] = unsure.numpy()
        values = unsure[background(likely) <= 1.0 - FOREGROUND]
        looked_at += values.numel()
        uncertain += int((values >= UNCERTAIN).sum())
        total += float(values.sum(dtype=torch.float64))
        found += int(labels.count_nonzero())
    return Impression(
        name=name,
        mean_entropy=total / max(looked_at, 1),
        uncertain_share=uncertain / max(looked_at, 1),
        foreground_ml=found * prepared.geometry.voxel_mm3 / 1000.0,
        descriptor=_unit(pooled),
        thumbnail=b""
        if scene is None
        else draw_thumbnail(scene, [label.name for label in info.labels]),
        flags=flags,
    )


def _empty_scene(prepared: Prepared, info: PackageInfo) -> Scene:
    """Return the scan on the network's grid with nothing labeled yet; labels are class indices."""
    size = prepared.array.shape[1:]
    colors = label_colors(info.labels).values()
    return Scene(
        scan=prepared.array[0],
        labels=np.zeros(size, dtype=np.uint8),
        uncertainty=np.zeros(size, dtype=np.float32),
        geometry=prepared.geometry,
        colors=dict(enumerate(colors, start=1)),
    )


def rank(impressions: Sequence[Impression]) -> tuple[Ranked, ...]:
    """Return all cases in the order in which to label them.

    By falling score; among those that tie with the best one left, the one farthest from all chosen
    before (k-center, Sener & Savarese, ICLR 2018).
    """
    scores = [item.score for item in impressions]
    tie = TIE * (max(scores) - min(scores)) if scores else 0.0
    left = sorted(impressions, key=lambda item: (-item.score, item.name))
    chosen: list[Impression] = []
    ranked: list[Ranked] = []
    while left:
        best = [item for item in left if item.score >= left[0].score - tie]
        pick = max(best, key=lambda item: _distance(item, chosen)) if chosen else best[0]
        distance = _distance(pick, chosen)
        reason = _reason(pick, tied=len(best) > 1 and bool(chosen))
        ranked.append(
            Ranked(
                len(chosen) + 1,
                pick.name,
                pick.score,
                pick.mean_entropy,
                pick.uncertain_share,
                pick.foreground_ml,
                distance,
                reason,
            )
        )
        chosen.append(pick)
        left.remove(pick)
    return tuple(ranked)


def _reason(item: Impression, *, tied: bool) -> str:
    if item.foreground_ml == 0.0:
        return "the model found nothing here: a miss, or a scan without the structure"
    text = (
        f"mean uncertainty {item.mean_entropy:.2f} where the structure may be, "
        f"high in {item.uncertain_share:.1%} of it"
    )
    if tied:
        text += "; as uncertain as others, but least like the scans above"
    return text


def _distance(item: Impression, chosen: Sequence[Impression]) -> float:
    """Return the cosine distance to the nearest of `chosen`, 0 where there is none.

    A scan of air alone, of which the network saw nothing, is as far from all as can be.
    """
    if not chosen:
        return 0.0
    seen = [other.descriptor for other in chosen if other.descriptor.size == item.descriptor.size]
    return min((1.0 - float(item.descriptor @ other) for other in seen), default=1.0)


def _unit(pooled: Sequence[Tensor]) -> NDArray[np.float64]:
    if not pooled:
        return np.zeros(0)
    total = torch.stack(list(pooled)).sum(0).double().numpy()
    length = float(np.linalg.norm(total))
    return np.asarray(total / length if length > 0 else total)
