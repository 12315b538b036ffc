"""TensorBoard files beside the events, where they are asked for and can be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dycon_engine.config import TrainingConfig
from dycon_engine.jobs.events import StepDone
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.training.distributed import Process


class Board:
    """Writes the numbers of every step; without a writer it writes nothing."""

    def __init__(self, writer: Any = None) -> None:
        """Write to a `SummaryWriter`, or nowhere."""
        self._writer = writer

    def step(self, event: StepDone) -> None:
        """Write one step."""
        if self._writer is None:
            return
        self._writer.add_scalar("loss", event.loss, event.step)
        self._writer.add_scalar("learning_rate", event.learning_rate, event.step)
        for group, values in (("terms", event.terms), ("diagnostics", event.diagnostics)):
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, event.step)


@contextmanager
def open_tensorboard(
    run_dir: Path, config: TrainingConfig, process: Process, reporter: Reporter
) -> Iterator[Board]:
    """Yield the board of a run; a missing package is a warning, not a failure."""
    if not config.tensorboard or not process.is_main:
        yield Board()
        return
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional
    except ImportError:
        reporter.warn(
            "tensorboard", "TensorBoard is not installed; no files for it (pip install tensorboard)"
        )
        yield Board()
        return
    writer = SummaryWriter(str(run_dir / "tensorboard"))
    try:
        yield Board(writer)
    finally:
        writer.close()
