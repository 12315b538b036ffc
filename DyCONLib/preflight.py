"""What this computer can do, asked of the engine itself in a child process before the first run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dycon_engine.errors import DyconError
from dycon_engine.jobs import client
from DyCONLib import lifeline, processes
from DyCONLib.support_log import last_words

LIMIT_S = 180.0  # the first start of PyTorch on a slow disk takes long
GIB = 2**30


class Device(NamedTuple):
    """A device: cpu, cuda or mps; `works` where a convolution really ran on it.

    Memory in GiB, None where the device has none of its own.
    """

    kind: str
    name: str
    works: bool
    free_gib: float | None
    total_gib: float | None


@dataclass(frozen=True)
class Machine:
    """What the engine found.

    Attributes:
        devices: All of them, also those that do not work.
        memory_gib: Free main memory.
        disk_gib: Free disk space where results go.
        cores: CPU cores it may use.
        torch: Version of PyTorch.
        raw: All that the engine said.
    """

    devices: tuple[Device, ...]
    memory_gib: float
    disk_gib: float
    cores: int
    torch: str
    raw: Mapping[str, Any]

    @property
    def best(self) -> Device:
        """The device that `auto` means: the first one that works and is not the CPU, else it."""
        working = [device for device in self.devices if device.works]
        return next((d for d in working if d.kind != "cpu"), working[0])

    @property
    def broken_gpu(self) -> Device | None:
        """A graphics card that is seen but cannot compute with this PyTorch, if there is one."""
        return next((d for d in self.devices if d.kind != "cpu" and not d.works), None)


class Preflight:
    """The question to the engine while it runs; call `poll` from a timer until it has an answer."""

    def __init__(
        self,
        folder: Path,
        *,
        python: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Ask for this computer and the disk of `folder`; other arguments as `Job.start`.

        Raises:
            DyconError: The engine cannot be started.
        """
        self._folder = folder
        self._scratch = tempfile.TemporaryDirectory(prefix="dycon-", ignore_cleanup_errors=True)
        self._began = time.monotonic()
        line = client.command(
            python or processes.default_python(), "describe", ["--machine", "--json"]
        )
        argv = (*line.argv[:2], *lifeline.arguments(os.getpid(), "describe"), *line.argv[3:])
        try:
            self._process: subprocess.Popen[bytes] = processes.start(
                argv,
                cwd=line.cwd,
                environment=processes.child_environment(line, environment),
                stdout=self._file("out"),
                stderr=self._file("err"),
            )
        except DyconError:
            self._scratch.cleanup()
            raise

    def poll(self) -> Machine | None:
        """Return the answer, None while there is none yet.

        Raises:
            DyconError: The engine failed, in its own words, or gave no answer in time.
        """
        code = self._process.poll()
        if code is None:
            if time.monotonic() - self._began < LIMIT_S:
                return None
            self.kill()
            raise DyconError(f"the engine did not answer in {LIMIT_S:.0f} s; restart the computer")
        try:
            if code != 0:
                words = last_words(self._file("err"))
                raise DyconError(words or f"the engine ended with code {code}; copy the log")
            return _machine(self._file("out").read_bytes(), self._folder)
        finally:
            self._scratch.cleanup()

    def kill(self) -> None:
        """Stop asking; once it has ended this does nothing."""
        if self._process.poll() is None:
            processes.kill_tree(self._process.pid)
            processes.reap(self._process)
        self._scratch.cleanup()

    def _file(self, name: str) -> Path:
        return Path(self._scratch.name, name)


def _machine(content: bytes, folder: Path) -> Machine:
    try:
        raw = json.loads(content)["machine"]
        devices = tuple(
            Device(
                kind,
                str(entry.get("name", kind)),
                bool(entry["works"]),
                entry.get("memory_free_gib"),
                entry.get("memory_total_gib"),
            )
            for kind, entry in raw["devices"].items()
        )
        if not any(device.works for device in devices):
            raise DyconError("no device works with this PyTorch; install PyTorch again")
        return Machine(
            devices=devices,
            memory_gib=float(raw["memory_available_gib"]),
            disk_gib=_free_gib(folder),
            cores=int(raw["cores"]),
            torch=str(raw["versions"]["torch"]),
            raw=raw,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DyconError(f"the engine gave no usable answer ({type(error).__name__})") from error


def _free_gib(folder: Path) -> float:
    """Return the free space on the disk of `folder`, which may not be there yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free / GIB
