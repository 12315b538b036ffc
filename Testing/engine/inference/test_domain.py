"""Every limit of the flags, just inside and just outside of it, on a range of round numbers."""

from __future__ import annotations

import dataclasses

import pytest

from dycon_engine.data.seen import Range, ScanFacts, Seen
from dycon_engine.inference.domain import domain_flags, is_askew, volume_flags
from dycon_engine.inference.volumes import LabelVolume

BINS = 32


def shifted(share: float) -> tuple[tuple[float, ...], ...]:
    """Return a histogram whose distance to `shifted(0)` is 31/32 of `share`."""
    return ((1.0 - share, *[0.0] * (BINS - 2), share),)


SEEN = Seen(
    cases=9,
    spacing_mm=(Range(1.0, 2.0),) * 3,
    size_mm=(Range(100.0, 200.0),) * 3,
    turn_deg=Range(0.0, 3.0),
    percentiles=((Range(10.0, 20.0), Range(30.0, 40.0), Range(90.0, 110.0)),),
    non_air=Range(0.4, 0.5),
    histogram=shifted(0.0),
    exemplars=(shifted(0.0),),
    neighbor_distance=0.1,
    texture=(Range(1.0, 2.0),),
)
USUAL = ScanFacts(
    spacing_mm=(1.5, 1.5, 1.5),
    size_mm=(150.0, 150.0, 150.0),
    turn_deg=1.0,
    percentiles=((15.0, 35.0, 100.0),),
    minimum=(0.0,),
    non_air=0.45,
    histogram=shifted(0.0),
    texture=(1.5,),
)


def flagged(seen: Seen = SEEN, **changes) -> list[str]:
    """Return the topics that a scan raises which differs from a usual one by `changes`."""
    return [flag.topic for flag in domain_flags(dataclasses.replace(USUAL, **changes), seen)]


def test_a_usual_scan_raises_no_flag():
    assert flagged() == []


def at(values: tuple[float, ...], place: int, value: float) -> tuple[float, ...]:
    return (*values[:place], value, *values[place + 1 :])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "topic", "inside", "outside"),
    [
        ("spacing_mm", "spacing", (0.78, 2.59), (0.76, 2.61)),
        ("size_mm", "field-of-view", (77.0, 259.0), (76.0, 261.0)),
    ],
)
def test_voxels_and_sizes_may_differ_by_a_third_in_both_directions(
    name, topic, inside, outside, axis
):
    values = getattr(USUAL, name)
    for value in inside:
        assert flagged(**{name: at(values, axis, value)}) == []
    for value in outside:
        assert flagged(**{name: at(values, axis, value)}) == [topic]


@pytest.mark.parametrize(
    ("part", "inside", "outside"),
    [
        (0, (-39.0, 69.0), (-41.0, 71.0)),
        (1, (-19.0, 89.0), (-21.0, 91.0)),
        (2, (41.0, 159.0), (39.0, 161.0)),
    ],
)
def test_intensities_may_differ_by_half_of_the_whole_range_in_both_directions(
    part, inside, outside
):
    """From 10 to 110 it is, so by 50."""
    for value in inside:
        assert flagged(percentiles=(at(USUAL.percentiles[0], part, value),)) == []
    for value in outside:
        changed = dataclasses.replace(USUAL, percentiles=(at(USUAL.percentiles[0], part, value),))
        [flag] = domain_flags(changed, SEEN)
        assert flag.topic == "intensity"
        assert flag.message.startswith(("dark", "gray", "bright")[part])
        assert flag.detail == f"percentile {(1, 50, 99)[part]} of channel 0"


def test_each_input_is_compared_with_its_own_range():
    own = ((Range(10.0, 20.0), Range(30.0, 40.0), Range(90.0, 110.0)),)
    other = ((Range(1010.0, 1020.0), Range(1030.0, 1040.0), Range(1090.0, 1110.0)),)
    seen = dataclasses.replace(SEEN, percentiles=own + other)
    near, far = USUAL.percentiles[0], (1015.0, 1035.0, 1100.0)
    assert flagged(seen, percentiles=(near, far)) == []
    swapped = dataclasses.replace(USUAL, percentiles=(far, near))
    flags = domain_flags(swapped, seen)
    assert [flag.message.split(" have")[0] for flag in flags] == [
        "dark areas of input 1",
        "dark areas of input 2",
    ]


@pytest.mark.parametrize(
    ("name", "topic", "inside", "outside"),
    [
        ("non_air", "air", (0.251, 0.649), (0.249, 0.651)),
        ("texture", "texture", ((0.834,), (2.39,)), ((0.832,), (2.41,))),
    ],
)
def test_air_and_texture_have_limits_in_both_directions(name, topic, inside, outside):
    for value in inside:
        assert flagged(**{name: value}) == []
    for value in outside:
        assert flagged(**{name: value}) == [topic]


def test_contrast_may_lie_twice_as_far_off_as_training_scans_from_one_another():
    for distance, topics in ((0.199, []), (0.201, ["contrast"])):
        assert flagged(histogram=shifted(distance * BINS / (BINS - 1))) == topics
    alike = dataclasses.replace(SEEN, neighbor_distance=0.001)
    for distance, topics in ((0.039, []), (0.041, ["contrast"])):
        assert flagged(alike, histogram=shifted(distance * BINS / (BINS - 1))) == topics


def test_a_scan_is_askew_from_five_degrees_beyond_the_training_scans():
    for turn, askew in ((7.9, False), (8.1, True)):
        assert is_askew(turn, SEEN) is askew
        assert flagged(turn_deg=turn) == ["orientation"] * askew
    assert not is_askew(90.0, None)
    assert not is_askew(90.0, dataclasses.replace(SEEN, turn_deg=None))


def test_a_structure_may_have_half_the_smallest_and_twice_the_largest_volume():
    seen = dataclasses.replace(SEEN, volumes_ml=(Range(20.0, 100.0),))
    for ml, count in ((9.9, 1), (10.1, 0), (199.0, 0), (201.0, 1)):
        found = LabelVolume("a", 7, ml, ml, ml, None, review=False, reason="")
        assert len(volume_flags((found,), seen)) == count
