"""The order of labeling: least certain first, among equals the least alike."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
import torch

from dycon_engine.data.cases import Label
from dycon_engine.errors import NonFiniteError
from dycon_engine.inference import blending
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.ranking import Impression, impression, rank
from dycon_engine.networks.base import Features
from dycon_engine.package import Calibration, load_package
from Testing import tiny_package


def seen(name: str, score: float, direction=(1.0, 0.0), *, found: float = 1.0) -> Impression:
    unit = np.asarray(direction) / np.linalg.norm(direction)
    return Impression(name, score, score, found, unit)


def names(*impressions: Impression) -> list[str]:
    return [item.name for item in rank(impressions)]


def test_the_least_certain_goes_first():
    assert names(seen("a", 0.1), seen("b", 0.9), seen("c", 0.5)) == ["b", "c", "a"]


def test_among_equals_the_least_alike_goes_first():
    twins = [seen("a", 0.9), seen("b", 0.9, (1.0, 0.01)), seen("c", 0.89, (0.0, 1.0))]
    assert names(*twins, seen("z", 0.0)) == ["a", "c", "b", "z"]
    told = ["least like" in item.reason for item in rank([*twins, seen("z", 0.0)])]
    assert told == [False, True, False, False]  # no scan is above the first; b is left alone


def test_unlikeness_does_not_beat_uncertainty():
    assert names(seen("a", 0.9), seen("b", 0.8), seen("c", 0.1, (0.0, 1.0))) == ["a", "b", "c"]


def test_what_ties_is_a_share_of_the_range_of_all_scores():
    """Scores of a sure model lie close together; then smaller differences count."""
    wide = [seen("a", 0.90), seen("b", 0.88), seen("c", 0.87, (0.0, 1.0)), seen("z", 0.0)]
    assert names(*wide) == ["a", "c", "b", "z"]  # 0.03 of 0.9
    close = [seen("a", 0.090), seen("b", 0.080), seen("c", 0.070, (0.0, 1.0)), seen("z", 0.060)]
    assert names(*close) == ["a", "b", "c", "z"]  # 0.02 of 0.03


def test_a_scan_where_nothing_was_found_goes_first_and_says_so():
    first, second = rank([seen("a", 0.9), seen("b", 0.0, found=0.0)])
    assert (first.name, first.score) == ("b", 1.0)
    assert "found nothing" in first.reason
    assert "90.0%" in second.reason


def test_order_does_not_depend_on_the_order_given():
    items = [seen(name, 0.5, (1.0, n)) for n, name in enumerate("abcde")]
    assert names(*items) == names(*items[::-1])


def test_no_cases_no_ranks():
    assert rank([]) == ()


def test_an_impression_is_of_the_calibrated_probabilities(tmp_path):
    found = []
    for temperature in (0.1, 1.0, 10.0):
        path = tmp_path / f"{temperature}.dycon"
        tiny_package.save(path, calibration=Calibration(temperature))
        found.append(impression("x", tiny_package.scan(1), Predictor(load_package(path))))
    assert found[0].mean_entropy < found[1].mean_entropy - 0.01
    assert found[1].mean_entropy < found[2].mean_entropy - 0.01
    assert len({item.foreground_ml for item in found}) == 1  # the labels do not change


def test_an_impression_of_a_real_network(tmp_path):
    tiny_package.save(tmp_path / "a.dycon")
    predictor = Predictor(load_package(tmp_path / "a.dycon"))
    found = impression("x", tiny_package.scan(1), predictor)
    again = impression("x", tiny_package.scan(1), predictor)
    assert 0 <= found.mean_entropy <= 1
    assert 0 <= found.uncertain_share <= 1
    assert np.linalg.norm(found.descriptor) == pytest.approx(1)
    assert np.array_equal(found.descriptor, again.descriptor)
    other = impression("y", tiny_package.scan(2), predictor)
    assert not np.array_equal(found.descriptor, other.descriptor)


def test_a_network_that_is_not_finite_is_an_error_and_not_a_scan_without_structure(tmp_path):
    tiny_package.save(tmp_path / "a.dycon")
    predictor = Predictor(load_package(tmp_path / "a.dycon"))
    with torch.no_grad():
        next(predictor.network.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        impression("x", tiny_package.scan(1), predictor)


class Stumbling:
    """A network whose first passes fail; all others are those of `network`."""

    has_views = False

    def __init__(self, network, failures):
        self.network, self.failures, self.calls = network, failures, 0

    def __call__(self, patches):  # noqa: D102
        self.calls += 1
        found = self.network(patches)
        return self.failures(self.calls, found)


def overflows_twice(call, found):
    if call > 4 or call % 2 == 0:
        return found
    nothing = found.embedding * float("inf")
    return found._replace(logits=found.logits * float("inf"), embedding=nothing)


def runs_out_at_once(call, found):
    if call == 1:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return found


@pytest.mark.parametrize("failures", [overflows_twice, runs_out_at_once])
def test_a_pass_that_is_done_again_counts_once(tmp_path, monkeypatch, failures):
    """In float32 where fp16 is not finite, with fewer windows where memory runs out."""
    tiny_package.save(tmp_path / "a.dycon")
    predictor = Predictor(load_package(tmp_path / "a.dycon"))
    predictor.inference = dataclasses.replace(predictor.inference, window_batch=2)
    expected = impression("x", tiny_package.scan(1), predictor).descriptor
    if failures is overflows_twice:
        monkeypatch.setattr(blending, "default_dtype", lambda _device: torch.float16)
        monkeypatch.setattr(blending, "autocast", lambda *_: contextlib.nullcontext())
    predictor.network = Stumbling(predictor.network, failures)
    found = impression("x", tiny_package.scan(1), predictor).descriptor
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_windows_of_a_pass_that_broke_off_half_way_count_once(tmp_path, monkeypatch):
    tiny_package.save(tmp_path / "a.dycon")
    predictor = Predictor(load_package(tmp_path / "a.dycon"))
    expected = impression("x", tiny_package.scan(1), predictor).descriptor
    predictor.inference = dataclasses.replace(predictor.inference, window_batch=4)
    plain, calls = blending.Blend._add, []

    def add(self, window, logits):
        calls.append(window)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        plain(self, window, logits)

    monkeypatch.setattr(blending.Blend, "_add", add)
    found = impression("x", tiny_package.scan(1), predictor).descriptor
    np.testing.assert_allclose(found, expected, atol=1e-6)


class Torn(torch.nn.Module):
    """Undecided between the first two of K classes everywhere."""

    has_views = False

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, image):
        """Return equal logits of two classes, the others far below."""
        logits = torch.full((len(image), self.classes, *image.shape[2:]), -50.0)
        logits[:, :2] = 0.0
        return Features(logits, image, image)


@pytest.mark.parametrize("classes", [2, 4, 14])
def test_torn_between_two_classes_counts_alike_however_many_there_are(tmp_path, classes):
    labels = tuple(Label(value, f"label {value}") for value in range(classes))
    tiny_package.save(tmp_path / "a.dycon", labels=labels)
    predictor = Predictor(load_package(tmp_path / "a.dycon"))
    predictor.network = Torn(classes)
    found = impression("x", tiny_package.scan(1, size=(8, 12, 10)), predictor)
    assert found.uncertain_share > 0.5
    assert found.mean_entropy == pytest.approx(found.uncertain_share, abs=0.01)
