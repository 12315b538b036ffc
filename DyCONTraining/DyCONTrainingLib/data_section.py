"""The section Data set of the panel: table, roles, labels, findings, saving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt

from dycon_engine.errors import InputError
from DyCONTrainingLib import tables, texts
from DyCONTrainingLib.cases import Role, Row
from DyCONTrainingLib.draft import Finding
from DyCONTrainingLib.folder import open_folder
from DyCONTrainingLib.logic import TrainingLogic
from DyCONTrainingLib.tables import Cell

Attempt = Callable[[Callable[[], Any]], Any]
FOLDER_OF_SCANS = "Folder of scans"
MOST_CASES, MOST_FINDINGS = 8, 6  # lines shown at once


class DataSection:
    """Shows the data set in the making."""

    def __init__(self, ui: Any, logic: TrainingLogic, attempt: Attempt) -> None:
        """Connect the widgets.

        Args:
            ui: The widgets by name.
            logic: What they show.
            attempt: Calls an action and tells a failure in a sentence.
        """
        self._ui, self._logic, self._attempt = ui, logic, attempt
        self._shown: tuple[Finding, ...] = ()
        dataset = logic.dataset
        tables.prepare(ui.casesTable, 0)
        tables.prepare(ui.findingsTable, 0, wrapped=True)
        self._line = ui.folderPath.comboBox().lineEdit()
        ui.folderPath.connect("currentPathChanged(QString)", self._on_path)
        self._line.connect("editingFinished()", self._open_typed)
        ui.addSceneButton.connect("clicked()", lambda: attempt(self._add_scene))
        ui.addFolderButton.connect("clicked()", lambda: attempt(self._add_folder))
        ui.addItemButton.connect("clicked()", lambda: attempt(self._add_item))
        for button, role in (
            (ui.labeledButton, Role.LABELED),
            (ui.unlabeledButton, Role.UNLABELED),
            (ui.heldOutButton, Role.HELD_OUT),
        ):
            button.connect("clicked()", self._role_setter(role))
        self._menu = qt.QMenu(ui.moreButton)
        self._actions = (
            self._action("Join as channels of one case", lambda: dataset.join(self._rows())),
            self._action("Leave out", lambda: dataset.remove(self._rows())),
        )
        ui.moreButton.setMenu(self._menu)
        ui.itemSelector.connect("currentItemChanged(vtkIdType)", lambda _item: self.refresh())
        ui.casesTable.connect("itemSelectionChanged()", self._show_buttons)
        ui.findingsTable.connect("itemSelectionChanged()", self._show_fixes)
        ui.fixButton.connect("clicked()", lambda: self._fix(0))
        ui.otherFixButton.connect("clicked()", lambda: self._fix(1))
        ui.saveButton.connect("clicked()", lambda: attempt(dataset.save))

    def refresh(self) -> None:
        """Show the data set."""
        ui, dataset = self._ui, self._logic.dataset
        has_folder, busy = dataset.folder is not None, dataset.is_busy
        path = str(dataset.folder.path) if dataset.folder is not None else ""
        if ui.folderPath.currentPath != path and not self._line.modified:
            blocked = ui.folderPath.blockSignals(True)
            ui.folderPath.currentPath = path
            ui.folderPath.addCurrentPathToHistory()
            ui.folderPath.blockSignals(blocked)
        for button in (ui.addSceneButton, ui.addFolderButton, ui.addItemButton):
            button.enabled = has_folder and not busy
        ui.addItemButton.enabled = has_folder and not busy and bool(ui.itemSelector.currentItem())
        rows = dataset.draft.rows
        tables.fill(
            ui.casesTable,
            [
                (
                    Cell(texts.case_text(row), texts.where_text(row)),
                    Cell(texts.segments_text(row)),
                    Cell(row.role.words, color=texts.ROLES[row.role.value]),
                    _check(row, dataset.findings, checked=dataset.is_audited),
                )
                for row in rows
            ],
        )
        tables.fit(ui.casesTable, MOST_CASES)
        ui.casesTable.visible = ui.roleFrame.visible = bool(rows)
        ui.countsLabel.text = texts.counts_text(rows) if rows else self._hint()
        ui.saveButton.enabled = bool(rows) and has_folder and not busy and not dataset.is_saved
        ui.savedLabel.text = "Saved." if dataset.is_saved else ""
        ui.savedLabel.visible = dataset.is_saved
        self._show_buttons()
        self._show_findings()

    def _hint(self) -> str:
        if self._logic.dataset.folder is None:
            return "Choose an empty folder for a new data set, or one that was made before."
        return "Add scans: those with a segmentation become labeled, the others unlabeled."

    def _show_buttons(self) -> None:
        chosen, busy = self._rows(), self._logic.dataset.is_busy
        ui = self._ui
        for button in (ui.labeledButton, ui.unlabeledButton, ui.heldOutButton, ui.moreButton):
            button.enabled = bool(chosen) and not busy
        self._actions[0].setEnabled(len(chosen) > 1)

    def _show_findings(self) -> None:
        ui, dataset = self._ui, self._logic.dataset
        found = tuple(dataset.findings)
        ui.findingsFrame.visible = bool(found)
        ui.findingsLabel.text = texts.findings_text(list(found), checked=dataset.is_audited)
        if [f.text for f in found] != [f.text for f in self._shown]:
            cells = [Cell(texts.finding_text(f), color=texts.LEVELS[f.level]) for f in found]
            tables.fill(ui.findingsTable, [(cell,) for cell in cells])
            ui.findingsTable.clearSelection()
        ui.findingsTable.resizeRowsToContents()  # the panel may have another width now
        tables.fit(ui.findingsTable, MOST_FINDINGS)
        self._shown = found
        self._show_fixes()

    def _show_fixes(self) -> None:
        finding = self._finding()
        fixes = finding.fixes if finding is not None else ()
        buttons = (self._ui.fixButton, self._ui.otherFixButton)
        for number, button in enumerate(buttons):
            button.visible = len(fixes) > number
            button.text = fixes[number].words if len(fixes) > number else ""
            button.enabled = not self._logic.dataset.is_busy
        if finding is not None and not fixes and self._logic.dataset.can_dismiss(finding):
            self._ui.fixButton.visible, self._ui.fixButton.text = True, "Go on with the first"

    def _fix(self, number: int) -> None:
        finding = self._finding()
        if finding is None:
            return
        if len(finding.fixes) > number:
            self._logic.dataset.fix(finding.fixes[number])
        else:
            self._logic.dataset.dismiss(finding)

    def _finding(self) -> Finding | None:
        chosen = tables.selected(self._ui.findingsTable)
        return self._shown[chosen[0]] if chosen and chosen[0] < len(self._shown) else None

    def _rows(self) -> list[int]:
        return tables.selected(self._ui.casesTable)

    def _role_setter(self, role: Role) -> Callable[[], None]:
        return lambda: self._logic.dataset.set_role(self._rows(), role)

    def _action(self, words: str, act: Callable[[], None]) -> Any:
        action = self._menu.addAction(words)
        action.connect("triggered()", lambda: self._attempt(act))
        return action

    def _on_path(self, path: str) -> None:
        """Open what was chosen; what is being typed or completed is not meant at every key."""
        if self._line.modified:
            return
        completer = self._line.completer()
        popup = completer.popup() if completer is not None else None
        completing = popup is not None and popup.visible
        if completing or (self._line.focus and not _is_usable(path)):
            self._line.modified = True  # until it is done, like what is typed
            return
        self._open(path)

    def _open_typed(self) -> None:
        if not self._line.modified:  # Qt says it again when a dialog takes the focus
            return
        self._line.modified = False
        self._open(self._ui.folderPath.currentPath)

    def _open(self, path: str) -> None:
        folder = self._logic.dataset.folder
        if path and (folder is None or Path(path) != folder.path):
            self._attempt(lambda: self._logic.open(Path(path)))
        self.refresh()

    def _add_scene(self) -> None:
        self._logic.dataset.add_scene()

    def _add_folder(self) -> None:
        chosen = qt.QFileDialog.getExistingDirectory(None, FOLDER_OF_SCANS, "")
        if chosen:
            self._logic.dataset.add_folder(Path(chosen))

    def _add_item(self) -> None:
        item = self._ui.itemSelector.currentItem()
        if item:
            self._logic.dataset.add_items([item])


def _is_usable(path: str) -> bool:
    try:
        open_folder(Path(path))
    except InputError:
        return False
    return True


def _check(row: Row, findings: Sequence[Finding], *, checked: bool) -> Cell:
    """Return the cell that says what was found about a case."""
    own = [finding for finding in findings if row.images in finding.rows]
    color = texts.LEVELS[min(finding.level for finding in own)] if own else None
    tip = "\n".join(finding.text for finding in own) or "Nothing was found"
    return Cell(texts.check_text(own, checked=checked), tip if own or checked else "", color)
