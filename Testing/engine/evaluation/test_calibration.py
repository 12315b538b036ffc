"""Temperature, ECE, risk-coverage and the boundary band against loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from dycon_engine.errors import InputError
from dycon_engine.evaluation import calibration as ours
from Testing.reference import naive_calibration as naive
from Testing.reference.naive_metrics import foreground, surface


def drawn(true_temperature, count=4000, classes=3, seed=0):
    """Logits whose targets are drawn from softmax(logits / true_temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (count, classes))
    probabilities = softmax(logits / true_temperature, axis=1)
    targets = (probabilities.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    return logits, targets


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_targets_is_found(true_temperature):
    logits, targets = drawn(true_temperature, count=40000)
    assert ours.fit_temperature(logits, targets) == pytest.approx(true_temperature, rel=0.05)


def test_fit_equals_the_grid_search():
    logits, targets = drawn(2.0, count=200)
    found = ours.fit_temperature(torch.tensor(logits), torch.tensor(targets))
    assert found == pytest.approx(naive.best_temperature(logits, targets), rel=1e-3)


def test_log_probabilities_give_the_same_temperature_as_logits():
    logits, targets = drawn(2.0, count=500)
    log_probabilities = np.log(softmax(logits, axis=1))
    expected = ours.fit_temperature(logits, targets)
    assert ours.fit_temperature(log_probabilities, targets) == pytest.approx(expected, rel=1e-6)


def test_all_right_and_all_wrong_stop_at_the_ends():
    logits = np.array([[2.0, 0.0], [0.0, 1.0]])
    assert ours.fit_temperature(logits, [0, 1]) == ours.TEMPERATURE_RANGE[0]
    assert ours.fit_temperature(logits, [1, 0]) == ours.TEMPERATURE_RANGE[1]


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_ece_equals_the_loops(bins):
    logits, targets = drawn(3.0, count=300)
    probabilities = softmax(logits, axis=1)
    expected = naive.ece(probabilities.tolist(), targets, bins)
    assert ours.expected_calibration_error(probabilities, targets, bins=bins) == pytest.approx(
        expected
    )


def test_ece_of_half_sure_coins_is_zero_and_of_sure_wrong_ones_is_one():
    assert ours.expected_calibration_error([[0.5, 0.5]] * 4, [0, 0, 1, 1]) == 0.0
    assert ours.expected_calibration_error([[1.0, 0.0]] * 3, [1, 1, 1]) == 1.0


def test_empty_bins_are_undefined_not_zero():
    curve = ours.reliability_curve([[0.9, 0.1], [0.8, 0.2]], [0, 1], bins=5)
    assert curve.voxels.tolist() == [0, 0, 0, 1, 1]
    assert np.isnan(curve.accuracy[:3]).all()
    assert curve.accuracy[3:].tolist() == [0.0, 1.0]
    assert curve.ece == pytest.approx((0.8 + 0.1) / 2)


def test_aurc_equals_the_mean_over_orders_of_ties():
    uncertainty = [0.1, 0.3, 0.3, 0.3, 0.9, 0.9]
    wrong = [0, 1, 0, 0, 1, 0]
    found = ours.risk_coverage(uncertainty, wrong)
    assert found.aurc == pytest.approx(naive.aurc(uncertainty, wrong))
    assert found.coverage[-1] == 1.0
    assert found.risk[-1] == pytest.approx(2 / 6)


def test_risk_falls_to_zero_where_doubt_finds_every_error():
    found = ours.risk_coverage([0, 0, 0, 1, 1], [False, False, False, True, True], points=5)
    np.testing.assert_allclose(found.risk, [0, 0, 0, 1 / 4, 2 / 5])


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.8, 1.0])
def test_captured_errors_equal_the_mean_over_orders_of_ties(share):
    uncertainty = [0.1, 0.3, 0.3, 0.3, 0.9, 0.9, 0.2]
    wrong = [0, 1, 0, 1, 1, 0, 1]
    found = ours.captured_errors(uncertainty, np.array(wrong, dtype=bool), share=share)
    assert found == pytest.approx(naive.captured(uncertainty, wrong, share))


def test_captured_errors_of_a_volume_without_errors_are_undefined():
    assert np.isnan(ours.captured_errors(np.zeros((2, 3, 4)), np.zeros((2, 3, 4))))
    with pytest.raises(InputError, match="3 uncertainties for 2 voxels"):
        ours.captured_errors([0.1, 0.2, 0.3], [True, False])


def test_errors_are_sought_in_the_most_uncertain_twentieth_of_a_scan():
    doubt = np.arange(100.0)
    assert ours.captured_errors(doubt, doubt == 95) == 1.0  # the fifth from above
    assert ours.captured_errors(doubt, doubt == 94) == 0.0


def test_near_the_reference_leaves_the_prediction_s_own_surface_out():
    reference, prediction = np.zeros((2, 3, 3, 40), dtype=np.uint8)
    reference[..., 3], prediction[..., 30] = 1, 1
    alone = ours.near_boundary(reference, reference, spacing_mm=(1, 1, 1), band_mm=5.0)
    assert np.flatnonzero(alone[1, 1]).tolist() == list(range(9))
    both = ours.near_boundary(prediction, reference, spacing_mm=(1, 1, 1), band_mm=5.0)
    assert np.flatnonzero(both[1, 1]).tolist() == [*range(9), *range(25, 36)]


def test_near_boundary_equals_the_loops():
    rng = np.random.default_rng(3)
    prediction = np.zeros((6, 9, 8), dtype=np.uint8)
    prediction[2:4, 2:6, 3:6] = 1
    reference = np.roll(prediction, 1, axis=1)
    reference[rng.integers(6), 0, 0] = 2
    spacing = (3.0, 1.0, 0.8)
    both = [
        point
        for labels in (prediction, reference)
        for label in (1, 2)
        for point in surface(foreground(labels, label))
    ]
    for band in (0.5, 1.0, 3.2):
        found = ours.near_boundary(prediction, reference, spacing_mm=spacing, band_mm=band)
        expected = naive.near(both, prediction.shape, spacing, band)
        assert set(map(tuple, np.argwhere(found).tolist())) == expected


def test_near_boundary_of_nothing_is_nowhere():
    empty = np.zeros((3, 3, 3), dtype=np.uint8)
    assert not ours.near_boundary(empty, empty, spacing_mm=(1, 1, 1), band_mm=9.0).any()


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (np.zeros((0, 2)), [], "N above 0"),
        (np.zeros((3, 2)), [0, 1], "for 2 targets"),
        (np.array([[np.nan, 0.0]]), [0], "not finite"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(scores, targets, message):
    with pytest.raises(InputError, match=message):
        ours.fit_temperature(scores, targets)
