"""What is written beside a segmentation: how it was made and what to check; no names, no paths."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NamedTuple

import torch

from dycon_engine import __version__
from dycon_engine.data.geometry import Geometry
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.result import Prediction, Wishes

SCHEMA_VERSION = 2


class Input(NamedTuple):
    """The scan: sha256 of its files as they lay on disk, one per channel."""

    sha256: tuple[str, ...]
    seconds: float
    notices: tuple[str, ...] = ()


def report(
    prediction: Prediction, predictor: Predictor, wishes: Wishes, scan: Input
) -> dict[str, Any]:
    """Return the report of one segmentation as plain JSON values."""
    package = predictor.package
    return {
        "schema_version": SCHEMA_VERSION,
        "engine_version": __version__,
        "date_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "notices": [package.info.notice, *scan.notices],
        "package": {
            "name": package.name,
            "sha256": package.sha256,
            "calibrated": package.info.calibration.ece_after is not None,
        },
        "input": {"sha256": list(scan.sha256), "geometry": geometry_table(prediction.geometry)},
        "parameters": _parameters(wishes) | asdict(predictor.inference),
        "device": str(predictor.device),
        "threads": torch.get_num_threads(),
        "seconds": round(scan.seconds, 2),
        "empty": prediction.empty,
        "review": review(prediction),
        "volumes": [volume._asdict() for volume in prediction.volumes],
        "mean_uncertainty": prediction.mean_uncertainty,
        "regions": [_without(region._asdict(), "out_of") for region in prediction.regions],
        "regions_found": prediction.regions[0].out_of if prediction.regions else 0,
        "flags": [flag._asdict() for flag in prediction.flags],
    }


def review(prediction: Prediction) -> dict[str, Any]:
    """Return whether a person should look at the result before using it, and why."""
    reasons = [flag.message for flag in prediction.flags]
    if not prediction.empty:
        parts = [v for v in prediction.volumes if v.review and v.voxels]
        reasons += [f"{volume.name}: {volume.reason}" for volume in parts]
    return {"needed": bool(reasons), "reasons": reasons}


def _without(table: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != name}


def _parameters(wishes: Wishes) -> dict[str, Any]:
    roi = None if wishes.roi is None else wishes.roi._asdict()
    return wishes._asdict() | {"roi": roi}


def geometry_table(geometry: Geometry) -> dict[str, Any]:
    """Return a grid as plain values."""
    return {
        "size_zyx": list(geometry.size_zyx),
        "spacing_mm_zyx": list(geometry.spacing_mm),
        "affine_zyx_to_lps": geometry.affine.tolist(),
    }
