"""The single checks of the data-set audit; each yields one plain line per finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dycon_engine.config import DataConfig
from dycon_engine.data.aligning import GRID_TOLERANCE
from dycon_engine.data.cases import Dataset, Label, lacks_spacing, size_text
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.orientation import axial_orientation
from dycon_engine.data.splits import Split
from dycon_engine.data.survey import Scan

MAX_CLASSES = 255
SPACING_OUTLIER = 3.0  # times the median
SHOWN = 3  # names in a sentence
MANY_CHANNELS = 5  # more than modalities come in one file; time series have as many


class Finding(NamedTuple):
    """One thing to know about a data set.

    Attributes:
        topic: A stable word for programs.
        cases: Those it is about; () = the data set as a whole.
        message: One plain line.
    """

    topic: str
    cases: tuple[str, ...]
    message: str


@dataclass(frozen=True, eq=False)
class LabelFacts:
    """What is known of one label map: its values and their voxels, its grid, or its problem.

    `names` says what the file calls its values; {} where it has no names. `blank` counts those of
    the voxels that lie where the image is blank (`data.blank`).
    """

    name: str
    voxels: Mapping[int, int]
    geometry: Geometry | None = None
    problem: str = ""
    names: Mapping[int, str] = field(default_factory=dict)
    blank: Mapping[int, int] = field(default_factory=dict)


def unreadable(scans: Iterable[Scan]) -> Iterable[Finding]:
    """Yield scans that cannot be read."""
    for scan in scans:
        if scan.problem:
            yield Finding("unreadable", (scan.name,), scan.problem)


def voxel_problems(scans: Iterable[Scan]) -> Iterable[Finding]:
    """Yield scans of no or one voxel, with NaN or infinity, or of one value."""
    for scan in scans:
        voxels = np.prod(scan.geometry.size_zyx) if scan.geometry else 0
        text = ""
        if voxels <= 1:
            text = f"image has {voxels} voxels; remove the case"
        elif not scan.finite:
            text = (
                "image holds NaN or infinite voxels, expected numbers; export it again or remove "
                "the case"
            )
        elif scan.low == scan.high:
            text = (
                f"image is constant ({scan.low[0]:g} in every voxel), expected a scan; export it "
                "again or remove the case"
            )
        if text:
            yield Finding("voxels", (scan.name,), f"case '{scan.name}': {text}")


def channel_problems(scans: Sequence[Scan], channels: Sequence[str]) -> Iterable[Finding]:
    """Yield scans whose number of channels is not that of the data set or the others."""
    usual = len(channels) or usual_channels(scans)
    for scan in scans:
        if scan.channels != usual:
            yield Finding(
                "channels",
                (scan.name,),
                f"case '{scan.name}': image has {scan.channels} channels, expected {usual} as the "
                f"{'data set says' if channels else 'other cases'}; add or remove channels, "
                "or remove the case",
            )


def label_map_warnings(scans: Iterable[Scan]) -> Iterable[Finding]:
    """Yield images that hold what label maps hold: a few whole numbers."""
    for scan in scans:
        if scan.whole_values > 1:
            yield Finding(
                "voxels",
                (scan.name,),
                f"case '{scan.name}': image holds only {scan.whole_values} different values, all "
                "whole numbers, as a label map does; remove it from the images if it is one",
            )


def unnamed_channel_warnings(scans: Sequence[Scan], dataset: Dataset) -> Iterable[Finding]:
    """Yield scans whose one file holds many channels without a name, as time series do."""
    files = {case.name: len(case.images) for case in dataset.cases}
    many = [s for s in scans if s.channels >= MANY_CHANNELS and files[s.name] == 1]
    if dataset.channels or not many:
        return
    names = tuple(scan.name for scan in many)
    yield Finding(
        "channels",
        names,
        f"case{'' if len(names) == 1 else 's'} {sampled(names)}: {many[0].channels} channels in "
        "one file, which nobody named; the network sees all of them at once: make one case of "
        "each point in time if it is a time series, else name them (channels = [...] in a "
        "manifest)",
    )


def label_problems(
    stored: Iterable[LabelFacts], scans: Mapping[str, Scan], labels: Sequence[Label]
) -> Iterable[Finding]:
    """Yield label maps that cannot be read, lie elsewhere or hold unknown values without a name."""
    for facts in stored:
        image = scans[facts.name].geometry
        if facts.problem:
            yield Finding("label-unreadable", (facts.name,), facts.problem)
        elif facts.geometry is not None and image is not None:
            yield from _grid_problems(facts.name, facts.geometry, image)
        negative = sorted(value for value in facts.voxels if value < 0)
        known = {label.value for label in labels}
        unknown = sorted(set(facts.voxels) - known - set(facts.names)) if labels else negative
        if unknown:
            expected = f"only {_listed(sorted(known))}" if labels else "0 and positive numbers"
            yield Finding(
                "label-values",
                (facts.name,),
                f"case '{facts.name}': label holds the values {_listed(unknown)}, expected "
                f"{expected}; correct the label map or the list of labels",
            )
        if not labels and len(facts.voxels) > MAX_CLASSES:
            yield Finding(
                "label-values",
                (facts.name,),
                f"case '{facts.name}': label holds {len(facts.voxels)} different values, expected "
                "few; it seems to be an image",
            )


def _grid_problems(name: str, label: Geometry, image: Geometry) -> Iterable[Finding]:
    if label.size_zyx != image.size_zyx:
        text = (
            f"label is {size_text(label.size_zyx)} but image is {size_text(image.size_zyx)}; "
            "resample the label or exclude the case"
        )
        yield Finding("grid", (name,), f"case '{name}': {text}")
        return
    distance = label.corner_distance_voxels(image)
    if not distance <= GRID_TOLERANCE:
        text = (
            f"label lies {distance:.2f} voxels away from the image, expected at most "
            f"{GRID_TOLERANCE}; check spacing, origin and direction of both"
        )
        yield Finding("grid", (name,), f"case '{name}': {text}")


def role_problems(dataset: Dataset, split: Split, *, needs_unlabeled: bool) -> Iterable[Finding]:
    """Yield roles that are empty or ask for a label that is not there."""
    held_out = len(split.validation) + len(split.test)
    if not split.labeled and held_out:
        text = (
            f"no labeled case is left, all {held_out} are validation or test; lower "
            "data.validation or data.test, or add label maps"
        )
        yield Finding("roles", (), text)
    elif not split.labeled:
        text = "no labeled case, expected at least one; add label maps or check their names"
        yield Finding("roles", (), text)
    if needs_unlabeled and not split.unlabeled:
        yield Finding(
            "roles",
            (),
            "no unlabeled case, but the method learns from unlabeled scans; add scans without "
            f"label, train on fewer labels (data.labeled, now all {len(split.labeled)}) or choose "
            "method.name = supervised",
        )
    for role, names in split.roles.items():
        for name in names if role != "unlabeled" else ():
            if dataset.case(name).label is None and role != "test":
                text = f"case '{name}': is {role} but has no label map; draw one or change its role"
                yield Finding("roles", (name,), text)


def assumed_spacing(dataset: Dataset, config: DataConfig) -> Iterable[Finding]:
    """Yield one line where files carry no spacing and none was given."""
    without = [case for case in dataset.cases if lacks_spacing(case.images[0])]
    if without and config.spacing_mm is None:
        yield Finding(
            "spacing",
            (),
            "HDF5 files carry no spacing, so 1x1x1 mm is assumed; give theirs (z, y, x), e.g. "
            "data.spacing_mm = [0.625, 0.625, 0.625]",
        )


def spacing_warnings(scans: Sequence[Scan]) -> Iterable[Finding]:
    """Yield scans whose spacing is far from the median."""
    spacings = {scan.name: oriented_spacing(scan) for scan in scans if scan.geometry}
    if not spacings:
        return
    median = np.median(list(spacings.values()), axis=0)
    for name, spacing in spacings.items():
        factor = float(np.max(np.maximum(spacing / median, median / spacing)))
        if factor > SPACING_OUTLIER:
            yield Finding(
                "spacing",
                (name,),
                f"case '{name}': spacing {_mm(spacing)} mm (z, y, x) is far from the median "
                f"{_mm(median)} mm; check that it is the same kind of scan",
            )


def empty_warnings(stored: Iterable[LabelFacts]) -> Iterable[Finding]:
    """Yield label maps without any structure."""
    for facts in stored:
        if not facts.problem and not set(facts.voxels) - {0}:
            text = "label is empty; right only if the structure is not there"
            yield Finding("label-empty", (facts.name,), f"case '{facts.name}': {text}")


def left_out(dataset: Dataset, used: set[str]) -> Iterable[Finding]:
    """Yield one line on the cases that have no role."""
    names = tuple(case.name for case in dataset.cases if case.name not in used)
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")  # noqa: PLR2004
        text = f"{len(names)} cases are not used, not listed or of a held-out patient: {shown}"
        yield Finding("left-out", names, text)


def oriented_spacing(scan: Scan) -> NDArray[np.float64]:
    """Return the spacing of a readable scan, axes in network order (z, y, x)."""
    geometry = scan.geometry
    assert geometry is not None  # noqa: S101 - callers choose readable scans
    axes = axial_orientation(geometry).axes
    return np.asarray([geometry.spacing_mm[axis] for axis in axes])


def usual_channels(scans: Sequence[Scan]) -> int:
    """Return the most frequent number of channels."""
    counts = Counter(scan.channels for scan in scans)
    return counts.most_common(1)[0][0] if counts else 1


def quoted(names: Sequence[str]) -> str:
    """Return names as sentences show them."""
    return ", ".join(f"'{name}'" for name in names)


def sampled(names: Sequence[str]) -> str:
    """Return the first few names as sentences show them, and how many there are in all."""
    return quoted(names[:SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > SHOWN else "")


def _listed(values: Sequence[int], limit: int = 8) -> str:
    shown = ", ".join(str(value) for value in values[:limit])
    return shown + (f", ... ({len(values)} in all)" if len(values) > limit else "")


def _mm(spacing: Iterable[float]) -> str:
    return "x".join(f"{value:.3g}" for value in spacing)
