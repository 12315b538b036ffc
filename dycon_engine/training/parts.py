"""The parts of a run that a probe needs too: plan, method, prepared cases, batches."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import torch

from dycon_engine.config import RunConfig
from dycon_engine.data.audit import Audit, audit
from dycon_engine.data.cache import TrainingData, prepare_training
from dycon_engine.data.cases import Dataset
from dycon_engine.data.geometry import Spacing
from dycon_engine.data.hidden import AuditBatchLoader, hidden_labels
from dycon_engine.data.loader import BatchLoader
from dycon_engine.data.splits import Split, split_cases
from dycon_engine.data.survey import survey
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.methods import METHODS, build_method
from dycon_engine.methods.base import Method
from dycon_engine.networks import NetworkBuilder
from dycon_engine.settings import Table, known
from dycon_engine.training.agreement import require_agreement
from dycon_engine.training.rundir import require_same_data
from dycon_engine.training.trainer import Trainer


class Plan(NamedTuple):
    """What is known before the first file of a run is written."""

    config: RunConfig
    dataset: Dataset
    split: Split
    audit: Audit


def make_plan(
    dataset: Dataset, config: RunConfig, reporter: Reporter, *, resumed: Split | None = None
) -> Plan:
    """Split the cases and audit them; writes nothing.

    Args:
        dataset: All that is there.
        config: The settings.
        reporter: Hears of progress and warnings.
        resumed: The split of the run that goes on.

    Raises:
        DatasetError: Every problem of the data, one line each.
        InputError: The data is not that of the run to resume.
    """
    plan = look(dataset, config, reporter, resumed=resumed)
    plan.audit.require_usable()
    for warning in plan.audit.warnings:
        reporter.warn("data", warning)
    return plan


def look(
    dataset: Dataset, config: RunConfig, reporter: Reporter, *, resumed: Split | None = None
) -> Plan:
    """Return the plan whatever the audit found; otherwise as `make_plan`.

    Raises:
        InputError: The data is not that of the run to resume, or fits no split.
        CancelledError: As asked for.
    """
    reporter.stage("audit", len(dataset.cases))

    def on_case(done: int, _total: int) -> None:
        reporter.advance(done)
        reporter.check_cancelled()

    scans = survey(dataset, config.data, on_case)
    if resumed is not None:
        require_same_data(resumed, scans)
    split = resumed or split_cases(dataset, config.data, scans=scans)
    method = METHODS[known(config.method.name, METHODS, "method")]
    found = audit(
        dataset,
        split,
        config,
        scans=scans,
        needs_unlabeled=method.needs_unlabeled and config.training.unlabeled_cases != "all",
    )
    named = dataclasses.replace(dataset, labels=found.labels, channels=found.channels)
    return Plan(config, named, split, found)


def make_method(plan: Plan) -> Method:
    """Return the method of the run with its networks, the same for the same seed.

    Raises:
        InputError: Its settings are unknown or out of range.
    """
    config, found = plan.config, plan.audit
    torch.manual_seed(config.training.seed)
    spacing_mm = found.preprocessing(config).spacing_mm
    return _method(config, len(found.channels), len(found.labels), spacing_mm)


def make_trial(config: RunConfig) -> Method:
    """Return the method as it would be for one channel and one structure, its weights shaken.

    Settings that fit no method or network are found with it before the scans are read, and methods
    whose package would be another model than the one validated.

    Raises:
        InputError: As `make_method` and `require_agreement`.
    """
    method = _method(config, 1, 2, (1.0, 1.0, 1.0))
    require_agreement(
        method,
        config.method.name,
        network=NetworkBuilder(config.network, 1, 2),
        patch_size=config.training.patch_size,
    )
    return method


def _method(config: RunConfig, channels: int, classes: int, spacing_mm: Spacing) -> Method:
    network = NetworkBuilder(config.network, channels, classes)
    return build_method(config.method.name, config.method.settings, network, spacing_mm=spacing_mm)


def prepare(plan: Plan, cache: Path, reporter: Reporter) -> TrainingData:
    """Return the prepared training cases, kept in `cache`.

    Raises:
        CancelledError: As asked for.
    """
    split = plan.split
    if not METHODS[plan.config.method.name].needs_unlabeled:
        split = dataclasses.replace(split, unlabeled=())
    reporter.stage("prepare", len(split.labeled) + len(split.unlabeled))

    def on_case(done: int, total: int) -> None:  # noqa: ARG001 - the stage knows the total
        reporter.advance(done)
        reporter.check_cancelled()

    return prepare_training(
        plan.dataset,
        split,
        plan.audit.preprocessing(plan.config),
        plan.config.data,
        cache,
        on_case,
    )


def make_batches(plan: Plan, data: TrainingData, trainer: Trainer) -> BatchLoader:
    """Return the loader; for the audit of the label leak alone one that knows hidden labels."""
    config, process = plan.config, trainer.process
    preprocessing = plan.audit.preprocessing(config)
    common: Table = {
        "training": config.training,
        "augmentation": config.augmentation,
        "rank": process.rank,
        "world": process.world,
        "spacing_mm": preprocessing.spacing_mm,
        "device": process.device,
    }
    if not trainer.method.sees_hidden_labels:
        return BatchLoader(data.labeled, data.unlabeled, **common)
    labels = hidden_labels(plan.dataset, data, preprocessing, config.data)
    return AuditBatchLoader(data.labeled, data.unlabeled, labels=labels, **common)
