"""HDF5 files of the SSL4MIS family: `image` and `label`, stored (x, y, z), without geometry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from dycon_engine.data.formats.decoding import BOMB_BYTES, BOMB_RATIO, DEFLATE_LIMIT
from dycon_engine.data.formats.stored import Header, Stored, require_room
from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import DamagedFileError, InputError

CHUNK_MAX = 1 << 28
AXES = 3


def read_header(path: Path, key: str = "image") -> Header:
    """Return shape and type of the array `key`; the spacing is 1 mm."""
    with _array(path, key) as array:
        return _header(array)


def read(path: Path, key: str = "image") -> Stored:
    """Return the array `key`, (1, D, H, W): stored (x, y, z), turned to (z, y, x).

    Raises:
        DamagedFileError: Not HDF5, truncated, or chunks missing.
        InputError: No such array, one that points elsewhere, not 3-D, or too large.
    """
    with _array(path, key) as array:
        header = _header(array)
        content = array[()]
    return Stored(np.ascontiguousarray(content.transpose(2, 1, 0))[None], header)


@contextmanager
def _array(path: Path, key: str) -> Iterator[h5py.Dataset]:
    try:
        with h5py.File(path, "r", locking=False) as file:
            found = sorted(name for name in file if name in ("image", "label"))
            if key not in found:
                raise InputError(
                    f"'{path}': has no array '{key}' (found: {', '.join(found) or 'neither'}); "
                    "expected 'image' and 'label' at the top level"
                )
            if not isinstance(file.get(key, getlink=True), h5py.HardLink):
                raise InputError(f"'{path}': '{key}' points elsewhere; only own arrays are read")
            array = file[key]
            if not isinstance(array, h5py.Dataset):
                raise InputError(f"'{path}': '{key}' is a group; expected an array")
            _check(path, key, array)
            yield array
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise DamagedFileError(
            f"'{path}': not a whole HDF5 file (truncated or damaged); copy it again"
        ) from error


def _header(array: h5py.Dataset) -> Header:
    x, y, z = (int(n) for n in array.shape)
    return Header(Geometry.from_parts((z, y, x)), 1, array.dtype)


def _check(path: Path, key: str, array: h5py.Dataset) -> None:
    if array.is_virtual or array.external:
        raise InputError(f"'{path}': '{key}' lies in other files; only own arrays are read")
    if array.dtype.kind not in "iuf":
        raise InputError(f"'{path}': '{key}' holds no plain numbers; convert it")
    if array.shape is None or len(array.shape) != AXES or min(array.shape) < 1:
        raise InputError(f"'{path}': '{key}' has shape {array.shape}; expected 3 axes, x y z")
    voxels, itemsize = math.prod(array.shape), array.dtype.itemsize
    stored, count = array.id.get_storage_size(), math.prod(array.shape) * array.dtype.itemsize
    require_room(path, voxels, itemsize)
    if array.chunks is None:
        whole = stored == count
    else:
        chunk = math.prod(array.chunks) * itemsize
        if chunk > max(2 * count, CHUNK_MAX >> 4) or chunk > CHUNK_MAX:
            raise InputError(f"'{path}': '{key}' is stored in absurdly large chunks; rewrite it")
        pieces = zip(array.shape, array.chunks, strict=True)
        whole = array.id.get_num_chunks() == math.prod(-(-n // step) for n, step in pieces)
    if not whole or stored > path.stat().st_size or count > DEFLATE_LIMIT * stored:
        raise DamagedFileError(
            f"'{path}': '{key}' holds {stored} bytes for {voxels} voxels; part of it is missing"
        )
    if count > BOMB_BYTES and count > BOMB_RATIO * stored:
        raise InputError(f"'{path}': '{key}' decodes to {count / 2**30:.1f} GiB of almost nothing")
