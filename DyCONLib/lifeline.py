"""Runs an engine job that must not outlive the application: `-m DyCONLib.lifeline PID START JOB`.

A killed application cannot stop its children. So the child looks for itself, from a thread of its
own process: once the application is gone it asks its job to stop, and soon after it ends.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Sequence

from dycon_engine.jobs.files import is_alive
from dycon_engine.jobs.lock import start_time

LOOK_S = 1.0
GRACE_S = 3.0


def with_lifeline(argv: Sequence[str], job: str) -> tuple[str, ...]:
    """Return the command line of `job` such that it lives as long as this process, not longer.

    Args:
        argv: From `dycon_engine.jobs.client.command`: interpreter, -m, module, its arguments.
        job: train, predict, ...
    """
    pid = os.getpid()
    watched = ("DyCONLib.lifeline", str(pid), start_time(pid) or "", f"dycon_engine.{job}")
    return (*argv[:2], *watched, *argv[3:])


def main() -> None:
    """Watch the parent named on the command line and run the module named after it."""
    pid, started, module = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    threading.Thread(target=_watch, args=(pid, started), daemon=True).start()
    sys.argv[:] = [module, *sys.argv[4:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _watch(pid: int, started: str) -> None:
    while _lives(pid, started):
        time.sleep(LOOK_S)
    signal.raise_signal(signal.SIGTERM)  # the job's own handler: it cleans up and ends
    time.sleep(GRACE_S)
    if os.name != "nt" and os.getpgrp() == os.getsid(0):  # ours: the application began it
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _lives(pid: int, started: str) -> bool:
    return is_alive(pid) and (not started or (start_time(pid) or started) == started)


if __name__ == "__main__":
    main()
