"""One prediction of a model, scored; rows are kept, so that a stopped measurement goes on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.left_atrium_changes import Change, Scan
from dycon_engine.data.formats.readers import read_image, read_label
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.volume import Volume
from dycon_engine.evaluation.calibration import (
    BINS,
    Reliability,
    captured_errors,
    near_boundary,
    reliability_of,
)
from dycon_engine.evaluation.metrics import score
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.report import review
from dycon_engine.inference.result import Prediction, Wishes
from dycon_engine.package import PackageInfo

BAND_MM = 5.0
VALIDATION = 8  # the last names of train.list

Bins = tuple[tuple[float, float, int], ...]  # sum of confidence, right voxels, voxels


@dataclass(frozen=True)
class Row:
    """One case under one change.

    Attributes:
        group: Of the change.
        change: Its name.
        case: Number of the validation case, from 1.
        dice: None where neither reference nor anything to find is there.
        hd95_mm: None where it is undefined; the same for `asd_mm`.
        asd_mm: See `hd95_mm`.
        volume_ml: Predicted.
        reference_ml: Labeled.
        captured: Part of the errors in the 5 % most uncertain voxels; None without errors.
        near: Reliability bins of the voxels within `BAND_MM` of the reference's surface.
        everywhere: The same of all voxels.
        flags: Topics.
        reviewed: Whether the report asks for a review.
    """

    group: str
    change: str
    case: int
    dice: float | None
    hd95_mm: float | None
    asd_mm: float | None
    volume_ml: float
    reference_ml: float
    captured: float | None
    near: Bins
    everywhere: Bins
    flags: tuple[str, ...]
    reviewed: bool


def case_names(data: Path) -> tuple[str, ...]:
    """Return the cases in their published order; the last `VALIDATION` were not trained on."""
    return tuple((data / "train.list").read_text(encoding="utf-8").split())


def read_scan(data: Path, name: str) -> Scan:
    return Scan(
        read_image(data / "images" / f"{name}.nii.gz"),
        read_label(data / "labels" / f"{name}.nii.gz"),
    )


def grid_dice(preprocessing: Preprocessing, label: Volume) -> float:
    """Return the Dice of `label` moved onto the network's grid and back: none can score more."""
    onto = preprocessing.prepare_label(label, classes=2).astype(np.float32)
    back = preprocessing.restore(np.stack([1.0 - onto, onto]), label.geometry)
    scores = score(
        (back[1] > back[0]).astype(np.uint8),
        label.array,
        classes=(1,),
        spacing_mm=label.geometry.spacing_mm,
    )
    return scores[0].dice


class Measurer:
    """Predicts and scores; every row is appended to a file, and not made twice."""

    def __init__(self, predictor: Predictor, kept: Path | None) -> None:
        """Go on with the rows in `kept`, JSON lines; None keeps none."""
        self._predictor, self._kept = predictor, kept
        self._model = fingerprint(predictor.package.info)
        self._rows: dict[tuple[str, str, int], Row] = {}
        if kept is not None and kept.exists():
            for line in kept.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                if entry.pop("model") == self._model:
                    row = row_of(entry)
                    self._rows[row.group, row.change, row.case] = row

    def row(self, change: Change, data: Path, names: Sequence[str], case: int) -> Row:
        """Return the row of a case (from 1) of `names`."""
        key = (change.group, change.name, case)
        if key not in self._rows:
            name = names[case - 1]
            scan = change(read_scan(data, name), name)
            row = measured(self._predictor, change, scan, case)
            self._rows[key] = row
            if self._kept is not None:
                self._kept.parent.mkdir(parents=True, exist_ok=True)
                with self._kept.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps({"model": self._model} | asdict(row)) + "\n")
        return self._rows[key]


def fingerprint(info: PackageInfo) -> str:
    """Return a hash of all that decides a prediction and its flags: not of what is said of it."""
    table = info.as_table()
    for name in ("evidence", "license", "notice", "training", "engine_version"):
        table.pop(name, None)
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]


def measured(predictor: Predictor, change: Change, scan: Scan, case: int) -> Row:
    """Return the row of one changed scan."""
    prediction = predictor.predict(scan.image, Wishes(probabilities=True, roi=scan.region))
    found, expected = (v.astype(np.uint8) for v in (prediction.labels > 0, scan.label.array > 0))
    geometry = scan.image.geometry
    scores = score(found, expected, classes=(1,), spacing_mm=geometry.spacing_mm)[0]
    there = bool(expected.any())
    near = near_boundary(expected, expected, spacing_mm=geometry.spacing_mm, band_mm=BAND_MM)
    confidence, right = _confidence(prediction), found == expected
    captured = captured_errors(prediction.uncertainty, ~right)
    milliliter = geometry.voxel_mm3 / 1000.0
    return Row(
        group=change.group,
        change=change.name,
        case=case,
        dice=scores.dice if there else None,
        hd95_mm=_known(scores.hd95_mm),
        asd_mm=_known(scores.asd_mm),
        volume_ml=round(float(found.sum() * milliliter), 2),
        reference_ml=round(float(expected.sum() * milliliter), 2),
        captured=_known(captured) if there else None,
        near=_bins(reliability_of(confidence[near], right[near])),
        everywhere=_bins(reliability_of(confidence.reshape(-1), right.reshape(-1))),
        flags=tuple(flag.topic for flag in prediction.flags),
        reviewed=bool(review(prediction)["needed"]),
    )


def row_of(entry: dict[str, Any]) -> Row:
    """Return the row of a line of the file."""
    bins = {name: tuple(map(tuple, entry[name])) for name in ("near", "everywhere")}
    return Row(**(entry | bins | {"flags": tuple(entry["flags"])}))


def pooled(bins: Sequence[Bins]) -> Reliability:
    """Return the reliability of the voxels of several rows together."""
    total = np.sum([np.asarray(one) for one in bins], axis=0)
    with np.errstate(invalid="ignore"):
        sure, right = (total[:, column] / total[:, 2] for column in (0, 1))
    return Reliability(np.linspace(0.0, 1.0, BINS + 1), sure, right, total[:, 2].astype(np.int64))


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is defined, None where nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _confidence(prediction: Prediction) -> NDArray[np.float32]:
    assert prediction.probabilities is not None
    return np.asarray(prediction.probabilities.max(axis=0))


def _bins(curve: Reliability) -> Bins:
    count = curve.voxels
    return tuple(
        (round(float(sure) * int(n), 2), round(float(right) * int(n), 2), int(n))
        if n
        else (0.0, 0.0, 0)
        for sure, right, n in zip(curve.confidence, curve.accuracy, count, strict=True)
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)
