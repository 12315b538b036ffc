"""Phantoms: reproducible, on oblique grids, labeled where asked, hard in the way they should be."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.data.formats.readers import read_image, read_label
from dycon_engine.data.phantoms import make_phantom, make_phantoms
from dycon_engine.errors import InputError

SIZE = (20, 24, 24)


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(0, number, size=SIZE) for number in range(1, 7)]


def test_a_phantom_is_a_function_of_seed_and_number(phantoms):
    again = make_phantom(0, 2, size=SIZE)
    assert np.array_equal(again.image.array, phantoms[1].image.array)
    assert np.array_equal(again.label.array, phantoms[1].label.array)
    assert again.image.array.shape != phantoms[0].image.array.shape or not np.array_equal(
        again.image.array, phantoms[0].image.array
    )
    other = make_phantom(1, 2, size=SIZE)
    assert other.image.geometry.affine.tolist() != again.image.geometry.affine.tolist()


def test_grids_are_oblique_anisotropic_and_differ(phantoms):
    spacings = np.array([p.image.geometry.spacing_mm for p in phantoms])
    assert len(np.unique(spacings.round(6), axis=0)) == len(phantoms)
    assert len({p.image.geometry.size_zyx for p in phantoms}) > 1
    for phantom in phantoms:
        direction = phantom.image.geometry.direction
        assert np.allclose(direction.T @ direction, np.eye(3), atol=1e-9)  # no shear
        assert np.abs(direction).max() < 0.9999  # no axis along the world's


def test_both_chambers_are_there_and_not_at_the_border(phantoms):
    for phantom in phantoms:
        labels = phantom.label.array
        assert set(np.unique(labels)) == {0, 1, 2}
        assert phantom.image.array.shape == (1, *labels.shape)
        milliliters = np.bincount(labels.ravel()) * phantom.label.geometry.voxel_mm3 / 1000
        assert ((milliliters[1:] > 10) & (milliliters[1:] < 100)).all()


def test_intensity_alone_does_not_find_the_chambers(phantoms):
    """The best threshold of every single scan stays far below a segmentation."""
    for phantom in phantoms:
        image, target = phantom.image.array[0], phantom.label.array > 0
        best = 0.0
        for threshold in np.percentile(image, np.arange(60, 100, 1)):
            found = image > threshold
            best = max(best, 2 * (found & target).sum() / (found.sum() + target.sum()))
        assert 0.2 < best < 0.75


def test_noise_is_never_negative_and_air_is_not_zero(phantoms):
    for phantom in phantoms:
        assert phantom.image.array.min() >= 0  # Rician
        assert np.isfinite(phantom.image.array).all()
        assert np.percentile(phantom.image.array, 5) > 0


def test_files_are_pairs_and_only_the_first_are_labeled(tmp_path):
    names = make_phantoms(tmp_path, count=3, labeled=2, seed=5, size=(16, 16, 16), first=4)
    assert names == ("phantom004", "phantom005", "phantom006")
    found = {folder: sorted(p.name for p in (tmp_path / folder).iterdir()) for folder in
             ("images", "labels")}  # fmt: skip
    assert found["images"] == [f"{name}.nii.gz" for name in names]
    assert found["labels"] == [f"{name}.nii.gz" for name in names[:2]]
    expected = make_phantom(5, 4, size=(16, 16, 16))
    image = read_image(tmp_path / "images" / "phantom004.nii.gz")
    label = read_label(tmp_path / "labels" / "phantom004.nii.gz")
    assert np.array_equal(image.array, expected.image.array)
    assert np.array_equal(label.array, expected.label.array)
    assert label.geometry.corner_distance_voxels(image.geometry) < 1e-3
    assert image.geometry.corner_distance_voxels(expected.image.geometry) < 1e-3


def test_existing_files_are_not_replaced(tmp_path):
    make_phantoms(tmp_path, count=1, labeled=1, size=(16, 16, 16))
    before = (tmp_path / "images" / "phantom001.nii.gz").read_bytes()
    with pytest.raises(InputError, match="phantom001"):
        make_phantoms(tmp_path, count=1, labeled=1, seed=9, size=(16, 16, 16))
    assert (tmp_path / "images" / "phantom001.nii.gz").read_bytes() == before


@pytest.mark.parametrize("wrong", [{"labeled": 3}, {"size": (8, 16, 16)}, {"labeled": -1}])
def test_impossible_wishes_are_refused(tmp_path, wrong):
    with pytest.raises(InputError, match="phantoms"):
        make_phantoms(tmp_path, **({"count": 2, "labeled": 1, "size": (16, 16, 16)} | wrong))
