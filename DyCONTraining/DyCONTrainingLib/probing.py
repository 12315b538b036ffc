"""How fast a run would be here and how much memory it needs: a few real steps, then stopped."""

from __future__ import annotations

from pathlib import Path

from dycon_engine.errors import InputError, OutOfMemoryError
from DyCONLib.signal import Signal
from DyCONTrainingLib.budget import Probe, as_probe, smaller
from DyCONTrainingLib.folder import Folder
from DyCONTrainingLib.manifest import NAME
from DyCONTrainingLib.request import TrainRequest
from DyCONTrainingLib.tasks import Outcome, StartJob, Task

JOB = "probe"
WHEN = ("training.validate_every", "training.preview_every")  # not how fast a step is


class Probing:
    """Measures; remembers what was measured for which choices.

    Attributes:
        changed: Emitted without arguments when progress or answer changed.
        failed: Emitted with one or more sentences, one a line.
        seconds: Of measured steps.
    """

    def __init__(self, start: StartJob, temporary: Path) -> None:
        """Know nothing yet."""
        self.changed, self.failed = Signal(), Signal()
        self.seconds = 10.0
        self._start, self._temporary = start, temporary
        self._known: dict[object, Probe] = {}
        self._task: Task | None = None
        self._for: object = None
        self._request = TrainRequest()

    @property
    def progress(self) -> tuple[str, float]:
        """Return what is being done and how far it is, "" where nothing is."""
        return (self._task.words, self._task.share) if self._task is not None else ("", -1.0)

    def found(self, request: TrainRequest, folder: Folder | None) -> Probe | None:
        """Return what was measured for such a request, whatever its number of steps."""
        return self._known.get(_key(request, folder))

    def begin(self, request: TrainRequest, folder: Folder, package: Path | None) -> None:
        """Start measuring.

        Raises:
            InputError: It is being measured already.
            DyconError: The engine cannot be started.
        """
        if self._task is not None:
            raise InputError(f"{self._task.words}: wait until it is done, or cancel it")
        task = Task(self._start, JOB, self._temporary, "Measuring speed and memory")
        line = request.arguments(folder.path / NAME, package)
        self._task = task.begin([*line, "--seconds", str(self.seconds)])
        self._for = _key(request, folder)
        self._request = request
        self.changed.emit()

    def poll(self) -> None:
        """Go on; called by a timer."""
        outcome = self._task.poll() if self._task is not None else None
        if outcome is not None:
            self._take(outcome)
            self.cancel()

    def cancel(self) -> None:
        """Stop measuring."""
        if self._task is not None:
            self._task.close()
            self._task = None
            self.changed.emit()

    def _take(self, outcome: Outcome) -> None:
        if outcome.topic == OutOfMemoryError.topic:
            less = smaller(self._request.profile, outcome.device or self._request.device)
            do = f"choose {less}" if less else "close other programs"
            self.failed.emit(f"too little memory for this run: {do} and measure again")
        elif outcome.errors:
            self.failed.emit("\n".join(outcome.errors))
        else:
            self._known[self._for] = as_probe(outcome.summary)


def _key(request: TrainRequest, folder: Folder | None) -> object:
    """Return what the speed depends on: everything but the number of steps."""
    settings = {k: v for k, v in request.settings.items() if k not in WHEN}
    choices = (request.method, request.profile, request.device, repr(sorted(settings.items())))
    return (*choices, folder.path if folder is not None else None)
