"""The report of a segmentation as a page: it needs nothing else and says what the figures say."""

from __future__ import annotations

import base64
import dataclasses
import io
import re

import numpy as np
import pytest
from PIL import Image

from dycon_engine.data.cases import Label
from dycon_engine.data.geometry import Geometry
from dycon_engine.inference import page as pages
from dycon_engine.inference.pictures import (
    Scene,
    draw_places,
    draw_thumbnail,
    label_colors,
    nearest_voxel,
    scene_of,
)
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.report import Input, report
from dycon_engine.inference.result import Wishes
from dycon_engine.package import load_package
from Testing import tiny_package

EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """The scan, its prediction, the report and the labels, one of them with a nasty name."""
    path = tmp_path_factory.mktemp("package") / "ball.dycon"
    tiny_package.save(path)
    package = load_package(path)
    labels = (Label(0, "background"), Label(3, EVIL, (200, 30, 30)))
    package = dataclasses.replace(package, info=dataclasses.replace(package.info, labels=labels))
    engine, image = Predictor(package), tiny_package.scan(1, spacing_mm=(6.0, 1.5, 1.5))
    found = engine.predict(image, Wishes())
    return image, found, report(found, engine, Wishes(), Input(("f" * 64,), 2.0)), labels


def pictures_of(page: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


def test_the_page_needs_nothing_else_and_runs_nothing(segmented):
    image, found, content, labels = segmented
    page = pages.to_html(content, image, found, labels)
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "not a medical device" in page.lower()


def test_figures_flags_and_regions_are_those_of_the_report(segmented):
    image, found, content, labels = segmented
    assert found.regions
    page = pages.to_html(content, image, found, labels)
    for flag in content["flags"]:
        assert f"Please review: {flag['message']}" in page
    volume = content["volumes"][0]
    assert f"{volume['volume_ml']:.2f}" in page
    assert page.count("<figure>") == min(len(found.regions), pages.MOST_PICTURES)
    assert page.count("<tr><td>") == len(found.regions)
    assert all(f"{mm:.1f}" in page for mm in found.regions[0].centroid_ras_mm)
    assert all(picture.shape[1] > 800 for picture in pictures_of(page))


def test_the_page_says_of_how_many_regions_the_listed_ones_are(segmented):
    image, found, content, labels = segmented
    listed = len(content["regions"])
    [line] = (line for line in pages.findings(content | {"regions_found": 99}) if "look at" in line)
    assert "to look at, the most important of 99; the first" in line
    page = pages.to_html(content | {"regions_found": 99}, image, found, labels)
    assert f"The {listed} most important of 99." in page
    assert "most important of" not in " ".join(pages.findings(content | {"regions_found": listed}))


def test_the_findings_are_in_milliliters_and_say_what_was_removed(segmented):
    content = segmented[2]
    [ball] = content["volumes"]
    figures = {"volume_ml": 12.34, "low_ml": 10.01, "high_ml": 15.0, "removed_ml": 0.456}
    region = content["regions"][0] | {"volume_mm3": 1230.0, "labels": ("a", "b")}
    told = {
        "volumes": [
            ball | figures | {"name": "a", "voxels": 9},
            ball | figures | {"name": "b", "voxels": 0, "removed_ml": 0.0},
        ],
        "regions": [region],
        "regions_found": 1,
        "review": {"reasons": ["odd", "a foreign kind?"]},
    }
    assert pages.findings(told) == (
        "Please review: odd.",
        "Please review: a foreign kind?",
        "a: 12.3 ml (10.0 to 15.0 ml).",
        "a: pieces of 0.46 ml in all were removed, as asked.",
        "1 uncertain region to look at; the first one measures 1.23 ml (a, b).",
    )


def test_an_empty_result_says_so_and_shows_the_scan(segmented):
    image, found, content, labels = segmented
    empty = dataclasses.replace(
        found,
        labels=np.zeros_like(found.labels),
        volumes=tuple(v._replace(voxels=0, volume_ml=0.0) for v in found.volumes),
        regions=(),
    )
    assert empty.empty
    page = pages.to_html(content | {"regions": []}, image, empty, labels)
    assert "Nothing was found: the middle of the scan" in page
    assert len(pictures_of(page)) == 1


def test_uncertainty_outline_and_ring_are_where_they_belong(segmented):
    """A doubtful block at the patient's left, anterior: right and top of the axial picture."""
    image, found, _, labels = segmented
    size = (40, 40, 40)
    values, unsure = np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=np.float32)
    values[18:22, 18:22, 18:22] = 3
    unsure[18:22, 6:10, 30:34] = 1.0
    grid = Geometry.from_parts(size, (2.0, 2.0, 2.0))
    scene = scene_of(
        dataclasses.replace(image, array=np.zeros((1, *size)), geometry=grid),
        dataclasses.replace(found, labels=values, uncertainty=unsure, geometry=grid),
        labels,
    )
    (picture,) = draw_places(scene, [((20, 8, 32), "Region 1", True)])
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)
    axial = pixels[:, : pixels.shape[1] // 3]
    height, width = axial.shape[:2]
    red, green, blue = axial.transpose(2, 0, 1)
    outline = np.argwhere((red > 180) & (green < 60) & (blue < 60)).mean(0) / (height, width)
    tinted = np.argwhere((red > 120) & (green > 30) & (green < red - 60)).mean(0)
    tinted /= (height, width)
    assert np.allclose(outline, 0.5, atol=0.1)
    assert tinted[1] > outline[1] + 0.1
    assert tinted[0] < outline[0] - 0.05
    assert "uncertainty" in picture.alt


def test_a_thumbnail_shows_the_slice_of_the_most_uncertain_region():
    """A bright slice above a dark one; the doubtful block lies in the bright one."""
    size = (8, 40, 40)
    scan = np.zeros(size, dtype=np.float32)
    scan[6, 10:30, 10:30] = 1.0
    unsure = np.zeros(size, dtype=np.float32)
    unsure[6, 4:8, 0:4] = 0.9
    values = np.zeros(size, dtype=np.uint8)
    values[1, 18:22, 18:22] = 1
    grid = Geometry.from_parts(size, (6.0, 2.0, 2.0))

    def drawn(uncertainty):
        scene = Scene(scan, values, uncertainty, grid, {1: "#FF0000"})
        png = draw_thumbnail(scene, ("background", "a"))
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)

    there, nowhere = drawn(unsure), drawn(np.zeros_like(unsure))
    bright = [(pixels.min(axis=2) > 200).mean() for pixels in (there, nowhere)]
    assert bright[0] > 0.15
    assert bright[1] < 0.05  # the slice of the labeled block
    red = (nowhere[..., 0] > 200) & (nowhere[..., 1:].max(axis=2) < 60)
    assert red.sum() > 10
    assert abs(there.shape[0] - there.shape[1]) <= 2
    assert (there[-3:, -3:] < 60).all()  # the ring at the rim has not widened the picture


def test_the_nearest_voxel_stays_within_the_scan():
    grid = Geometry.from_parts((4, 5, 6), (2.0, 1.0, 1.0), (10.0, 0.0, 0.0))
    assert nearest_voxel((12.4, 3.6, 4.9), grid) == (2, 4, 2)
    assert nearest_voxel((-90.0, 99.0, 99.0), grid) == (3, 4, 0)


def test_labels_without_a_color_get_the_next_of_the_palette():
    labels = (Label(0, "background"), Label(2, "a"), Label(5, "b", (1, 2, 255)), Label(7, "c"))
    assert label_colors(labels) == {2: "#56B4E9", 5: "#0102FF", 7: "#009E73"}


def test_a_single_slice_is_drawn_too():
    labels = np.zeros((1, 8, 8), dtype=np.uint8)
    labels[0, 2:5, 3:6] = 1
    geometry = Geometry.from_parts(labels.shape, (1.0, 5.0, 5.0))
    scene = Scene(labels.astype(np.float32), labels, None, geometry, {1: "#E69F00"})
    (picture,) = draw_places(scene, [((0, 3, 4), "The slice", True)])
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)))
    assert pixels.std() > 0
    assert (
        200 < min(pixels.shape[:2]) <= max(pixels.shape[:2]) < 600
    )  # not 3 views, 2 of them lines
    assert "Axial slice with the outline" in picture.alt
