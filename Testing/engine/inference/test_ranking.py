"""The order of labeling: least certain first, among equals the least alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dycon_engine.data.cases import Label
from dycon_engine.errors import NonFiniteError
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


def test_unlikeness_does_not_beat_uncertainty():
    assert names(seen("a", 0.9), seen("b", 0.8), seen("c", 0.1, (0.0, 1.0))) == ["a", "b", "c"]


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
