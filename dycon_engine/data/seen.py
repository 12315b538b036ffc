"""The range of scans that a model was trained on, so that a foreign scan can be flagged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.orientation import axial_orientation
from dycon_engine.data.preprocessing import Prepared, strided
from dycon_engine.data.straightening import turn_deg
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError

BINS = 32
PERCENTILES = (1.0, 50.0, 99.0)
EXEMPLARS = 64  # histograms kept of the training scans
NEIGHBOR_QUANTILE = 0.9

Histogram = tuple[tuple[float, ...], ...]  # per channel, bins that sum to 1


class Range(NamedTuple):
    """Lowest and highest value."""

    low: float
    high: float


@dataclass(frozen=True)
class ScanFacts:
    """What is recorded of one scan; axes in network order (z, y, x).

    Attributes:
        spacing_mm: Voxel size of the scan's own grid.
        size_mm: Field of view.
        turn_deg: Largest angle between an axis of the grid and the nearest axis of the world.
        percentiles: Per channel the 1st, 50th and 99th of the raw intensities above the lowest.
        minimum: Lowest raw intensity per channel.
        non_air: Share of voxels above the scan's lowest value.
        histogram: Per channel, of the prepared intensities rescaled to their own range; sums to 1.
        texture: Per channel the root mean square difference of neighboring prepared voxels over
            their standard deviation: low in blurred scans, high in noisy ones.
    """

    spacing_mm: tuple[float, ...]
    size_mm: tuple[float, ...]
    turn_deg: float
    percentiles: tuple[tuple[float, ...], ...]
    minimum: tuple[float, ...]
    non_air: float
    histogram: Histogram
    texture: tuple[float, ...]


@dataclass(frozen=True)
class Seen:
    """Ranges over all training scans, labeled and unlabeled.

    Attributes:
        cases: Scans counted.
        spacing_mm: Range per axis (z, y, x).
        size_mm: Range of the field of view per axis (z, y, x).
        turn_deg: Range of the turn; None in older packages.
        percentiles: Per channel the ranges of the 1st, 50th and 99th raw percentile.
        non_air: Range of the share of voxels above the lowest value.
        histogram: Per channel the mean intensity histogram.
        exemplars: Histograms of at most `EXEMPLARS` scans, evenly taken; () in older packages.
        neighbor_distance: What nine of ten training scans do not exceed: the distance to the
            nearest exemplar other than the scan itself.
        texture: Per channel the range of the texture; () in older packages.
        volumes_ml: Per label, background left out, the range of its volume over the labeled scans
            that hold it, (0, 0) where none does; () in older packages.
    """

    cases: int
    spacing_mm: tuple[Range, ...]
    size_mm: tuple[Range, ...]
    turn_deg: Range | None
    percentiles: tuple[tuple[Range, ...], ...]
    non_air: Range
    histogram: Histogram
    exemplars: tuple[Histogram, ...]
    neighbor_distance: float
    texture: tuple[Range, ...] = ()
    volumes_ml: tuple[Range, ...] = ()

    @staticmethod
    def of(scans: Sequence[ScanFacts], volumes_ml: Sequence[Sequence[float]] = ()) -> Seen:
        """Return the ranges over `scans`, at least one.

        Args:
            scans: Labeled and unlabeled.
            volumes_ml: Per labeled scan the volume of each label, background left out.
        """
        mean = np.mean([scan.histogram for scan in scans], axis=0)
        histogram = tuple(tuple(float(value) for value in channel) for channel in mean)
        exemplars = _exemplars(scans)
        channels = len(scans[0].percentiles)
        return Seen(
            cases=len(scans),
            spacing_mm=tuple(_range([scan.spacing_mm[a] for scan in scans]) for a in range(3)),
            size_mm=tuple(_range([scan.size_mm[a] for scan in scans]) for a in range(3)),
            turn_deg=_range([scan.turn_deg for scan in scans]),
            percentiles=tuple(
                tuple(
                    _range([scan.percentiles[c][p] for scan in scans])
                    for p in range(len(PERCENTILES))
                )
                for c in range(channels)
            ),
            non_air=_range([scan.non_air for scan in scans]),
            histogram=histogram,
            exemplars=tuple(exemplars.values()),
            neighbor_distance=_neighbor_distance(scans, exemplars),
            texture=tuple(_range([scan.texture[c] for scan in scans]) for c in range(channels)),
            volumes_ml=tuple(
                _range([volume for volume in of_label if volume > 0.0] or [0.0])
                for of_label in zip(*volumes_ml, strict=True)
            ),
        )

    def as_table(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> Seen:
        """Return the ranges of `as_table`.

        Raises:
            InputError: The table is not one of `as_table`.
        """
        try:
            return Seen(
                cases=int(table["cases"]),
                spacing_mm=tuple(_read_range(pair) for pair in table["spacing_mm"]),
                size_mm=tuple(_read_range(pair) for pair in table["size_mm"]),
                turn_deg=_read_range(table["turn_deg"]) if table.get("turn_deg") else None,
                percentiles=tuple(
                    tuple(_read_range(pair) for pair in channel) for channel in table["percentiles"]
                ),
                non_air=_read_range(table["non_air"]),
                histogram=_floats(table["histogram"]),
                exemplars=tuple(_floats(item) for item in table.get("exemplars", ())),
                neighbor_distance=float(table.get("neighbor_distance", 0.0)),
                texture=tuple(_read_range(pair) for pair in table.get("texture", ())),
                volumes_ml=tuple(_read_range(pair) for pair in table.get("volumes_ml", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the table of scans seen in training is incomplete or damaged ({error!r})"
            ) from error


def scan_facts(image: Volume, prepared: Prepared) -> ScanFacts:
    """Return what is recorded of one scan, from its raw and its prepared voxels."""
    source = image.geometry
    axes = axial_orientation(source).axes
    flat = image.array.reshape(image.array.shape[0], -1)
    minimum = flat.min(axis=1)
    return ScanFacts(
        spacing_mm=tuple(source.spacing_mm[a] for a in axes),
        size_mm=tuple(source.spacing_mm[a] * source.size_zyx[a] for a in axes),
        turn_deg=turn_deg(source),
        percentiles=tuple(
            _tissue_percentiles(channel, low) for channel, low in zip(flat, minimum, strict=True)
        ),
        minimum=tuple(float(value) for value in minimum),
        non_air=float((flat > minimum[:, None]).any(axis=0).mean()),
        histogram=tuple(_histogram(channel[~prepared.air]) for channel in prepared.array),
        texture=tuple(_texture(channel, ~prepared.air) for channel in prepared.array),
    )


def histogram_distance(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """Return the earth mover's distance of two (C, bins) histograms, 0 to 1, largest channel."""
    difference = np.cumsum(np.asarray(one) - np.asarray(other), axis=-1)
    return float(np.abs(difference).mean(axis=-1).max())


def nearest_distance(histogram: Histogram, others: Iterable[Histogram]) -> float:
    """Return the `histogram_distance` to the nearest of `others`, 0 where there is none."""
    return min((histogram_distance(histogram, other) for other in others), default=0.0)


def facts_table(facts: ScanFacts) -> dict[str, Any]:
    """Return plain values for JSON."""
    return dataclasses.asdict(facts)


def facts_from_table(table: Mapping[str, Any]) -> ScanFacts:
    """Return the facts of `facts_table`; KeyError, TypeError or ValueError where it is not one."""
    return ScanFacts(
        spacing_mm=tuple(float(value) for value in table["spacing_mm"]),
        size_mm=tuple(float(value) for value in table["size_mm"]),
        turn_deg=float(table["turn_deg"]),
        percentiles=_floats(table["percentiles"]),
        minimum=tuple(float(value) for value in table["minimum"]),
        non_air=float(table["non_air"]),
        histogram=_floats(table["histogram"]),
        texture=tuple(float(value) for value in table["texture"]),
    )


def _exemplars(scans: Sequence[ScanFacts]) -> dict[int, Histogram]:
    """Return histograms, rounded, by the number of their scan."""
    chosen = np.linspace(0, len(scans) - 1, min(len(scans), EXEMPLARS)).round().astype(int)
    return {
        int(number): tuple(
            tuple(round(share, 5) for share in channel) for channel in scans[number].histogram
        )
        for number in chosen
    }


def _neighbor_distance(scans: Sequence[ScanFacts], exemplars: Mapping[int, Histogram]) -> float:
    distances = [
        nearest_distance(
            scan.histogram, (other for number, other in exemplars.items() if number != own)
        )
        for own, scan in enumerate(scans)
    ]
    return float(np.quantile(distances, NEIGHBOR_QUANTILE))


def _tissue_percentiles(channel: NDArray[Any], minimum: Any) -> tuple[float, ...]:
    tissue = strided(channel[channel > minimum])
    if tissue.size == 0:
        return (float(minimum),) * len(PERCENTILES)
    return tuple(float(value) for value in np.percentile(tissue, PERCENTILES))


def _texture(channel: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Return the mean over the axes; 0 where nothing differs."""
    deviation = float(channel[inside].std(dtype=np.float64)) if inside.any() else 0.0
    if deviation == 0.0:
        return 0.0
    steps = []
    for axis in range(3):
        both = np.moveaxis(inside, axis, 0)
        pairs = both[1:] & both[:-1]
        change = np.diff(np.moveaxis(channel, axis, 0), axis=0)[pairs]
        steps.append(np.sqrt(np.square(change).mean(dtype=np.float64)) if change.size else 0.0)
    return float(np.mean(steps)) / deviation


def _histogram(values: NDArray[np.float32]) -> tuple[float, ...]:
    """Return 32 shares over the 0.5 to 99.5 percentile range: the shape, whatever the scale."""
    values = strided(values)
    if values.size == 0:
        return (1.0,) + (0.0,) * (BINS - 1)
    low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    counts, _ = np.histogram(
        np.clip(values, low, high), bins=BINS, range=(low, max(high, low + 1e-6))
    )
    return tuple(float(count) / values.size for count in counts)


def _floats(rows: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in rows)


def _range(values: Sequence[float]) -> Range:
    return Range(float(min(values)), float(max(values)))


def _read_range(pair: Any) -> Range:
    low, high = pair
    return Range(float(low), float(high))
