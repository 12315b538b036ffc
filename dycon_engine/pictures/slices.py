"""Slices of a scan as radiologists read them, and what is drawn upon them.

The patient's left is on the right side of a picture, superior on top, every voxel in its true
proportions. Colors are those of Okabe and Ito, safe for color-blind readers.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.geometry import Spacing
from dycon_engine.data.volume import bounding_box

COLORS = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#D55E00", "#0072B2", "#CC79A7")
MARGIN_MM = 30.0
DPI = 110
WIDTH_INCH = 10.2
BAR_MM = 20.0
TINT = ("#FFF176", "#FF9800", "#E53935")  # uncertainty from `LEAST_SHOWN` to 1
WIDEST = 4.0  # width over height of a picture, or the other way round
LEAST_SHOWN, MOST_DENSE = 0.3, 0.75
Index = tuple[int, int, int]


@dataclass(frozen=True)
class Picture:
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


@dataclass(frozen=True)
class Cut:
    """Where an axial volume is cut: slices through `place`, of which `shown` is visible."""

    place: Index
    shown: tuple[slice, slice, slice]
    spacing_mm: Spacing

    @staticmethod
    def around(place: Index, masks: Iterable[NDArray[np.bool_]], spacing_mm: Spacing) -> Cut:
        """Return the cut that shows all of `masks` (D, H, W; at least one) and a margin."""
        maps = list(masks)
        boxes = [box for mask in maps if (box := bounding_box(mask)) is not None]
        parts = []
        for axis, (at, step) in enumerate(zip(place, spacing_mm, strict=True)):
            margin = int(MARGIN_MM / step) + 1
            low = min([box[axis].start for box in boxes] + [at]) - margin
            high = max([box[axis].stop for box in boxes] + [at + 1]) + margin
            parts.append(slice(max(low, 0), min(high, maps[0].shape[axis])))
        return Cut(place, (parts[0], parts[1], parts[2]), spacing_mm)

    def of(self, array: NDArray[Any], view: View) -> NDArray[Any]:
        """Return the slice (rows, columns) of `array` (D, H, W) that `view` shows."""
        parts: list[Any] = list(self.shown)
        parts[view.axis] = self.place[view.axis]
        rows: NDArray[Any] = array[tuple(parts)]
        return rows[:: -1 if view.flipped else 1]

    def edges_mm(self, view: View) -> tuple[float, float]:
        """Return height and width of a voxel in `view`."""
        height, width = (mm for axis, mm in enumerate(self.spacing_mm) if axis != view.axis)
        return height, width

    def ratio(self, view: View) -> float:
        """Return width over height of the picture of `view`."""
        rows, columns = (
            part.stop - part.start for axis, part in enumerate(self.shown) if axis != view.axis
        )
        height, width = self.edges_mm(view)
        return float(columns * width / (rows * height))

    def views(self) -> tuple[View, ...]:
        """Return the views worth a picture: not those of which a thin scan shows a line only."""
        found = tuple(v for v in VIEWS if 1.0 / WIDEST <= self.ratio(v) <= WIDEST)
        return found or (min(VIEWS, key=lambda view: abs(np.log(self.ratio(view)))),)

    def row_column(self, view: View) -> tuple[float, float]:
        """Return where `place` lies in the picture of `view`."""
        at = [self.place[a] - self.shown[a].start for a in range(3) if a != view.axis]
        rows = next(p.stop - p.start for a, p in enumerate(self.shown) if a != view.axis)
        return (rows - 1 - at[0] if view.flipped else at[0]), at[1]


def canvas(rows: int, ratios: Sequence[float], *, width_inch: float = WIDTH_INCH) -> Any:
    """Return a black figure and its axes (rows, len(ratios)); `ratios` as `Cut.ratio`.

    The figure is narrower where there are fewer than three views.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    width_inch *= min(len(ratios), len(VIEWS)) / len(VIEWS)
    height = width_inch / sum(ratios) * rows + 0.45  # a line of text
    figure = Figure(figsize=(width_inch, height), facecolor="black", dpi=DPI)
    return figure, figure.subplots(rows, len(ratios), squeeze=False, width_ratios=ratios)


def frame(ratio: float, width_inch: float) -> tuple[Any, Any]:
    """Return a black figure of width over height `ratio`, and the axes that fill it."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    ratio = min(max(ratio, 1.0 / WIDEST), WIDEST)

    figure = Figure(figsize=(width_inch, width_inch / ratio), facecolor="black", dpi=DPI)
    return figure, figure.add_axes((0.0, 0.0, 1.0, 1.0))


def png_of(figure: Any, *, tight: bool = True) -> bytes:
    """Return the figure as PNG, without a date or the name of a program."""
    if tight:
        figure.tight_layout(pad=0.6)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="black", metadata={"Software": None})
    return buffer.getvalue()


def view_names(views: Sequence[View]) -> str:
    """Return e.g. "Axial, coronal and sagittal slice"."""
    names = [view.name for view in views]
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{text.capitalize()} slice"


def draw_scan(axis: Any, view: View, cut: Cut, scan: NDArray[Any] | None) -> None:
    """Draw the slice of `scan` (D, H, W), plain where there is none, with sides and a bar."""
    rows, columns = (p.stop - p.start for a, p in enumerate(cut.shown) if a != view.axis)
    if scan is None:
        axis.imshow(np.zeros((rows, columns)), cmap="gray", vmin=-0.3, vmax=1)
    else:
        image = cut.of(scan, view)
        low, high = np.percentile(image, [0.5, 99.5])
        axis.imshow(
            image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="bicubic"
        )
    height, width = cut.edges_mm(view)
    axis.set_aspect(height / width)
    axis.autoscale(False)  # what is drawn on top never widens the picture
    _annotate(axis, view, (rows, columns), width)


def draw_outline(axis: Any, mask: NDArray[np.bool_], color: str, style: str = "solid") -> None:
    """Draw the contour of `mask` (rows, columns), a slice; a single row of voxels has none."""
    if mask.any() and not mask.all() and min(mask.shape) > 1:
        axis.contour(mask, [0.5], colors=color, linestyles=style, linewidths=1.6)


def draw_tint(axis: Any, values: NDArray[np.float32]) -> None:
    """Draw uncertainty (rows, columns) in [0, 1] as `TINT`: the higher, the redder and denser."""
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415 - slow to import

    colors = LinearSegmentedColormap.from_list("uncertainty", TINT)
    shares = np.clip((values - LEAST_SHOWN) / (1.0 - LEAST_SHOWN), 0.0, 1.0)
    axis.imshow(values, cmap=colors, vmin=LEAST_SHOWN, vmax=1.0, alpha=MOST_DENSE * shares**0.5)


def draw_ring(axis: Any, view: View, cut: Cut, radius_mm: float) -> None:
    """Draw a ring around the place of the cut."""
    from matplotlib.patches import Ellipse  # noqa: PLC0415 - slow to import

    row, column = cut.row_column(view)
    height, width = (2.0 * radius_mm / edge for edge in cut.edges_mm(view))
    ring = Ellipse((column, row), width, height, fill=False, color="white", linewidth=1.0)
    axis.add_patch(ring)


def _annotate(axis: Any, view: View, shape: tuple[int, int], edge_mm: float) -> None:
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
    length = BAR_MM / edge_mm
    right, bottom = shape[1] * 0.96, shape[0] * 0.95
    axis.plot([right - length, right], [bottom, bottom], color="white", linewidth=2.5)
    axis.text(
        right - length / 2, bottom - shape[0] * 0.02, f"{BAR_MM:g} mm", color="white", fontsize=8,
        ha="center", va="bottom",
    )  # fmt: skip
