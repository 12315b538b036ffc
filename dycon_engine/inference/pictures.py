"""Pictures of a segmented scan: slices with the outline of every label and the uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.cases import Label
from dycon_engine.data.geometry import Geometry, Spacing
from dycon_engine.data.orientation import axial_orientation
from dycon_engine.data.volume import Volume, bounding_box
from dycon_engine.inference.regions import uncertain_regions
from dycon_engine.inference.result import Prediction
from dycon_engine.pictures.slices import (
    COLORS,
    VIEWS,
    Cut,
    Index,
    Picture,
    View,
    canvas,
    draw_outline,
    draw_ring,
    draw_scan,
    draw_tint,
    frame,
    png_of,
    view_names,
)

RING_MM = 8.0
THUMBNAIL_INCH = 2.6
AXIAL = VIEWS[0]


class Scene(NamedTuple):
    """A segmented scan in axial order.

    Attributes:
        scan: (D, H, W), the first channel.
        labels: (D, H, W) values.
        uncertainty: (D, H, W) in [0, 1]; None where unknown.
        geometry: Their grid.
        colors: Label value -> #RRGGBB.
    """

    scan: NDArray[Any]
    labels: NDArray[Any]
    uncertainty: NDArray[np.float32] | None
    geometry: Geometry
    colors: dict[int, str]

    @property
    def spacing_mm(self) -> Spacing:
        """Voxel size in axial order."""
        return self.geometry.spacing_mm


def scene_of(image: Volume, prediction: Prediction, labels: Sequence[Label]) -> Scene:
    """Return the scene of `image` (C, D, H, W) and its prediction, views of the same voxels."""
    orientation = axial_orientation(image.geometry)
    unsure = prediction.uncertainty
    return Scene(
        scan=orientation.apply(image.array[0]),
        labels=orientation.apply(prediction.labels),
        uncertainty=None if unsure is None else orientation.apply(unsure),
        geometry=orientation.geometry(image.geometry),
        colors=label_colors(labels),
    )


def label_colors(labels: Sequence[Label]) -> dict[int, str]:
    """Return the color of every label but the background, its own or the next of the palette."""
    return {
        label.value: "#{:02X}{:02X}{:02X}".format(*label.color)
        if label.color
        else COLORS[index % len(COLORS)]
        for index, label in enumerate(labels[1:])
    }


def nearest_voxel(point_lps_mm: Sequence[float], geometry: Geometry) -> Index:
    """Return the voxel (z, y, x) of the grid that is nearest to a point of the world."""
    offset = np.asarray(point_lps_mm) - geometry.affine[:3, 3]
    index = np.rint(np.linalg.solve(geometry.affine[:3, :3], offset)).astype(int)
    z, y, x = (min(max(int(at), 0), n - 1) for at, n in zip(index, geometry.size_zyx, strict=True))
    return z, y, x


def middle_of(labels: NDArray[Any]) -> Index:
    """Return the middle of all that is labeled, of the whole volume where nothing is."""
    box = bounding_box(labels != 0)
    parts = box or tuple(slice(0, n) for n in labels.shape)
    z, y, x = ((part.start + part.stop - 1) // 2 for part in parts)
    return z, y, x


def draw_places(scene: Scene, places: Sequence[tuple[Index, str, bool]]) -> tuple[Picture, ...]:
    """Return a picture of slices through each place: voxel, title, whether it is ringed."""
    pictures = []
    for place, title, ringed in places:
        cut = Cut.around(place, (scene.labels != 0,), scene.spacing_mm)
        views = cut.views()
        figure, axes = canvas(1, [cut.ratio(view) for view in views])
        for view, axis in zip(views, axes[0], strict=True):
            draw_view(axis, view, cut, scene, ringed=ringed)
            axis.set_title(view.name, color="white", fontsize=11)
        alt = f"{title}. {view_names(views)} with the outline of every label"
        alt += "." if scene.uncertainty is None else " and the uncertainty in yellow to red."
        pictures.append(Picture(title, alt, png_of(figure)))
    return tuple(pictures)


def draw_thumbnail(scene: Scene, names: Sequence[str]) -> bytes:
    """Return a small PNG: the axial slice through the most uncertain region, ringed.

    Where nothing is uncertain, through the middle of all that is labeled. `names` per class index.
    """
    place, ringed = middle_of(scene.labels), False
    if scene.uncertainty is not None:
        first = uncertain_regions(scene.uncertainty, scene.labels, scene.geometry, names, most=1)
        if first:
            place, ringed = nearest_voxel(first[0].point_lps_mm, scene.geometry), True
    cut = Cut.around(place, (scene.labels != 0,), scene.spacing_mm)
    figure, axis = frame(cut.ratio(AXIAL), THUMBNAIL_INCH)
    draw_view(axis, AXIAL, cut, scene, ringed=ringed)
    return png_of(figure, tight=False)


def draw_view(axis: Any, view: View, cut: Cut, scene: Scene, *, ringed: bool) -> None:
    """Draw one slice: scan, uncertainty, outlines, and a ring around the place."""
    draw_scan(axis, view, cut, scene.scan)
    if scene.uncertainty is not None:
        draw_tint(axis, cut.of(scene.uncertainty, view))
    values = cut.of(scene.labels, view)
    for value, color in scene.colors.items():
        draw_outline(axis, values == value, color)
    if ringed:
        draw_ring(axis, view, cut, RING_MM)
