"""Flags in plain words where a scan is unlike those the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dycon_engine.data.seen import PERCENTILES, Range, ScanFacts, Seen, nearest_distance
from dycon_engine.inference.volumes import LabelVolume

SPACING_FACTOR = 1.3  # that far beyond the training scans is still called the same
SIZE_FACTOR = 1.3
INTENSITY_SLACK = 0.5  # of the training scans' whole intensity range
NON_AIR_SLACK = 0.15
TURN_SLACK_DEG = 5.0  # LA scans turned by 12 lose 0.08 of Dice at most if not straightened
NEIGHBOR_FACTOR = 2.0  # with the lowest bound: false flags on 2 to 4 % of unseen LA scans
LOWEST_BOUND = 0.04
TEXTURE_FACTOR = 1.2  # false flags on none of 80 LA scans, each against the others
VOLUME_FACTOR = 2.0  # the largest of 80 left atria is 7 times the smallest
AXES = ("head to foot", "front to back", "left to right")  # of the body, nearest to z, y, x
ALIGNED_DEG = 10.0  # turned further, a scan runs only roughly so
PARTS = ("dark", "gray", "bright")  # what the percentiles of the intensities stand for
WHOLE_MM = 10.0  # from here on a fraction of a millimeter tells nothing


class Flag(NamedTuple):
    """Something to know before trusting a result.

    Attributes:
        topic: A stable word for programs.
        message: For people.
        detail: What was compared, where that says nothing to people; '' where there is no more.
    """

    topic: str
    message: str
    detail: str = ""


def domain_flags(facts: ScanFacts, seen: Seen | None) -> tuple[Flag, ...]:
    """Return what about a scan lies outside the range of the training scans; () = nothing."""
    if seen is None:
        text = "it is not known what scans this model was trained on; check the result with care"
        return (Flag("range-unknown", text),)
    return (*_turn(facts, seen), *_grid(facts, seen), *_intensity(facts, seen))


def is_askew(turn_deg: float, seen: Seen | None) -> bool:
    """Return whether a scan lies further askew than a model is known to have seen."""
    known = None if seen is None else seen.turn_deg
    return known is not None and turn_deg > known.high + TURN_SLACK_DEG


def volume_flags(volumes: Sequence[LabelVolume], seen: Seen | None) -> tuple[Flag, ...]:
    """Return which structures have a size that none had in training; what is empty is left out.

    Args:
        volumes: One entry per label of the package, background left out.
        seen: Of the package.
    """
    if seen is None or not seen.volumes_ml:
        return ()
    return tuple(
        Flag(
            "volume",
            f"'{found.name}' measures {found.volume_ml:.4g} ml; in training scans it measured "
            f"{_text(known)} ml",
        )
        for found, known in zip(volumes, seen.volumes_ml, strict=True)
        if found.voxels
        and known.high > 0.0
        and not known.low / VOLUME_FACTOR <= found.volume_ml <= known.high * VOLUME_FACTOR
    )


def empty_flags(voxels: dict[str, int], *, region: bool = False) -> tuple[Flag, ...]:
    """Return what is missing in a result.

    Args:
        voxels: Per label name, background left out.
        region: Whether only a region of interest was looked at, which may leave structures out.
    """
    missing = [name for name, count in voxels.items() if count == 0]
    if not missing:
        return ()
    if len(missing) == len(voxels):
        where = "the region of interest" if region else "this scan"
        text = f"the segmentation is empty: none of the labels was found in {where}"
        return (Flag("empty-result", text),)
    if region:
        return ()
    return tuple(Flag("empty-label", f"'{name}' was not found in this scan") for name in missing)


def _turn(facts: ScanFacts, seen: Seen) -> Iterator[Flag]:
    if is_askew(facts.turn_deg, seen) and seen.turn_deg is not None:
        yield Flag(
            "orientation",
            f"the scan's axes are turned by {facts.turn_deg:.0f} degrees, those of training scans "
            f"by at most {seen.turn_deg.high:.0f}; it was straightened before segmentation",
        )


def _grid(facts: ScanFacts, seen: Seen) -> Iterator[Flag]:
    roughly = "" if facts.turn_deg <= ALIGNED_DEG else "roughly "
    for axis, value, known in zip(AXES, facts.spacing_mm, seen.spacing_mm, strict=True):
        if not known.low / SPACING_FACTOR <= value <= known.high * SPACING_FACTOR:
            yield Flag(
                "spacing",
                f"voxels measure {value:.3g} mm {roughly}{axis}; "
                f"in training scans {_text(known, '.3g')} mm",
            )
    for axis, value, known in zip(AXES, facts.size_mm, seen.size_mm, strict=True):
        if not known.low / SIZE_FACTOR <= value <= known.high * SIZE_FACTOR:
            form = ".0f" if min(value, known.low) >= WHOLE_MM else ".3g"
            yield Flag(
                "field-of-view",
                f"the scan covers {value:{form}} mm {roughly}{axis}; "
                f"training scans covered {_text(known, form)} mm",
            )


def _intensity(facts: ScanFacts, seen: Seen) -> Iterator[Flag]:
    pairs = zip(facts.percentiles, seen.percentiles, strict=True)
    for channel, (values, known) in enumerate(pairs):
        slack = INTENSITY_SLACK * (known[-1].high - known[0].low)
        where = f" of input {channel + 1}" if len(seen.percentiles) > 1 else ""
        for part, percent, value, limits in zip(PARTS, PERCENTILES, values, known, strict=True):
            if not limits.low - slack <= value <= limits.high + slack:
                yield Flag(
                    "intensity",
                    f"{part} areas{where} have values of about {value:.4g}; "
                    f"in training scans {_text(limits)}",
                    f"percentile {percent:g} of channel {channel}",
                )
                break
    low, high = seen.non_air
    if not low - NON_AIR_SLACK <= facts.non_air <= high + NON_AIR_SLACK:
        yield Flag(
            "air",
            f"{100 * facts.non_air:.0f} % of the scan is not air; "
            f"in training scans {_text(Range(100 * low, 100 * high), '.0f')} %",
        )
    yield from _texture(facts, seen)
    yield from _contrast(facts, seen)


def _texture(facts: ScanFacts, seen: Seen) -> Iterator[Flag]:
    for value, known in zip(facts.texture, seen.texture, strict=bool(seen.texture)):
        if not known.low / TEXTURE_FACTOR <= value <= known.high * TEXTURE_FACTOR:
            how, why = ("smoother", "blur") if value < known.low else ("noisier", "noise")
            yield Flag(
                "texture",
                f"the scan is {how} than any of the training scans: {why}, or another kind?",
                f"texture {value:.3g}, in training scans {_text(known)}",
            )
            break


def _contrast(facts: ScanFacts, seen: Seen) -> Iterator[Flag]:
    """Compare with the nearest training scan: scans of one kind differ much from their mean."""
    distance = nearest_distance(facts.histogram, seen.exemplars)
    bound = max(NEIGHBOR_FACTOR * seen.neighbor_distance, LOWEST_BOUND)
    if distance > bound:
        yield Flag(
            "contrast",
            "bright and dark are distributed unlike in any of the training scans: another modality "
            "or protocol?",
            f"distance to the nearest {distance:.3f}, expected at most {bound:.3f}",
        )


def _text(known: Range, form: str = ".4g") -> str:
    low, high = f"{known.low:{form}}", f"{known.high:{form}}"
    return low if low == high else f"{low} to {high}"
