"""A prediction lies on the scan's own grid, whatever its orientation, and announces what is odd."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from dycon_engine.data import restoring
from dycon_engine.data.cases import Label
from dycon_engine.data.geometry import Box, Geometry
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.seen import Range
from dycon_engine.data.volume import Volume
from dycon_engine.errors import CancelledError, InputError, NonFiniteError, OutOfMemoryError
from dycon_engine.inference import predictor as module
from dycon_engine.inference import probabilities
from dycon_engine.inference import uncertainty as kinds
from dycon_engine.inference.blending import Watch
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.result import Wishes
from dycon_engine.inference.sliding_window import slide
from dycon_engine.networks.base import Features
from dycon_engine.package import load_package
from Testing import tiny_package


class Threshold(nn.Module):
    """Takes every voxel above a normalised intensity for the ball."""

    has_views = False

    def __init__(self, at: float = 0.5, gain: float = 8.0) -> None:
        super().__init__()
        self.at, self.gain = at, gain

    def forward(self, image):  # noqa: D102
        logit = (image - self.at) * self.gain
        return Features(torch.cat((-logit, logit), dim=1), image, image)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "ball.dycon"
    tiny_package.save(path)
    loaded = load_package(path)
    return dataclasses.replace(loaded, predictor=Threshold(), partner=Threshold(0.0))


def ball(size=(16, 24, 20)) -> np.ndarray:
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij")
    return np.sqrt(sum(axis**2 for axis in grid)) < 0.5


def dice(one, other) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_the_ball_is_found_with_the_values_of_the_package(package):
    prediction = Predictor(package).predict(tiny_package.scan(1))
    assert prediction.labels.dtype == np.uint8
    assert set(np.unique(prediction.labels)) == {0, 3}
    assert dice(prediction.labels == 3, ball()) > 0.95
    assert prediction.flags == ()
    assert not prediction.empty


def test_air_is_background_without_doubt_whatever_the_network_says(package, monkeypatch):
    values = np.random.default_rng(0).uniform(50.0, 100.0, (1, 16, 96, 20)).astype(np.float32)
    values[:, :, 48:] = 0.0
    image = Volume(values, Geometry.from_parts((16, 96, 20), (1.0, 1.0, 1.0)))
    engine = Predictor(dataclasses.replace(package, predictor=Threshold(at=-100.0)))
    scanned = dataclasses.replace(engine.prepare(image), blank=None, blank_source=None)
    assert scanned.air.any()
    monkeypatch.setattr(engine, "prepare", lambda _image: scanned)
    found = engine.predict(image)
    assert (found.labels[:, :40] == 3).all()
    assert not found.labels[:, 88:].any()
    assert found.uncertainty[:, 88:].max() < 1e-6


def cut_scan() -> Volume:
    """Noise, a corner of it blank, which no window covers alone: windows of air are skipped."""
    values = np.random.default_rng(0).uniform(50.0, 100.0, (1, 16, 24, 20)).astype(np.float32)
    values[:, :, 18:, :10] = 0.0
    return Volume(values, Geometry.from_parts((16, 24, 20), tiny_package.SPACING))


def test_what_is_removed_in_blank_voxels_is_told(package):
    engine = Predictor(dataclasses.replace(package, predictor=Threshold(at=-100.0)))
    found = engine.predict(cut_scan())
    assert np.array_equal(found.labels == 3, cut_scan().array[0] > 0.0)
    [flag] = [flag for flag in found.flags if flag.topic == "blank"]
    assert flag.message.startswith("4.32 ml of 'ball' was removed where the scan is blank")
    roi = Box((-50.0, -50.0, -50.0), (50.0, 26.0, 50.0))  # only beside what is blank
    inside = engine.predict(cut_scan(), Wishes(roi=roi))
    assert not [flag for flag in inside.flags if flag.topic == "blank"]
    quiet = Predictor(package).predict(cut_scan())
    assert not [flag for flag in quiet.flags if flag.topic == "blank"]


def test_a_package_says_that_blank_voxels_are_not_excluded(package, tmp_path):
    kept = Preprocessing(tiny_package.SPACING, excludes_blank=False)
    tiny_package.save(tmp_path / "kept.dycon", preprocessing=kept)
    loaded = load_package(tmp_path / "kept.dycon")
    assert not loaded.info.preprocessing.excludes_blank
    engine = Predictor(dataclasses.replace(loaded, predictor=Threshold(at=-100.0)))
    found = engine.predict(cut_scan())
    assert (found.labels == 3).all()
    assert not [flag for flag in found.flags if flag.topic == "blank"]


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_any_orientation_and_spacing_comes_back_on_its_own_grid(package, axes, flips):
    image = tiny_package.scan(1, size=(16, 26, 30), spacing_mm=(1.3, 1.1, 0.9))
    array = image.array[:, :: flips[0], :: flips[1], :: flips[2]].transpose(
        0, *(axis + 1 for axis in axes)
    )
    affine = np.eye(4)
    columns = image.geometry.affine[:3, :3] * np.asarray(flips)
    affine[:3, :3] = columns[:, axes]
    turned = Volume(np.ascontiguousarray(array), Geometry(array.shape[1:], affine))
    found = Predictor(package).predict(turned)
    truth = ball((16, 26, 30))[:: flips[0], :: flips[1], :: flips[2]].transpose(axes)
    assert found.labels.shape == turned.geometry.size_zyx
    assert found.geometry is turned.geometry
    assert dice(found.labels == 3, truth) > 0.85


@pytest.mark.parametrize("kind", ["entropy", "disagreement", "tta"])
def test_uncertainty_is_high_at_the_boundary_only_and_never_changes_the_labels(package, kind):
    engine = Predictor(package)
    plain = engine.predict(tiny_package.scan(1), Wishes(uncertainty=None))
    found = engine.predict(tiny_package.scan(1), Wishes(uncertainty=kind))
    assert plain.uncertainty is None
    assert plain.mean_uncertainty is None
    assert np.array_equal(plain.labels, found.labels)
    values = found.uncertainty
    assert values.shape == found.labels.shape
    assert values.min() >= 0
    assert values.max() <= 1
    assert values[8, 12, 10] < 0.1
    assert values[0, 0, 0] < 0.01
    assert values.max() > 0.05


def test_temperature_softens_the_probabilities(package):
    hot = dataclasses.replace(
        package,
        info=dataclasses.replace(
            package.info,
            calibration=dataclasses.replace(package.info.calibration, temperature=10.0),
        ),
    )
    wishes = Wishes(probabilities=True)
    cold = Predictor(package).predict(tiny_package.scan(1), wishes)
    warm = Predictor(hot).predict(tiny_package.scan(1), wishes)
    assert np.allclose(cold.probabilities.sum(0), 1, atol=1e-5)
    assert np.allclose(warm.probabilities.sum(0), 1, atol=1e-5)
    inside = (slice(None), 8, 12, 10)
    assert cold.probabilities[inside][1] > warm.probabilities[inside][1] > 0.5
    likely = (cold.probabilities[1] > 0.01) & (cold.probabilities[1] < 0.99)
    pair = [p[:, likely] for p in (cold.probabilities, warm.probabilities)]
    odds = [np.log(p[1] / p[0]) for p in pair]
    assert likely.sum() > 10
    assert np.allclose(odds[0], odds[1] * 10.0 / 1.25, rtol=0.01, atol=0.01)


def test_volumes_have_a_range_and_regions_a_place(package):
    image = tiny_package.scan(1)
    soft = dataclasses.replace(package, predictor=Threshold(gain=2.0))
    found = Predictor(soft).predict(image)
    (volume,) = found.volumes
    assert volume.name == "ball"
    assert volume.volume_ml == pytest.approx(volume.voxels * 4.5 / 1000)
    assert 0 < volume.low_ml <= volume.volume_ml <= volume.high_ml
    assert 0 < volume.boundary_uncertainty < 1
    labeled = found.uncertainty[found.labels > 0]
    assert found.mean_uncertainty == pytest.approx(labeled.mean(dtype=float))
    assert [region.id for region in found.regions] == list(range(1, len(found.regions) + 1))


def test_an_absurd_size_is_announced_but_not_where_only_a_region_was_looked_at(package):
    seen = dataclasses.replace(package.info.seen, volumes_ml=(Range(100.0, 200.0),))
    odd = dataclasses.replace(package, info=dataclasses.replace(package.info, seen=seen))
    image = tiny_package.scan(1)
    assert [flag.topic for flag in Predictor(odd).predict(image).flags] == ["volume"]
    assert not Predictor(package).predict(image).flags
    corners = image.geometry.corners()
    box = Box(*(tuple(map(float, end)) for end in (corners.min(0), corners.max(0))))
    assert not Predictor(odd).predict(image, Wishes(roi=box)).flags


def test_an_empty_result_is_announced(package):
    blind = dataclasses.replace(package, predictor=Threshold(at=1e6))
    found = Predictor(blind).predict(tiny_package.scan(1))
    assert not found.labels.any()
    assert found.empty
    assert "empty-result" in {flag.topic for flag in found.flags}
    assert found.mean_uncertainty is None


def test_a_prediction_that_is_not_finite_is_an_error(package):
    class Broken(Threshold):
        def forward(self, image):
            features = super().forward(image)
            features.logits[0, 0, 0, 0, 0] = float("nan")
            return features

    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        Predictor(dataclasses.replace(package, predictor=Broken())).predict(tiny_package.scan(1))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((16, 24, 20), r"shape \(16, 24, 20\), expected \(channels, .*give .* as array\[None\]"),
        ((1, 20, 24, 16), r"has \(20, 24, 16\) voxels .* geometry \(16, 24, 20\); make both"),
    ],
)
def test_an_array_that_is_no_scan_of_its_geometry_is_said(package, shape, words):
    volume = Volume(np.zeros(shape, np.float32), Geometry.from_parts((16, 24, 20)))
    with pytest.raises(InputError, match=words):
        Predictor(package).predict(volume)


def test_the_wrong_number_of_channels_is_said(package):
    with pytest.raises(InputError, match="2 channels, the model expects 1: c0"):
        Predictor(package).predict(tiny_package.scan(1, channels=2))


def test_wishes_that_cannot_be_fulfilled_are_refused_before_reading(package):
    alone = Predictor(dataclasses.replace(package, partner=None))
    with pytest.raises(InputError, match="one network only"):
        alone.check(Wishes(uncertainty="disagreement"))
    with pytest.raises(InputError, match="without dropout"):
        alone.check(Wishes(uncertainty="mc-dropout"))
    for training, words in (({"mirrored_axes": ""}, "without mirrored"), ({}, "does not say")):
        info = dataclasses.replace(package.info, training=training)
        with pytest.raises(InputError, match=f"'tta': .*{words}"):
            Predictor(dataclasses.replace(package, info=info)).check(Wishes(uncertainty="tta"))
    with pytest.raises(InputError, match="did you mean 'entropy'"):
        alone.check(Wishes(uncertainty="entrpy"))


def test_a_scan_too_large_is_refused_from_its_grid_alone(package, monkeypatch):
    monkeypatch.setattr(module, "available_bytes", lambda: 2**20)
    with pytest.raises(OutOfMemoryError, match=r"case 'a': needs about .* MiB .* 1 MiB are"):
        Predictor(package).check_memory(Geometry.from_parts((600, 512, 512)), "case 'a'")


def test_a_scan_askew_needs_room_for_the_sets_that_are_computed(package, monkeypatch):
    needed = []
    monkeypatch.setattr(module, "check_fits", lambda count, *_: needed.append(count))
    predictor = Predictor(package)
    monkeypatch.setattr(predictor, "_straightens", lambda _: True)
    grid = tiny_package.scan(1).geometry
    for wishes in (None, Wishes(uncertainty=None), Wishes(uncertainty="tta")):
        predictor.check_memory(grid, "case 'a'", wishes)
    nothing, one, two = needed
    assert one > nothing
    assert two - nothing == 2 * (one - nothing)


def test_a_scan_askew_is_brought_back_in_pieces(package, monkeypatch):
    predictor = Predictor(package)
    monkeypatch.setattr(predictor, "_straightens", lambda _: True)
    whole = predictor.predict(tiny_package.scan(1), Wishes(probabilities=True))
    sizes = []
    plain = probabilities.likelihoods

    def watched(leads, sets=1):
        sizes.append(leads[0].numel())
        return plain(leads, sets)

    monkeypatch.setattr(probabilities, "likelihoods", watched)
    monkeypatch.setattr(probabilities, "PIECE_VOXELS", 700)
    pieces = predictor.predict(tiny_package.scan(1), Wishes(probabilities=True))
    assert max(sizes) <= 700
    assert np.array_equal(whole.probabilities, pieces.probabilities)


def test_cancel(package):
    with pytest.raises(CancelledError):
        Predictor(package).predict(tiny_package.scan(1), watch=Watch(cancelled=lambda: True))


def test_small_pieces_go_where_asked(package):
    image = tiny_package.scan(1)
    image.array[:, 2, 12, 10] = 500.0
    wishes = Wishes(minimum_mm3=50.0)
    loose, clean = (Predictor(package).predict(image, w) for w in (Wishes(), wishes))
    assert loose.labels[2, 12, 10] == 3
    assert clean.labels[2, 12, 10] == 0
    assert clean.volumes[0].voxels < loose.volumes[0].voxels
    (before,), (after,) = loose.volumes, clean.volumes
    assert before.removed_ml == 0
    assert after.removed_ml == pytest.approx(before.volume_ml - after.volume_ml)
    assert after.high_ml == pytest.approx(before.high_ml - after.removed_ml)
    assert after.low_ml < before.low_ml  # the speck was bright, so surely part of it


@pytest.mark.parametrize(
    ("value", "dtype"), [(255, np.uint8), (256, np.uint16), (70000, np.uint32)]
)
def test_label_values_keep_their_size(package, value, dtype):
    labels = (Label(0, "background"), Label(value, "ball"))
    wide = dataclasses.replace(package, info=dataclasses.replace(package.info, labels=labels))
    found = Predictor(wide).predict(tiny_package.scan(1))
    assert found.labels.dtype == dtype
    assert (found.labels == value).any()


def test_a_trained_like_network_gives_the_same_twice(tmp_path):
    tiny_package.save(tmp_path / "a.dycon")
    runs = [
        Predictor(load_package(tmp_path / "a.dycon")).predict(tiny_package.scan(2))
        for _ in range(2)
    ]
    assert np.array_equal(runs[0].labels, runs[1].labels)
    assert np.array_equal(runs[0].uncertainty, runs[1].uncertainty)


@pytest.mark.parametrize("kind", ["entropy", "disagreement", "tta"])
@pytest.mark.parametrize("labels", [2, 4])
def test_slab_by_slab_equals_the_whole_volume_at_once(package, kind, labels, monkeypatch):
    """Against all logits at once, softmax of all classes and the full matrices."""
    monkeypatch.setattr(restoring, "CHUNK_VOXELS", 700)  # pieces of two rows or so

    class Several(Threshold):
        def forward(self, image):
            features = super().forward(image)
            more = features.logits[:, :1] * torch.linspace(-1, 2, labels - 2).view(1, -1, 1, 1, 1)
            return features._replace(logits=torch.cat((features.logits, more), dim=1))

    info = dataclasses.replace(
        package.info,
        labels=tuple(Label(value, f"label {value}") for value in range(labels)),
        preprocessing=Preprocessing((2.7, 1.1, 1.9)),
    )
    soft, other = Several(gain=2.0), Several(0.1, gain=1.5)
    engine = Predictor(
        dataclasses.replace(package, info=info, predictor=soft, partner=other),
    )
    image = tiny_package.scan(1, size=(16, 40, 30))
    found = engine.predict(image, Wishes(uncertainty=kind, probabilities=True))
    prepared = info.preprocessing.prepare(image)

    def at_once(apply):
        logits = slide(
            apply,
            torch.from_numpy(prepared.array),
            patch_size=info.patch_size,
            classes=labels,
            config=info.inference,
            air=prepared.air,
            blank=prepared.blank,
        )
        near = (logits / info.calibration.temperature).softmax(0).numpy()
        own = restoring.restore(near, image.geometry, info.preprocessing.spacing_mm)
        own[1:, prepared.blank_source] = 0.0
        own[0, prepared.blank_source] = 1.0
        return torch.from_numpy(own)

    plain = at_once(lambda x: soft(x).logits)
    assert np.abs(found.probabilities - plain.numpy()).max() < 1e-5
    clear = plain.topk(2, dim=0).values.diff(dim=0)[0].abs().numpy() > 1e-4
    assert np.array_equal(found.labels[clear], plain.argmax(0).numpy()[clear])
    if kind == "disagreement":
        expected = kinds.disagreement(plain, at_once(lambda x: other(x).logits))
    else:  # a network of single voxels sees mirror images as it sees the scan
        expected = kinds.entropy(plain)
    assert np.abs(found.uncertainty - expected.numpy()).max() < 2e-4


def oblique(size=(16, 40, 30)) -> Volume:
    """A scan whose grid is turned by 25 degrees about the body axis."""
    image = tiny_package.scan(1, size=size)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.436), -np.sin(0.436)], [np.sin(0.436), np.cos(0.436)]]
    return Volume(image.array, Geometry(size, turn @ image.geometry.affine))


@pytest.mark.parametrize("kind", ["entropy", "disagreement"])
@pytest.mark.parametrize("spacing_mm", [(2.0, 1.5, 1.5), (3.1, 1.1, 2.3)])
def test_inside_the_region_of_interest_is_the_result_of_the_whole_scan(package, kind, spacing_mm):
    info = dataclasses.replace(package.info, preprocessing=Preprocessing(spacing_mm))
    engine = Predictor(dataclasses.replace(package, info=info, predictor=Threshold(gain=2.0)))
    image = oblique()
    center = image.geometry.to_world(np.array([8.0, 24.0, 14.0]))
    roi = Box(tuple(center - 8.0), tuple(center + 8.0))
    inside = image.geometry.inside(roi)
    wishes = Wishes(uncertainty=kind, probabilities=True)
    whole = engine.predict(image, wishes)
    found = engine.predict(image, wishes._replace(roi=roi))
    for part, everything, nothing in (
        (found.labels, whole.labels, 0),
        (found.uncertainty, whole.uncertainty, 0),
        (found.probabilities[1], whole.probabilities[1], 0),
        (found.probabilities[0], whole.probabilities[0], 1),
    ):
        assert np.array_equal(part[inside], everything[inside])
        assert (part[~inside] == nothing).all()
    assert 0 < found.volumes[0].voxels < whole.volumes[0].voxels
    assert found.volumes[0].high_ml <= inside.sum() * image.geometry.voxel_mm3 / 1000


def test_windows_beside_the_region_of_interest_are_not_computed(package):
    class Counting(Threshold):
        windows = 0

        def forward(self, image):
            self.windows += len(image)
            return super().forward(image)

    network, image = Counting(), tiny_package.scan(1, size=(16, 60, 60))
    engine = Predictor(dataclasses.replace(package, predictor=network))
    engine.predict(image)
    everywhere, network.windows = network.windows, 0
    center = image.geometry.to_world(np.array([8.0, 30.0, 30.0]))
    engine.predict(image, Wishes(roi=Box(tuple(center - 4.0), tuple(center + 4.0))))
    assert 0 < network.windows < everywhere / 4


def test_a_region_of_interest_beside_the_scan_is_refused(package):
    with pytest.raises(InputError, match=r"holds no voxel of the scan, which lies between \(5, -7"):
        Predictor(package).predict(
            tiny_package.scan(1), Wishes(roi=Box((900.0, 0.0, 0.0), (950.0, 9.0, 9.0)))
        )


def test_the_map_of_regions_holds_their_ids(package):
    engine = Predictor(dataclasses.replace(package, predictor=Threshold(gain=0.5)))
    found = engine.predict(oblique(), Wishes(region_map=True))
    assert found.regions
    voxel = found.geometry.voxel_mm3
    for region in found.regions:
        inside = found.region_map == region.id
        assert inside.sum() * voxel == pytest.approx(region.volume_mm3, abs=0.001)
        assert found.uncertainty[inside].mean() == pytest.approx(region.mean_uncertainty, abs=1e-4)
        assert region.score == pytest.approx(
            region.volume_mm3 * region.mean_uncertainty, rel=1e-3, abs=0.01
        )
    assert set(np.unique(found.region_map)) == {0, *(region.id for region in found.regions)}
    assert engine.predict(oblique()).region_map is None
