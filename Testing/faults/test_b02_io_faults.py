"""B2: every I/O operation of our writers fails once: the old file or the new one, never neither."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
from pathlib import Path

import pytest
import torch

from dycon_engine.config import NetworkConfig, RunConfig
from dycon_engine.data.cases import Label
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.splits import Split
from dycon_engine.errors import DyconError
from dycon_engine.networks import build_network
from dycon_engine.package import PackageInfo, load_package, save_package
from dycon_engine.training.checkpoint import CheckpointStore
from dycon_engine.training.rundir import RunDirectory

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
TOO_MANY = 200


class Faults:
    """Counts the operations on files under `folder` and lets number `at` fail with `number`."""

    def __init__(self, folder: Path, at: int, number: int) -> None:
        self.folder, self.at, self.number, self.count = str(folder), at, number, 0

    def operation(self, name: object = None) -> None:
        """Fail if it is this one's turn; an operation on another folder is not counted."""
        if isinstance(name, str | Path) and not str(name).startswith(self.folder):
            return
        self.count += 1
        if self.count == self.at:
            raise OSError(self.number, os.strerror(self.number))

    @contextlib.contextmanager
    def active(self):
        """Put the faults between the code and the system calls."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(io, "open", self._open(io.open))
            patch.setattr(builtins, "open", self._open(builtins.open))
            for name in ("replace", "fsync", "open"):
                patch.setattr(os, name, self._before(getattr(os, name)))
            yield

    def _before(self, call):
        def faulty(first, *rest, **named):
            self.operation(first)
            return call(first, *rest, **named)

        return faulty

    def _open(self, call):
        def faulty(file, mode="r", *rest, **named):
            writes = isinstance(file, str | Path) and set(mode) & set("wax+")
            if writes:
                self.operation(file)
            stream = call(file, mode, *rest, **named)
            if writes and str(file).startswith(self.folder):
                return FaultyStream(stream, self)
            return stream

        return faulty


class FaultyStream:
    """A stream whose `write` and `close` may fail, half written."""

    def __init__(self, stream, faults: Faults) -> None:
        self.stream, self.faults = stream, faults

    def write(self, content):
        """Write all, or half of it and fail."""
        try:
            self.faults.operation()
        except OSError:
            self.stream.write(content[: len(content) // 2])
            raise
        return self.stream.write(content)

    def close(self) -> None:
        """Close, then perhaps fail as a full disk does."""
        self.stream.close()
        self.faults.operation()

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        if error[0] is None:
            self.close()
        else:
            self.stream.close()

    def __getattr__(self, name):
        return getattr(self.stream, name)


def write_checkpoint(folder, version):
    CheckpointStore(folder, keep=3).save(5, {"version": version, "w": torch.ones(300)})


def read_checkpoint(folder):
    return CheckpointStore(folder, keep=3).load_newest(pytest.fail)["version"]


def write_config(folder, version):
    split = Split(("a",), ("b",), (), (), {"a": str(version)})
    RunDirectory(folder).write_description(RunConfig(), split, {"version": version})


def read_config(folder):
    run = RunDirectory(folder)
    assert run.read_config() == RunConfig()
    return int(run.read_split().sha256["a"])


NETWORK = NetworkConfig(filters=(2, 2))


def write_package(folder, version):
    torch.manual_seed(version)
    info = PackageInfo(
        network=NETWORK,
        channels=("image",),
        labels=(Label(0, "background"), Label(1, "ball")),
        preprocessing=Preprocessing((1.0, 1.0, 1.0)),
        patch_size=(8, 8, 8),
        training={"version": version},
    )
    weights = build_network(NETWORK, channels=1, classes=2).state_dict()
    save_package(folder / "last.dycon", info, weights, None, overwrite=True)


def read_package(folder):
    return load_package(folder / "last.dycon").info.training["version"]


WRITERS = {
    "checkpoint": (write_checkpoint, read_checkpoint),
    "config": (write_config, read_config),
    "package": (write_package, read_package),
}


@pytest.mark.parametrize("number", ERRORS, ids=[errno.errorcode[n] for n in ERRORS])
@pytest.mark.parametrize("name", WRITERS)
def test_a_fault_at_every_operation_leaves_the_old_or_the_new_file(tmp_path, name, number):
    write, read = WRITERS[name]
    failed = 0
    for at in range(1, TOO_MANY):
        folder = tmp_path / f"at{at}"
        folder.mkdir()
        write(folder, 1)
        faults = Faults(folder, at, number)
        message = None
        try:
            with faults.active():
                write(folder, 2)
        except DyconError as error:
            message = str(error)
        if message is None:
            assert read(folder) == 2
        else:
            failed += 1
            assert "\n" not in message
            assert str(folder) in message
            assert number != errno.ENOSPC or "MiB free" in message
        assert read(folder) in (1, 2)
        assert not list(folder.rglob(".dycon-*"))
        if faults.count < at:
            break
    assert failed == at - 1, "a fault passed without a word"
    assert failed >= 5
