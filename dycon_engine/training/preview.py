"""Previews: how the prediction on one fixed scan changes while training goes on.

They lie on the network's grid, in the scan's place in the world, so that they are small and cost
one pass over the scan each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dycon_engine.config import RunConfig
from dycon_engine.data.cases import Case, Label, read_case_image
from dycon_engine.data.formats.writers import write_label, write_scalar
from dycon_engine.data.preprocessing import Prepared, Preprocessing
from dycon_engine.errors import CancelledError, DyconError
from dycon_engine.inference.blending import Watch
from dycon_engine.inference.probabilities import complete, likelihoods, most_likely
from dycon_engine.inference.sliding_window import slide_slabs
from dycon_engine.inference.uncertainty import entropy
from dycon_engine.jobs.events import Saved
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.training.whole_scans import leading, over_scan

MOST_PREVIEWS = 40
LEVELS = 250  # of the stored uncertainty, so that its files compress


@dataclass
class Previewer:
    """Writes RUN/preview/image.nii.gz once, NNNNNN_labels and NNNNNN_uncertainty at some steps.

    Attributes:
        folder: RUN/preview.
        case: The scan; its label is never read.
        labels: Class index -> label.
        preprocessing: How scans are prepared.
        config: The run.
        device: Where the network is.
        reporter: Hears of every file.
    """

    folder: Path
    case: Case
    labels: tuple[Label, ...]
    preprocessing: Preprocessing
    config: RunConfig
    device: torch.device
    reporter: Reporter
    _prepared: Prepared | None = None
    _failed: bool = field(default=False)

    @property
    def every(self) -> int:
        """Steps between previews: as set, or more where that gave over `MOST_PREVIEWS`."""
        training = self.config.training
        return max(training.preview_every, math.ceil(training.steps / MOST_PREVIEWS))

    def after_step(self, step: int, predictor: nn.Module) -> None:
        """Write a preview of `predictor`, image -> logits, if one is due.

        A preview that cannot be made is a warning and the last one; training goes on.
        """
        if self._failed or step % self.every:
            return
        try:
            self._write(step, predictor)
        except CancelledError:  # the loop hears it too, and saves before it stops
            return
        except DyconError as error:
            self._failed = True
            self.reporter.warn("preview", f"no more previews: {error}")

    def _write(self, step: int, predictor: nn.Module) -> None:
        prepared = self._prepared = self._prepared or self._prepare()
        values = np.array([label.value for label in self.labels])
        found = np.zeros(prepared.geometry.size_zyx, dtype=values.dtype)
        unsure = np.zeros(prepared.geometry.size_zyx, dtype=np.float32)
        options = over_scan(
            prepared, self.config, len(values), self.device, Watch(self.reporter.cancelled)
        )
        scan = torch.from_numpy(prepared.array)
        for slab in slide_slabs(leading(predictor.eval()), scan, **options):
            likely = likelihoods(slab.logits).cpu()
            found[slab.where] = values[most_likely(likely).numpy()]
            unsure[slab.where] = (entropy(complete(likely)) * LEVELS).round().numpy() / LEVELS
        if prepared.blank is not None:
            found[prepared.blank], unsure[prepared.blank] = 0, 0.0
        for what, array, write in (
            ("labels", found, write_label),
            ("uncertainty", unsure, write_scalar),
        ):
            path = self.folder / f"{step:06d}_{what}.nii.gz"
            write(path, array, prepared.geometry, overwrite=True)
            self._say(path, step)

    def _prepare(self) -> Prepared:
        """Return the scan as the network sees it, and write it where it is not there yet."""
        prepared = self.preprocessing.prepare(read_case_image(self.case, self.config.data))
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "image.nii.gz"
        if not path.exists():
            write_scalar(path, _shown(prepared), prepared.geometry, overwrite=True)
            self._say(path, 0)
        return prepared

    def _say(self, path: Path, step: int) -> None:
        where = f"{self.folder.name}/{path.name}"
        self.reporter.emit(Saved(what="preview", path=where, step=step))


def _shown(prepared: Prepared) -> NDArray[np.float32]:
    """Return the first channel (D, H, W), rounded so that its file compresses."""
    return np.asarray(np.round(prepared.array[0], 2), dtype=np.float32)
