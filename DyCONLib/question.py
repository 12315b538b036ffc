"""A question to the engine that it answers on standard output: `describe ... --json`."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dycon_engine.errors import DyconError
from dycon_engine.jobs import client
from DyCONLib import lifeline, processes
from DyCONLib.interpreters import default_python
from DyCONLib.support_log import last_words

LIMIT_S = 180.0  # the first start of PyTorch on a slow disk takes long


class Question:
    """`describe` with some arguments, asked in a child process; `poll` until it has answered."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        python: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Ask; the arguments go before `--json`, the others are those of `Job.start`.

        Raises:
            DyconError: The engine cannot be started.
        """
        self._scratch = tempfile.TemporaryDirectory(prefix="dycon-", ignore_cleanup_errors=True)
        self._began = time.monotonic()
        words = [*arguments, "--json"]
        line = client.command(python or default_python(), "describe", words)
        try:
            self._process: subprocess.Popen[bytes] = processes.start(
                lifeline.with_lifeline(line.argv, "describe"),
                cwd=line.cwd,
                environment=processes.child_environment(line, environment),
                stdout=self._file("out"),
                stderr=self._file("err"),
            )
        except DyconError:
            self._scratch.cleanup()
            raise

    def poll(self) -> Mapping[str, Any] | None:
        """Return the answer, None while there is none yet; never blocks.

        Raises:
            DyconError: The engine failed, in its own words, or gave no usable answer, or none in
                time.
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
                raise DyconError(words or f"the engine ended with code {code}")
            answer = json.loads(self._file("out").read_bytes())
        except (OSError, ValueError):
            answer = None
        finally:
            self._scratch.cleanup()
        if not isinstance(answer, dict):
            raise DyconError("the engine gave no usable answer; restart Slicer and try again")
        return answer

    def kill(self) -> None:
        """Stop asking; once it has ended this does nothing."""
        if self._process.poll() is None:
            processes.kill_tree(self._process.pid)
            processes.reap(self._process)
        self._scratch.cleanup()

    def _file(self, name: str) -> Path:
        return Path(self._scratch.name, name)
