"""A real scan resampled askew, with air all around, is segmented as the scan itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
import torch.nn.functional as F
from torch import nn

from dycon_engine.data import preprocessing
from dycon_engine.data.formats.readers import read_image, read_label
from dycon_engine.data.geometry import Box
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.seen import Range, Seen, scan_facts
from dycon_engine.inference import domain
from dycon_engine.inference.domain import domain_flags, is_askew
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.result import Wishes
from dycon_engine.networks.base import Features
from dycon_engine.package import load_package
from Testing import tiny_package

DEGREES, SPACING = 30.0, (0.8, 1.3, 2.5)  # x, y, z


class Normalizing(nn.Module):
    """Finds what is bright for its window along the body's left-right axis.

    Like a trained network it is normalised window by window and knows how a body lies.
    """

    def forward(self, image):  # noqa: D102
        normal = F.instance_norm(image)
        wide = F.avg_pool3d(normal, (1, 3, 13), stride=1, padding=(0, 1, 6))
        logit = 6.0 * (wide - 0.9)
        return Features(torch.cat((-logit, logit), dim=1), image, image)


def askew(image: sitk.Image, *, nearest: bool = False, fill: float = 0.0) -> sitk.Image:
    """Resample onto a turned, anisotropic grid that holds the whole scan."""
    turn = sitk.VersorTransform()
    turn.SetRotation((2 / 3, 2 / 3, 1 / 3), np.deg2rad(DEGREES))
    axes = np.array(turn.GetMatrix()).reshape(3, 3) @ np.array(image.GetDirection()).reshape(3, 3)
    last = np.array(image.GetSize()) - 1.0
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint((last / 2).tolist()))
    corners = [
        axes.T @ (image.TransformContinuousIndexToPhysicalPoint((last * at).tolist()) - middle)
        for at in np.ndindex(2, 2, 2)
    ]
    size = np.ceil(2 * np.abs(corners).max(axis=0) / SPACING).astype(int) + 1
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in size])
    resampler.SetOutputSpacing(SPACING)
    resampler.SetOutputOrigin((middle - axes @ ((size - 1) / 2 * SPACING)).tolist())
    resampler.SetOutputDirection(axes.ravel().tolist())
    resampler.SetDefaultPixelValue(fill)
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    return resampler.Execute(image)


@pytest.fixture(scope="module")
def scene(la2018, tmp_path_factory):
    """The predictor, the scan askew, and where the scan's own segmentation lies in it."""
    folder = tmp_path_factory.mktemp("askew")
    path = la2018 / "images" / "R8ER97O9UUN77C02VE2J.nii.gz"
    image = sitk.ReadImage(str(path))
    tiny_package.save(folder / "any.dycon")
    package = load_package(folder / "any.dycon")
    preparation = Preprocessing((1.25, 1.25, 1.25))
    own = read_image(path)
    info = dataclasses.replace(
        package.info,
        preprocessing=preparation,
        patch_size=(48, 64, 64),
        seen=Seen.of([scan_facts(own, preparation.prepare(own))]),
    )
    engine = Predictor(dataclasses.replace(package, info=info, predictor=Normalizing()))
    labels = engine.predict(own, Wishes(uncertainty=None)).labels
    mask = sitk.GetImageFromArray((labels > 0).astype(np.uint8))
    mask.CopyInformation(image)
    sitk.WriteImage(askew(mask, nearest=True), str(folder / "expected.nii.gz"))
    sitk.WriteImage(askew(image), str(folder / "askew.nii.gz"))
    expected = read_label(folder / "expected.nii.gz").array > 0
    assert 0.02 < expected.mean() < 0.2
    return engine, read_image(folder / "askew.nii.gz"), expected


def dice(one, other) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_a_scan_askew_is_segmented_as_the_straight_scan(scene):
    engine, image, expected = scene
    filled = image.array[0] == 0
    assert filled.mean() > 0.7
    found = engine.predict(image)
    labels = found.labels > 0
    assert dice(labels, expected) > 0.9
    assert not labels[filled].any()
    assert (found.uncertainty[filled] == 0).mean() > 0.99
    (flag,) = (flag for flag in found.flags if flag.topic == "orientation")
    assert "turned by 28 degrees, those of training scans by at most 0" in flag.message
    assert "straightened" in flag.message


def test_without_either_remedy_it_is_not(scene, monkeypatch):
    engine, image, expected = scene
    found = []
    for straighten, see_blank in ((True, True), (True, False), (False, True), (False, False)):
        with monkeypatch.context() as patch:
            if not straighten:
                patch.setattr(domain, "TURN_SLACK_DEG", 90.0)
            if not see_blank:
                patch.setattr(preprocessing, "blank_voxels", lambda *_: None)
            labels = engine.predict(image, Wishes(uncertainty=None)).labels > 0
            found.append(dice(labels, expected))
    assert found[0] > max(found[1:]) + 0.02
    assert found[3] < found[0] - 0.2


def test_a_region_of_interest_in_a_scan_askew_is_that_of_the_whole(scene):
    engine, image, _ = scene
    whole = engine.predict(image)
    region = whole.regions[0]
    center = np.array(region.centroid_lps_mm)
    roi = Box(tuple(center - 12.0), tuple(center + 12.0))
    part = engine.predict(image, Wishes(roi=roi))
    inside = image.geometry.inside(roi)
    assert np.array_equal(part.labels[inside], whole.labels[inside])
    assert np.array_equal(part.uncertainty[inside], whole.uncertainty[inside])
    assert not part.labels[~inside].any()


def test_only_a_model_that_never_saw_such_scans_straightens():
    seen = tiny_package.info().seen
    assert seen.turn_deg == Range(0.0, 0.0)
    assert is_askew(30.0, seen)
    assert not is_askew(2.0, seen)
    assert not is_askew(30.0, dataclasses.replace(seen, turn_deg=Range(0.0, 28.0)))
    assert not is_askew(30.0, dataclasses.replace(seen, turn_deg=None))
    assert not is_askew(30.0, None)
    older = Seen.from_table({k: v for k, v in seen.as_table().items() if k != "turn_deg"})
    assert older.turn_deg is None
    assert Seen.from_table(seen.as_table()) == seen
    image = tiny_package.scan(9)
    facts = scan_facts(image, Preprocessing(tiny_package.SPACING).prepare(image))
    flags = domain_flags(dataclasses.replace(facts, turn_deg=30.0), older)
    assert "orientation" not in {flag.topic for flag in flags}
