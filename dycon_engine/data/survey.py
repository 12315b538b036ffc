"""One pass over the images of a data set: what splits and audit need to know of each scan."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.config import DataConfig
from dycon_engine.data.blank import blank_everywhere, packed
from dycon_engine.data.cases import Case, Dataset, read_case_image
from dycon_engine.data.formats.readers import read_header
from dycon_engine.data.formats.stored import room, scan_bytes
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.orientation import axial_orientation
from dycon_engine.data.preprocessing import strided
from dycon_engine.data.volume import Volume
from dycon_engine.errors import DyconError

READERS_AT_ONCE = 2  # where both fit; decompression leaves the interpreter free
LOWEST_HOUNSFIELD = -1500.0  # air and its noise lie above; lower values are fillings
FEW_VALUES = 20
PART = 2**20  # voxels
GLANCE = 100_000  # voxels that tell most images from label maps


@dataclass(frozen=True, eq=False)
class Scan:
    """What is known of one case's image.

    Attributes:
        name: The case.
        sha256: Hash of size and voxels, whatever the file format; '' where unreadable.
        oriented_sha256: The same with the axes in network order, whatever their order in the file.
        geometry: Its grid; None where unreadable.
        low: Lowest intensity per channel.
        high: Highest intensity per channel.
        beyond: Per channel the share of voxels below `LOWEST_HOUNSFIELD`, the most frequent value
            among them left out: a filling.
        finite: Whether every voxel is a number.
        whole_values: How many values there are, if they are few and whole; else 0.
        blank: Where it is blank in every channel (`blank.packed`); b'' = nowhere, or no label.
        problem: Why it cannot be read, one line; '' where it can.
    """

    name: str
    sha256: str = ""
    oriented_sha256: str = ""
    geometry: Geometry | None = None
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    beyond: tuple[float, ...] = ()
    finite: bool = True
    whole_values: int = 0
    blank: bytes = b""
    problem: str = ""

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.low)


def survey(
    dataset: Dataset,
    config: DataConfig,
    on_case: Callable[[int, int], None] | None = None,
) -> tuple[Scan, ...]:
    """Return a `Scan` per case in the order of the data set; every image is read once, no label."""
    scans, share = [], MemoryShare(room())

    def look(case: Case) -> Scan:
        with share.taken(_needed(case)):
            return look_at(case, config)

    with ThreadPoolExecutor(READERS_AT_ONCE) as pool:
        for scan in pool.map(look, dataset.cases):
            scans.append(scan)
            if on_case is not None:
                on_case(len(scans), len(dataset.cases))
    return tuple(scans)


class MemoryShare:
    """Lets several work at once as long as what they need together fits; one always may."""

    def __init__(self, limit: int) -> None:
        """Give out up to `limit` bytes."""
        self._limit, self._taken = limit, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, needed: int) -> Iterator[None]:
        """Wait until `needed` bytes are free, and hold them."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + needed <= self._limit)
            self._taken += needed
        try:
            yield
        finally:
            with self._changed:
                self._taken -= needed
                self._changed.notify_all()


def look_at(case: Case, config: DataConfig) -> Scan:
    """Return what is known of the image of `case`; a failure to read becomes its `problem`."""
    try:
        image = read_case_image(case, config)
    except (DyconError, OSError) as error:
        return Scan(case.name, problem=_line(case, error))
    flat = image.array.reshape(image.array.shape[0], -1)
    low = flat.min(axis=1, initial=np.inf)
    high = flat.max(axis=1, initial=-np.inf)
    finite = bool(np.isfinite(low).all() and np.isfinite(high).all())
    sha256 = voxel_hash(image.array)
    drawn = case.label is not None and finite
    return Scan(
        case.name,
        sha256=sha256,
        oriented_sha256=_oriented_hash(image, sha256),
        geometry=image.geometry,
        low=tuple(float(value) for value in low),
        high=tuple(float(value) for value in high),
        beyond=tuple(_share_beyond(channel) for channel in flat),
        finite=finite,
        whole_values=_whole_values(flat),
        blank=packed(blank_everywhere(image.array, image.geometry.voxel_mm3)) if drawn else b"",
    )


def voxel_hash(array: NDArray[Any]) -> str:
    """Return the sha256 of size and float32 voxels (..., D, H, W) as hex."""
    digest = hashlib.sha256(repr(array.shape).encode())
    for index in np.ndindex(array.shape[:-2]):  # a plane at a time: a view in other order is copied
        digest.update(np.ascontiguousarray(array[index], dtype="<f4").data)
    return digest.hexdigest()


def _oriented_hash(image: Volume, sha256: str) -> str:
    """Return the `voxel_hash` of `image` in network order; `sha256` is that of the file's order."""
    oriented = axial_orientation(image.geometry).apply(image.array)
    same = (oriented.shape, oriented.strides) == (image.array.shape, image.array.strides)
    return sha256 if same else voxel_hash(oriented)


def _share_beyond(channel: NDArray[Any]) -> float:
    """Return the share of `channel` (N,) below Hounsfield units, its most frequent value apart."""
    values = strided(channel)
    counts = np.unique(np.rint(values[values < LOWEST_HOUNSFIELD]), return_counts=True)[1]
    return float(counts.sum() - counts.max()) / values.size if counts.size else 0.0


def _whole_values(flat: NDArray[Any]) -> int:
    """Return how many values (C, N) holds, 0 where they are many or not whole."""
    step = max(1, flat.shape[1] // GLANCE)
    starts = range(0, flat.shape[1], PART)  # a part at a time, since it is copied
    values = np.empty(0, dtype=flat.dtype)
    for part in (flat[:, ::step], *(flat[:, start : start + PART] for start in starts)):
        values = np.union1d(values, part)
        if values.size > FEW_VALUES or not np.array_equal(values, np.rint(values)):
            return 0
    return int(values.size)


def _needed(case: Case) -> int:
    """Return the bytes that the image of `case` takes, by its header; 0 where that is damaged."""
    try:
        headers = [read_header(path) for path in case.images]
    except (DyconError, OSError):
        return 0
    voxels = [header.channels * math.prod(header.geometry.size_zyx) for header in headers]
    return sum(scan_bytes(n, h.dtype.itemsize) for n, h in zip(voxels, headers, strict=True))


def _line(case: Case, error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if f"case '{case.name}'" in text else f"case '{case.name}': {text}"
