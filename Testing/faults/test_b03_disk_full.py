"""B3: a disk that fills up: one line naming the file and the free space, the old file as it was.

Six writers against a limit on the size of a file, which needs no rights (CI: 12), and on a real
file system of 1 MiB that is filled but for a part of what they write (`-m slow`, as root: 120).
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dycon_engine.data.formats.writers import write_label
from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import DyconError
from dycon_engine.jobs.files import write_json
from dycon_engine.package import save_package
from dycon_engine.training.checkpoint import CheckpointStore
from Testing import tiny_package

if sys.platform == "win32":
    pytest.skip("limits and mounts of POSIX", allow_module_level=True)

import resource

GRID = Geometry.from_parts((40, 50, 60))
SIZES = 20


def checkpoint(folder: Path, version: int) -> None:
    content = {"version": version, "w": torch.full((50_000,), float(version))}
    CheckpointStore(folder, keep=3).save(5, content)


def package(folder: Path, version: int) -> None:
    description = tiny_package.info(seen_scans=0, training={"version": version, "x": "x" * 200_000})
    weights = tiny_package.states(description)
    save_package(folder / "a.dycon", description, weights, None, overwrite=True)


def report(folder: Path, version: int) -> None:
    write_json(folder / "a.json", [version] * 40_000)


def result(suffix: str) -> Callable[[Path, int], None]:
    def write(folder: Path, version: int) -> None:
        noise = np.random.default_rng(version).integers(0, 200, GRID.size_zyx)
        write_label(folder / f"a{suffix}", noise, GRID, overwrite=True)

    return write


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "checkpoint": checkpoint,
    "package": package,
    "report": report,
    "nii.gz": result(".nii.gz"),
    "nrrd": result(".nrrd"),
    "mha": result(".mha"),
}


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def filled(folder: Path, free: int) -> Iterator[None]:
    """Fill the file system of `folder` but for `free` bytes."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(4096)):
            pass
    with filler.open("r+b") as stream:
        stream.truncate(max(filler.stat().st_size - free, 0))
    try:
        yield
    finally:
        filler.unlink()


def still_open(folder: Path) -> list[str]:
    """Return what this process has open in `folder`, deleted files included; Linux alone tells."""
    links = Path("/proc/self/fd")
    found = []
    for link in links.iterdir() if links.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # that of this very listing
            found.append(str(link.readlink()))
    return [name for name in found if name.startswith(f"{folder}/")]


def refused(folder: Path, write: Callable[[Path, int], None], full) -> None:
    """Write twice, the second time while it is `full`; look at what is there afterwards."""
    write(folder, 1)
    (path,) = folder.iterdir()
    before = path.read_bytes()
    with full(len(before)), pytest.raises(DyconError) as caught:
        write(folder, 2)
    assert still_open(folder) == []  # it would keep its room as long as the error is held
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert f"'{path}'" in message
    assert "MiB free" in message
    assert message.isprintable()
    assert [item.name for item in folder.iterdir()] == [path.name]
    assert path.read_bytes() == before
    write(folder, 2)  # there is room again
    assert path.read_bytes() != before


@pytest.mark.parametrize("share", [0.1, 0.9])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_may_not_grow(tmp_path, name, share):
    refused(tmp_path, WRITERS[name], lambda size: files_up_to(int(share * size)))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB, by root only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a failed writer may hold on


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs tmpfs")
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(small_disk, name):
    for share in np.linspace(0.0, 0.9, SIZES):
        refused(small_disk, WRITERS[name], lambda size, s=share: filled(small_disk, int(s * size)))
        for path in small_disk.iterdir():
            path.unlink()
