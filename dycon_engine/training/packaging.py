"""What a run hands over: config facts, validation figures, last.dycon and best.dycon."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dycon_engine.config import AugmentationConfig, RunConfig
from dycon_engine.data.audit import Audit
from dycon_engine.data.hidden import ORACLE_NOTICE
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.seen import Seen
from dycon_engine.data.splits import Split
from dycon_engine.errors import InputError
from dycon_engine.evaluation.calibration import TEMPERATURE_RANGE
from dycon_engine.jobs.events import Saved, Validated
from dycon_engine.jobs.files import write_json
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.methods.base import Method
from dycon_engine.package import Calibration, PackageInfo
from dycon_engine.package.info import LICENSE, NOTICE, check
from dycon_engine.settings import Table, as_table
from dycon_engine.sources import source_digest
from dycon_engine.training.loop import Standing
from dycon_engine.training.rundir import RunDirectory
from dycon_engine.training.shipping import ship
from dycon_engine.training.trainer import Trainer
from dycon_engine.training.validation import Validation, Validator

LAST, BEST = "last", "best"


@dataclass
class Packager:
    """Turns a trainer's state into packages; only the main process writes."""

    run: RunDirectory
    config: RunConfig
    split: Split
    audit: Audit
    layout: str
    preprocessing: Preprocessing
    reporter: Reporter
    standing: Standing
    seen: Seen | None = None
    started_from: str = ""

    def facts(self, trainer: Trainer) -> Table:
        """Return what config.json says about data, method and device; no names, no paths."""
        return {
            "layout": self.layout,
            "channels": list(self.audit.channels),
            "labels": [label._asdict() for label in self.audit.labels],
            "cases": {role: len(names) for role, names in self.split.roles.items()},
            "split_sha256": self.split.hash(),
            "started_from": self.started_from,
            "warnings": len(self.audit.warnings),
            **_oracle(trainer.method),
            "preprocessing": self.preprocessing.as_table(),
            "method": as_table(trainer.method.config),
            "device": str(trainer.process.device),
            "precision": trainer.precision.name,
            "processes": trainer.process.world,
        }

    def require_possible(self, trainer: Trainer) -> None:
        """Check, before the first step, that what is known by then makes a package.

        Raises:
            InputError: A value of the data or of the settings is none that a package can hold.
        """
        try:
            check(self.info(trainer, LAST, None))
        except InputError as error:
            raise InputError(
                f"no model could be made of this run: {error}; correct the data or the settings"
            ) from error

    def validated(
        self, validator: Validator, trainer: Trainer, *, surfaces: bool = False
    ) -> Validation | None:
        """Validate, say so, and keep the package if it is the best so far."""
        method = trainer.method
        found = validator.run(method.predictor(), method.student(), surfaces=surfaces)
        if found is None:
            return None
        step = trainer.step_count
        self.reporter.emit(
            Validated(
                step=step,
                dice=found.dice,
                dice_per_class=found.dice_per_class,
                cases=len(found.cases),
                student_dice=found.student_dice,
            )
        )
        if found.dice > self.standing.best_dice or step == self.standing.best_step:
            self.standing.best_dice, self.standing.best_step = found.dice, step
            self._ship(BEST, trainer, found)
        return found

    def finish(self, validator: Validator, trainer: Trainer) -> Table:
        """Validate with all metrics, write the last package and return the run's summary."""
        found = self.validated(validator, trainer, surfaces=True)
        if found is None:
            self.reporter.warn(
                "calibration",
                "no validation cases: the model is not calibrated (temperature 1) and unscored",
            )
        elif found.calibration.temperature in TEMPERATURE_RANGE:
            self.reporter.warn("calibration", _end_of_range(found.calibration.temperature))
        self._ship(LAST, trainer, found)
        summary: Table = {
            "steps": trainer.step_count,
            "package": f"{self.run.package.name}/{LAST}.dycon",
        }
        if found is not None:
            if trainer.process.is_main:
                self._write_report(found, trainer.method)
            summary |= {
                "validation_cases": len(found.cases),
                "dice": found.dice,
                "dice_per_class": _finite(found.dice_per_class),
                "student_dice": found.student_dice,
                "best_dice": self.standing.best_dice,
                "best_step": self.standing.best_step,
                "temperature": found.calibration.temperature,
                "ece": found.calibration.ece_after,
            }
        return summary

    def info(self, trainer: Trainer, which: str, found: Validation | None) -> PackageInfo:
        """Return the description of a package."""
        channels = self.audit.channels
        numbered = self.layout == "nnunet"
        return PackageInfo(
            network=self.config.network,
            channels=channels,
            labels=self.audit.labels,
            preprocessing=self.preprocessing,
            patch_size=self.config.training.patch_size,
            seen=self.seen,
            training=self._training(trainer, which, found),
            calibration=found.calibration if found else Calibration(),
            inference=self.config.inference,
            composition=trainer.method.composition(),
            license=self.config.training.license or LICENSE,
            notice=f"{ORACLE_NOTICE} {NOTICE}" if trainer.method.sees_hidden_labels else NOTICE,
            name_patterns=tuple(f"_{i:04d}" for i in range(len(channels))) if numbered else (),
        )

    def _training(self, trainer: Trainer, which: str, found: Validation | None) -> Table:
        validation: Table = {"cases": 0, "calibration": "not calibrated: no validation cases"}
        if found is not None:
            validation = {
                "cases": len(found.cases),
                "dice": found.dice,
                "dice_per_class": _finite(found.dice_per_class),
                "student_dice": found.student_dice,
                "calibration": _judged(len(found.cases)),
            }
        return {
            "method": self.config.method.name,
            **_oracle(trainer.method),
            "settings": as_table(trainer.method.config),
            "checkpoint": f"{which}, step {trainer.step_count} of {self.config.training.steps}",
            **({"started_from": self.started_from} if self.started_from else {}),
            "labeled_cases": len(self.split.labeled),
            "unlabeled_cases": len(self.split.unlabeled),
            "split_sha256": self.split.hash(),
            "seed": self.config.training.seed,
            "engine_sources": source_digest(),
            "precision": trainer.precision.name,
            "mirrored_axes": _mirrored(self.config.augmentation),
            "validation": validation,
        }

    def _ship(self, which: str, trainer: Trainer, found: Validation | None) -> None:
        if not trainer.process.is_main:
            return
        path = self.run.package / f"{which}.dycon"
        ship(path, self.info(trainer, which, found), trainer.method)
        where = f"{path.parent.name}/{path.name}"
        self.reporter.emit(Saved(what=f"package {which}", path=where, step=trainer.step_count))

    def _write_report(self, found: Validation, method: Method) -> None:
        """Write report/validation.json: every case under an alias, undefined values as null."""
        names = [label.name for label in self.audit.labels[1:]]
        cases = [
            {
                "case": f"validation {result.number + 1}",
                "classes": {
                    name: _finite(dataclasses.asdict(scores))
                    for name, scores in zip(names, result.scores, strict=True)
                },
            }
            for result in found.cases
        ]
        self.run.report.mkdir(exist_ok=True)
        content = {
            **_oracle(method),
            "dice": found.dice,
            "dice_per_class": _finite(found.dice_per_class),
            "student_dice": found.student_dice,
            "calibration": dataclasses.asdict(found.calibration),
            "cases": cases,
        }
        write_json(self.run.report / "validation.json", content)


def _judged(cases: int) -> str:
    if cases > 1:
        return "near boundaries, each case with the temperature of the others"
    return "near boundaries, judged on the one case it was fitted on"


def _end_of_range(temperature: float) -> str:
    low, high = TEMPERATURE_RANGE
    return (
        f"the temperature is {temperature:g}, the end of what is tried ({low:g} to {high:g}): near "
        "boundaries of the held-out cases the model is hardly ever wrong or hardly ever right; do "
        "not rely on its probabilities, train longer or hold out other cases"
    )


def _mirrored(augmentation: AugmentationConfig) -> str:
    """Return the axes, letters of zyx, along which labeled patches were mirrored."""
    return {"paper": "yx", "strong": augmentation.flip_axes}.get(augmentation.preset, "")


def _oracle(method: Method) -> Table:
    """Return the mark of an audit run; nothing for any other."""
    return {"oracle": ORACLE_NOTICE} if method.sees_hidden_labels else {}


def _finite(table: Mapping[str, Any]) -> Table:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in table.items()
    }
