"""Segmenting many scans: one engine process for all, a row per scan, failures that stop nothing.

No Qt: a timer calls `poll`. Volumes of the scene are exported one per call, so that the panel stays
alive. Where the engine dies in the middle of a scan, that scan fails and the rest goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.client import RunState
from dycon_engine.jobs.events import CaseDone, Stage
from DyCONLib.models import Model
from DyCONLib.signal import Signal
from DyCONSegmentationLib import orders
from DyCONSegmentationLib.logic import Phase
from DyCONSegmentationLib.parameters import Parameters
from DyCONSegmentationLib.report import Report
from DyCONSegmentationLib.results import Files
from DyCONSegmentationLib.run import EngineRun, Progress, StartJob, Workspace
from DyCONSegmentationLib.texts import EXPORTING, report_text


@dataclass(frozen=True)
class Item:
    """One scan of a batch.

    Attributes:
        name: Shown to the person.
        case: What the engine calls it, unique in the batch.
        files: Its files, one per channel; those of a volume are named only, without a folder.
        volume: Its node; None for files on disk.
    """

    name: str
    case: str
    files: tuple[Path, ...]
    volume: Any = None


class Row(NamedTuple):
    """What became of one scan.

    Attributes:
        name: Shown to the person.
        done: None while it waits, False where it failed.
        text: Its volumes, or why it failed.
        review: Whether something asks for review.
        item: The scan, once it is done.
        files: Where its results lie on disk; None where they were placed in the scene.
    """

    name: str
    done: bool | None = None
    text: str = ""
    review: bool = False
    item: Item | None = None
    files: Files | None = None


@dataclass(frozen=True)
class Plan:
    """A batch to run.

    Attributes:
        items: The scans, in order.
        output: Folder of the result files; None for a temporary one.
        export: Writes the volume of an item to its file.
        keep: Takes the files of a finished item and returns its report, e.g. places it in the
            scene; raises DyconError where they are not usable.
    """

    items: tuple[Item, ...]
    output: Path | None
    export: Callable[[Item, Path], None]
    keep: Callable[[Item, Files], Report]


class BatchLogic:
    """Runs one batch at a time.

    Attributes:
        changed: Emitted without arguments when phase, progress or rows changed.
        ended: Emitted with a sentence that sums up, once nothing runs any more.
    """

    def __init__(
        self,
        start: StartJob,
        temporary: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Be idle; arguments as those of `SegmentationLogic`."""
        self.changed, self.ended = Signal(), Signal()
        self._start, self._temporary, self._clock = start, temporary, clock
        self._workspace: Workspace | None = None
        self._run: EngineRun | None = None
        self._plan: Plan | None = None
        self._model: Model | None = None
        self._chosen = Parameters()
        self._waiting: list[Item] = []
        self._begun = False
        self._rows: dict[str, Row] = {}
        self.phase = Phase.IDLE

    @property
    def rows(self) -> tuple[Row, ...]:
        """A row per scan, in order."""
        return tuple(self._rows.values())

    @property
    def model(self) -> Model | None:
        """The model of the batch that runs, or that ran last."""
        return self._model

    @property
    def progress(self) -> Progress:
        """How far the whole batch is."""
        total = len(self._rows)
        done = sum(row.done is not None for row in self.rows)
        if self._run is None:
            ready = total - len(self._waiting)
            step = EXPORTING if self._waiting else ""
            return Progress(step=step, item=ready, items=total, share=-1.0 if step else 1.0)
        now = self._run.progress
        inside = now.share * now.items if now.share >= 0 and now.items else 0.0  # of this process
        before = total - now.items if now.items else done
        share = max(done, before + inside) / total if total else -1.0
        return Progress(
            now.step, share, now.elapsed_s, now.remaining_s, now.device, min(done + 1, total), total
        )

    def segment(self, plan: Plan, model: Model | None, chosen: Parameters) -> None:
        """Start a batch.

        Raises:
            InputError: One goes on, nothing is to be done, or no model is chosen.
            DyconError: The temporary folder cannot be made.
        """
        if self.phase is not Phase.IDLE:
            raise InputError("a batch is running; wait for it or cancel it")
        if model is None:
            raise InputError("choose a model")
        if not plan.items:
            raise InputError("no scan was found there; choose another folder or sequence")
        self._workspace = Workspace(self._temporary, os.getpid())
        self._plan, self._model, self._chosen = plan, model, chosen
        self._rows = {item.case: Row(item.name) for item in plan.items}
        self._waiting = [item for item in plan.items if item.volume is not None]
        self.phase = Phase.RUNNING
        self.changed.emit()

    def poll(self) -> None:
        """Do a little, or look at the engine; called by a timer."""
        if self.phase is Phase.IDLE or self._plan is None:
            return
        if self._run is None:
            self._prepare(self._plan)
        else:
            self._follow(self._plan, self._run)
        self.changed.emit()

    def cancel(self) -> None:
        """Stop; what is done stays, and it is over within 5 s."""
        if self.phase is Phase.RUNNING:
            self.phase = Phase.CANCELLING
            if self._run is not None:
                self._run.cancel()
            self.changed.emit()

    def close(self) -> None:
        """End a batch now, without a word: the scene or Slicer closes."""
        if self.phase is not Phase.IDLE:
            self._leave()
            self.changed.emit()

    def _prepare(self, plan: Plan) -> None:
        """Export one more volume; start the engine after the last one."""
        if self.phase is Phase.CANCELLING:
            self._finish("cancelled")
        elif self._waiting and self._workspace is not None:
            item = self._waiting.pop(0)
            try:
                plan.export(item, self._workspace.path / item.files[0])
            except DyconError as error:
                self._fail(item.case, str(error))
        else:
            self._go_on(plan)

    def _go_on(self, plan: Plan) -> None:
        """Start the engine on the scans that are not done."""
        left = [item for item in plan.items if self._rows[item.case].done is None]
        if not left or self._workspace is None or self._model is None:
            self._finish()
            return
        folder = plan.output or self._workspace.path / "results"
        scans = self._workspace.path / "scans.txt"
        extra = folder if self._chosen.keep_probabilities else None
        page = plan.output  # the scene keeps no page per scan
        files = Files(folder, folder, folder, extra, page)
        try:
            scans.write_text("\n".join(str(file) for item in left for file in item.files), "utf-8")
            line = orders.arguments([scans], files, self._model, self._chosen)
            self._begun = False
            self._run = EngineRun(self._workspace, self._start, line, self._clock)
        except (OSError, DyconError) as error:
            self._finish(str(error))

    def _follow(self, plan: Plan, run: EngineRun) -> None:
        for event in run.poll():
            if isinstance(event, CaseDone) and event.error:
                self._fail(event.case, event.error)
            elif isinstance(event, CaseDone):
                self._take(plan, event)
            elif isinstance(event, Stage):
                self._begun = True
        if run.state is RunState.RUNNING:
            return
        if self.phase is Phase.CANCELLING or run.state is RunState.CANCELLED:
            self._finish("cancelled")
            return
        left = [case for case, row in self._rows.items() if row.done is None]
        if run.state is RunState.DEAD and self._begun and left:
            self._fail(left[0], run.error)
            self._go_on(plan)
        else:
            self._finish(run.error if left else "")

    def _take(self, plan: Plan, event: CaseDone) -> None:
        item = next((item for item in plan.items if item.case == event.case), None)
        if item is None or self._workspace is None:
            return
        folder = plan.output or self._workspace.path / "results"
        named = {role: folder / name for role, name in event.outputs.items()}
        try:
            report = plan.keep(item, Files(**named))
        except (DyconError, TypeError) as error:
            self._fail(item.case, str(error))
            return
        words, review = report_text(report)
        kept = Files(**named) if plan.output is not None else None
        self._rows[item.case] = Row(item.name, True, words, review, item, kept)
        if plan.output is None:  # they are in the scene now
            for path in named.values():
                path.unlink(missing_ok=True)

    def _fail(self, case: str, reason: str) -> None:
        """Note why a scan failed; its row says already which one it is."""
        for item in self._plan.items if self._plan else ():
            if item.case == case:
                for said in (f"case '{case}': ", *(f"'{file}': " for file in item.files)):
                    reason = reason.replace(said, "")
                self._rows[case] = Row(item.name, False, reason)

    def _finish(self, trouble: str = "") -> None:
        good, bad = (sum(row.done is kind for row in self.rows) for kind in (True, False))
        words = f"{good} of {len(self._rows)} segmented"
        words += f", {bad} failed" if bad else ""
        words += f"; {trouble}" if trouble else ""
        self._leave()
        self.changed.emit()
        self.ended.emit(words)

    def _leave(self) -> None:
        if self._run is not None:
            self._run.close()
        if self._workspace is not None:
            self._workspace.remove()
        self._run = self._workspace = self._plan = None
        self._waiting.clear()
        self.phase = Phase.IDLE
