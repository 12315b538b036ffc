"""HDF5 arrays that cannot be a scan, or of which a part is missing; more in test_readers.py."""

from __future__ import annotations

import tracemalloc
import zlib

import h5py
import numpy as np
import pytest

from dycon_engine.data.formats import hdf5
from dycon_engine.data.formats.readers import read_header, read_image
from dycon_engine.errors import DamagedFileError, InputError

SIZE = (8, 8, 8)


@pytest.fixture
def refused(tmp_path):
    """Return a function that fills a file and returns the refusal of both readers."""

    def refusal(fill, kind=InputError):
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            file["padding"] = np.ones(4 * np.prod(SIZE))  # the file is large enough
            fill(file)
        said = []
        for read in (read_header, read_image):
            with pytest.raises(kind) as caught:
                read(path)
            said.append(str(caught.value))
        assert said[0] == said[1]
        assert said[0].startswith(f"'{path}': ")
        return said[0]

    return refusal


@pytest.mark.parametrize(
    "content",
    [np.ones((8, 8)), np.ones((8, 8, 8, 1)), np.ones((0, 8, 8)), np.float32(1), h5py.Empty("f4")],
    ids=["two axes", "four axes", "no voxel", "scalar", "empty"],
)
def test_three_axes_are_expected(refused, content):
    text = refused(lambda file: file.create_dataset("image", data=content))
    assert "expected 3 axes, x y z" in text


@pytest.mark.parametrize("kind", ["S4", "complex64", [("r", "u1"), ("g", "u1")]], ids=str)
def test_voxels_are_numbers(refused, kind):
    text = refused(lambda file: file.create_dataset("image", data=np.zeros(SIZE, kind)))
    assert "holds no plain numbers" in text


def test_a_group_is_no_array(refused):
    assert "'image' is a group" in refused(lambda file: file.create_group("image"))


def test_an_array_that_was_never_written_is_refused(refused):
    text = refused(lambda file: file.create_dataset("image", SIZE, "f4"), DamagedFileError)
    assert "'image' holds 0 bytes for 512 voxels; part of it is missing" in text


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_chunk_that_was_never_written_is_refused(refused, compression):
    def fill(file):
        image = file.create_dataset("image", SIZE, "f4", chunks=(4, 8, 8), compression=compression)
        image[:4] = 1.0

    assert "part of it is missing" in refused(fill, DamagedFileError)


def test_chunks_far_larger_than_the_array_are_refused(refused):
    def fill(file):
        chunks, limits = (260, 260, 260), (None, None, None)
        file.create_dataset(
            "image", data=np.ones(SIZE, "u1"), chunks=chunks, maxshape=limits, compression="gzip"
        )

    assert "absurdly large chunks" in refused(fill)


@pytest.mark.parametrize("options", [{"compression": "lzf"}, {"compression": "gzip"}], ids=str)
@pytest.mark.parametrize("checksum", [False, True])
def test_what_swells_by_no_filter_is_read(tmp_path, monkeypatch, options, checksum):
    monkeypatch.setattr(hdf5, "SWELL_BYTES", 0)  # every chunk is tried
    voxels = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "image", data=voxels, chunks=(8, 8, 3), shuffle=True, fletcher32=checksum, **options
        )
    np.testing.assert_array_equal(read_image(tmp_path / "a.h5").array[0], voxels.transpose())


def with_chunk(file, content, *, filters=1):
    """Add an image of one chunk of 512 bytes whose stored bytes are `content`."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(SIZE)
    for _ in range(filters):
        properties.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_OPTIONAL, (9,))
    space = h5py.h5s.create_simple(SIZE)
    image = h5py.h5d.create(file.id, b"image", h5py.h5t.NATIVE_UINT8, space, properties)
    image.write_direct_chunk((0, 0, 0), content, 0)


def test_a_stream_inside_a_stream_is_refused(refused):
    inner = zlib.compress(bytes(1 << 20))
    text = refused(lambda file: with_chunk(file, zlib.compress(inner), filters=2))
    assert "compressed by HDF5 filters [1, 1]; expected gzip (1) or lzf (32000), once" in text


def test_a_chunk_that_inflates_beyond_its_size_is_refused_before_it_does(tmp_path):
    packed = zlib.compress(bytes(80 << 20))  # 80 kB
    with h5py.File(tmp_path / "a.h5", "w") as file:
        with_chunk(file, packed)
    tracemalloc.start()
    with pytest.raises(InputError, match="decodes to more than its 516 bytes"):
        read_image(tmp_path / "a.h5")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_almost_nothing_that_decodes_to_much_is_refused(refused, monkeypatch):
    monkeypatch.setattr(hdf5, "BOMB_BYTES", 1000)
    monkeypatch.setattr(hdf5, "BOMB_RATIO", 10)
    zeros = np.zeros(SIZE)
    text = refused(lambda file: file.create_dataset("image", data=zeros, compression="gzip"))
    assert "of almost nothing" in text
