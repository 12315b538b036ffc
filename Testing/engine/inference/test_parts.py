"""Pieces, regions, flags, volumes and memory, each on something small enough to see through."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import psutil
import pytest
import torch
from scipy import ndimage

from dycon_engine.config import NetworkConfig
from dycon_engine.data.geometry import Box, Geometry
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.seen import Range, scan_facts
from dycon_engine.errors import OutOfMemoryError
from dycon_engine.inference.domain import domain_flags, empty_flags, volume_flags
from dycon_engine.inference.memory import (
    _cgroup_bytes,
    available_bytes,
    check_fits,
    is_out_of_memory,
    needed_bytes,
    window_features,
)
from dycon_engine.inference.pictures import nearest_voxel
from dycon_engine.inference.postprocessing import keep_components
from dycon_engine.inference.regions import uncertain_regions
from dycon_engine.inference.result import Result, Wishes
from dycon_engine.inference.volumes import LabelVolume, Tally, review_reason, thresholds_reached
from dycon_engine.networks.composing import Composition
from Testing import tiny_package


def pieces() -> np.ndarray:
    labels = np.zeros((8, 8, 8), dtype=np.uint8)
    labels[0:3, 0:3, 0:3] = 1  # 27 voxels
    labels[6, 6, 6] = labels[7, 7, 7] = 1  # 2, touching by a corner
    labels[0, 7, 0] = 2
    return labels


def test_largest_piece_per_label():
    cleaned, removed = keep_components(pieces(), 3, voxel_mm3=1.0, largest=True)
    assert (cleaned == 1).sum() == 27
    assert (cleaned == 2).sum() == 1
    assert removed == {1: 2}


@pytest.mark.parametrize(
    ("minimum", "ones", "twos"),
    [(0, 29, 1), (3.9, 29, 1), (4, 29, 0), (7.8, 29, 0), (7.9, 27, 0), (109, 0, 0)],
)
def test_minimum_volume_is_in_mm3(minimum, ones, twos):
    cleaned, _ = keep_components(pieces(), 3, voxel_mm3=3.9, minimum_mm3=minimum)
    assert ((cleaned == 1).sum(), (cleaned == 2).sum()) == (ones, twos)


def test_regions_are_ranked_by_volume_times_mean_with_their_place():
    geometry = Geometry.from_parts((10, 10, 10), (2.0, 1.0, 1.0), (100.0, 0.0, -5.0))
    uncertainty = np.zeros((10, 10, 10), dtype=np.float32)
    uncertainty[1, 1, 1:3] = 1.0  # mass 2
    uncertainty[6:8, 5, 5:7] = 0.8  # mass 3.2
    uncertainty[9, 9, 9] = 0.5  # below
    labels = np.zeros((10, 10, 10), dtype=np.uint8)
    labels[6, 4, 5] = 2
    first, second = uncertain_regions(uncertainty, labels, geometry, ("bg", "a", "b"))
    assert (first.id, first.volume_mm3, first.mean_uncertainty) == (1, 8.0, 0.8)
    assert first.score == pytest.approx(6.4)
    assert first.centroid_lps_mm == (105.5, 5.0, 8.0)
    assert first.centroid_ras_mm == (-105.5, -5.0, 8.0)
    assert first.box_zyx == ((6, 7), (5, 5), (5, 6))
    assert first.labels == ("b",)
    assert second.volume_mm3 == 4.0
    assert uncertain_regions(uncertainty * 0, labels, geometry, ("bg", "a", "b")) == ()
    assert len(uncertain_regions(uncertainty, labels, geometry, ("bg", "a", "b"), most=1)) == 1


def test_the_point_of_a_curved_region_lies_in_it():
    geometry = Geometry.from_parts((3, 20, 20), (4.0, 1.0, 1.0), (100.0, 0.0, -5.0))
    uncertainty = np.zeros((3, 20, 20), dtype=np.float32)
    rows, columns = np.mgrid[:20, :20]
    uncertainty[1] = (np.abs(np.hypot(rows - 9, columns - 9) - 7) < 0.8) & (rows < 12)
    labels, ids = np.zeros((2, 3, 20, 20), np.uint8)
    (region,) = uncertain_regions(uncertainty, labels, geometry, ("bg",), region_map=ids)

    def value_at(point_lps_mm):
        return ids[tuple(nearest_voxel(point_lps_mm, geometry))]

    assert value_at(region.centroid_lps_mm) == 0  # in the hollow
    assert value_at(region.point_lps_mm) == 1
    x, y, z = region.point_lps_mm
    assert region.point_ras_mm == (-x, -y, z)
    own = [geometry.to_world(index) for index in np.argwhere(ids)]
    away = np.linalg.norm(np.subtract(own, region.centroid_lps_mm), axis=1)
    reached = np.linalg.norm(np.subtract(region.point_lps_mm, region.centroid_lps_mm))
    assert reached == pytest.approx(away.min(), abs=2e-3)


def test_neither_size_nor_doubt_alone_ranks_a_region():
    uncertainty = np.zeros((8, 8, 8), dtype=np.float32)
    uncertainty[0, 0, :5] = 0.76  # the largest: 5 voxels, 3.8 in all
    uncertainty[3, 3, :4] = 0.98  # 4 voxels, 3.92 in all
    uncertainty[6, 6, :3] = 1.0  # the least certain: 3 voxels, 3 in all
    found = uncertain_regions(
        uncertainty, np.zeros((8, 8, 8), np.uint8), Geometry.from_parts((8, 8, 8)), ("bg",)
    )
    assert [region.volume_mm3 for region in found] == [4.0, 5.0, 3.0]


def test_the_rim_of_an_organ_is_cut_where_uncertainty_gathers():
    geometry = Geometry.from_parts((4, 60, 60), (2.0, 1.0, 1.0))
    uncertainty = np.zeros((4, 60, 60), dtype=np.float32)
    uncertainty[1, 5, 5:55] = uncertainty[1, 54, 5:55] = 0.8
    uncertainty[1, 5:55, 5] = uncertainty[1, 5:55, 54] = 0.8  # a rim, 50 mm wide
    uncertainty[:, 26:34, 50:55] = 0.9  # thick here
    labels = np.ones((4, 60, 60), dtype=np.uint8)
    found = uncertain_regions(uncertainty, labels, geometry, ("bg", "a"))
    first = found[0]
    assert np.allclose(first.centroid_lps_mm[:2], (52, 29.5), atol=1.5)
    assert all(high - low <= 20 for region in found for low, high in region.box_zyx)
    assert 8 <= len(found) <= 20
    assert len(uncertain_regions(uncertainty, labels, geometry, ("bg", "a"), most=2)) == 2
    total = sum(region.volume_mm3 for region in found)
    assert total == pytest.approx(2.0 * (uncertainty > 0).sum())


def test_regions_beyond_the_most_important_are_counted():
    geometry = Geometry.from_parts((64, 64, 64))
    uncertainty = np.zeros((64, 64, 64), dtype=np.float32)
    for z, y in itertools.product(range(4, 60, 10), repeat=2):
        uncertainty[z : z + 4, y : y + 4, 10:14] = 0.9
    labels = np.zeros((64, 64, 64), dtype=np.uint8)
    found = uncertain_regions(uncertainty, labels, geometry, ("bg",))
    assert (len(found), found[0].out_of) == (20, 36)
    uncertainty[:, 30:32, 40:42] = uncertainty[32, :, 40:42] = 0.8  # one cross, 64 mm wide
    found = uncertain_regions(uncertainty, labels, geometry, ("bg",))
    assert found[-1].out_of == len(
        uncertain_regions(uncertainty, labels, geometry, ("bg",), most=100)
    )
    assert found[-1].out_of > 40
    few = uncertain_regions(uncertainty, labels, geometry, ("bg",), most=3)
    assert [region.score for region in few] == [region.score for region in found[:3]]


def test_volume_range_comes_from_the_probabilities():
    ball = torch.tensor([0.1, 0.3, 0.6, 0.9]).view(1, 1, 2, 2)
    tally = Tally(1)
    tally.add(ball)
    labels = (ball[0].numpy() > 0.5).astype(np.uint8)
    geometry = Geometry.from_parts((1, 2, 2), (10.0, 10.0, 10.0))
    (volume,) = tally.volumes(labels, None, ("bg", "ball"), geometry)
    assert (volume.low_ml, volume.volume_ml, volume.high_ml) == pytest.approx((1.0, 2.0, 3.0))
    tally.remove(np.array([1, 1], np.uint8), thresholds_reached(ball)[:, 0, 1])  # the labeled ones
    (removed,) = tally.volumes(labels * 0, None, ("bg", "ball"), geometry)
    assert (removed.low_ml, removed.volume_ml, removed.high_ml) == pytest.approx((0.0, 0.0, 1.0))
    assert removed.removed_ml == pytest.approx(2.0)


def test_a_volume_lies_in_its_range_even_where_the_likeliest_of_many_classes_is_unlikely():
    """Of six that are nearly alike none reaches the probability of what is possible."""
    even = torch.full((5, 5, 2, 1), 0.16)
    even[1] = 0.2
    first, second, *_ = finished(even).volumes
    assert (first.voxels, first.high_ml) == (0, 0.0)
    assert (second.low_ml, second.volume_ml, second.high_ml) == pytest.approx((0.0, 10.0, 10.0))


def two_structures(size=(10, 14, 12)) -> torch.Tensor:
    """Return the probabilities (2, D, H, W) of two soft balls that touch."""
    grid = np.meshgrid(*[np.arange(n) for n in size], indexing="ij")
    centers = ((5, 5, 5), (5, 9, 5))
    away = [np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, at, strict=True))) for at in centers]
    leads = np.stack([2.5 - away[0], 2.0 - away[1], np.zeros(size)]) * 1.5
    return torch.from_numpy(np.exp(leads) / np.exp(leads).sum(0))[:2].float()


def finished(foreground, **wishes):
    """Return the prediction of probabilities that come in two parts."""
    geometry = Geometry.from_parts(tuple(foreground.shape[1:]), (10.0, 10.0, 10.0))
    result = Result(len(foreground) + 1, geometry, Wishes(uncertainty=None, **wishes))
    for part in (slice(0, 4), slice(4, None)):
        result.add(lambda array, part=part: array[..., part, :, :], foreground[:, part])
    names = ["bg", *"abcdefghij"[: len(foreground)]]
    return result.finish(names, np.arange(len(names)), ())


def test_of_two_equal_scans_in_one_the_largest_pieces_count_as_those_of_one():
    alone, both = two_structures(), torch.cat([two_structures()] * 2, dim=3)
    twice, kept = finished(both).volumes, finished(both, largest_component=True).volumes
    assert all(volume.high_ml > 1.1 * volume.volume_ml > 0 for volume in twice)
    for one, two, after in zip(finished(alone).volumes, twice, kept, strict=True):
        assert two.high_ml == pytest.approx(2 * one.high_ml)
        assert after == one._replace(removed_ml=one.volume_ml)


def voxels_of(mask):
    return {tuple(map(int, at)) for at in np.argwhere(mask)}


def reachable(open_voxels, start):
    """Return the voxels joined to `start` by faces, edges or corners, one by one."""
    found, waiting = set(start), list(start)
    while waiting:
        at = waiting.pop()
        for step in np.ndindex(3, 3, 3):
            beside = tuple(int(a + s - 1) for a, s in zip(at, step, strict=True))
            if beside in open_voxels and beside not in found:
                found.add(beside)
                waiting.append(beside)
    return found


def scattered(classes):
    """Return probabilities (K - 1, D, H, W) of many small blobs, some of which nearly touch."""
    noise = np.random.default_rng(classes).normal(0.0, 1.0, (classes, 12, 24, 24))
    leads = ndimage.gaussian_filter(noise, (0, 1, 1, 1)) * 10.0
    leads[0] += 5.0
    scores = np.exp(leads)
    return (scores / scores.sum(0))[1:].astype(np.float32)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_removed_piece_takes_its_rim_along_unless_a_kept_piece_is_joined_to_it(classes):
    likely = scattered(classes)
    labels = np.where(likely.max(0) > 1 - likely.sum(0), likely.argmax(0) + 1, 0).astype(np.uint8)
    kept, _ = keep_components(labels.copy(), classes, voxel_mm3=1.0, minimum_mm3=20)
    possible = voxels_of((likely >= 0.25).any(0) | (labels > 0))
    stays = reachable(possible, voxels_of(kept > 0))
    gone = voxels_of(kept != labels)
    rims = reachable(possible - stays, gone - stays)
    assert gone & stays
    assert rims - gone
    left = possible - gone - rims
    volumes = finished(torch.from_numpy(likely), minimum_mm3=20000.0).volumes
    for index, volume in enumerate(volumes):
        low, high = (
            sum(likely[(index, *at)] >= at_least for at in left) for at_least in (0.75, 0.25)
        )
        removed = int((labels == index + 1).sum()) - volume.voxels
        assert volume.voxels == (kept == index + 1).sum()
        assert (volume.low_ml, volume.high_ml) == pytest.approx((low, max(high, volume.voxels)))
        assert volume.removed_ml == pytest.approx(removed)


@pytest.mark.parametrize("size", [(9, 8, 7), (1, 5, 5), (2, 4, 4), (3, 3, 3)])
def test_the_boundary_is_what_an_erosion_takes_away(size):
    generator = np.random.default_rng(1)
    uncertainty = generator.random(size, dtype=np.float32)
    labels = (generator.random(size) < 0.9).astype(np.uint8)
    labels[0, 0, 0] = labels[-1, -1, -1] = 1  # the label fills its box
    edge = (labels == 1) & ~ndimage.binary_erosion(labels)
    tally, names = Tally(1), ("bg", "a")
    (volume,) = tally.volumes(labels, uncertainty, names, Geometry.from_parts(size))
    assert volume.boundary_uncertainty == pytest.approx(uncertainty[edge].mean(dtype=float))


@pytest.mark.parametrize(
    ("voxels", "low", "high", "words"),
    [
        (100, 85, 124, ""),
        (100, 60, 115, "40 % less if only sure voxels count, 15 % more if all possible ones do"),
        (0, 0, 40, "not found"),
    ],
)
def test_a_label_to_review_says_why(voxels, low, high, words):
    reason = review_reason(voxels, low, high)
    assert (words in reason) if words else not reason


def test_a_region_names_the_structures_in_it_before_those_near_it():
    geometry = Geometry.from_parts((4, 8, 8))
    uncertainty = np.zeros((4, 8, 8), dtype=np.float32)
    labels = np.zeros((4, 8, 8), dtype=np.uint8)
    uncertainty[1, 1, 1:6] = 0.9
    labels[1, 1, 1:3] = 1
    labels[1, 1, 3:6] = 2
    uncertainty[3, 7, 7] = 0.9
    numbers = np.zeros((4, 8, 8), dtype=np.uint8)
    names = ("bg", "a", "b")
    first, second = uncertain_regions(uncertainty, labels, geometry, names, region_map=numbers)
    assert first.labels == ("b", "a")
    assert second.labels == ("b",)
    assert (numbers[1, 1, 1:6] == first.id).all()
    assert numbers[3, 7, 7] == second.id
    assert (numbers > 0).sum() == 6
    assert uncertain_regions(uncertainty, labels * 0, geometry, names)[0].labels == ()


def facts(**changes):
    image = tiny_package.scan(9, **changes)
    return scan_facts(image, Preprocessing(tiny_package.SPACING).prepare(image))


def test_a_scan_like_the_training_scans_raises_no_flag():
    assert domain_flags(facts(), tiny_package.info().seen) == ()


@pytest.mark.parametrize(
    ("change", "topic"),
    [
        ({"spacing_mm": (5.0, 1.5, 1.5)}, "spacing"),
        ({"size_mm": (32.0, 80.0, 30.0)}, "field-of-view"),
        ({"percentiles": ((400.0, 900.0, 2000.0),)}, "intensity"),
        ({"non_air": 0.05}, "air"),
        ({"histogram": ((1.0,) + (0.0,) * 31,)}, "contrast"),
        ({"texture": (0.01,)}, "texture"),
        ({"texture": (3.0,)}, "texture"),
    ],
)
def test_a_foreign_scan_is_flagged_in_words(change, topic):
    flags = domain_flags(dataclasses.replace(facts(), **change), tiny_package.info().seen)
    assert topic in {flag.topic for flag in flags}
    assert all("training scans" in flag.message for flag in flags)


@pytest.mark.parametrize(("turn_deg", "words"), [(4.0, "mm head to"), (30.0, "mm roughly head")])
def test_axes_are_those_of_the_body_in_whole_millimeters(turn_deg, words):
    seen = tiny_package.info().seen
    size = (seen.size_mm[0].high * 2, *(known.low for known in seen.size_mm[1:]))
    scan = dataclasses.replace(facts(), size_mm=size, turn_deg=turn_deg)
    [flag] = (f for f in domain_flags(scan, seen) if f.topic == "field-of-view")
    low, high = seen.size_mm[0]
    assert flag.message.startswith(f"the scan covers {size[0]:.0f} {words}")
    known = f"{low:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"
    assert flag.message.endswith(f"training scans covered {known} mm")
    for axis, name in enumerate(("head to foot", "front to back", "left to right")):
        spacing = tuple(
            9.0 if at == axis else known.low for at, known in enumerate(seen.spacing_mm)
        )
        [flag] = domain_flags(dataclasses.replace(facts(), spacing_mm=spacing), seen)
        assert flag.message.startswith(f"voxels measure 9 mm {name}; in training scans ")


def test_internal_figures_are_kept_apart_from_what_people_read():
    foreign = {"histogram": ((1.0,) + (0.0,) * 31,), "texture": (0.01,)}
    scan = dataclasses.replace(facts(), **foreign)
    details = {}
    for flag in domain_flags(scan, tiny_package.info().seen):
        assert not any(letter.isdigit() for letter in flag.message)
        details[flag.topic] = flag.detail
    assert details["contrast"].startswith("distance to the nearest 0.")
    assert details["texture"].startswith("texture 0.01")


def test_texture_says_on_which_side_a_scan_lies():
    seen = tiny_package.info().seen
    words = {0.01: "smoother", 3.0: "noisier"}
    for value, word in words.items():
        [flag] = domain_flags(dataclasses.replace(facts(), texture=(value,)), seen)
        assert word in flag.message
    older = dataclasses.replace(seen, texture=())
    assert domain_flags(dataclasses.replace(facts(), texture=(3.0,)), older) == ()


def volume(name, ml):
    return LabelVolume(name, round(ml), ml, ml, ml, None, review=False, reason="")


def test_a_size_that_no_training_scan_had_is_flagged():
    ranges = (Range(20.0, 100.0), Range(0.0, 0.0), Range(5.0, 6.0))
    seen = dataclasses.replace(tiny_package.info().seen, volumes_ml=ranges)
    usual = (volume("a", 11.0), volume("nowhere in training", 900.0), volume("a", 11.0))
    assert volume_flags(usual, seen) == ()
    [large, small] = volume_flags((volume("a", 201.0), usual[1], volume("a", 2.4)), seen)
    assert large.message == "'a' measures 201 ml; in training scans it measured 20 to 100 ml"
    assert (large.topic, small.topic) == ("volume", "volume")
    assert volume_flags((volume("a", 0.0), *usual[1:]), seen) == ()  # `empty_flags` says so
    assert volume_flags(usual, None) == ()
    assert volume_flags(usual, dataclasses.replace(seen, volumes_ml=())) == ()


def test_an_unknown_range_is_said():
    assert domain_flags(facts(), None)[0].topic == "range-unknown"


def test_what_was_not_found_is_said():
    assert empty_flags({"a": 1, "b": 2}) == ()
    assert empty_flags({"a": 0, "b": 2})[0].message == "'a' was not found in this scan"
    assert empty_flags({"a": 0})[0].topic == "empty-result"


def test_a_region_of_interest_lacks_nothing_but_where_it_holds_nothing_at_all():
    one_structure = two_structures() * torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)
    everywhere, corner = Box((-5.0,) * 3, (500.0,) * 3), Box((85.0,) * 3, (95.0,) * 3)
    [flag] = finished(one_structure).flags
    assert (flag.topic, flag.message) == ("empty-label", "'b' was not found in this scan")
    assert finished(one_structure, roi=everywhere).flags == ()
    [flag] = finished(one_structure, roi=corner).flags
    assert flag.topic == "empty-result"
    assert flag.message.endswith("none of the labels was found in the region of interest")


@pytest.mark.parametrize(
    ("removed", "kept", "told"),
    [(3, 100, True), (1, 2, False), (3, 400, False), (4, 400, False), (5, 400, True)],
)
def test_what_was_removed_in_blank_voxels_is_told_from_a_tenth_of_a_milliliter_and_a_hundredth_on(
    removed, kept, told
):
    geometry = Geometry.from_parts((1, 1, 500), (5.0, 2.0, 5.0))  # 0.05 ml
    foreground, blank = torch.zeros(1, 1, 1, 500), np.zeros((1, 1, 500), dtype=bool)
    foreground[..., : removed + kept], blank[..., :removed] = 1.0, True
    result = Result(2, geometry, Wishes(uncertainty=None))
    result.exclude(blank)
    result.add(lambda array: array, foreground)
    flags = result.finish(["bg", "a"], np.arange(2), ()).flags
    assert [flag.topic for flag in flags] == ["blank"] * told
    assert all(flag.message.startswith(f"{removed * 0.05:.3g} ml of 'a'") for flag in flags)


def test_available_memory_is_no_more_than_the_machine_says():
    assert 0 < available_bytes() <= psutil.virtual_memory().total


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is read from /proc")
def test_the_limit_of_the_address_space_is_respected():
    code = (
        "import resource\n"
        "from dycon_engine.inference.memory import available_bytes\n"
        "before = available_bytes()\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "limit = pages * resource.getpagesize() + 64 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "assert 0 < available_bytes() <= 64 * 2**20 < before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def group(folder, limit, used, stat="", names=("memory.max", "memory.current")):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip((*names, "memory.stat"), (limit, used, stat), strict=True):
        (folder / name).write_text(f"{text}\n")


def test_a_container_s_page_cache_is_not_taken_for_used(tmp_path):
    stat = "anon 100\ninactive_file 600\nactive_file 200\nslab_reclaimable 50"
    group(tmp_path / "root", 1000, 950, stat)
    assert _cgroup_bytes(tmp_path / "root", tmp_path / "none") == 700
    group(tmp_path / "root", "max", 950, stat)
    assert _cgroup_bytes(tmp_path / "root", tmp_path / "none") is None


def test_the_own_group_and_those_above_it_limit_without_a_file_at_the_root(tmp_path):
    root, own = tmp_path / "root", tmp_path / "cgroup"
    own.write_text("0::/user/job\n")
    assert _cgroup_bytes(root, own) is None
    group(root / "user" / "job", 1000, 100)
    assert _cgroup_bytes(root, own) == 900
    group(root / "user", 800, 300)
    assert _cgroup_bytes(root, own) == 500


def test_groups_of_version_1_limit_too(tmp_path):
    root, own = tmp_path / "root", tmp_path / "cgroup"
    own.write_text("5:cpu,cpuacct:/a\n4:memory:/docker/x\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group(root / "memory", 2000, 900, "total_inactive_file 400", names)
    assert _cgroup_bytes(root, own) == 1500


def test_needed_memory_grows_with_voxels_and_classes():
    options = {"channels": 1, "classes": 2, "patch_size": (8, 8, 8), "features": 160}
    small = needed_bytes((64, 64, 64), (64, 64, 64), **options)
    large = needed_bytes((128, 64, 64), (128, 64, 64), **options)
    flat = 3 * 2 * 4 * 2**22  # pieces are of one size
    assert 1.5 < (large - flat) / (small - flat) < 2.1
    more = needed_bytes((64, 64, 64), (64, 64, 64), **(options | {"classes": 14}))
    assert more > small + 12 * 8 * 64**2 * 4
    kept = needed_bytes((64, 64, 64), (64, 64, 64), probabilities=True, **options)
    assert kept == small + 3 * 2 * 64**3 * 4  # kept, handed to the writer and read back
    more = needed_bytes((64, 64, 64), (64, 64, 64), **(options | {"features": 170}))
    assert more == small + 10 * 8**3 * 4
    with pytest.raises(OutOfMemoryError, match="needs about 2 MiB of memory, 1 MiB are available"):
        check_fits(2**21, 2**20, "case 'x'")


def test_the_features_of_a_window_cover_what_was_measured_of_each_kind_of_network():
    """Floats per voxel of a 48x64x64 window, peak of the process, instance norm, 4 levels."""
    plain, stem = NetworkConfig(filters=(16, 32, 64, 128)), NetworkConfig(filters=(16, 32), stem=2)
    both = Composition(kind="mean_of_two", second="resunet3d")
    scales = Composition(kind="dual_scale", cross_level=True, fusion=True)
    measured = [
        (plain, Composition(), 120),
        (stem, Composition(), 22),
        (plain, both, 161),
        (plain, scales, 257),
        (stem, scales, 38),
    ]
    for network, composition, floats in measured:
        assert floats < window_features(network, composition) < 2 * floats


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `c`"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_lack_of_memory_is_recognised(error, answer):
    assert is_out_of_memory(error) is answer


def test_real_lack_of_memory_is_recognised():
    with pytest.raises(RuntimeError) as no:
        torch.empty(2**52)
    assert is_out_of_memory(no.value)
