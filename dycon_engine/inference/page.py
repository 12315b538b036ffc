"""The report of one segmentation as a page for people: figures, pictures, places to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dycon_engine.data.cases import Label
from dycon_engine.data.volume import Volume
from dycon_engine.inference.pictures import (
    Scene,
    draw_places,
    middle_of,
    nearest_voxel,
    scene_of,
)
from dycon_engine.inference.result import Prediction
from dycon_engine.pictures.page import count, render
from dycon_engine.pictures.slices import LEAST_SHOWN, TINT, Picture

MOST_PICTURES = 5


def to_html(
    content: Mapping[str, Any], image: Volume, prediction: Prediction, labels: Sequence[Label]
) -> str:
    """Return the self-contained page.

    Args:
        content: The report, as `report.report` returns it; nothing else is said.
        image: The scan (C, D, H, W).
        prediction: Its segmentation.
        labels: Of the package, background first.
    """
    scene = scene_of(image, prediction, labels)
    values = {
        "r": content,
        "findings": findings(content),
        "pictures": _pictures(scene, prediction),
        "colors": [scene.colors[label.value] for label in labels[1:]],
        "tint": TINT,
        "least_shown": LEAST_SHOWN,
    }
    return render(Path(__file__).with_name("report.html"), values)


def findings(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the report says in short, one sentence each; what to review comes first."""
    reasons = content["review"]["reasons"]
    lines = [f"Please review: {text}{'' if text.endswith('?') else '.'}" for text in reasons]
    lines += [
        f"{entry['name']}: {entry['volume_ml']:.1f} ml "
        f"({entry['low_ml']:.1f} to {entry['high_ml']:.1f} ml)."
        for entry in content["volumes"]
        if entry["voxels"]
    ]
    lines += [
        f"{entry['name']}: pieces of {entry['removed_ml']:.2f} ml in all were removed, as asked."
        for entry in content["volumes"]
        if entry["removed_ml"]
    ]
    regions = content["regions"]
    if regions:
        largest, found = regions[0], content["regions_found"]
        most = f", the most important of {found}" if found > len(regions) else ""
        lines.append(
            f"{count(len(regions), 'uncertain region')} to look at{most}; the first one measures "
            f"{largest['volume_mm3'] / 1000:.2f} ml{_near(largest['labels'])}."
        )
    return tuple(lines)


def _near(labels: Sequence[str]) -> str:
    return f" ({', '.join(labels)})" if labels else ""


def _pictures(scene: Scene, prediction: Prediction) -> tuple[Picture, ...]:
    places = [
        (
            nearest_voxel(region.point_lps_mm, scene.geometry),
            f"Region {region.id}{_near(region.labels)}",
            True,
        )
        for region in prediction.regions[:MOST_PICTURES]
    ]
    if not places:
        title = "Nothing was found: the middle of the scan" if prediction.empty else "Overview"
        places = [(middle_of(scene.labels), title, False)]
    return draw_places(scene, places)
