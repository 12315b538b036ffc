"""DyCON (CVPR 2025, arXiv 2504.04566): consistency and contrast, weighed by uncertainty.

    (CE + Dice)[lb] + w(t) MSE(p_s, p_t)[ub] + u r(t) (L_FeCL + L_UnCL[ub])

FeCL sees the labels of labeled patches and, on unlabeled ones, the teacher's pseudo-labels where it
is confident. The released code builds the pairs of the unlabeled half from their ground truth; a
`Batch` holds none, so that this leak cannot happen here. To measure it there is an audit of its own
(`fecl_scope` oracle), which needs another kind of batch, an unlocking setting, and says so in all
that it leaves behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from dycon_engine.data.batch import AuditBatch, Batch
from dycon_engine.errors import InputError
from dycon_engine.losses.consistency import mean_squared
from dycon_engine.losses.fecl import FeclSettings, fecl
from dycon_engine.losses.pseudo_label import pseudo_label_loss
from dycon_engine.losses.uncertainty import gambling_entropy, posterior
from dycon_engine.losses.uncl import Uncl, uncl
from dycon_engine.methods.cells import Cells, CellSource, join, labeled_cells, pseudo_cells
from dycon_engine.methods.passes import viewed_passes
from dycon_engine.methods.perturbations import add_noise
from dycon_engine.methods.supervision import Output
from dycon_engine.methods.teacher import require_unlabeled
from dycon_engine.methods.teaching import (
    LateConfig,
    TeacherMethod,
    changed_view,
    supervised_step,
    watch,
)
from dycon_engine.networks.base import Network
from dycon_engine.networks.composing import BuildNetwork
from dycon_engine.networks.heads import ProjectionHead
from dycon_engine.schedules import Progress, exponential_interpolation, ramped
from dycon_engine.settings import setting

CELL = 8  # voxels; deeper features are upsampled to this grid, as the paper does from 16


@dataclass(frozen=True, kw_only=True)
class DyconConfig(LateConfig):
    """Settings of DyCON. `use_*`, `*_weighting` and zero counts are the switches of an ablation."""

    use_uncl: bool = setting(True, "UnCL, the uncertainty-aware consistency.")
    use_fecl: bool = setting(True, "FeCL, the contrast between embedding cells.")
    contrast_weight: float = setting(
        0.5,
        "u, weight of L_FeCL + L_UnCL. Paper: 0.5.",
        low=0.0,
        main=True,
    )
    contrast_rampup: bool = setting(
        True, "u rises like the consistency weight. Paper: false, u is constant."
    )
    beta_max: float = setting(
        1.0,
        "beta(t) of UnCL at the start, falling exponentially to beta_min; equal = fixed. "
        "Paper: 1.0 -> 0.1 or fixed 0.5, released code: 5.0 -> 0.5.",
        low=0.0,
    )
    beta_min: float = setting(0.1, "beta(t) at the end.", low=0.0)
    entropy_coefficient: float | None = setting(
        0.0,
        "lambda_H, weight of the mean entropy in UnCL; none = beta(t) as in the paper, which can "
        "empty small foregrounds.",
        low=0.0,
    )
    pseudo_label_weight: float = setting(
        0.0,
        "v, largest weight of cross-entropy and Dice against the teacher's soft labels, each voxel "
        "weighed by exp(-beta H); rises like the consistency weight. Paper: not there, 0.",
        low=0.0,
        main=True,
    )
    detach_weights: bool = setting(
        True, "No gradient through the weights of UnCL and FeCL. Paper: false for UnCL."
    )
    fecl_scope: str = setting(
        "both",
        "Patches whose cells FeCL sees: labeled (reference), pseudo (teacher's labels of the "
        "unlabeled), both, none; oracle is an audit of the published label leak.",
        choices=("labeled", "pseudo", "both", "none", "oracle"),
        main=True,
    )
    unlock_oracle: bool = setting(False, "Allow fecl_scope = oracle, for an audit only.")
    tau: float = setting(0.6, "Temperature of FeCL's similarities. Paper: 0.6.", low=0.05)
    gamma: float = setting(2.0, "Focal exponent of FeCL. Paper: 2.", low=0.0)
    focal_weighting: bool = setting(True, "F+ and F- of FeCL; off: both 1.")
    entropy_weighting: bool = setting(True, "exp(H_gs) in F+; off in the released code.")
    gambling_temperature: float = setting(1.0, "Temperature of H_gs on log p.", low=0.05)
    teacher_negatives: int = setting(
        5, "K, nearest negatives of the teacher in FeCL's denominator; 0 = off. Paper: 5.", low=0
    )
    cell_purity: float = setting(
        0.8,
        "A labeled cell counts where one class fills this share of it.",
        unit="share",
        low=0.5,
        high=1.0,
    )
    cell_confidence: float = setting(
        0.8,
        "An unlabeled cell counts where the teacher's mean probability of a class reaches this.",
        low=0.0,
        high=1.0,
    )
    aspp: bool = setting(
        False,
        "Atrous spatial pyramid (dilations 1, 6, 12, 18) before the projection head; it sees more "
        "than small patches hold. Paper: true.",
    )
    hidden_features: int = setting(128, "Features inside the projection head. Paper: 512.", low=1)
    embedding_features: int = setting(64, "E, features of an embedding. Paper: 256.", low=1)
    chunk: int = setting(
        256, "Anchors of FeCL held at once: memory against speed.", unit="cells", low=1
    )


class Embedded(NamedTuple):
    """One pass of network and head.

    Attributes:
        logits: (B, K, D, H, W).
        embedding: (B, E, d, h, w), one vector per cell; empty where nobody needs it.
        levels: `Features.levels`.
    """

    logits: Tensor
    embedding: Tensor
    levels: tuple[Tensor, ...] = ()


class Embedder(nn.Module):
    """A network with DyCON's head on its deepest features."""

    def __init__(self, network: Network, config: DyconConfig) -> None:
        super().__init__()
        self.network = network
        self.head: nn.Module | None = None
        if uses_fecl(config):
            deepest = network.embedding_features
            self.head = ProjectionHead(
                deepest,
                hidden=config.hidden_features,
                embedding=config.embedding_features,
                aspp=deepest if config.aspp else 0,
                upsample=max(1, min(network.stride) // CELL),
            )

    def forward(self, image: Tensor) -> Embedded:
        """Return logits and embeddings of `image` (B, C, D, H, W)."""
        features = self.network(image)
        if self.head is None:
            nothing = features.logits.new_empty((len(image), 0))
            return Embedded(features.logits, nothing, features.levels)
        return Embedded(features.logits, self.head(features.embedding), features.levels)

    def embed(self, image: Tensor) -> Tensor:
        """Return the embeddings of `image` alone, without decoding."""
        if self.head is None:
            return image.new_empty((len(image), 0))
        embedding: Tensor = self.head(self.network.embed(image))
        return embedding


class Dycon(TeacherMethod):
    """Student and EMA teacher, each a network with a projection head."""

    Config = DyconConfig
    config: DyconConfig

    def __init__(self, build_network: BuildNetwork, config: DyconConfig) -> None:
        _require_unlocked(config)
        _require_betas(config)
        super().__init__(build_network, config)

    def build_student(self, network: Network) -> Embedder:
        """Return `network` with the projection head."""
        return Embedder(network, self.config)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return cross_entropy, dice; from `start` on consistency and all that is switched on."""
        require_unlabeled(batch.unlabeled, "dycon")
        config = self.config
        if progress.fraction < config.start:
            self.diagnostics = {}
            return supervised_step(self, batch)
        labeled, unlabeled, view = viewed_passes(
            self.pair.student, batch.image, lambda: changed_view(batch, config)
        )
        taught_labeled, taught = self._teach(batch)
        known, student = posterior(labeled.logits), posterior(unlabeled.logits)
        teacher = view.follow(posterior(taught.logits), student)
        terms = self.supervision.terms([Output(known, labeled.levels)], batch.label)
        ramp = ramped(1.0, config.rampup, progress, start=config.start)
        weight = ramp * config.consistency_weight
        terms["consistency"] = weight * mean_squared(student.p, teacher.p)
        self.diagnostics = watch(batch, student, teacher, view) | {"consistency_weight": weight}
        contrast = config.contrast_weight * (ramp if config.contrast_rampup else 1.0)
        beta = exponential_interpolation(config.beta_max, config.beta_min, progress.fraction)
        if config.pseudo_label_weight > 0.0:
            soft = pseudo_label_loss(student, teacher, beta=beta, where=view.answered)
            terms["pseudo_label"] = ramp * config.pseudo_label_weight * soft
        if config.use_uncl:
            parts = uncl(
                student,
                teacher,
                beta=beta,
                detach_weights=config.detach_weights,
                where=view.answered,
            )
            terms |= self._uncl_terms(parts, contrast, beta)
        if uses_fecl(config):
            cells = []
            if config.fecl_scope in {"labeled", "both", "oracle"}:
                source = CellSource(labeled.embedding, taught_labeled, known.p)
                cells.append(labeled_cells(source, batch.label, purity=config.cell_purity))
            if config.fecl_scope in {"pseudo", "both", "oracle"}:
                moved = view.move_along(taught.embedding)
                source = CellSource(unlabeled.embedding, moved, student.p)
                belief, least = teacher.p, config.cell_confidence
                if config.fecl_scope == "oracle":
                    belief = view.move_along(_hidden(batch, student.p.shape[1]))
                    least = config.cell_purity
                cells.append(pseudo_cells(source, view.unlabeled_only(belief), confidence=least))
            terms["fecl"] = contrast * self._fecl(join(cells))
        return terms

    @property
    def sees_hidden_labels(self) -> bool:
        """Whether this is the audit of the published label leak."""
        return uses_fecl(self.config) and self.config.fecl_scope == "oracle"

    def after_step(self, progress: Progress) -> None:
        """Move the teacher, close behind the student until `start`."""
        self.pair.after_step(progress, close=progress.fraction < self.config.start)

    def _teach(self, batch: Batch) -> tuple[Tensor, Embedded]:
        """Return the teacher's embedding of labeled patches and its view of unlabeled ones.

        The labeled ones are embedded, not decoded, and only where FeCL draws its negatives from
        them; else that tensor is empty.
        """
        config = self.config
        unlabeled = add_noise(batch.unlabeled, config.teacher_noise)
        if not _teaches_labeled(config):
            taught: Embedded = self.pair.teacher(unlabeled)
            return taught.embedding[:0], taught
        embedding = self.pair.teacher.embed(add_noise(batch.image, config.teacher_noise))
        return embedding, self.pair.teacher(unlabeled)

    def _fecl(self, cells: Cells) -> Tensor:
        config = self.config
        weight: Tensor | None = None
        if config.entropy_weighting:
            p = cells.p.detach() if config.detach_weights else cells.p
            weight = gambling_entropy(p, temperature=config.gambling_temperature).exp()
        self.diagnostics["cells_valid"] = cells.valid.float().mean()
        return fecl(
            cells.embedding,
            cells.label,
            cells.valid,
            teacher_embedding=cells.teacher,
            anchor_weight=weight,
            settings=FeclSettings(
                tau=config.tau,
                gamma=config.gamma,
                focal=config.focal_weighting,
                teacher_negatives=config.teacher_negatives,
                detach_weights=config.detach_weights,
                chunk=config.chunk,
            ),
        )

    def _uncl_terms(self, parts: Uncl, contrast: float, beta: float) -> dict[str, Tensor]:
        config = self.config
        coefficient = beta if config.entropy_coefficient is None else config.entropy_coefficient
        self.diagnostics |= {
            "beta": beta,
            "entropy_student": parts.student_entropy,
            "entropy_teacher": parts.teacher_entropy,
        }
        terms = {"uncl": contrast * parts.consistency}
        if coefficient > 0.0:
            terms["entropy"] = contrast * coefficient * parts.entropy
        return terms


def uses_fecl(config: DyconConfig) -> bool:
    """Return whether the settings ask for FeCL, and thus for a projection head."""
    return config.use_fecl and config.fecl_scope != "none"


def _teaches_labeled(config: DyconConfig) -> bool:
    """Return whether a term needs the teacher on labeled patches: FeCL's teacher negatives."""
    return (
        uses_fecl(config)
        and config.teacher_negatives > 0
        and config.fecl_scope in {"labeled", "both", "oracle"}
    )


def _require_betas(config: DyconConfig) -> None:
    if (config.beta_max == 0.0) != (config.beta_min == 0.0):
        raise InputError(
            f"method.beta_max {config.beta_max:g} and beta_min {config.beta_min:g}: beta(t) goes "
            "from one to the other exponentially; set both above 0, or both 0 for none"
        )


def _require_unlocked(config: DyconConfig) -> None:
    """Refuse the audit of the label leak unless it was asked for twice."""
    if config.fecl_scope == "oracle" and not config.unlock_oracle:
        raise InputError(
            "method.fecl_scope: 'oracle' would show FeCL the labels of unlabeled cases; it is an "
            "audit only, unlock it with method.unlock_oracle=true or choose labeled, pseudo or both"
        )


def _hidden(batch: Batch, classes: int) -> Tensor:
    """Return the hidden labels of an audit as probabilities (U, K, D, H, W).

    Raises:
        InputError: An ordinary batch, which has none.
    """
    if not isinstance(batch, AuditBatch):
        raise InputError(
            "method.fecl_scope: 'oracle' got a batch without hidden labels; choose labeled, "
            "pseudo, both or none"
        )
    return F.one_hot(batch.hidden, classes).movedim(-1, 1).float()
