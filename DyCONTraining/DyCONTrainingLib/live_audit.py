"""The engine's audit of a draft, again after every change: a child process, a moment later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dycon_engine.errors import DyconError
from DyCONTrainingLib import audit
from DyCONTrainingLib.cases import Row
from DyCONTrainingLib.draft import Draft, Finding, Key, warning
from DyCONTrainingLib.facts import ImageFacts
from DyCONTrainingLib.tasks import Outcome, StartJob, Task

AFTER_S = 0.7  # of quiet; every change would otherwise start an engine
NO_VALIDATION = ("--set", "data.validation=0")  # the table says who is held out


class LiveAudit:
    """Looks at what lies on disk.

    Attributes:
        findings: What the engine said last.
        images: What it knows of the scans, to compare them with loaded ones.
        method: The chosen method.
    """

    def __init__(self, start: StartJob, temporary: Path, clock: Callable[[], float]) -> None:
        """Have nothing to look at; `clock` gives seconds that only grow."""
        self._start, self._temporary, self._clock = start, temporary, clock
        self._due_at: float | None = None
        self._task: Task | None = None
        self._rows: dict[str, Row] = {}
        self.findings: list[Finding] = []
        self.images: dict[Key, ImageFacts] = {}
        self.method = "dycon"

    @property
    def is_done(self) -> bool:
        """Return whether it has looked at the draft as it is."""
        return self._task is None and self._due_at is None

    @property
    def task(self) -> Task | None:
        """Return the look that goes on."""
        return self._task

    def request(self, draft: Draft) -> None:
        """Look at `draft` soon; what was said of rows that are gone is forgotten at once."""
        self.findings = [f for f in self.findings if not f.rows or draft.indices(f.rows)]
        self._due_at = self._clock() + AFTER_S

    def poll(self, draft: Draft, root: Path) -> bool:
        """Go on; return whether there is something new to show.

        Raises:
            DyconError: The engine cannot be started.
        """
        if self._task is not None:
            outcome = self._task.poll()
            if outcome is not None:
                whole = len(self._rows) == len(draft.rows)
                self._take(outcome, whole=whole)
            return True
        if self._due_at is None or self._clock() < self._due_at:
            return False
        self._begin(draft, root)
        return True

    def stop(self) -> None:
        """End the look that goes on, and look no more until asked."""
        if self._task is not None:
            self._task.close()
        self._task = self._due_at = None

    def _begin(self, draft: Draft, root: Path) -> None:
        self.stop()
        if not audit.on_disk(draft.rows):
            self.findings = []
            return
        text, self._rows = audit.audit_manifest(draft, root)
        task = Task(self._start, "audit", self._temporary, "Checking the files")
        file = task.folder / "manifest.toml"
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            task.close()
            raise DyconError(f"the files cannot be checked ({error.strerror})") from error
        self._task = task.begin(("--data", file, "--method", self.method, *NO_VALIDATION))

    def _take(self, outcome: Outcome, *, whole: bool) -> None:
        if outcome.errors:
            self.findings = [warning(f"the files were not checked: {outcome.errors[0]}")]
        else:
            self.findings = audit.findings_of(outcome.summary, self._rows, whole=whole)
            self.images = audit.image_facts(outcome.summary, self._rows)
        self.stop()
