"""Pictures of a case: three orthogonal slices through its worst disagreement, with contours.

Color and line style both tell the contours of reference and prediction apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from dycon_engine.data.geometry import Spacing
from dycon_engine.data.orientation import axial_orientation
from dycon_engine.data.volume import Volume, bounding_box
from dycon_engine.pictures.slices import (
    COLORS,
    Cut,
    Index,
    Picture,
    canvas,
    draw_outline,
    draw_scan,
    png_of,
    view_names,
)

REFERENCE_COLOR, PREDICTION_COLOR = COLORS[:2]


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
) -> Picture:
    """Return the picture of one case, a row per prediction set.

    Args:
        title: Heading, e.g. "worst: case pt07, mean Dice 0.71".
        reference: (D, H, W) class indices.
        predictions: Name -> (D, H, W) class indices; the first one's worst place is shown.
        image: (C, D, H, W); its first channel is the background. Without it the background is
            plain.
    """
    orientation = axial_orientation(reference.geometry)
    spacing = orientation.geometry(reference.geometry).spacing_mm
    expected = orientation.apply(reference.array)
    rows = {name: orientation.apply(volume.array) for name, volume in predictions.items()}
    scan = None if image is None else orientation.apply(image.array[0])
    place = worst_disagreement(next(iter(rows.values())), expected, spacing_mm=spacing)
    cut = Cut.around(place, (labels != 0 for labels in (expected, *rows.values())), spacing)
    views = cut.views()
    figure, axes = canvas(len(rows), [cut.ratio(view) for view in views])
    for (name, predicted), line in zip(rows.items(), axes, strict=True):
        for view, axis in zip(views, line, strict=True):
            draw_scan(axis, view, cut, scan)
            for labels, color, style in (
                (cut.of(expected, view), REFERENCE_COLOR, "solid"),
                (cut.of(predicted, view), PREDICTION_COLOR, "dashed"),
            ):
                for label in np.unique(labels[labels != 0]):
                    draw_outline(axis, labels == label, color, style)
        line[0].set_ylabel(name, color="white", fontsize=11)
    for view, axis in zip(views, axes[0], strict=True):
        axis.set_title(view.name, color="white", fontsize=11)
    words = _in_words(title, view_names(views), tuple(rows))
    return Picture(title, words, png_of(figure))


def _in_words(title: str, slices: str, names: tuple[str, ...]) -> str:
    return (
        f"{title}. {slices} through the worst disagreement of "
        f"{names[0]}; solid blue contour: reference, dashed orange contour: prediction"
        f" ({', '.join(names)})."
    )
