"""A question to the engine that is answered on its standard output: `describe ... --json`."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dycon_engine.errors import DyconError
from dycon_engine.jobs import client
from DyCONLib import lifeline, processes
from DyCONLib.support_log import last_words


class Question:
    """`describe` with some arguments, asked in a child process; `poll` until it has answered."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        python: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Ask.

        Raises:
            DyconError: The engine cannot be started.
        """
        self._scratch = tempfile.TemporaryDirectory(prefix="dycon-", ignore_cleanup_errors=True)
        words = [*arguments, "--json"]
        line = client.command(python or processes.default_python(), "describe", words)
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

    def poll(self) -> Mapping[str, Any] | None:
        """Return the answer, None while there is none yet.

        Raises:
            DyconError: The engine failed, in its own words.
        """
        code = self._process.poll()
        if code is None:
            return None
        try:
            if code:
                words = last_words(self._file("err"))
                raise DyconError(words or f"the engine ended with code {code}")
            answer: Mapping[str, Any] = json.loads(self._file("out").read_bytes())
        except (OSError, ValueError) as error:
            raise DyconError(f"the engine gave no usable answer ({error!r})") from error
        finally:
            self._scratch.cleanup()
        return answer

    def kill(self) -> None:
        """Stop asking; once it has ended this does nothing."""
        if self._process.poll() is None:
            processes.kill_tree(self._process.pid)
            processes.reap(self._process)
        self._scratch.cleanup()

    def _file(self, name: str) -> Path:
        return Path(self._scratch.name, name)
