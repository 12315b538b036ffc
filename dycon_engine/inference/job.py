"""Segmenting many scans: each case's failure is listed without stopping the rest."""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycon_engine.config import DataConfig, InferenceConfig
from dycon_engine.data.cases import Case, read_case_image, read_grid
from dycon_engine.data.formats.readers import content_hash, image_stem
from dycon_engine.data.geometry import Box, Spacing
from dycon_engine.errors import CancelledError, DyconError, InputError
from dycon_engine.inference.inputs import (
    Targets,
    check_folders,
    check_targets,
    find_inputs,
    require_spacing,
    targets,
    unread_inputs,
)
from dycon_engine.inference.page import to_html
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.progress import READING, WRITING, CaseProgress
from dycon_engine.inference.ranks import together
from dycon_engine.inference.report import Input, report
from dycon_engine.inference.result import Wishes
from dycon_engine.inference.writing import write_results
from dycon_engine.jobs.events import CaseDone, Saved
from dycon_engine.jobs.files import sha256_of
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.networks.cores import share_cores
from dycon_engine.networks.devices import device_name, take_device
from dycon_engine.package import load_package
from dycon_engine.settings import as_table, build


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `predict` was asked to do; paths as in its help."""

    package: Path
    inputs: tuple[Path, ...]
    outputs: Targets
    uncertainty_kind: str = "entropy"
    roi: Box | None = None
    device: str = "auto"
    overlap: float | None = None
    largest_component: bool = False
    minimum_mm3: float = 0.0
    overwrite: bool = False
    spacing_mm: Spacing | None = None
    rank: int = 0
    world: int = 1
    local_rank: int = 0

    def wishes(self) -> Wishes:
        """Return what the predictor must compute."""
        asked = self.outputs
        unsure = (asked.uncertainty, asked.regions, asked.report, asked.report_html)
        return Wishes(
            uncertainty=self.uncertainty_kind if any(unsure) else None,
            probabilities=asked.probabilities is not None,
            largest_component=self.largest_component,
            minimum_mm3=self.minimum_mm3,
            roi=self.roi,
            region_map=asked.regions is not None,
        )


def predict_all(request: Request, reporter: Reporter) -> dict[str, Any]:
    """Segment every case and return the summary.

    Raises:
        InputError: The package, an option, or the only case is not usable.
        DyconError: Some of several cases failed; each was said when it did.
        CancelledError: The reporter was asked to stop.
    """
    with together(request.world):
        return _predict_all(request, reporter)


def _predict_all(request: Request, reporter: Reporter) -> dict[str, Any]:
    if not (math.isfinite(request.minimum_mm3) and request.minimum_mm3 >= 0):
        raise InputError(f"--minimum-volume-mm3 {request.minimum_mm3}: expected a number >= 0")
    if request.roi is not None:
        _check_roi(request.roi)
    package = load_package(request.package)
    share_cores()
    device = take_device(
        request.device,
        functools.partial(reporter.warn, "device"),
        local_rank=request.local_rank,
    )
    reporter.computes_on(str(device), device_name(device))
    predictor = Predictor(package, device, inference=_inference(request, package.info.inference))
    predictor.check(request.wishes())
    cases = _found(request, len(package.info.channels), reporter)
    reporter.hide(case.name for case in cases)
    many = len(request.inputs) == 1 and not (len(cases) == 1 and _is_one(request, cases[0]))
    require_spacing(cases, request.spacing_mm)
    if many:
        check_folders(request.outputs)
    mine = cases[request.rank :: request.world]
    if request.world > 1:
        reporter.tell(f"Rank {request.rank} of {request.world}: {len(mine)} of {len(cases)} scans")
    failed: list[str] = []
    for item, case in enumerate(mine, start=1):
        progress = CaseProgress(reporter, item, len(mine))
        try:
            _predict_case(request, predictor, case, progress, many=many)
        except CancelledError:
            raise
        except Exception as error:  # one scan never stops those after it
            if not many:
                raise
            failed.append(case.name)
            reporter.case_failed(case.name, error)
    if failed:
        raise DyconError(
            f"{len(failed)} of {len(mine)} cases failed: {', '.join(failed)}; the reasons are above"
        )
    return {"cases": len(mine)}


def _found(request: Request, channels: int, reporter: Reporter) -> tuple[Case, ...]:
    cases = find_inputs(request.inputs, channels)
    for line in unread_inputs(request.inputs) if request.rank == 0 else ():
        reporter.warn("inputs", line)
    return cases


def _check_roi(roi: Box) -> None:
    for name, low, high in zip("xyz", *roi, strict=True):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(
                f"--roi: {low:g} to {high:g} mm along {name}; expected two numbers, the lower first"
            )


def _is_one(request: Request, case: Case) -> bool:
    return case.images[0] == request.inputs[0]


def _inference(request: Request, default: InferenceConfig) -> InferenceConfig:
    if request.overlap is None:
        return default
    return build(InferenceConfig, as_table(default) | {"overlap": request.overlap}, "inference")


def _predict_case(
    request: Request, predictor: Predictor, case: Case, progress: CaseProgress, *, many: bool
) -> None:
    reporter = progress.reporter
    where = targets(case, request.outputs, many=many)
    check_targets(case, where, overwrite=request.overwrite)
    data = DataConfig(spacing_mm=request.spacing_mm)
    predictor.check_memory(read_grid(case.images[0], data), f"case '{case.name}'", request.wishes())
    alias = image_stem(where.labels)  # what the person called the result, not the scan
    began = time.monotonic()
    progress.begin(READING)
    image = read_case_image(case, data)
    reporter.check_cancelled()
    notices: list[str] = []
    watch = progress.watch(functools.partial(_notice, reporter, notices))
    prediction = predictor.predict(image, request.wishes(), watch=watch)
    said_as = f"case '{alias}'" if many else f"result '{where.labels.name}'"
    for flag in prediction.flags:
        reporter.warn(flag.topic, f"{said_as}: {flag.message}")
    reporter.check_cancelled()
    scan = Input(tuple(map(_hash, case.images)), time.monotonic() - began, tuple(notices))
    content = report(prediction, predictor, request.wishes(), scan)
    check_targets(case, where, overwrite=request.overwrite)  # a file may have come meanwhile
    progress.begin(WRITING, len(where.all()))
    writing = write_results(
        where,
        prediction,
        content,
        lambda: to_html(content, image, prediction, predictor.package.info.labels),
        package=predictor.package,
        overwrite=request.overwrite,
    )
    for count, _ in enumerate(writing, start=1):
        progress.done(count)
    named = {name: path.name for name, path in where._asdict().items() if path is not None}
    for name, file_name in named.items():
        reporter.emit(Saved(what=name, path=file_name))
    reporter.emit(CaseDone(case=alias, outputs=named))


def _notice(reporter: Reporter, notices: list[str], text: str) -> None:
    notices.append(text)
    reporter.warn("memory", text)


def _hash(path: Path) -> str:
    return content_hash(path) if path.is_dir() else sha256_of(path)
