"""Pictures of a case: three orthogonal slices through its worst disagreement, with contours.

Slices are shown as radiologists read them: the patient's left on the right side of the picture,
superior on top, every voxel in its true proportions. Color and line style both tell the contours
apart (Okabe-Ito colors, safe for color-blind readers).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from dycon_engine.data.geometry import Spacing
from dycon_engine.data.orientation import axial_orientation
from dycon_engine.data.volume import Volume
from dycon_engine.evaluation.surfaces import bounding_box

REFERENCE_COLOR = "#56B4E9"
PREDICTION_COLOR = "#E69F00"
MARGIN_MM = 30.0
DPI = 110
WIDTH_INCH = 10.2
Index = tuple[int, int, int]


@dataclass(frozen=True)
class Overlay:
    """A finished picture.

    Attributes:
        title: What it shows.
        alt: The same in words, for readers who do not see it.
        png: The picture.
    """

    title: str
    alt: str
    png: bytes


@dataclass(frozen=True)
class View:
    """One way to look at an axial volume (z to superior, y to posterior, x to left)."""

    name: str
    axis: int
    flipped: bool  # rows run from superior down
    letters: tuple[str, str, str, str]  # left, right, top, bottom of the picture


VIEWS = (
    View("axial", 0, False, ("R", "L", "A", "P")),
    View("coronal", 1, True, ("R", "L", "S", "I")),
    View("sagittal", 2, True, ("A", "P", "S", "I")),
)


def worst_disagreement(
    prediction: NDArray[Any], reference: NDArray[Any], *, spacing_mm: Spacing
) -> Index:
    """Return the voxel deepest inside the disagreement of two label maps (D, H, W).

    Where they agree everywhere: the middle of the foreground, or of the volume if there is none.
    """
    wrong = prediction != reference
    box = bounding_box(wrong)
    if box is None:
        foreground = bounding_box(reference != 0)
        whole = tuple(slice(0, size) for size in reference.shape)
        z, y, x = ((part.start + part.stop - 1) // 2 for part in foreground or whole)
        return (z, y, x)
    depth = distance_transform_edt(np.pad(wrong[box], 1), sampling=spacing_mm)
    place = np.unravel_index(int(np.argmax(depth)), np.shape(depth))
    z, y, x = (part.start + int(at) - 1 for part, at in zip(box, place, strict=True))
    return (z, y, x)


def draw_overlay(
    title: str,
    reference: Volume,
    predictions: Mapping[str, Volume],
    *,
    image: Volume | None = None,
) -> Overlay:
    """Return the picture of one case, a row per prediction set.

    Args:
        title: Heading, e.g. "worst: case pt07, mean Dice 0.71".
        reference: (D, H, W) class indices.
        predictions: Name -> (D, H, W) class indices; the first one's worst place is shown.
        image: (C, D, H, W); its first channel is the background. Without it the background is
            plain.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    orientation = axial_orientation(reference.geometry)
    spacing = orientation.geometry(reference.geometry).spacing_mm
    expected = orientation.apply(reference.array)
    rows = {name: orientation.apply(volume.array) for name, volume in predictions.items()}
    scan = None if image is None else orientation.apply(image.array[0])
    place = worst_disagreement(next(iter(rows.values())), expected, spacing_mm=spacing)
    shown = _window(place, (expected, *rows.values()), spacing)
    ratios = _widths(shown, spacing)
    height = WIDTH_INCH / sum(ratios) * len(rows) + 0.25
    figure = Figure(figsize=(WIDTH_INCH, height), facecolor="black", dpi=DPI)
    axes = figure.subplots(len(rows), len(VIEWS), squeeze=False, width_ratios=ratios)
    for (name, predicted), line in zip(rows.items(), axes, strict=True):
        for view, axis in zip(VIEWS, line, strict=True):
            _draw(axis, view, (scan, expected, predicted), spacing=spacing, at=(place, shown))
        line[0].set_ylabel(name, color="white", fontsize=11)
    for view, axis in zip(VIEWS, axes[0], strict=True):
        axis.set_title(view.name, color="white", fontsize=11)
    figure.tight_layout(pad=0.6)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="black", metadata={"Software": None})
    return Overlay(title, _in_words(title, tuple(rows)), buffer.getvalue())


def _in_words(title: str, names: tuple[str, ...]) -> str:
    return (
        f"{title}. Axial, coronal and sagittal slice through the worst disagreement of "
        f"{names[0]}; solid blue contour: reference, dashed orange contour: prediction"
        f" ({', '.join(names)})."
    )


def _window(place: Index, maps: tuple[NDArray[Any], ...], spacing: Spacing) -> list[slice]:
    """The part of the volume that is shown: all foreground and a margin."""
    boxes = [box for labels in maps if (box := bounding_box(labels != 0)) is not None]
    parts = []
    for axis, (at, step) in enumerate(zip(place, spacing, strict=True)):
        margin = int(MARGIN_MM / step) + 1
        low = min([box[axis].start for box in boxes] + [at]) - margin
        high = max([box[axis].stop for box in boxes] + [at + 1]) + margin
        parts.append(slice(max(low, 0), min(high, maps[0].shape[axis])))
    return parts


def _widths(shown: list[slice], spacing: Spacing) -> list[float]:
    """Width over height of each view, so that all views of a row are equally high."""
    z, y, x = ((part.stop - part.start) * step for part, step in zip(shown, spacing, strict=True))
    return [x / y, x / z, y / z]


def _draw(
    axis: Any,
    view: View,
    arrays: tuple[NDArray[Any] | None, NDArray[Any], NDArray[Any]],
    *,
    spacing: Spacing,
    at: tuple[Index, list[slice]],
) -> None:
    place, shown = at
    cut: list[Any] = list(shown)
    cut[view.axis] = place[view.axis]
    rows = slice(None, None, -1 if view.flipped else 1)
    scan = None if arrays[0] is None else arrays[0][tuple(cut)][rows]
    reference, predicted = (a[tuple(cut)][rows] for a in arrays[1:])
    edges = [s for index, s in enumerate(spacing) if index != view.axis]
    if scan is None:
        axis.imshow(np.zeros(reference.shape), cmap="gray", vmin=-0.3, vmax=1)
    else:
        low, high = np.percentile(scan, [0.5, 99.5])
        axis.imshow(
            scan, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="bicubic"
        )
    axis.set_aspect(edges[0] / edges[1])
    for labels, color, style in (
        (reference, REFERENCE_COLOR, "solid"),
        (predicted, PREDICTION_COLOR, "dashed"),
    ):
        for label in np.unique(labels):
            if label:
                axis.contour(labels == label, [0.5], colors=color, linestyles=style, linewidths=1.6)
    _annotate(axis, view, reference.shape, edges[1])


def _annotate(axis: Any, view: View, shape: tuple[int, ...], edge_mm: float) -> None:
    """Sides of the patient and a bar of 20 mm."""
    axis.set_xticks([])
    axis.set_yticks([])
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    aligned = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for letter, (x, y), (horizontal, vertical) in zip(view.letters, places, aligned, strict=True):
        axis.text(
            x, y, letter, color="white", fontsize=9, ha=horizontal, va=vertical,
            transform=axis.transAxes,
        )  # fmt: skip
    length = 20.0 / edge_mm
    right, bottom = shape[1] * 0.96, shape[0] * 0.95
    axis.plot([right - length, right], [bottom, bottom], color="white", linewidth=2.5)
    axis.text(
        right - length / 2, bottom - shape[0] * 0.02, "20 mm", color="white", fontsize=8,
        ha="center", va="bottom",
    )  # fmt: skip
