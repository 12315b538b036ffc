"""What a run would take on this machine, from a few cases prepared and a few real steps."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from dycon_engine.config import DataConfig, RunConfig
from dycon_engine.data.cache import TrainingData
from dycon_engine.data.cases import Case, Dataset
from dycon_engine.data.geometry import Size
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.splits import Split, apply_split, split_cases
from dycon_engine.data.survey import Scan
from dycon_engine.errors import InputError
from dycon_engine.inference.blending import autocast
from dycon_engine.inference.memory import device_available_bytes
from dycon_engine.inference.windows import windows
from dycon_engine.jobs.files import staging_folder
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.methods import METHODS
from dycon_engine.networks.devices import device_name, peak_memory_mib
from dycon_engine.settings import Table, known
from dycon_engine.training.distributed import configure, start_process
from dycon_engine.training.parts import Plan, look, make_batches, make_method, prepare
from dycon_engine.training.shipping import predicting_network, start_from
from dycon_engine.training.trainer import Trainer, refusing_lack_of_memory
from dycon_engine.training.validation import is_same
from dycon_engine.training.whole_scans import whole_scan_dtype

CASES_PER_ROLE = 2
WARM_UP_STEPS = 2  # the first ones choose kernels and fetch memory
LEAST_STEPS = 3
CUDA_CONTEXT_GIB = 0.5  # of a process, beside its tensors
GIB = 2**30


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        data: Folder or manifest of the cases.
        seconds: Of measured steps, about.
        minutes: For which the steps that fit are wanted; None = not.
        folder: Where a folder of prepared pixels may lie meanwhile; None = the system's.
    """

    data: Path
    seconds: float
    minutes: float | None = None
    folder: Path | None = None


class Costs(NamedTuple):
    """Seconds and bytes that were measured; what was free was so before the first tensor."""

    step_s: float
    steps: int
    cases: int
    survey_s: float  # per case
    prepare_s: float  # per case
    case_bytes: float  # prepared, per case
    validate_s: float  # per case and network
    free_bytes: int


def probe(request: Request, config: RunConfig, reporter: Reporter) -> Table:
    """Return what the run would take; everything written meanwhile is removed.

    Raises:
        InputError: The data or the settings are not usable.
        CancelledError: As asked for.
    """
    for name, value in (("--seconds", request.seconds), ("--minutes", request.minutes)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} {value}: expected a number above 0")
    dataset = find_cases(request.data, config.data)
    reporter.hide(case.name for case in dataset.cases)
    whole = split_cases(dataset, config.data, scans=[Scan(case.name) for case in dataset.cases])
    config = dataclasses.replace(
        config, training=dataclasses.replace(config.training, tensorboard=False)
    )
    configure(config.training)
    with (
        start_process(config.training, partial(reporter.warn, "device")) as process,
        _scratch(request.folder) as folder,
    ):
        reporter.computes_on(str(process.device), device_name(process.device))
        free_bytes = device_available_bytes(process.device)
        began = time.perf_counter()
        small = _few(dataset, whole, config)
        plan = look(small, _plain(config), reporter)
        if not plan.split.labeled or len(plan.audit.labels) < 2:  # noqa: PLR2004 - with background
            plan.audit.require_usable()  # of other problems, `train` and `audit` tell
        survey_s = (time.perf_counter() - began) / len(small.cases)
        method = make_method(plan)
        if config.training.start_from is not None:
            start_from(Path(config.training.start_from), method, config=config, found=plan.audit)
        trainer = Trainer(method, config.training, process)
        began = time.perf_counter()
        data = prepare(plan, folder, reporter)
        prepare_s = (time.perf_counter() - began) / len(small.cases)
        images = [case.image for case in data.labeled] + [case.image for case in data.unlabeled]
        costs = Costs(
            *_steps(plan, data, trainer, request.seconds, reporter),
            cases=len(images),
            survey_s=survey_s,
            prepare_s=prepare_s,
            case_bytes=sum(image.nbytes for image in images) / len(images),
            validate_s=_window_s(trainer, plan) * _windows_of(images, config),
            free_bytes=free_bytes,
        )
        return _summary(costs, trainer, whole, request) | _memory(costs, trainer, whole, config)


@contextlib.contextmanager
def _scratch(folder: Path | None) -> Iterator[Path]:
    """Yield a folder that is there meanwhile, in `folder` or where the system has its own."""
    if folder is not None:
        with staging_folder(folder) as made:
            yield made
    else:
        with tempfile.TemporaryDirectory(prefix="probe-") as name:
            yield Path(name)


def _few(dataset: Dataset, split: Split, config: RunConfig) -> Dataset:
    """Return the first cases of each role that is trained on, with their roles."""
    roles = ["labeled"]
    if METHODS[known(config.method.name, METHODS, "method")].needs_unlabeled:
        roles.append("unlabeled")
    names = {name for role in roles for name in split.roles[role][:CASES_PER_ROLE]}
    visible: Sequence[Case] = apply_split(dataset, split).cases
    return dataclasses.replace(dataset, cases=tuple(c for c in visible if c.name in names))


def _plain(config: RunConfig) -> RunConfig:
    """Return the settings for a data set whose cases have their roles."""
    plain = DataConfig()
    data = dataclasses.replace(
        config.data, order=plain.order, labeled=None, validation=0, test=plain.test
    )
    return dataclasses.replace(config, data=data)


def _steps(
    plan: Plan, data: TrainingData, trainer: Trainer, seconds: float, reporter: Reporter
) -> tuple[float, int]:
    """Return the median seconds of a step, data included, and how many were measured.

    Steps of the middle of the run: methods that begin late are cheaper at its start.
    """
    reporter.stage("measure", max(1, round(seconds)))
    trainer.step_count = middle = plan.config.training.steps // 2
    taken: list[float] = []
    last = began = time.perf_counter()
    for number, batch in enumerate(make_batches(plan, data, trainer).iterate(middle, 2**30)):
        with refusing_lack_of_memory(number, trainer.process.device):
            trainer.step(batch)
        reporter.check_cancelled()
        now = time.perf_counter()
        if number < WARM_UP_STEPS:
            began = now
        else:
            taken.append(now - last)
        last = now
        reporter.advance(int(now - began))
        if now - began >= seconds and len(taken) >= LEAST_STEPS:
            break
    return median(taken), len(taken)


@torch.inference_mode()
def _window_s(trainer: Trainer, plan: Plan) -> float:
    """Return the seconds of one window of a validation."""
    device = trainer.process.device
    network = predicting_network(trainer.method, plan.config.method.name).eval()
    window = torch.zeros(1, network.channels, *plan.config.training.patch_size, device=device)
    dtype = whole_scan_dtype(plan.config, device)
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        with autocast(device, dtype):
            float(network(window).logits.sum())
        taken.append(time.perf_counter() - began)
    return min(taken)


def _windows_of(images: Sequence[NDArray[Any]], config: RunConfig) -> float:
    """Return how many windows a prepared case (C, D, H, W) has on average."""
    patch, overlap = config.training.patch_size, config.inference.overlap
    return sum(_count(image.shape[1:], patch, overlap) for image in images) / len(images)


def _count(size: Sequence[int], patch: Size, overlap: float) -> int:
    z, y, x = (max(n, side) for n, side in zip(size, patch, strict=True))
    return sum(map(len, windows((z, y, x), patch, overlap)))


def _summary(costs: Costs, trainer: Trainer, whole: Split, request: Request) -> Table:
    config, device = trainer.config, trainer.process.device
    trained = _trained(trainer, whole)
    networks = 1 if is_same(trainer.method.student(), trainer.method.predictor()) else 2
    times = 1 + (config.steps - 1) // config.validate_every if config.validate_every else 1
    overhead_s = (
        costs.survey_s * sum(len(names) for names in whole.roles.values())
        + costs.prepare_s * trained
        + costs.validate_s * len(whole.validation) * networks * times
    )
    summary: Table = {
        "step_s": costs.step_s,
        "steps_measured": costs.steps,
        "overhead_s": overhead_s,
        "device": str(device),
        "device_name": device_name(device),
        "steps": config.steps,
        "expected_minutes": (overhead_s + config.steps * costs.step_s) / 60.0,
    }
    if request.minutes is not None:
        left = 60.0 * request.minutes - overhead_s
        summary |= {
            "minutes": request.minutes,
            "steps_in_minutes": max(0, int(left / costs.step_s)),
        }
    return summary


def _memory(costs: Costs, trainer: Trainer, whole: Split, config: RunConfig) -> Table:
    """Return what the run would need and what there is; on the CPU all prepared cases count."""
    device = trainer.process.device
    peak_gib = _peak_gib(device)
    more = costs.case_bytes * max(0, _trained(trainer, whole) - costs.cases) / GIB
    if device.type != "cpu" or more > config.data.cache_gib:  # beyond it, mapped from disk
        more = 0.0
    return {
        "memory_gib": None if peak_gib is None else peak_gib + more,
        "available_gib": costs.free_bytes / GIB,
    }


def _peak_gib(device: torch.device) -> float | None:
    """Return the most that was taken of the memory of `device`; None where nobody counts it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / GIB + CUDA_CONTEXT_GIB
    peak_mib = peak_memory_mib(device)
    return None if peak_mib is None else peak_mib / 1024


def _trained(trainer: Trainer, whole: Split) -> int:
    """Return how many cases the run would prepare."""
    return len(whole.labeled) + (len(whole.unlabeled) if trainer.method.needs_unlabeled else 0)
