"""Overlays: the right slice, the right sides, a real picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dycon_engine.data.geometry import Geometry
from dycon_engine.data.volume import Volume
from dycon_engine.evaluation.overlays import (
    PREDICTION_COLOR,
    REFERENCE_COLOR,
    draw_overlay,
    worst_disagreement,
)


def test_the_deepest_disagreement_wins_over_the_largest_thin_one():
    reference = np.zeros((8, 20, 20), np.uint8)
    prediction = reference.copy()
    prediction[1, :, :] = 1  # a large sheet, one voxel thick
    prediction[4:7, 5:8, 12:15] = 1  # a small block, three voxels thick
    place = worst_disagreement(prediction, reference, spacing_mm=(1.0, 1.0, 1.0))
    assert place == (5, 6, 13)


def test_spacing_decides_what_is_deep():
    reference = np.zeros((9, 9, 9), np.uint8)
    prediction = reference.copy()
    prediction[1:4, 1:4, 1:4] = 1
    prediction[6:8, 5:8, 5:8] = 1
    assert worst_disagreement(prediction, reference, spacing_mm=(1.0, 1.0, 1.0)) == (2, 2, 2)


@pytest.mark.parametrize("filled", [True, False])
def test_full_agreement_shows_the_middle(filled):
    labels = np.zeros((7, 9, 11), np.uint8)
    if filled:
        labels[4:7, 0:3, 0:3] = 1
    expected = (5, 1, 1) if filled else (3, 4, 5)
    assert worst_disagreement(labels, labels, spacing_mm=(1.0, 1.0, 1.0)) == expected


def picture(image, labels, geometry):
    overlay = draw_overlay(
        "worst: case a", Volume(labels, geometry), {"A": Volume(labels, geometry)},
        image=Volume(image[None], geometry),
    )  # fmt: skip
    return np.asarray(Image.open(io.BytesIO(overlay.png)).convert("RGB")).astype(int), overlay


def test_the_picture_does_not_depend_on_how_the_array_is_stored():
    """The same scan stored sagittal and flipped gives the same picture."""
    random = np.random.default_rng(0)
    image = random.random((10, 12, 14)).astype(np.float32)
    labels = np.zeros((10, 12, 14), np.uint8)
    labels[3:6, 4:9, 2:7] = 1
    geometry = Geometry.from_parts((10, 12, 14), (3.0, 2.0, 2.0))
    affine = geometry.affine[:, [2, 0, 1, 3]].copy()  # axes x, z, y
    affine[:3, 3] += affine[:3, 0] * 13
    affine[:3, 0] *= -1
    stored = Geometry((14, 10, 12), affine)
    turned = [np.ascontiguousarray(a.transpose(2, 0, 1)[::-1]) for a in (image, labels)]
    one, overlay = picture(image, labels, geometry)
    two, _ = picture(*turned, stored)
    assert np.array_equal(one, two)
    assert "case a" in overlay.alt
    assert "solid blue contour: reference" in overlay.alt


def test_left_is_on_the_right_and_superior_on_top():
    """A bright block at the patient's left, superior: bright in the right top of the coronal."""
    geometry = Geometry.from_parts((20, 20, 20))
    image = np.zeros((20, 20, 20), np.float32)
    image[14:, :, 14:] = 1.0  # z to superior, x to left
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[9:11, 9:11, 9:11] = 1
    pixels, _ = picture(image, labels, geometry)
    height, width = pixels.shape[:2]
    coronal = pixels[int(0.15 * height) :, width // 3 : 2 * width // 3].mean(axis=2)
    rows, columns = coronal.shape
    bright = coronal[: rows // 3, 2 * columns // 3 :].mean()
    dark = [
        coronal[: rows // 3, : columns // 3].mean(),
        coronal[-rows // 3 :, : columns // 3].mean(),
    ]
    assert bright > 3 * max(dark)


def place_of(pixels, color):
    """Return the mean column, as a share of the width, of pixels near a color #RRGGBB."""
    wanted = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
    near = np.abs(pixels - wanted).max(axis=2) < 30
    assert near.sum() > 20
    return float(np.nonzero(near)[1].mean()) / pixels.shape[1]


def test_the_colors_of_reference_and_prediction_are_the_right_way_round():
    """The reference lies at the patient's right, so its contour is left in the axial view."""
    geometry = Geometry.from_parts((20, 20, 40))
    reference, prediction = np.zeros((2, 20, 20, 40), np.uint8)
    reference[5:15, 5:15, 6:14] = 1
    prediction[5:15, 5:15, 26:34] = 1
    overlay = draw_overlay("a", Volume(reference, geometry), {"A": Volume(prediction, geometry)})
    pixels = np.asarray(Image.open(io.BytesIO(overlay.png)).convert("RGB")).astype(int)
    axial = pixels[:, : pixels.shape[1] // 3]
    assert place_of(axial, REFERENCE_COLOR) < place_of(axial, PREDICTION_COLOR)
    assert overlay.alt.index("blue contour: reference") < overlay.alt.index("orange contour")
