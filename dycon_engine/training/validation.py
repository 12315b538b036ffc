"""Whole validation volumes: Dice on the scans' own grids, and how far the probabilities hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dycon_engine.config import RunConfig
from dycon_engine.data.cases import Case, Label, read_case_image, read_case_label
from dycon_engine.data.preprocessing import Prepared, Preprocessing
from dycon_engine.errors import NonFiniteError
from dycon_engine.evaluation.calibration import (
    expected_calibration_error,
    fit_temperature,
    risk_coverage,
)
from dycon_engine.evaluation.metrics import Scores, dice_per_class, score
from dycon_engine.evaluation.metrics import summarize as means
from dycon_engine.inference.blending import Slab, Watch
from dycon_engine.inference.memory import FLOAT_BYTES, available_bytes
from dycon_engine.inference.probabilities import most_likely, restored
from dycon_engine.inference.sliding_window import Options, slide, slide_slabs
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.package import Calibration
from dycon_engine.training.distributed import Process
from dycon_engine.training.sampling import (
    Sample,
    choose_voxels,
    kept_classes,
    sample_of_slabs,
    sample_voxels,
)
from dycon_engine.training.whole_scans import leading, over_scan

CURVE_POINTS = 21
SHARE_OF_MEMORY = 0.5  # of what is free: so much may be taken for one scan's logits


class CaseResult(NamedTuple):
    """One validation case: Dice per foreground class, all metrics where asked for, its sample.

    Dice is NaN for a class that is neither in the label map nor in the reference.
    """

    number: int
    dice: tuple[float, ...]
    student_dice: tuple[float, ...] | None
    scores: tuple[Scores, ...]
    sample: Sample | None


@dataclass(frozen=True)
class Validation:
    """The cases' mean; `dice` averages over foreground classes and cases, without weights.

    A class that is in neither label map of a case is left out there. `dice_per_class` is NaN where
    no case has a value; `dice`, by which checkpoints are compared, is 1 where nothing has one.
    """

    dice: float
    dice_per_class: dict[str, float]
    student_dice: float | None
    cases: tuple[CaseResult, ...]
    calibration: Calibration


@dataclass(frozen=True)
class Validator:
    """Scores a method on the validation cases, shared among the ranks.

    Attributes:
        cases: Validation cases with their label files.
        labels: Class index -> label; 0 is the background.
        preprocessing: How scans are prepared.
        config: The run.
        process: This rank.
        reporter: Hears about progress.
    """

    cases: tuple[Case, ...]
    labels: tuple[Label, ...]
    preprocessing: Preprocessing
    config: RunConfig
    process: Process
    reporter: Reporter

    def run(
        self, predictor: nn.Module, student: nn.Module, *, surfaces: bool = False
    ) -> Validation | None:
        """Return the validation, the same on every rank; None where there are no cases.

        Args:
            predictor: Image (B, C, D, H, W) -> logits (B, K, D, H, W).
            student: The same; scored too where it is another network.
            surfaces: Whether surface distances are measured as well.
        """
        if not self.cases:
            return None
        other = None if is_same(predictor, student) else student.eval()
        predictor = predictor.eval()
        self.reporter.stage("validate", len(self.cases))
        mine = []
        for index in range(self.process.rank, len(self.cases), self.process.world):
            if self.process.world == 1:
                self.reporter.check_cancelled()
            mine.append(self._case(index, predictor, other, surfaces=surfaces))
            self.reporter.advance(index + 1)
        results = [result for part in self.process.gather(mine) for result in part]
        return summarize(sorted(results, key=lambda result: result.number), self.labels)

    def _case(
        self, index: int, predictor: nn.Module, student: nn.Module | None, *, surfaces: bool
    ) -> CaseResult:
        case, classes = self.cases[index], range(1, len(self.labels))
        reference = read_case_label(case, self.labels, self.config.data)
        prepared = self.preprocessing.prepare(read_case_image(case, self.config.data))
        target = self.preprocessing.prepare_label(reference, len(self.labels))
        found, sample = self._predicted(predictor, prepared, target, case)
        student_dice = None
        if student is not None:
            second = self._label_map(self._slabs(student, prepared), prepared, case)
            student_dice = dice_per_class(second, reference.array, classes=classes)
        spacing = reference.geometry.spacing_mm
        return CaseResult(
            number=index,
            dice=dice_per_class(found, reference.array, classes=classes),
            student_dice=student_dice,
            scores=score(found, reference.array, classes=classes, spacing_mm=spacing)
            if surfaces
            else (),
            sample=sample,
        )

    def _predicted(
        self, predictor: nn.Module, prepared: Prepared, target: NDArray[np.uint8], case: Case
    ) -> tuple[NDArray[np.uint8], Sample | None]:
        """Return the label map on the scan's own grid, and the sample.

        Where what the network says of the whole scan does not fit into memory, only the label map
        is kept, and the windows that the sample needs are computed again: the same numbers, later.
        """
        spacing_mm = self.preprocessing.spacing_mm
        needed = FLOAT_BYTES * (len(self.labels) - 1) * target.size * self.process.world
        if needed <= SHARE_OF_MEMORY * available_bytes():
            leads = self._whole(predictor, prepared)
            found = self._label_map((Slab(0, slice(0, leads.shape[1]), leads),), prepared, case)
            return found, sample_voxels(leads.numpy(), target, spacing_mm)
        self.reporter.warn(
            "memory", "a validation scan is large for this memory; part of it is computed twice"
        )
        likely = np.zeros(target.shape, dtype=np.uint8)
        found = self._label_map(
            kept_classes(self._slabs(predictor, prepared), likely), prepared, case
        )
        chosen = choose_voxels(likely, target, spacing_mm)
        if not chosen.size:
            return found, None
        outside = np.ones(target.shape, dtype=np.bool_)
        outside.flat[chosen] = False
        slabs = self._slabs(predictor, prepared, outside=outside)
        return found, sample_of_slabs(slabs, chosen, target, len(self.labels))

    def _whole(self, network: nn.Module, prepared: Prepared) -> Tensor:
        """Return `margins` (K - 1, D, H, W) of the whole scan."""
        scan = torch.from_numpy(prepared.array)
        return slide(leading(network), scan, **self._options(prepared))

    def _slabs(
        self, network: nn.Module, prepared: Prepared, outside: NDArray[np.bool_] | None = None
    ) -> Iterator[Slab]:
        options = self._options(prepared)
        options["outside"] = outside
        return slide_slabs(leading(network), torch.from_numpy(prepared.array), **options)

    def _options(self, prepared: Prepared) -> Options:
        alone = self.process.world == 1  # a rank that stops by itself would leave others waiting
        watch = Watch(
            cancelled=self.reporter.cancelled if alone else lambda: False,
            on_notice=lambda text: self.reporter.warn("memory", text),
        )
        return over_scan(prepared, self.config, len(self.labels), self.process.device, watch)

    def _label_map(
        self, slabs: Iterable[Slab], prepared: Prepared, case: Case
    ) -> NDArray[np.uint8]:
        """Return the class indices (D, H, W) on the scan's own grid, as `predict` gives them.

        Raises:
            NonFiniteError: The network gave NaN or infinity.
        """
        source = prepared.source
        labels = np.empty(source.size_zyx, dtype=np.uint8)
        try:
            for place, foreground in restored(slabs, source, self.preprocessing.spacing_mm):
                place(labels)[:] = most_likely(foreground).numpy()
        except NonFiniteError:
            raise NonFiniteError(
                f"case '{case.name}': the network's output is not finite; nothing of it is used; "
                "resume from the checkpoint with a lower training.learning_rate in a new run"
            ) from None
        if prepared.blank_source is not None:
            labels[prepared.blank_source] = 0
        return labels


def summarize(results: Sequence[CaseResult], labels: Sequence[Label]) -> Validation:
    """Return the means over `results`, at least one, and the calibration on their samples."""
    names = [label.name for label in labels[1:]]
    columns = zip(*(result.dice for result in results), strict=True)
    students = [r.student_dice for r in results if r.student_dice is not None]
    return Validation(
        dice=_mean([result.dice for result in results]),
        dice_per_class={n: means(c).mean for n, c in zip(names, columns, strict=True)},
        student_dice=_mean(students) if students else None,
        cases=tuple(results),
        calibration=calibrate(r.sample for r in results if r.sample is not None),
    )


def _mean(table: Sequence[tuple[float, ...]]) -> float:
    """Return the mean of Dice (cases, classes) where defined; 1 where nothing was and is found."""
    found = means([dice for row in table for dice in row])
    return found.mean if found.defined else 1.0


def calibrate(samples: Iterable[Sample]) -> Calibration:
    """Return the temperature that fits all `samples`, one a case, and what such a fit achieves.

    Each case is judged with the temperature of the others, so that no figure comes from voxels it
    was fitted on; a single case has no others and is judged with its own.
    """
    kept = list(samples)
    if not kept:
        return Calibration()
    logits, targets = _pooled(kept)
    before = _softmax(logits)
    after = np.concatenate(
        [
            _softmax(sample.logits, fit_temperature(*_pooled(kept[:i] + kept[i + 1 :] or kept)))
            for i, sample in enumerate(kept)
        ]
    )
    wrong = after.argmax(axis=1) != targets
    curve = risk_coverage(1.0 - after.max(axis=1), wrong, points=CURVE_POINTS)
    return Calibration(
        temperature=fit_temperature(logits, targets),
        ece_before=expected_calibration_error(before, targets),
        ece_after=expected_calibration_error(after, targets),
        risk_coverage=tuple(
            (float(share), float(risk))
            for share, risk in zip(curve.coverage, curve.risk, strict=True)
        ),
    )


def _pooled(samples: Sequence[Sample]) -> Sample:
    """Return the voxels of several cases as one sample."""
    return Sample(
        np.concatenate([sample.logits for sample in samples]),
        np.concatenate([sample.targets for sample in samples]),
    )


def _softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float32]:
    return (torch.from_numpy(logits) / temperature).softmax(1).numpy()


def is_same(one: nn.Module, two: nn.Module) -> bool:
    """Return whether two views show the same network."""
    first, second = next(one.parameters(), None), next(two.parameters(), None)
    return first is second
