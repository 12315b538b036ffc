"""The section Method and budget of the panel: what to learn with, from what, how long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt

from DyCONTrainingLib.budget import budget_text, concern
from DyCONTrainingLib.form import PROFILES, Field, MethodForm
from DyCONTrainingLib.logic import TrainingLogic
from DyCONTrainingLib.parameters import FROM_LAST_RUN, FROM_SCRATCH, MINUTES, STEPS

DEVICES = ("auto", "cpu", "cuda", "mps")
BUDGETS = (MINUTES, STEPS)
EXPORT_FOLDER = "Empty folder for the job"
Attempt = Callable[[Callable[[], Any]], Any]


class MethodSection:
    """Shows the choices of a training run."""

    def __init__(self, ui: Any, logic: TrainingLogic, attempt: Attempt) -> None:
        """Connect the widgets; arguments as of `DataSection`."""
        self._ui, self._logic, self._attempt = ui, logic, attempt
        self._methods: tuple[MethodForm, ...] = ()
        self._starts: list[tuple[str, str]] = []
        self._form = MethodFields(ui.settingsBox, ui.settingsLayout, logic)
        for title in PROFILES.values():
            ui.profileSelector.addItem(title)
        ui.methodSelector.connect("currentIndexChanged(int)", self._on_method)
        ui.startSelector.connect("currentIndexChanged(int)", self._on_start)
        for selector, name, values in (
            (ui.profileSelector, "profile", tuple(PROFILES)),
            (ui.deviceSelector, "device", DEVICES),
            (ui.budgetSelector, "budget", BUDGETS),
        ):
            selector.connect("currentIndexChanged(int)", self._chooser(name, values))
        ui.budgetSpinBox.connect("valueChanged(int)", self._on_budget)
        ui.compareCheckBox.connect("toggled(bool)", lambda on: logic.choose(compare=bool(on)))
        ui.measureButton.connect("clicked()", lambda: attempt(logic.probe))
        ui.startButton.connect("clicked()", lambda: attempt(logic.start))
        ui.exportButton.connect("clicked()", lambda: attempt(self._export))

    def refresh(self) -> None:
        """Show the choices."""
        if self._ui.methodSection.collapsed:
            return
        ui, logic = self._ui, self._logic
        chosen = logic.chosen
        self._show_methods()
        self._show_starts()
        form = logic.catalog.form(chosen.method, chosen.profile)
        ui.aboutLabel.text = form.about if form else logic.catalog.error or "Asking the engine ..."
        self._form.show(form)
        ui.settingsBox.visible = form is not None and bool(form.fields)
        _choose(ui.profileSelector, list(PROFILES), chosen.profile)
        _choose(ui.deviceSelector, DEVICES, chosen.device)
        _choose(ui.budgetSelector, BUDGETS, chosen.budget)
        amount = chosen.minutes if chosen.budget == MINUTES else chosen.steps
        if ui.budgetSpinBox.value != amount:
            blocked = ui.budgetSpinBox.blockSignals(True)
            ui.budgetSpinBox.value = amount
            ui.budgetSpinBox.blockSignals(blocked)
        ui.compareCheckBox.visible = form is None or form.needs_unlabeled
        if ui.compareCheckBox.checked != chosen.compare:
            ui.compareCheckBox.checked = chosen.compare
        why = logic.why_not()
        steps, measuring = logic.steps(), bool(logic.probing.progress[0])
        ui.budgetLabel.text = self._budget(steps)
        ui.measureButton.enabled = not why and not measuring
        ui.startButton.enabled = ui.exportButton.enabled = not why and steps is not None
        if not why and steps is None:
            why = "Press 'Measure' to tell how many steps fit into the time."
        ui.whyLabel.text = why
        ui.whyLabel.visible = bool(why)

    def _budget(self, steps: int | None) -> str:
        probe = self._logic.probed()
        if probe is None or steps is None:
            return "Speed and memory on this computer are not measured yet."
        words = [budget_text(steps, probe, self._logic.now()), concern(steps, probe)]
        return "\n".join(line[:1].upper() + line[1:] + "." for line in words if line)

    def _show_methods(self) -> None:
        forms = self._logic.catalog.forms
        selector = self._ui.methodSelector
        if forms != self._methods:
            self._methods = forms
            blocked = selector.blockSignals(True)
            selector.clear()
            for form in forms:
                selector.addItem(form.title)
            selector.blockSignals(blocked)
        selector.enabled = bool(forms)
        _choose(selector, [form.name for form in forms], self._logic.chosen.method)

    def _show_starts(self) -> None:
        starts = [(FROM_SCRATCH, "Scratch"), (FROM_LAST_RUN, "The model of the last run")]
        starts += [(model.path.name, model.name) for model in self._logic.models()]
        selector = self._ui.startSelector
        if starts != self._starts:
            self._starts = starts
            blocked = selector.blockSignals(True)
            selector.clear()
            for _, title in starts:
                selector.addItem(title)
            selector.blockSignals(blocked)
        _choose(selector, [name for name, _ in starts], self._logic.chosen.start)

    def _on_method(self, index: int) -> None:
        if 0 <= index < len(self._methods):
            self._logic.choose(method=self._methods[index].name)

    def _on_start(self, index: int) -> None:
        if 0 <= index < len(self._starts):
            self._logic.choose(start=self._starts[index][0])

    def _on_budget(self, value: int) -> None:
        name = "minutes" if self._logic.chosen.budget == MINUTES else "steps"
        self._logic.choose(**{name: int(value)})

    def _chooser(self, name: str, values: tuple[str, ...]) -> Callable[[int], None]:
        return lambda index: self._logic.choose(**{name: values[index]})

    def _export(self) -> None:
        chosen = qt.QFileDialog.getExistingDirectory(None, EXPORT_FOLDER, "")
        if chosen:
            self._logic.export(Path(chosen))


class MethodFields:
    """The main settings of the chosen method, one widget each."""

    def __init__(self, box: Any, layout: Any, logic: TrainingLogic) -> None:
        """Show them in the form layout of a box."""
        self._box, self._layout, self._logic = box, layout, logic
        self._form: MethodForm | None = None

    def show(self, form: MethodForm | None) -> None:
        """Show the settings of a method; made anew only for another one."""
        if form == self._form:
            return
        self._form = form
        while self._layout.rowCount():
            self._layout.removeRow(0)
        values = self._logic.chosen.settings.get(form.name, {}) if form is not None else {}
        before = self._box
        for field in form.fields if form is not None else ():
            widget = self._widget(field, values.get(field.name, field.default))
            widget.setToolTip(field.help)
            unit = f" ({field.unit})" if field.unit else ""
            self._layout.addRow(f"{field.title}{unit}:", widget)
            qt.QWidget.setTabOrder(before, widget)  # else it comes last of all
            before = widget

    def _widget(self, field: Field, value: Any) -> Any:
        if field.kind == "choice":
            return self._choice(field, value)
        if field.kind == "flag":
            box = qt.QCheckBox()
            box.setChecked(bool(value))
            box.connect("toggled(bool)", self._setter(field, bool))
            return box
        if field.kind in ("number", "integer") and value is not None:
            return self._number(field, value)
        line = qt.QLineEdit()
        line.setText("" if value is None else str(value))
        line.connect("textEdited(QString)", self._setter(field, str))
        return line

    def _choice(self, field: Field, value: Any) -> Any:
        box = qt.QComboBox()
        for choice in field.choices:
            box.addItem(choice)
        box.setCurrentIndex(field.choices.index(value) if value in field.choices else 0)
        box.connect("currentIndexChanged(int)", self._setter(field, lambda i: field.choices[i]))
        return box

    def _number(self, field: Field, value: Any) -> Any:
        whole = field.kind == "integer"
        box = qt.QSpinBox() if whole else qt.QDoubleSpinBox()
        most = 1_000_000 if whole else 1000.0
        if not whole:
            box.setDecimals(3)
            box.setSingleStep(0.05)
        box.setRange(field.low if field.low is not None else -most, field.high or most)
        box.setValue(value)
        kind = "int" if whole else "double"
        box.connect(f"valueChanged({kind})", self._setter(field, int if whole else float))
        return box

    def _setter(self, field: Field, convert: Callable[[Any], Any]) -> Callable[[Any], None]:
        def changed(value: Any) -> None:
            chosen = self._logic.chosen.with_setting(field.name, convert(value))
            self._logic.choose(settings=chosen.settings)

        return changed


def _choose(selector: Any, values: Any, value: str) -> None:
    """Show `value` in a list of `values` without telling anybody."""
    index = list(values).index(value) if value in values else -1
    if selector.currentIndex != index:
        blocked = selector.blockSignals(True)
        selector.setCurrentIndex(index)
        selector.blockSignals(blocked)
