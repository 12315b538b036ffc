"""The runs as the panel shows them: listed, watched, ended, compared, moved to other computers.

What a run achieved goes to DyCONSegmentation by itself, once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dycon_engine.errors import DyconError, InputError
from DyCONLib.signal import Signal
from DyCONTrainingLib import results, transfer
from DyCONTrainingLib.folder import Folder
from DyCONTrainingLib.request import TrainRequest
from DyCONTrainingLib.run_card import RunCard, Standing
from DyCONTrainingLib.runs import Ask, Launcher, Runs
from DyCONTrainingLib.watching import Watch

CARDS_EVERY_S = 2.0


class RunLogic:
    """The runs of the open data set.

    Attributes:
        changed: Emitted without arguments when something to show changed.
        failed: Emitted with one sentence.
        finished: Emitted with a run's name and the model that DyCONSegmentation now offers.
        cards: How every run stands, the newest first.
        watch: The run that is looked at; None without a data set.
        exported: Where the last job for another computer was written, None = nowhere yet.
    """

    def __init__(
        self, launcher: Launcher, models: Path, ask: Ask, clock: Callable[[], float]
    ) -> None:
        """Begin without a data set; `clock` gives seconds since the epoch."""
        self.changed, self.failed, self.finished = Signal(), Signal(), Signal()
        self._launcher, self._models, self._ask, self._clock = launcher, models, ask, clock
        self._runs: Runs | None = None
        self._looked_at = 0.0
        self._trouble = ""
        self._export: transfer.Export | None = None
        self._handed: set[Path] = set()
        self._left = ""  # the run that was looked at before the scene was closed
        self.cards: list[RunCard] = []
        self.watch: Watch | None = None
        self.exported: Path | None = None

    def open(self, folder: Folder) -> None:
        """Find the runs of a data set; one that is alive is watched again."""
        if self._runs is not None and self._runs.folder.path == folder.path:
            self._runs.folder = folder  # it grew
            self.look()
            return
        self.close()
        self._runs = Runs(folder, self._launcher, self._ask)
        self.watch = Watch(self._runs, self._clock)
        self.look()
        usable = [card for card in self.cards if card.standing is not Standing.UNREADABLE]
        best = next((card for card in usable if card.is_alive), next(iter(usable), None))
        if best is not None:
            self.watch.follow(best.name)

    def card(self, name: str) -> RunCard | None:
        """Return how a run stands, None where it is not listed."""
        return next((card for card in self.cards if card.name == name), None)

    @property
    def is_waiting(self) -> bool:
        """Return whether a run goes on or waits for its turn."""
        return any(card.is_alive or card.standing is Standing.QUEUED for card in self.cards)

    @property
    def watched(self) -> RunCard | None:
        """Return the run that is looked at."""
        return self.card(self.watch.name) if self.watch is not None else None

    def follow(self, name: str) -> None:
        """Look at a run.

        Raises:
            InputError: It is not there any more.
        """
        if self.watch is not None and name != self.watch.name:
            self.watch.follow(name)
            self.changed.emit()

    def start(self, request: TrainRequest, package: Path | None, *, compare: bool) -> RunCard:
        """Start a run, or queue it, and look at it.

        Args:
            request: What to train.
            package: Whose weights to start from.
            compare: Whether supervised-only training on the same split follows.

        Raises:
            DyconError: It cannot be started.
        """
        runs = self._open_runs()
        card = runs.start(request, package)
        if compare and request.method != results.SUPERVISED:
            runs.compare(card.name)
        self.look()
        if card.standing is not Standing.QUEUED:
            self.follow(card.name)
        return card

    def resume(self, name: str) -> None:
        """Go on with a run, if the person agrees, and look at it.

        Raises:
            DyconError: It cannot be resumed.
        """
        if self._open_runs().resume(name) and self.watch is not None:
            self.watch.forget(name)
            self.watch.follow(name)
        self.look()

    def cancel(self, name: str) -> None:
        """Stop a run, if the person agrees.

        Raises:
            InputError: It does not run.
        """
        self._open_runs().cancel(name)
        self.look()

    def delete(self, name: str) -> None:
        """Delete a run, if the person agrees.

        Raises:
            DyconError: It cannot be deleted.
        """
        if self._open_runs().delete(name) and self.watch is not None:
            self.watch.forget(name)
        self.look()

    def compare(self, name: str) -> None:
        """Queue supervised-only training on the split of a run.

        Raises:
            DyconError: It cannot be compared.
        """
        self._open_runs().compare(name)
        self.look()

    def export(self, target: Path, request: TrainRequest, package: Path | None) -> None:
        """Begin to write a job for another computer; `poll` goes on.

        Raises:
            InputError: The folder is not usable, or another job is being written.
        """
        if self._export is not None:
            raise InputError("another job is being written; wait until it is done")
        folder = self._open_runs().folder
        self._export = transfer.Export(target, folder, request, package)
        self.exported = target
        self.changed.emit()

    def import_result(self, chosen: Path) -> str:
        """Take the result of another computer into the list; return the run's name.

        Raises:
            DyconError: It is no result, or cannot be copied.
        """
        runs = self._open_runs()
        run = transfer.import_result(chosen, runs.folder, runs.new_name)
        self.look()
        self.follow(run.name)
        return run.name

    def report(self, name: str) -> results.Report | None:
        """Return the figures of a run, None while it has none."""
        return results.read_report(self._runs.path / name) if self._runs is not None else None

    def twin(self, name: str) -> RunCard | None:
        """Return the supervised-only run that belongs to a run."""
        cards = (card for card in self.cards if card.request is not None)
        return next((c for c in cards if c.request and c.request.compare_with == name), None)

    def comparison(self, name: str) -> str:
        """Return what unlabeled scans gave, in words; "" where there is nothing to compare."""
        twin, report = self.twin(name), self.report(name)
        if twin is None or report is None:
            return ""
        other = self.report(twin.name)
        if other is None:
            return f"Supervised only, for comparison: '{twin.name}' is {twin.standing}."
        return results.compared(report, other)

    def offered(self, name: str) -> str:
        """Return under which name DyCONSegmentation offers a run's model, in words."""
        card = self.card(name)
        model = results.published_name(card.path) if card is not None else ""
        return f"DyCON Segmentation offers the model as '{model}'." if model else ""

    def log(self) -> str:
        """Return the log of the watched run, without names and paths."""
        if self._runs is None or self.watch is None or not self.watch.name:
            return ""
        return self._runs.follow(self.watch.name).log()

    @property
    def progress(self) -> tuple[str, float]:
        """Return what is being written and how far it is, "" where nothing is."""
        if self._export is None:
            return "", -1.0
        done, total = self._export.progress
        return "Writing the job", done / total if total else -1.0

    def poll(self) -> None:
        """Go on with everything; called by a timer."""
        self._go_on_exporting()
        if self._runs is None or self.watch is None:
            return
        ended = self.watch.take(self._runs.poll())
        if ended or self._clock() - self._looked_at >= CARDS_EVERY_S:
            self.look()

    def stop(self) -> None:
        """Stop writing a job; what was written of it is removed."""
        if self._export is not None:
            self._export.cancel()
            self._export = None
            self.changed.emit()

    def close(self) -> None:
        """Look at nothing any more; training goes on."""
        self.stop()
        if self.watch is not None:
            self.watch.leave()
        self._runs = self.watch = None
        self.cards = []

    def leave_scene(self) -> None:
        """Take charts and previews out of the scene, which is being closed."""
        if self.watch is not None:
            self._left = self.watch.name or self._left  # closed again before anybody returned
            self.watch.leave()

    def return_to_scene(self) -> None:
        """Look at the run again that was looked at before the scene was closed."""
        name, self._left = self._left, ""
        if self.watch is not None and not self.watch.name and self.card(name) is not None:
            self.watch.follow(name)

    def look(self) -> None:
        """Bring the list up to date, hand on new models, start the oldest queued run."""
        self._looked_at = self._clock()
        if self._runs is None:
            return
        try:
            self.cards = self._runs.cards()
            if self._runs.start_queued() is not None:
                self.cards = self._runs.cards()
            self._trouble = ""
        except DyconError as error:
            before, self._trouble = self._trouble, str(error)
            if self._trouble != before:  # once, not every two seconds while a drive is away
                self.failed.emit(self._trouble)
        for card in self.cards:
            if card.standing is Standing.FINISHED and card.path not in self._handed:
                self._publish(card)
        self.changed.emit()

    def _publish(self, card: RunCard) -> None:
        """Hand a finished run's model to DyCONSegmentation; a comparison's is not for use."""
        self._handed.add(card.path)
        if card.is_comparison or not card.packages or results.is_published(card.path):
            return
        classes = self._open_runs().folder.content.classes
        taken = [path.stem for path in self._models.glob("*.dycon")]
        name = results.model_name([each.name for each in classes], card.name, taken)
        try:
            model = results.publish(card.path, self._models, name)
        except DyconError as error:
            self.failed.emit(str(error))
            return
        self.finished.emit(card.name, model)

    def _go_on_exporting(self) -> None:
        if self._export is None:
            return
        try:
            if self._export.step():
                self._export = None
        except DyconError as error:
            self._export = None
            self.failed.emit(str(error))
        self.changed.emit()

    def _open_runs(self) -> Runs:
        if self._runs is None:
            raise InputError("choose a folder for the data set first")
        return self._runs
