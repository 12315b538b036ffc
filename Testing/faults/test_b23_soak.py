"""B23: hundreds of segmentations in one process: no memory, file or thread piles up.

The other half, training that is stopped and resumed again and again, is driven from the panel
(`Testing/slicer/training/test_cycles.py`).
"""

from __future__ import annotations

import gc

import psutil
import pytest

from dycon_engine import predict
from dycon_engine.data.formats.writers import write_scalar
from Testing import tiny_package

WARM_UP = 20
MIB = 2**20


class Held:
    """What the process holds."""

    def __init__(self) -> None:
        gc.collect()
        process = psutil.Process()
        self.mib = process.memory_info().rss / MIB
        self.files = process.num_fds()
        self.threads = process.num_threads()


@pytest.mark.skipif(not psutil.POSIX, reason="counts file descriptors")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_nothing_piles_up(tmp_path, capfd, count):
    tiny_package.save(tmp_path / "tiny.dycon")
    scan = tiny_package.scan(1)
    write_scalar(tmp_path / "scan.nii.gz", scan.array[0], scan.geometry, overwrite=False)
    outputs = ("--output", "out.nii.gz", "--uncertainty", "u.nrrd", "--report", "report.json")
    files = [str(tmp_path / word) if "." in word else word for word in outputs]
    line = ["--package", str(tmp_path / "tiny.dycon"), "--input", str(tmp_path / "scan.nii.gz")]
    line += [*files, "--run-dir", str(tmp_path / "run"), "--device", "cpu", "--overwrite"]

    def segment() -> None:
        assert predict.main(line) == 0
        capfd.readouterr()

    for _ in range(WARM_UP):
        segment()
    before = Held()
    for _ in range(count):
        segment()
    after = Held()
    assert after.mib - before.mib < 50
    assert after.files == before.files
    assert after.threads == before.threads
    assert not list(tmp_path.rglob(".dycon-*"))
    assert not (tmp_path / "run" / "lock").exists()
