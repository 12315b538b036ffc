"""The labels of unlabeled cases, for one purpose: to measure how much a method gains by a leak.

Nothing else in the engine reads them. The published DyCON code builds the contrast of the unlabeled
half from ground truth; an audit run does the same, is locked by a setting and marked everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dycon_engine.config import AugmentationConfig, DataConfig, TrainingConfig
from dycon_engine.data.augmentation import Source
from dycon_engine.data.batch import AuditBatch
from dycon_engine.data.cache import LabeledCase, TrainingData, UnlabeledCase
from dycon_engine.data.cases import Dataset, read_case_label
from dycon_engine.data.geometry import Spacing
from dycon_engine.data.loader import UNLABELED, BatchLoader
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.errors import DatasetError, InputError

ORACLE_NOTICE = (
    "ORACLE AUDIT: this model was trained with the labels of unlabeled cases. It measures a label "
    "leak; it is no result of semi-supervised learning and must not be compared as one."
)


def hidden_labels(
    dataset: Dataset, data: TrainingData, preprocessing: Preprocessing, config: DataConfig
) -> dict[str, NDArray[np.uint8]]:
    """Return case name -> label (D, H, W) on the prepared grid, of every training case.

    Raises:
        DatasetError: Unlabeled cases have no label map, or one that does not fit.
    """
    labels = {case.name: case.label for case in data.labeled}
    problems = []
    for unlabeled in data.unlabeled:
        case = dataset.case(unlabeled.name)
        if case.label is None:
            problems.append(f"case '{case.name}': has no label map, which the oracle audit needs")
            continue
        try:
            label = read_case_label(case, dataset.labels, config)
        except InputError as error:
            problems.append(str(error))
            continue
        labels[case.name] = preprocessing.prepare_label(label, len(dataset.labels))
        assert labels[case.name].shape == unlabeled.image.shape[1:]  # noqa: S101 - one grid
    if problems:
        raise DatasetError(problems)
    return labels


class AuditBatchLoader(BatchLoader):
    """Draws the very patches of `BatchLoader`, those of unlabeled cases with their labels."""

    def __init__(  # noqa: PLR0913 - as its base, and the labels
        self,
        labeled: Sequence[LabeledCase],
        unlabeled: Sequence[UnlabeledCase],
        *,
        labels: Mapping[str, NDArray[np.uint8]],
        training: TrainingConfig,
        augmentation: AugmentationConfig,
        rank: int = 0,
        world: int = 1,
        spacing_mm: Spacing = (1.0, 1.0, 1.0),
        device: torch.device | None = None,
    ) -> None:
        super().__init__(
            labeled,
            unlabeled,
            training=training,
            augmentation=augmentation,
            rank=rank,
            world=world,
            spacing_mm=spacing_mm,
            device=device,
        )
        self.hidden = labels

    def batch(self, step: int) -> AuditBatch:
        """Return the batch of `step` with the hidden labels."""
        plain = super().batch(step)
        count = len(plain.unlabeled)
        patches = self._patches(UNLABELED, step, count)
        found = [patch.label for patch in patches if patch.label is not None]
        hidden = torch.stack(found) if found else plain.label[:0]
        return AuditBatch(plain.image, plain.label, plain.unlabeled, hidden)

    def _source(self, stream: int, index: int) -> Source:
        source = super()._source(stream, index)
        if stream != UNLABELED:
            return source
        return source._replace(label=self.hidden[self.unlabeled[index].name])
