"""One pass over the images of a data set: what splits and audit need to know of each scan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Case, Dataset, read_case_image
from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import DyconError

READERS_AT_ONCE = 2  # decompression leaves the interpreter free; more would only cost memory


@dataclass(frozen=True, eq=False)
class Scan:
    """What is known of one case's image.

    Attributes:
        name: The case.
        sha256: Hash of size and voxels, whatever the file format; '' where unreadable.
        geometry: Its grid; None where unreadable.
        low: Lowest intensity per channel.
        high: Highest intensity per channel.
        finite: Whether every voxel is a number.
        problem: Why it cannot be read, one line; '' where it can.
    """

    name: str
    sha256: str = ""
    geometry: Geometry | None = None
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    finite: bool = True
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
    scans = []
    with ThreadPoolExecutor(READERS_AT_ONCE) as pool:
        for scan in pool.map(lambda case: look_at(case, config), dataset.cases):
            scans.append(scan)
            if on_case is not None:
                on_case(len(scans), len(dataset.cases))
    return tuple(scans)


def look_at(case: Case, config: DataConfig) -> Scan:
    """Return what is known of the image of `case`; a failure to read becomes its `problem`."""
    try:
        image = read_case_image(case, config)
    except (DyconError, OSError) as error:
        return Scan(case.name, problem=_line(case, error))
    flat = image.array.reshape(image.array.shape[0], -1)
    low = flat.min(axis=1, initial=np.inf)
    high = flat.max(axis=1, initial=-np.inf)
    return Scan(
        case.name,
        sha256=voxel_hash(image.array),
        geometry=image.geometry,
        low=tuple(float(value) for value in low),
        high=tuple(float(value) for value in high),
        finite=bool(np.isfinite(low).all() and np.isfinite(high).all()),
    )


def voxel_hash(array: NDArray[Any]) -> str:
    """Return the sha256 of size and float32 voxels (C, D, H, W) as hex."""
    values = np.ascontiguousarray(array, dtype="<f4")
    digest = hashlib.sha256(repr(values.shape).encode())
    digest.update(values.data)
    return digest.hexdigest()


def _line(case: Case, error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if f"case '{case.name}'" in text else f"case '{case.name}': {text}"
