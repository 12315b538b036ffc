"""Pictures for the left-atrium model's page: failures, calibration, changed scans."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.left_atrium_changes import Scan
from dycon_engine.data.orientation import axial_orientation
from dycon_engine.evaluation.overlays import (
    PREDICTION_COLOR,
    REFERENCE_COLOR,
    worst_disagreement,
)
from dycon_engine.inference.predictor import Predictor
from dycon_engine.jobs.files import write_bytes
from dycon_engine.pictures.slices import (
    VIEWS,
    Cut,
    View,
    canvas,
    draw_outline,
    draw_scan,
    draw_tint,
    png_of,
)

FLATTEST = 0.4  # height over depth
SHADES = 160  # of the stored pictures, which makes them three times smaller
BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#777777"


def draw_failure(path: Path, scan: Scan, predictor: Predictor) -> None:
    """Write slices through the worst place: contours above or left, uncertainty below or right.

    A volume much wider than high is shown in its axial slice alone.
    """
    prediction = predictor.predict(scan.image)
    assert prediction.uncertainty is not None
    orientation = axial_orientation(scan.image.geometry)
    image, expected, found, unsure = (
        orientation.apply(array)
        for array in (
            scan.image.array[0],
            scan.label.array,
            prediction.labels,
            prediction.uncertainty,
        )
    )
    spacing = orientation.geometry(scan.image.geometry).spacing_mm
    place = worst_disagreement(found, expected, spacing_mm=spacing)
    cut = Cut.around(place, (expected != 0, found != 0), spacing)
    height, depth = ((cut.shown[a].stop - cut.shown[a].start) * spacing[a] for a in (0, 1))
    if height < FLATTEST * depth:
        views: tuple[View, ...] = VIEWS[:1]
        figure, axes = canvas(1, [cut.ratio(VIEWS[0])] * 2, width_inch=9.0)
        axes = axes.T
    else:
        views = VIEWS
        figure, axes = canvas(2, [cut.ratio(view) for view in views], width_inch=9.0)
    for view, above, below in zip(views, *axes, strict=True):
        for axis in (above, below):
            draw_scan(axis, view, cut, image)
        draw_outline(above, cut.of(expected, view) > 0, REFERENCE_COLOR)
        draw_outline(above, cut.of(found, view) > 0, PREDICTION_COLOR, "dashed")
        draw_tint(below, cut.of(unsure, view))
        above.set_title(view.name, color="white", fontsize=11)
    _write(path, png_of(figure))


def draw_calibration(path: Path, content: dict[str, Any], curve: Sequence[Sequence[float]]) -> None:
    """Write the reliability near the surface and the risk-coverage curve of the package."""
    figure = Figure(figsize=(9.0, 3.8), dpi=110)
    left, right = figure.subplots(1, 2)
    bins = content["clean"]["reliability_near"]
    rows = zip(bins["confidence"], bins["accuracy"], bins["voxels"], strict=True)
    points = [(sure, hit) for sure, hit, count in rows if count >= 10]
    left.plot([0.5, 1.0], [0.5, 1.0], color=GRAY, linewidth=1.0, label="perfect")
    left.plot(*zip(*points, strict=True), "o-", color=BLUE, label="this model")
    left.set(xlabel="stated confidence", ylabel="share of right voxels")
    left.set_title(f"Reliability within {content['band_mm']:g} mm of the surface", fontsize=11)
    left.legend(frameon=False)
    right.plot(*zip(*curve, strict=True), color=BLUE)
    right.set(xlabel="share of voxels kept, the surest first", ylabel="share of them wrong")
    right.set_title("Risk and coverage near boundaries", fontsize=11)
    right.set_ylim(bottom=0.0)
    _write(path, _png(figure, (left, right)))


def draw_changes(path: Path, changes: Sequence[dict[str, Any]]) -> None:
    """Write mean and worst Dice of every change, the clean scans' mean as a line."""
    rows = [row for row in changes if row["dice"] is not None]
    figure = Figure(figsize=(9.0, 0.8 + 0.22 * len(rows)), dpi=110)
    axis = figure.subplots()
    places = np.arange(len(rows))[::-1]
    axis.axvline(rows[0]["dice"], color=GRAY, linewidth=1.0)
    for row, place in zip(rows, places, strict=True):
        axis.plot([row["worst_dice"], row["dice"]], [place, place], color=BLUE, linewidth=1.0)
        flagged = row["reviewed"] / row["cases"]
        axis.plot(row["dice"], place, "o", color=ORANGE if flagged > 0.5 else BLUE, markersize=5)
        axis.plot(row["worst_dice"], place, "|", color=BLUE, markersize=7)
    axis.set_yticks(places, [f"{row['group']}: {row['change']}" for row in rows], fontsize=8)
    axis.set_xlim(0.0, 1.0)
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.set_xlabel("Dice: mean (dot), worst scan (bar); orange: most scans ask for a review")
    _write(path, _png(figure, (axis,)))


def _png(figure: Figure, axes: Sequence[Any]) -> bytes:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _write(path: Path, png: bytes) -> None:
    """Write a picture with fewer colors."""
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(SHADES, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, buffer.getvalue())
