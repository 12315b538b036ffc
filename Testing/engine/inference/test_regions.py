"""Regions on voxels that are much thicker than wide: places and distances are in millimeters."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.data.geometry import Geometry
from dycon_engine.inference.regions import uncertain_regions

THICK_MM = (5.0, 1.0, 1.0)


def found(uncertainty, labels=None, *, spacing_mm=THICK_MM, names=("bg", "a", "b"), **options):
    """Return the regions on a grid whose first voxel lies at 0."""
    geometry = Geometry.from_parts(uncertainty.shape, spacing_mm)
    labels = np.zeros(uncertainty.shape, np.uint8) if labels is None else labels
    return uncertain_regions(uncertainty, labels, geometry, names, **options)


def nothing(*size):
    return np.zeros(size, dtype=np.float32)


def test_the_nearest_structure_is_the_one_with_fewer_millimeters_to_it():
    uncertainty, labels = nothing(5, 16, 9), np.zeros((5, 16, 9), np.uint8)
    uncertainty[2, 5, 4] = 1.0
    labels[3, 5, 4] = 1  # the next slice, 5 mm away
    labels[2, 9, 4] = 2  # four voxels, 4 mm
    assert found(uncertainty, labels)[0].labels == ("b",)
    labels[2, 9, 4], labels[2, 11, 4] = 0, 2  # 6 mm
    assert found(uncertainty, labels)[0].labels == ("a",)
    labels[3, 5, 4] = 0
    for far, near in ((14, ()), (13, ("b",))):  # looked for up to 8 voxels beside the region
        labels[2, 6:] = 0
        labels[2, far, 4] = 2
        assert found(uncertainty, labels)[0].labels == near


def test_the_point_of_a_region_is_its_voxel_nearest_in_millimeters():
    """A C: nearest to its center are, in voxels, the arms, 10 mm away, and in mm, its back."""
    uncertainty = nothing(5, 17, 3)
    uncertainty[[0, 4], :, 1] = uncertainty[:, 0, 1] = 1.0
    [region] = found(uncertainty)
    x, y, z = region.centroid_lps_mm
    assert (x, z) == (1.0, 10.0)
    assert y == pytest.approx((2 * sum(range(17))) / 37, abs=1e-3)
    assert region.point_lps_mm == (1.0, 0.0, 10.0)


@pytest.mark.parametrize(("spacing_mm", "most"), [(THICK_MM, 6), ((0.5, 1.0, 1.0), 60)])
def test_a_region_is_cut_beyond_30_mm_not_beyond_30_voxels(spacing_mm, most):
    uncertainty = nothing(most + 2, 3, 3)
    uncertainty[1:-1, 1, 1] = 0.9
    assert len(found(uncertainty, spacing_mm=spacing_mm)) == 1
    uncertainty[0, 1, 1] = 0.9
    assert len(found(uncertainty, spacing_mm=spacing_mm)) > 1


def test_a_place_is_a_ball_of_10_mm_around_the_block_where_uncertainty_gathers():
    """Of 5 x 1 x 1 mm voxels a block is 1 x 2 x 2 large, so its center lies between voxels."""
    uncertainty = nothing(9, 64, 80)
    uncertainty[:] = 0.76
    uncertainty[4, 30:32, 40:42] = 1.0
    ids = np.zeros(uncertainty.shape, np.uint8)
    numbered = {region.id: region for region in found(uncertainty, region_map=ids)}
    first = numbered[ids[4, 30, 40]]
    assert first.box_zyx == ((3, 5), (21, 40), (31, 50))
    z, y, x = np.indices(uncertainty.shape)
    away = np.sqrt((5.0 * (z - 4)) ** 2 + (y - 30.5) ** 2 + (x - 40.5) ** 2)
    assert np.array_equal(ids == first.id, away <= 10.0)


def test_a_voxel_at_the_threshold_belongs_to_a_region_and_one_voxel_of_a_structure_is_named():
    uncertainty, labels = nothing(3, 3, 9), np.zeros((3, 3, 9), np.uint8)
    uncertainty[1, 1, 1:6] = 0.75
    uncertainty[1, 1, 6:] = np.nextafter(np.float32(0.75), np.float32(0.0))
    labels[1, 1, 1], labels[1, 1, 2:] = 2, 1
    [region] = found(uncertainty, labels)
    assert region.box_zyx == ((1, 1), (1, 1), (1, 5))
    assert region.labels == ("a", "b")
