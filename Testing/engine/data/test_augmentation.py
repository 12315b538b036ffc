"""Augmentation: image and label move together, as asked, on every shape of case."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dycon_engine.config import AugmentationConfig
from dycon_engine.data.augmentation import Augmentation, Source, draw_patch, rotation
from dycon_engine.data.intensity import change_intensity
from dycon_engine.data.patches import air_value, foreground_points
from dycon_engine.data.warping import Warp, warped
from Testing.reference.naive_warp import naive_warp

SHAPE_ONLY = {"intensity": 0.0, "noise": 0.0, "blur": 0.0, "low_resolution": 0.0, "bias_field": 0.0}
SETTINGS = {
    "strong": AugmentationConfig(spatial=1.0, **SHAPE_ONLY),
    "everything": AugmentationConfig(
        spatial=1.0, elastic=1.0, flip_axes="zyx", rotation_deg=(180.0, 180.0, 180.0), **SHAPE_ONLY
    ),
    "flips": AugmentationConfig(spatial=0.0, flip_axes="zyx", **SHAPE_ONLY),
    "paper": AugmentationConfig(preset="paper"),
    "none": AugmentationConfig(preset="none"),
}


def make_source(size=(20, 24, 28), *, classes=2, edge=6):
    """Blocks of brightness 10 x class on air of -1."""
    label = np.zeros(size, np.uint8)
    for value in range(1, classes):
        start = [min(3 + 5 * (value - 1), max(n - edge, 0)) for n in size]
        label[tuple(slice(s, s + edge) for s in start)] = value
    image = np.where(label > 0, 10.0 * label, -1.0)[None].astype(np.float32)
    return Source(image, label, foreground_points(label), air_value(image))


def draw(source, config, *, seed=0, patch_size=(16, 16, 16), foreground=1.0):
    how = Augmentation(config, patch_size, foreground)
    return draw_patch(np.random.default_rng(seed), source, how)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("seed", range(4))
def test_a_bright_block_and_its_label_move_together(name, seed):
    patch = draw(make_source(), SETTINGS[name], seed=seed)
    bright = patch.image[0] > 4.5  # halfway between air and block
    both = (bright & (patch.label == 1)).sum() / (bright | (patch.label == 1)).sum()
    assert patch.label.sum() > 20
    assert both > 0.97
    assert (patch.image.dtype, patch.label.dtype) == (torch.float32, torch.int64)
    assert patch.image.is_contiguous()
    assert patch.label.is_contiguous()


@pytest.mark.parametrize("classes", [3, 7])
def test_many_classes_keep_their_values(classes):
    source = make_source((40, 40, 40), classes=classes)
    patch = draw(source, SETTINGS["strong"], patch_size=(40, 40, 40))
    assert set(patch.label.unique().tolist()) == set(range(classes))
    inside = (patch.image[0] / 10.0 - patch.label).abs() < 0.05
    assert inside[patch.label > 0].float().mean() > 0.3


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("size", [(1, 24, 24), (3, 24, 20), (5, 6, 7), (20, 8, 40)])
def test_thin_and_small_cases_are_padded_with_air(name, size):
    patch = draw(make_source(size), SETTINGS[name], patch_size=(8, 16, 24), foreground=0.0)
    assert patch.image.shape == (1, 8, 16, 24)
    assert patch.label.shape == (8, 16, 24)
    assert patch.image.min() == pytest.approx(-1.0, abs=1e-4)
    if size[0] == 1 and name not in ("everything", "flips"):
        assert patch.label[[0, 1, 6, 7]].sum() == 0


def test_a_thin_case_is_turned_in_its_plane_only():
    """One bright slice stays one bright slice, whatever the angles."""
    source = make_source((3, 40, 40), edge=3)
    source.image[0, 1] = 50.0
    config = AugmentationConfig(spatial=1.0, rotation_deg=(45.0, 45.0, 45.0), **SHAPE_ONLY)
    patch = draw(source, config, patch_size=(3, 24, 24), foreground=0.0)
    assert patch.image[0, 1, 8:16, 8:16].min() > 49.99
    assert (patch.image[0, [0, 2]] < 20.0).all()


@pytest.mark.parametrize(("depth", "thin"), [(7, True), (9, False)])
@pytest.mark.parametrize("change", [{"spatial": 1.0}, {"spatial": 0.0, "elastic": 1.0}])
def test_a_third_of_the_longest_axis_is_the_limit_of_thin(depth, thin, change):
    """A bright slice of 7 of 24 voxels stays as it is; one of 9 is turned or bent into others."""
    source = make_source((depth, 40, 40), edge=3)
    source.image[0, depth // 2] = 50.0
    config = AugmentationConfig(rotation_deg=(45.0, 45.0, 45.0), **change, **SHAPE_ONLY)
    patch = draw(source, config, patch_size=(depth, 24, 24), foreground=0.0)
    inner = patch.image[0, :, 8:16, 8:16]
    assert bool(((inner > 49.99).all(dim=(1, 2))).any()) is thin


def test_a_patch_as_large_as_its_case_moves_but_keeps_its_voxels_where_nothing_is_turned():
    config = AugmentationConfig(spatial=0.0, **SHAPE_ONLY)
    source = make_source((16, 16, 16))
    patches = [draw(source, config, seed=seed, foreground=0.0).image for seed in range(8)]
    assert len({patch.numpy().tobytes() for patch in patches}) > 1
    assert all(patch.unique().tolist() == [-1.0, 10.0] for patch in patches)


def test_a_displacement_reads_where_it_leads_to():
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in (30, 32, 34)), indexing="ij")
    image, fill = (z + 3.0 * y - 2.0 * x)[None], np.zeros(1, np.float32)
    center, by = np.array([12.0, 18.0, 12.0]), np.array([6.0, -7.0, 8.0])
    field = np.broadcast_to(by.astype(np.float32)[:, None, None, None], (3, 5, 5, 5)).copy()
    moved, _ = warped(image, None, Warp(center, np.eye(3), field), size_zyx=(5, 6, 7), fill=fill)
    there, _ = warped(image, None, Warp(center + by, np.eye(3)), size_zyx=(5, 6, 7), fill=fill)
    np.testing.assert_allclose(moved.numpy(), there.numpy(), atol=2e-3)


@pytest.mark.parametrize("angle_deg", [0.0, 30.0, 85.0])
@pytest.mark.parametrize("tilt_deg", [0.0, 15.0, 60.0])
def test_the_fast_lookup_finds_the_same_place_as_a_loop(angle_deg, tilt_deg):
    """A linear ramp is reproduced exactly by any linear interpolation, so places are compared."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in (30, 32, 34)), indexing="ij")
    image = (z + 3.0 * y - 2.0 * x)[None]
    matrix = rotation(np.deg2rad([angle_deg, tilt_deg, -tilt_deg])) / 1.2
    center = np.array([14.3, 15.0, 16.8])
    fill = np.array([0.0], np.float32)
    fast, _ = warped(image, None, Warp(center, matrix), size_zyx=(5, 6, 7), fill=fill)
    slow = naive_warp(image[0], center, matrix, size_zyx=(5, 6, 7), fill=0.0)
    np.testing.assert_allclose(fast[0].numpy(), slow, atol=2e-3)


def test_an_unchanged_warp_is_a_crop_to_the_bit():
    image = np.random.default_rng(0).standard_normal((2, 9, 9, 9)).astype(np.float32)
    label = (image[0] > 0).astype(np.uint8)
    warp = Warp(np.array([4.0, 4.0, 4.0]), np.eye(3))
    fill = np.zeros(2, np.float32)
    patch, classes = warped(image, label, warp, size_zyx=(5, 5, 5), fill=fill)
    np.testing.assert_allclose(patch.numpy(), image[:, 2:7, 2:7, 2:7], atol=1e-5)
    np.testing.assert_array_equal(classes.numpy(), label[2:7, 2:7, 2:7])


def test_rotations_are_rigid_in_millimetres():
    """Slices twice as thick: a ball in millimetres stays a ball."""
    z, y, x = np.meshgrid(
        np.arange(20) - 9.5, np.arange(40) - 19.5, np.arange(40) - 19.5, indexing="ij"
    )
    label = (((2 * z) ** 2 + y**2 + x**2) < 12.0**2).astype(
        np.uint8
    )  # radius 12 mm: variance 12^2 / 5 along any axis
    source = Source(label[None].astype(np.float32), label, (), np.zeros(1, np.float32))
    config = AugmentationConfig(
        spatial=1.0, rotation_deg=(45.0, 45.0, 45.0), scale=(1.0, 1.0), **SHAPE_ONLY
    )
    how = Augmentation(config, (20, 40, 40), 0.0, (2.0, 1.0, 1.0))
    turned = draw_patch(np.random.default_rng(3), source, how).label.numpy()
    places_mm = np.argwhere(turned) * (2.0, 1.0, 1.0)
    assert len(places_mm) / label.sum() == pytest.approx(1.0, abs=0.03)
    assert np.linalg.eigvalsh(np.cov(places_mm.T)) / 12.0**2 == pytest.approx(0.2, abs=0.01)


def test_the_paper_preset_turns_by_right_angles_in_the_axial_plane():
    image = np.random.default_rng(0).standard_normal((1, 4, 6, 6)).astype(np.float32)
    source = Source(image, None, (), air_value(image))
    options = [np.flip(np.rot90(image, k, (2, 3)), axis) for k in range(4) for axis in (2, 3)]
    seen = set()
    for seed in range(40):
        patch = draw(source, SETTINGS["paper"], seed=seed, patch_size=(4, 6, 6)).image.numpy()
        seen |= {index for index, option in enumerate(options) if np.array_equal(patch, option)}
    assert len(seen) == len(options)


def test_foreground_patches_hold_every_class_alike():
    source = make_source((40, 40, 40), classes=3, edge=4)
    centers = [
        int(draw(source, SETTINGS["none"], seed=seed, patch_size=(2, 2, 2)).label[1, 1, 1])
        for seed in range(60)
    ]
    assert 15 < centers.count(1) < 45
    assert centers.count(1) + centers.count(2) == 60


@pytest.mark.parametrize("only", ["intensity", "noise", "blur", "low_resolution", "bias_field"])
@pytest.mark.parametrize("size", [(2, 8, 9, 10), (1, 1, 8, 8)])
def test_each_change_of_intensity_changes_finite_values_only(only, size):
    config = AugmentationConfig(**{**SHAPE_ONLY, only: 1.0})
    image = torch.from_numpy(np.random.default_rng(0).standard_normal(size).astype(np.float32))
    before = image.clone()
    changed = change_intensity(np.random.default_rng(0), image, config)
    assert changed.shape == image.shape
    assert changed.isfinite().all()
    assert not torch.equal(changed, before)
    assert torch.equal(image, before)
    flat = torch.full(size, 3.0)
    assert change_intensity(np.random.default_rng(0), flat, config).isfinite().all()


def test_nothing_falls_on_a_patch_at_probability_zero():
    image = torch.randn(1, 4, 4, 4)
    config = AugmentationConfig(**SHAPE_ONLY)
    assert torch.equal(change_intensity(np.random.default_rng(0), image, config), image)
