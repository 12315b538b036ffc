"""Overlap and surface metrics against loops, medpy and real scans."""

from __future__ import annotations

import math

import numpy as np
import pytest
from medpy.metric import binary as medpy
from scipy.ndimage import gaussian_filter

from dycon_engine.errors import InputError
from dycon_engine.evaluation.metrics import dice_per_class, is_plausible, score, summarize
from Testing.reference import naive_metrics as naive

SPACING = (2.5, 0.7, 1.1)


def random_labels(seed, shape=(9, 11, 10), classes=3, smooth=1.2):
    noise = np.random.default_rng(seed).standard_normal((classes, *shape))
    return np.argmax([gaussian_filter(n, smooth) for n in noise], axis=0).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_every_figure_equals_the_loops(seed):
    prediction, reference = random_labels(seed), random_labels(seed + 100)
    for scores in score(prediction, reference, classes=(1, 2), spacing_mm=SPACING):
        label = scores.label
        assert (scores.dice, scores.jaccard) == naive.dice_jaccard(prediction, reference, label)
        in_mm = naive.hd95_asd_assd(prediction, reference, label, SPACING)
        in_voxels = naive.hd95_asd_assd(prediction, reference, label, (1, 1, 1))
        found_mm = (scores.hd95_mm, scores.asd_mm, scores.assd_mm)
        assert found_mm == pytest.approx(in_mm, rel=1e-12)
        found_voxels = (scores.hd95_voxels, scores.asd_voxels, scores.assd_voxels)
        assert found_voxels == pytest.approx(in_voxels, rel=1e-12)
        assert scores.prediction_voxels == len(naive.foreground(prediction, label))
        assert scores.reference_voxels == len(naive.foreground(reference, label))


def assert_equal_to_medpy(prediction, reference, spacing):
    [scores] = score(prediction, reference, classes=(1,), spacing_mm=spacing)
    p, r = prediction == 1, reference == 1
    expected = {
        "dice": medpy.dc(p, r),
        "jaccard": medpy.jc(p, r),
        "hd95_mm": medpy.hd95(p, r, voxelspacing=spacing),
        "asd_mm": medpy.asd(p, r, voxelspacing=spacing),
        "assd_mm": medpy.assd(p, r, voxelspacing=spacing),
        "hd95_voxels": medpy.hd95(p, r),
        "asd_voxels": medpy.asd(p, r),
        "assd_voxels": medpy.assd(p, r),
    }
    assert {name: getattr(scores, name) for name in expected} == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("smooth", [0.0, 0.7, 2.5])  # from crowded surfaces to a few
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.625,) * 3, SPACING])
def test_equal_to_medpy_for_smooth_and_rough_masks(smooth, spacing):
    shape = (14, 22, 18)
    prediction = random_labels(1, shape, 2, smooth)
    reference = random_labels(2, shape, 2, smooth)
    assert_equal_to_medpy(prediction, reference, spacing)


@pytest.mark.la2018
def test_equal_to_medpy_on_a_real_atrium(la2018):
    import nibabel  # noqa: PLC0415

    path = sorted((la2018 / "labels").glob("*.nii.gz"))[0]
    reference = np.asarray(nibabel.load(path).dataobj).T
    reference = reference[20:60].astype(np.uint8)
    noise = np.random.default_rng(0).standard_normal(reference.shape)
    blurred = gaussian_filter(reference.astype(float), 2) + 2 * gaussian_filter(noise, 3)
    assert_equal_to_medpy((blurred > 0.5).astype(np.uint8), reference, (0.625,) * 3)


def test_a_mask_that_touches_the_border_has_its_surface_there():
    full = np.ones((4, 5, 6), dtype=np.uint8)
    assert_equal_to_medpy(full, np.pad(full[1:-1, 1:-1, 1:-1], 1), (1.0, 2.0, 3.0))


def test_dice_per_class_agrees_with_score():
    prediction, reference = random_labels(5), random_labels(6)
    scores = score(prediction, reference, classes=(0, 1, 2, 3), spacing_mm=SPACING)
    assert dice_per_class(prediction, reference, classes=(0, 1, 2, 3)) == tuple(
        s.dice for s in scores
    )


@pytest.mark.parametrize("function", [dice_per_class, score])
def test_shapes_that_differ_are_named(function):
    more = {} if function is dice_per_class else {"spacing_mm": SPACING}
    with pytest.raises(InputError, match="prediction is 2x2x2 but reference is 2x2x3"):
        function(np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), classes=(1,), **more)


def test_summary_leaves_undefined_values_out_and_counts_them():
    summary = summarize([1.0, math.nan, 3.0, 8.0])
    assert (summary.mean, summary.median, summary.defined, summary.undefined) == (4.0, 3.0, 3, 1)
    assert summary.sd == pytest.approx(math.sqrt(13))


def test_summary_of_nothing_defined_is_undefined_not_zero():
    summary = summarize([math.nan, math.nan])
    assert math.isnan(summary.mean)
    assert math.isnan(summary.median)
    assert (summary.defined, summary.undefined) == (0, 2)
    assert math.isnan(summarize([2.0]).sd)


def test_means_that_no_cases_can_have_are_found():
    rng = np.random.default_rng(0)
    jaccard = rng.uniform(0, 1, 50)
    dice = 2 * jaccard / (1 + jaccard)
    assert is_plausible(dice.mean(), jaccard.mean())
    assert is_plausible(1.0, 1.0)
    assert not is_plausible(0.9, 0.8)  # 2 * 0.8 / 1.8 = 0.889
