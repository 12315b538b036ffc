"""What this computer can do, asked of the engine itself in a child process before the first run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dycon_engine.errors import DyconError
from DyCONLib.question import Question

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
        self._question = Question(["--machine"], python=python, environment=environment)

    def poll(self) -> Machine | None:
        """Return the answer, None while there is none yet.

        Raises:
            DyconError: As `Question.poll`, or no device works.
        """
        answer = self._question.poll()
        return None if answer is None else _machine(answer, self._folder)

    def kill(self) -> None:
        """Stop asking; once it has ended this does nothing."""
        self._question.kill()


def _machine(answer: Mapping[str, Any], folder: Path) -> Machine:
    try:
        raw = answer["machine"]
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
