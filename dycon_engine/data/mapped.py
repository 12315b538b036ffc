"""Arrays that are mapped from files, on their way to another process: by name, not by value.

A pickled memory map is a copy of all that it shows; each worker that is spawned would hold one.
"""

from __future__ import annotations

import mmap
import multiprocessing
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class MappedFile(NamedTuple):
    """Where the voxels of a map lie."""

    path: str
    offset: int
    dtype: str
    shape: tuple[int, ...]
    order: str

    def open(self) -> NDArray[Any]:
        """Return the array, read-only.

        Raises:
            OSError: The file is gone.
        """
        kind, shape = np.dtype(self.dtype), self.shape
        order: Any = self.order
        return np.memmap(
            self.path, dtype=kind, mode="r", offset=self.offset, shape=shape, order=order
        )


class SentByFile:
    """Base of what is pickled with a `MappedFile` for every memory map among its attributes."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: _named(value) for name, value in self.__dict__.items()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            self.__dict__[name] = value.open() if isinstance(value, MappedFile) else value


def workers_share_memory() -> bool:
    """Return whether worker processes see what this one has in memory: where they are forked."""
    chosen = multiprocessing.get_start_method(allow_none=True)
    return (chosen or multiprocessing.get_all_start_methods()[0]) == "fork"


def _named(value: Any) -> Any:
    base: Any = getattr(value, "base", None)
    if not isinstance(value, np.memmap) or not isinstance(base, mmap.mmap):
        return value  # a part of a map does not know where it begins
    order = "C" if value.flags.c_contiguous else "F"
    return MappedFile(str(value.filename), value.offset, value.dtype.str, value.shape, order)
