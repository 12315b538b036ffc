"""HDF5 files of the SSL4MIS family: `image` and `label`, stored (x, y, z), without geometry."""

from __future__ import annotations

import math
import zlib
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
SWELL_BYTES = 1 << 26  # what a chunk may at most inflate to without being tried
DEFLATE, LZF = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF
HARMLESS = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)  # the size stays, but for 4 bytes
CHECKSUM_BYTES = 4
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
        _try_large_chunks(path, key, array)
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
    _require_filters(path, key, array)
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


def _require_filters(path: Path, key: str, array: h5py.Dataset) -> None:
    """Refuse filters that may swell without limit: a stream inside a stream, or one unknown here.

    Raises:
        InputError: There is one.
    """
    compressing = [code for code in _filters(array) if code not in HARMLESS]
    if len(compressing) > 1 or not {DEFLATE, LZF}.issuperset(compressing):
        raise InputError(
            f"'{path}': '{key}' is compressed by HDF5 filters {compressing}; expected gzip "
            f"({DEFLATE}) or lzf ({LZF}), once; write it again"
        )


def _try_large_chunks(path: Path, key: str, array: h5py.Dataset) -> None:
    """Refuse chunks that inflate beyond their size: HDF5 would give them the memory they ask for.

    Only those large enough to ask for much are tried, so that usual files (chunks of some 10 kB)
    are inflated once.

    Raises:
        InputError: There is one.
    """
    filters = _filters(array)
    if DEFLATE not in filters or DEFLATE_LIMIT * array.id.get_storage_size() <= SWELL_BYTES:
        return
    nominal = math.prod(array.chunks) * array.dtype.itemsize + CHECKSUM_BYTES
    large: list[tuple[int, ...]] = []

    def look(chunk: h5py.h5d.StoreInfo) -> None:
        if DEFLATE_LIMIT * chunk.size > max(SWELL_BYTES, nominal):
            large.append(chunk.chunk_offset)

    array.id.chunk_iter(look)
    for offset in large:
        mask, data = array.id.read_direct_chunk(offset)
        if mask >> filters.index(DEFLATE) & 1:
            continue  # stored as it is
        try:
            swells = len(zlib.decompressobj().decompress(data, nominal + 1)) > nominal
        except zlib.error as error:
            raise OSError(f"chunk at {offset}") from error
        if swells:
            raise InputError(
                f"'{path}': a chunk of '{key}' decodes to more than its {nominal} bytes; expected "
                "a scan; it is not read"
            )


def _filters(array: h5py.Dataset) -> list[int]:
    """Return the codes of the filters of `array`, in the order in which they are applied."""
    properties = array.id.get_create_plist()
    return [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
