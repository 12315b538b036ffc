"""How the panel starts the engine: with the chosen Python, in Slicer's start-up environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from DyCONLib.question import Question
from DyCONLib.runner import Job


class Python(Protocol):
    """What is used of `DyCONLib.interpreters.EnginePython`."""

    @property
    def chosen(self) -> Path | None:
        """The interpreter of another environment; None for Slicer's own."""


@dataclass(frozen=True)
class Engine:
    """Starts engine processes.

    Attributes:
        python: Which Python runs them.
        environment: What children inherit; None = this process's own.
    """

    python: Python
    environment: Mapping[str, str] | None = None

    def job(self, name: str, arguments: Sequence[str | Path], run_dir: Path) -> Job:
        """Start a short job that ends with Slicer."""
        return Job.start(
            name,
            arguments,
            run_dir=run_dir,
            python=self.python.chosen,
            environment=self.environment,
        )

    def start(self, arguments: Sequence[str | Path], run_dir: Path) -> Job:
        """Start training that goes on when Slicer closes."""
        return Job.start(
            "train",
            arguments,
            run_dir=run_dir,
            python=self.python.chosen,
            environment=self.environment,
            detached=True,
        )

    def attach(self, run_dir: Path) -> Job:
        """Follow the run in `run_dir`."""
        return Job.attach(run_dir)

    def ask(self, arguments: Sequence[str]) -> Question:
        """Put a question to the engine."""
        return Question(arguments, python=self.python.chosen, environment=self.environment)
