"""One run of a benchmark: train to the last iteration, then score the test cases once."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dycon_engine import __version__
from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Case, read_case_image, read_case_label
from dycon_engine.errors import DyconError
from dycon_engine.evaluation.calibration import expected_calibration_error, near_boundary
from dycon_engine.evaluation.metrics import score
from dycon_engine.inference.postprocessing import keep_components
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.result import Wishes
from dycon_engine.jobs.client import EventTail
from dycon_engine.jobs.events import Event, Finished, Started, StepDone
from dycon_engine.jobs.files import make_folder, write_json
from dycon_engine.networks.devices import take_device
from dycon_engine.package import load_package
from dycon_engine.settings import Table
from dycon_engine.sources import source_digest

RESULT = "result.json"
PLAIN, LARGEST = "all pieces", "largest component"
MARK = " (ORACLE)"  # in the name of whatever saw labels that it must not see
BAND_MM = 5.0  # the calibration error looks this far around boundaries
VOXELS_PER_CASE = 50_000


@dataclass(frozen=True)
class RunSpec:
    """What one run is; everything in it can be sent to another machine.

    Attributes:
        folder: Where its training run (`run/`) and its result lie.
        manifest: What training may see.
        test: Cases to score, with their labels.
        method: Recipe.
        seed: Of weights, patches and augmentation.
        profile: Set of defaults.
        settings: `section.key=value` texts, the same for all runs.
        device: As of `train`.
        processes: Training processes; above 1 through torchrun.
        title: Name in the tables; empty: the method's.
    """

    folder: Path
    manifest: Path
    test: tuple[Case, ...]
    method: str
    seed: int
    profile: str
    settings: tuple[str, ...] = ()
    device: str = "auto"
    processes: int = 1
    title: str = ""

    @property
    def name(self) -> str:
        """Method and seed."""
        return f"{self.title or self.method}, seed {self.seed}"

    @property
    def result(self) -> Path:
        """The file that is there once the run is finished."""
        return self.folder / RESULT


def run_one(spec: RunSpec) -> Path:
    """Train, or go on training, and score; does nothing where the result is there.

    Raises:
        DyconError: Training failed; the file named holds its words.
    """
    if spec.result.exists():
        return spec.result
    make_folder(spec.folder)
    package = spec.folder / "run" / "package" / "last.dycon"
    if not package.exists():
        _train(spec)
    began = time.monotonic()
    scores = score_package(package, spec.test, device=spec.device)
    torch.cuda.empty_cache()  # of this process; the next one that trains needs it all
    events = EventTail(spec.folder / "run" / "events.jsonl").read()
    content = {
        "method": marked(spec.title or spec.method, oracle=scores["oracle"]),
        "seed": spec.seed,
        "engine": __version__,
        "source": source_digest(),
        "device": _devices(events),
        "train_minutes": _train_seconds(events) / 60.0,
        "test_minutes": (time.monotonic() - began) / 60.0,
        "memory_mib": _finished(events).get("peak_memory_mib"),
        **scores,
    }
    write_json(spec.result, content)
    return spec.result


def finished_results(specs: Iterable[RunSpec]) -> tuple[Table, ...]:
    """Return what `run_one` wrote of every run that is finished."""
    return tuple(
        json.loads(spec.result.read_text(encoding="utf-8"))
        for spec in specs
        if spec.result.exists()
    )


def marked(name: str, *, oracle: bool) -> str:
    """Return the name of a run for every table; that of an audit says what it is."""
    return name + MARK if oracle and not name.endswith(MARK) else name


def score_package(path: Path, cases: tuple[Case, ...], *, device: str = "auto") -> Table:
    """Return the scores of every case with and without its smaller pieces, and the ECE.

    The ECE pools voxels within 5 mm of a boundary of prediction or reference over all cases; with
    it comes the temperature of the probabilities. `oracle` is what the package says of itself: an
    event that says it, too, is lost where the run was killed at its end.
    """
    package = load_package(path)
    predictor = Predictor(package, take_device(device))
    labels = package.info.labels
    rows, samples = [], []
    for case in cases:
        reference = read_case_label(case, labels, DataConfig())
        wishes = Wishes(uncertainty=None, probabilities=True)
        found = predictor.predict(read_case_image(case, DataConfig()), wishes)
        assert found.probabilities is not None  # noqa: S101 - asked for above
        spacing = reference.geometry.spacing_mm
        indices = np.zeros(found.labels.shape, dtype=np.uint8)
        for index, label in enumerate(labels):
            indices[found.labels == label.value] = index
        samples.append(_sample(found.probabilities, indices, reference.array, spacing))
        largest = indices.copy()
        voxel_mm3 = reference.geometry.voxel_mm3
        keep_components(largest, len(labels), voxel_mm3=voxel_mm3, largest=True)
        row: Table = {"case": case.name}
        for kind, array in ((PLAIN, indices), (LARGEST, largest)):
            scores = score(
                array, reference.array, classes=range(1, len(labels)), spacing_mm=spacing
            )
            row[kind] = {
                label.name: _finite(dataclasses.asdict(each))
                for label, each in zip(labels[1:], scores, strict=True)
            }
        rows.append(row)
    probabilities, targets = (np.concatenate(part) for part in zip(*samples, strict=True))
    return {
        "cases": rows,
        "ece": expected_calibration_error(probabilities, targets),
        "temperature": package.info.calibration.temperature,
        "oracle": "oracle" in package.info.training,
    }


def _sample(
    probabilities: NDArray[np.float32],
    found: NDArray[np.uint8],
    reference: NDArray[Any],
    spacing_mm: tuple[float, float, float],
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return probabilities (N, K) and classes (N,) of evenly taken voxels near boundaries."""
    near = np.flatnonzero(near_boundary(found, reference, spacing_mm=spacing_mm, band_mm=BAND_MM))
    chosen = near[:: max(1, -(-near.size // VOXELS_PER_CASE))]
    rows = probabilities.reshape(len(probabilities), -1)[:, chosen].T
    return rows, reference.reshape(-1)[chosen]


def _train(spec: RunSpec) -> None:
    command = [sys.executable, "-m"]
    if spec.processes > 1:
        each = f"--nproc-per-node={spec.processes}"
        command += ["torch.distributed.run", "--standalone", each, "-m"]
    run_dir = spec.folder / "run"
    command += ["dycon_engine.train", "--data", str(spec.manifest), "--run-dir", str(run_dir)]
    if (run_dir / "config.json").exists():
        command.append("--resume")
    else:
        settings = (f"training.seed={spec.seed}", *spec.settings)
        command += ["--profile", spec.profile, "--method", spec.method, "--device", spec.device]
        command += [word for setting in settings for word in ("--set", setting)]
    words = spec.folder / "training.txt"
    with words.open("w", encoding="utf-8") as stream:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=stream, check=False)
    if done.returncode:
        lines = words.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise DyconError(
            f"run '{spec.name}': training ended with code {done.returncode} "
            f"({lines[-1] if lines else 'no words'}); all of them are in '{words}'"
        )


def _finished(events: Sequence[Event]) -> Mapping[str, Any]:
    """Return the summary of the training run's last event; empty where it is lost."""
    for event in reversed(events):
        if isinstance(event, Finished):
            return event.summary
    return {}


def _devices(events: Sequence[Event]) -> str:
    """Return where the training run computed, e.g. `cpu, then cuda:0 (NVIDIA H100)`."""
    found = [event for event in events if isinstance(event, Started) and event.device]
    named = (
        event.device if event.device == "cpu" else f"{event.device} ({event.device_name})"
        for event in found
    )
    return ", then ".join(dict.fromkeys(named))


def _train_seconds(events: Sequence[Event]) -> float:
    """Return the time of all steps; one that was done twice counts as often."""
    return math.fsum(event.step_s for event in events if isinstance(event, StepDone))


def _finite(table: Table) -> Table:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in table.items()
    }
