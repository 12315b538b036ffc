"""What a person at a terminal sees of a job: a progress bar where rich is there, else lines."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from dycon_engine.jobs.events import (
    Advanced,
    CaseDone,
    Event,
    Finished,
    Saved,
    Stage,
    StepDone,
    Validated,
)

LONGEST_LIST = 80  # characters; of what is longer only the number is shown

Closing = Callable[[Mapping[str, Any]], Iterable[str]]  # the lines that a job's summary becomes


def figures(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each value of a job's `summary` that says something."""
    for name, value in summary.items():
        if value not in ("", None, [], {}):
            yield f"{name.replace('_', ' ')}: {_text(value)}"


def shell_word(text: str | Path) -> str:
    """Return `text` as one word of a command line that can be pasted into this system's shell."""
    if os.name == "nt":
        return subprocess.list2cmdline([str(text)])
    return shlex.quote(str(text))


class TerminalView:
    """Shows events on `stream`; what cannot be shown is dropped, never an error."""

    def __init__(self, stream: TextIO, closing: Closing = figures) -> None:
        """Start without a bar; the first stage with a total opens one."""
        self._stream = stream
        self._closing = closing
        self._progress: Any = None
        self._task: Any = None

    def show(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Stage):
            self._begin(event)
        elif isinstance(event, Advanced):
            self._update(completed=event.done)
        elif isinstance(event, StepDone):
            self._update(completed=event.step, detail=step_text(event))
        elif isinstance(event, Finished):
            self.close()
            for text in self._closing(event.summary):
                self.line(text)
        else:
            self._note(event)

    def line(self, text: str) -> None:
        """Write one line, above the bar where there is one."""
        with contextlib.suppress(OSError, ValueError):
            if self._progress is not None:
                self._progress.console.print(text, markup=False, highlight=False)
            else:
                self._stream.write(text + "\n")
                self._stream.flush()

    def close(self) -> None:
        """Leave the terminal as it was."""
        progress, self._progress, self._task = self._progress, None, None
        if progress is not None:
            with contextlib.suppress(OSError, ValueError):
                progress.stop()

    def _note(self, event: Event) -> None:
        if isinstance(event, Validated):
            cases = f"{event.cases} case" + ("" if event.cases == 1 else "s")
            self.line(f"step {event.step}: Dice {event.dice:.4f} on {cases}")
        elif isinstance(event, Saved) and event.step is None:  # training tells at its end
            self.line(f"{event.what}: {event.path}")
        elif isinstance(event, CaseDone) and event.error:
            self.line(f"{event.case}: {event.error}")

    def _begin(self, stage: Stage) -> None:
        self.close()
        name = f"{stage.name} ({stage.item}/{stage.items})" if stage.items > 1 else stage.name
        if not stage.total or not self._open_bar():
            self.line(f"{name} ...")
            return
        self._task = self._progress.add_task(name, total=stage.total, detail="")

    def _open_bar(self) -> bool:
        try:
            from rich import progress  # noqa: PLC0415 - optional, and only at a terminal
            from rich.console import Console  # noqa: PLC0415
        except ImportError:
            return False
        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[detail]}"),
        )
        self._progress = progress.Progress(*columns, console=Console(file=self._stream))
        self._progress.start()
        return True

    def _update(self, **fields: Any) -> None:
        if self._progress is not None and self._task is not None:
            with contextlib.suppress(OSError, ValueError):
                self._progress.update(self._task, **fields)


def step_text(event: StepDone) -> str:
    """Return loss, speed and the share of time spent waiting for data, in few words."""
    if event.step_s <= 0:
        return f"loss {event.loss:.3f}"
    share = 100 * event.data_s / event.step_s
    return f"loss {event.loss:.3f}, {1 / event.step_s:.2f} steps/s, data {share:.0f} %"


def _text(value: Any) -> str:
    """Return `value` as one short line; of long lists and tables only how many they hold."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        plain = not any(isinstance(item, Mapping | list | tuple) for item in value)
        text = ", ".join(_text(item) for item in value) if plain else ""
        return text if text and len(text) <= LONGEST_LIST else str(len(value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)
