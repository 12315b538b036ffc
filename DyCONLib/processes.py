"""Child processes with everything they start: begin, end and kill whole trees on every system."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dycon_engine.errors import DyconError
from dycon_engine.jobs.client import Command, child_paths
from dycon_engine.jobs.files import is_alive
from DyCONLib.interpreters import as_foreign
from DyCONLib.launched import as_launched

REAP_S = 2.0
TASKKILL_S = 15.0


def start(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    stderr: Path,
    stdout: Path = Path(os.devnull),
) -> subprocess.Popen[bytes]:
    """Start a process as the head of a group of its own, so that the whole tree can be ended.

    What it says goes to the files `stdout` and `stderr`, so no pipe can fill; its stdin is empty.

    Raises:
        DyconError: It cannot be started.
    """
    argv, environment = as_foreign(*as_launched(tuple(argv), environment))
    try:
        with stderr.open("wb") as errors, stdout.open("wb") as output:
            return subprocess.Popen(
                argv,
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                creationflags=windows_flags(),
            )
    except OSError as error:
        raise DyconError(
            f"the engine could not be started with '{argv[0]}' ({error.strerror}); "
            "check that this Python is there and the disk is not full"
        ) from error


def child_environment(line: Command, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child: `base`, or this process's own, and the engine's path."""
    inherited = os.environ if base is None else base
    paths = child_paths(line.cwd, inherited.get("PYTHONPATH", ""))
    return {**inherited, **line.environment, **paths}


def terminate_tree(pid: int) -> None:
    """Ask the process and all of its group to end (POSIX; Windows has no such request)."""
    if os.name != "nt":
        _signal_group(pid, signal.SIGTERM)


def kill_tree(pid: int) -> None:
    """Kill the process and everything that it started, now; what is gone already is no error.

    Windows finds what it started only while the process itself is there.
    """
    if os.name == "nt":
        if is_alive(pid) and not _taskkill(pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)  # ends it at once there, and nothing else
    else:
        _signal_group(pid, signal.SIGKILL)


def reap(process: subprocess.Popen[bytes]) -> None:
    """Collect a process that was killed, so that no zombie stays."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(REAP_S)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        try:
            group = os.getpgid(pid)
        except ProcessLookupError:  # the head is gone; its children may not be
            group = pid
        if group == os.getpgrp():  # started by ourselves some other way: never our own group
            os.kill(pid, number)
        else:
            os.killpg(group, number)


def windows_flags() -> int:
    """Return the flags that keep Windows from opening a console window; 0 elsewhere."""
    names = ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW")  # 0 on other systems
    return sum(int(getattr(subprocess, name, 0)) for name in names)


def _taskkill(pid: int) -> bool:
    """Return whether the whole tree was killed."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        ended = subprocess.run(
            ["taskkill", "/PID", str(pid), "/T", "/F"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=TASKKILL_S,
            creationflags=windows_flags(),
        )
        return ended.returncode == 0
    return False
