"""Building a data set: the table, the mapping of segments, live checks, saving. No Qt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dycon_engine.errors import DyconError, InputError
from DyCONLib.signal import Signal
from DyCONTrainingLib import audit, cases, checks, scene_facts, scene_rows
from DyCONTrainingLib.cases import FromFile, FromScene, Role, Row, Source
from DyCONTrainingLib.draft import Draft, Finding, Fix, Level, warning
from DyCONTrainingLib.facts import Facts
from DyCONTrainingLib.folder import Folder, open_folder
from DyCONTrainingLib.labels import LabelMapping, preview, proposed
from DyCONTrainingLib.live_audit import NO_VALIDATION, LiveAudit
from DyCONTrainingLib.saving import Saving, Tools
from DyCONTrainingLib.tasks import Outcome, Task
from DyCONTrainingLib.who_is_who import WhoIsWho


class DatasetLogic:
    """One data set in the making.

    Attributes:
        changed: Emitted without arguments when table, findings or progress changed.
        failed: Emitted with one or more sentences, one a line.
        saved: Emitted with the folder once it is complete on disk.
        folder: The data set on disk.
        draft: What will be saved.
        needs_unlabeled: Whether the chosen method learns from unlabeled scans.
    """

    def __init__(
        self,
        tools: Tools,
        who_is_who: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        look_s: float = 0.15,
    ) -> None:
        """Begin without a folder.

        Args:
            tools: How things get out of the scene and into the engine.
            who_is_who: The person's own list of titles and patients; None keeps none.
            clock: Seconds that only grow.
            look_s: Time to look at scans between two moments for the person.
        """
        self.changed, self.failed, self.saved = Signal(), Signal(), Signal()
        self._tools, self._who_path, self._clock = tools, who_is_who, clock
        self._facts = scene_facts.FactBook(look_s)
        self.folder: Folder | None = None
        self.draft = Draft()
        self.needs_unlabeled = True
        self._kept: object = _essence(self.draft)  # what lies on disk, or was found there
        self._who = WhoIsWho(who_is_who, "")
        self._own: list[Finding] = []
        self._listing: list[Finding] = []
        self._audit = LiveAudit(tools.start, tools.temporary, clock)
        self._adding: Task | None = None
        self._saving: Saving | None = None

    # what the panel shows

    @property
    def findings(self) -> list[Finding]:
        """Return everything to say, problems first."""
        found = [*self._own, *self._listing, *self._audit.findings]
        return sorted(found, key=lambda finding: finding.level)

    @property
    def problems(self) -> int:
        """Return how many findings keep training from starting."""
        return sum(finding.level is Level.PROBLEM for finding in self.findings)

    @property
    def is_busy(self) -> bool:
        """Return whether something is being read or written that must end first."""
        return self._saving is not None or self._adding is not None

    @property
    def is_saved(self) -> bool:
        """Return whether the draft is what lies on disk."""
        if self.folder is None or self.folder.unlisted:
            return False
        content, draft = self.folder.content, self.draft
        rows = [replace(row, title="") for row in draft.rows]
        there = [replace(row, title="") for row in content.rows]
        return (
            bool(content.identifier)
            and (rows, draft.channels) == (there, content.channels)
            and draft.mapping.used == content.classes
        )

    @property
    def unsaved(self) -> str:
        """Return what would be lost if it was closed now, one sentence; "" where nothing would."""
        if self.folder is None or _essence(self.draft) == self._kept:
            return ""
        new = sum(not row.is_saved for row in self.draft.rows)
        what = f"{new} new case{'s' if new > 1 else ''}" if new else "what you changed"
        return f"Not saved in the data set '{self.folder.path.name}': {what}."

    @property
    def is_audited(self) -> bool:
        """Return whether every check has looked at the draft as it is."""
        return self._audit.is_done and self._facts.is_complete

    @property
    def progress(self) -> tuple[str, float]:
        """Return what is being done and how far it is in [0, 1], -1 where unknown."""
        if self._saving is not None:
            done, total = self._saving.progress
            return "Writing the data set", done / total if total else -1.0
        task = self._adding or self._audit.task
        return (task.words, task.share) if task is not None else ("", -1.0)

    def label_preview(self) -> list[tuple[str, str, int, int]]:
        """Return segment, class, value and number of cases per segment."""
        _, counts = scene_facts.segments_in(self.draft.rows)
        for row in self.draft.rows:
            if isinstance(row.label, FromFile):
                for _, name in row.label.labels:
                    counts[name] = counts.get(name, 0) + 1
        return preview(self.draft.mapping, counts)

    # what the person does

    def open(self, path: Path) -> None:
        """Open the data set in `path`, or begin a new one there.

        Raises:
            InputError: It is not usable.
        """
        folder = open_folder(path)
        who = WhoIsWho(self._who_path, folder.content.identifier)
        self._stop()
        self.folder, content, self._who = folder, folder.content, who
        rows = (replace(r, title=self._who.titles.get(r.alias, r.alias)) for r in content.rows)
        mapping = LabelMapping(content.classes, {c.name: c.value for c in content.classes})
        self._listing = []
        if folder.named_by_files:
            self._listing = [_names_stay(folder.named_by_files)]
        self.edit(Draft(tuple(rows), mapping, content.channels))
        self._kept = _essence(self.draft)

    def add_scene(self) -> int:
        """Add every scan that is loaded; return how many were new."""
        return self._add(scene_rows.rows_of_scene())

    def add_items(self, items: Iterable[int]) -> int:
        """Add the scans of subject-hierarchy items; return how many were new."""
        return self._add(scene_rows.rows_of_items(items))

    def add_folder(self, path: Path) -> None:
        """Have the engine look at a folder of scans; its cases are added when it has.

        Raises:
            InputError: Something else is being done.
            DyconError: The engine cannot be started.
        """
        self._require_idle()
        task = Task(self._tools.start, "audit", self._tools.temporary, f"Reading '{path.name}'")
        self._adding = task.begin(("--data", path, "--method", "supervised", *NO_VALIDATION))
        self.changed.emit()

    def set_role(self, indices: Sequence[int], role: Role) -> None:
        """Give rows a role."""
        self.edit(self.draft.with_rows(cases.with_role(self.draft.rows, indices, role)))

    def remove(self, indices: Sequence[int]) -> None:
        """Take rows out of the data set; no file is touched."""
        self.edit(self.draft.with_rows(cases.removed(self.draft.rows, indices)))

    def join(self, indices: Sequence[int]) -> None:
        """Make rows the channels of one case."""
        if len(indices) > 1:
            self.edit(self.draft.with_rows(cases.joined(self.draft.rows, indices)))

    def fix(self, fix: Fix) -> None:
        """Do what a button of a finding says."""
        self.edit(fix.apply(self.draft))

    def set_mapping(self, mapping: LabelMapping) -> None:
        """Take the person's mapping of segments to labels."""
        self.edit(replace(self.draft, mapping=mapping))

    def can_dismiss(self, finding: Finding) -> bool:
        """Return whether a finding is about the names of a folder's files only."""
        return any(other is finding for other in self._listing)

    def dismiss(self, finding: Finding) -> None:
        """Forget what was said about the names of a folder's files."""
        self._listing = [other for other in self._listing if other is not finding]
        self.changed.emit()

    def edit(self, draft: Draft) -> None:
        """Take another draft, check it at once and have the engine audit it soon."""
        segments, _ = scene_facts.segments_in(draft.rows)
        self.draft = replace(draft, mapping=proposed(segments, draft.mapping))
        self._audit.request(self.draft)
        self.check()

    def check(self) -> None:
        """Look at the scene's scans and segmentations again; the person may have edited them."""
        loaded = self._facts.look(self.draft.rows)
        facts = Facts({**self._audit.images, **loaded.images}, loaded.labels)
        self._own = checks.found(self.draft, facts, needs_unlabeled=self.needs_unlabeled)
        self.changed.emit()

    def use_method(self, name: str, *, needs_unlabeled: bool) -> None:
        """Take the chosen method: some need unlabeled scans."""
        if (name, needs_unlabeled) != (self._audit.method, self.needs_unlabeled):
            self._audit.method, self.needs_unlabeled = name, needs_unlabeled
            self._audit.request(self.draft)
            self.check()

    def save(self) -> None:
        """Begin to write the data set; `poll` goes on.

        Raises:
            InputError: There is no folder or no case, something else is being done, or somebody
                else saved it since it was opened.
        """
        self._require_idle()
        if self.folder is None:
            raise InputError("data set: has no folder yet; choose an empty one")
        if not self.draft.rows:
            raise InputError("data set: has no case yet; add scans")
        self._saving = Saving(self.folder, self.draft, self._tools, self._who)
        self._audit.stop()
        self.changed.emit()

    def cancel(self) -> None:
        """Stop reading or writing; what was written of this is removed."""
        if self._saving is not None:
            self._saving.cancel()
        self._saving = None
        if self._adding is not None:
            self._adding.close()
        self._adding = None
        self.changed.emit()

    def leave_scene(self) -> None:
        """Take out what comes from the scene, which is being closed; what lies in files stays."""
        self._stop()
        saved = self.folder.content.rows if self.folder is not None else ()
        there = {row.alias: row for row in saved}
        rows = []
        for row in self.draft.rows:
            kept = replace(row, origin=tuple(s for s in row.origin if not _in_scene(s)))
            if not any(map(_in_scene, (*row.images, row.label))):
                rows.append(kept)
            elif row.alias in there:  # saved, then labeled in the scene
                rows.append(replace(there[row.alias], title=row.title, patient=row.patient))
            elif not any(map(_in_scene, row.images)):
                rows.append(replace(kept, label=None, role=Role.UNLABELED))
        self.edit(self.draft.with_rows(tuple(rows)))

    def close(self) -> None:
        """End every process and forget the draft; files stay."""
        self._stop()
        self.folder, self.draft = None, Draft()
        self._own, self._listing, self._audit.findings = [], [], []

    # what goes on by itself

    def poll(self) -> None:
        """Go on with what is being done; called by a timer."""
        if not self._facts.is_complete:
            self.check()
        if self._saving is not None:
            self._go_on_saving(self._saving)
        elif self._adding is not None:
            outcome = self._adding.poll()
            if outcome is not None:
                self._adding.close()
                self._adding = None
                self._add_outcome(outcome)
            self.changed.emit()
        else:
            self._go_on_checking()

    def _go_on_saving(self, saving: Saving) -> None:
        try:
            done = saving.step()
        except DyconError as error:
            self._saving = None
            self.changed.emit()
            self.failed.emit(str(error))
            return
        if done and saving.saved is not None:
            self._saving, self.folder = None, saving.folder
            self.edit(saving.saved)
            self._kept = _essence(self.draft)
            self.saved.emit(saving.folder)
        else:
            self.changed.emit()

    def _go_on_checking(self) -> None:
        root = self.folder.path if self.folder is not None else Path()
        try:
            if not self._audit.poll(self.draft, root):
                return
        except DyconError as error:
            self.failed.emit(str(error))
        if self._audit.is_done:
            self.check()
        else:
            self.changed.emit()

    def _add_outcome(self, outcome: Outcome) -> None:
        if outcome.errors:
            self.failed.emit("\n".join(outcome.errors))
            return
        self._listing += audit.listing_findings(outcome.summary)
        mapping = proposed(audit.segments_of(outcome.summary), self.draft.mapping)
        self.draft = replace(self.draft, mapping=mapping)
        self._add(audit.rows_of(outcome.summary))

    def _add(self, rows: Sequence[Row]) -> int:
        known = [replace(row, patient=self._who.number_of(row.patient)) for row in rows]
        before = len(self.draft.rows)
        self.edit(self.draft.with_rows(cases.added(self.draft.rows, known)))
        return len(self.draft.rows) - before

    def _require_idle(self) -> None:
        if self.is_busy:
            raise InputError(f"{self.progress[0]}: wait until it is done, or cancel it")

    def _stop(self) -> None:
        self._audit.stop()
        self.cancel()


def _essence(draft: Draft) -> object:
    """Return what of a draft is written; two drafts with equal ones make the same data set."""
    rows = tuple(replace(row, title="") for row in draft.rows)
    return (rows, draft.mapping.used, draft.channels)


def _in_scene(source: Source | None) -> bool:
    return isinstance(source, FromScene)


def _names_stay(names: Sequence[str]) -> Finding:
    shown = ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if len(names) > 3 else "")  # noqa: PLR2004
    return warning(
        f"{len(names)} cases are called as their files ({shown}): if such a name tells who the "
        "patient is, begin a new data set and add this folder to it; scans are copied under "
        "neutral names"
    )
