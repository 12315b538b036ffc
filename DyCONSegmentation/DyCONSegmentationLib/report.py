"""The engine's report of one segmentation, read as data of foreign origin: checked, never trusted.

It comes from a file that a child process wrote, or from a scene that somebody sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dycon_engine.errors import InputError

LARGEST_TEXT = 4 << 20
SCHEMA_VERSION = 2


class Flag(NamedTuple):
    """Something to know before trusting the result; `topic` is a stable word."""

    topic: str
    message: str


class StructureVolume(NamedTuple):
    """How much of one structure there is.

    Attributes:
        name: Of the structure.
        ml: Its volume, milliliters.
        low_ml: What is surely part of it.
        high_ml: What is possibly part of it.
        boundary_uncertainty: Mean along its edge, in [0, 1]; None where unknown.
        review: Why a person should look at it before using it; '' where nothing speaks for it.
    """

    name: str
    ml: float
    low_ml: float
    high_ml: float
    boundary_uncertainty: float | None
    review: str


class Region(NamedTuple):
    """An uncertain region.

    Attributes:
        rank: 1 = look here first.
        point_ras: A voxel of it, the nearest to its center of mass; millimeters in the frame of
            the volume node, not the world.
        volume_mm3: Size.
        mean: Mean uncertainty, in [0, 1].
        labels: Structures in it, or the nearest one.
    """

    rank: int
    point_ras: tuple[float, float, float]
    volume_mm3: float
    mean: float
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What the panel shows of a segmentation.

    Attributes:
        volumes: One entry per structure of the model.
        regions: Where to look first, by rank.
        regions_found: How many there were, of which `regions` are the most important.
        flags: What to know before trusting the result.
        device: What the engine ran on.
        seconds: How long the segmentation took.
        content: The whole report as plain JSON values.
    """

    volumes: tuple[StructureVolume, ...]
    regions: tuple[Region, ...]
    regions_found: int
    flags: tuple[Flag, ...]
    device: str
    seconds: float
    content: dict[str, Any]

    def text(self) -> str:
        """Return the report as JSON, to be kept with the scene or written to a file."""
        return json.dumps(self.content, allow_nan=False)


def read_report(path: Path) -> Report:
    """Return the report that the engine wrote to `path`.

    Raises:
        InputError: It is not there or not readable.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError("the engine wrote no readable report; segment again") from None
    return parse_report(text, "result")


def parse_report(text: str, where: str) -> Report:
    """Return the report that `text` holds.

    Raises:
        InputError: Not a report this panel can read; the sentence starts with `where`.
    """
    try:
        return _parsed(text)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{where}: no readable report ({reason}); segment again") from None


def _parsed(text: str) -> Report:
    if len(text) > LARGEST_TEXT:
        raise ValueError("is larger than a report can be")
    content = json.loads(text)
    version = content["schema_version"]
    if version != SCHEMA_VERSION:
        raise ValueError(f"has schema version {version!r}, expected {SCHEMA_VERSION}")
    volumes = tuple(_volume(item) for item in content["volumes"])
    regions = tuple(_region(item) for item in content["regions"])
    return Report(
        volumes=volumes,
        regions=regions,
        regions_found=max(len(regions), int(_number(content.get("regions_found", 0)))),
        flags=tuple(Flag(str(flag["topic"]), str(flag["message"])) for flag in content["flags"]),
        device=str(content["device"]),
        seconds=_number(content["seconds"]),
        content=content,
    )


def _volume(item: Mapping[str, Any]) -> StructureVolume:
    boundary = item["boundary_uncertainty"]
    mean = None if boundary is None else _number(boundary)
    low, ml, high = (_number(item[name]) for name in ("low_ml", "volume_ml", "high_ml"))
    review = str(item["reason"]) if item["review"] else ""
    return StructureVolume(str(item["name"]), ml, low, high, mean, review)


def _region(item: Mapping[str, Any]) -> Region:
    # reports of older engines have the center of mass only, which may lie beside a curved region
    place = item.get("point_ras_mm", item["centroid_ras_mm"])
    right, anterior, superior = (_number(part) for part in place)
    point = (right, anterior, superior)
    volume, mean = _number(item["volume_mm3"]), _number(item["mean_uncertainty"])
    return Region(int(item["id"]), point, volume, mean, tuple(map(str, item["labels"])))


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no number")
    return number
