"""The panel on Qt with PythonQt's manners: what a person sees, presses and is told."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from DyCONLib import interpreters
from Testing import tiny_package
from Testing.slicer.shown import cells, told
from Testing.slicer.training import loop, scenes
from Testing.slicer.training import run_folders as folders
from Testing.slicer.training.inline import InlineEngine

ROOT = Path(__file__).resolve().parents[3]
MODULE = ROOT / "DyCONTraining" / "DyCONTraining.py"
UI = ROOT / "DyCONTraining" / "Resources" / "UI" / "DyCONTraining.ui"
ARROW = 36  # pixels of a list's arrow and frame
WIDTH = 330  # of a narrow column; Slicer begins with about 380
SECTIONS = ("dataset", "method", "runs", "watch", "result", "label")
NOT_SCORED = "no held-out case: the model will be neither scored nor calibrated"
INTERACTIVE = ("QPushButton", "QToolButton", "QComboBox", "QSpinBox", "QCheckBox", "QSlider")


@pytest.fixture
def desk(slicer_qt, slicer_scene, tmp_path, monkeypatch):
    """The module as Slicer opens it, the engine in this process."""
    from DyCONTrainingLib import widget
    from DyCONTrainingLib.logic import Places

    from Testing.slicer.host import modules

    for name in ("models", "temporary"):
        (tmp_path / name).mkdir()
    loop.remember_methods(tmp_path / "settings" / "methods.json")
    places = Places(tmp_path / "settings", tmp_path / "models", tmp_path / "temporary")
    monkeypatch.setattr(widget, "places", lambda: places)
    monkeypatch.setattr(interpreters, "missing_packages", list)
    desk = SimpleNamespace(qt=slicer_qt, scene=slicer_scene, path=tmp_path, widget=widget)

    def engine(*given):
        desk.started_with = given
        return InlineEngine()

    monkeypatch.setattr(widget, "Engine", engine)

    def open_panel():
        desk.module = modules.load_module(MODULE)
        desk.ui, desk.panel = desk.module.ui, desk.module.panel
        desk.logic = desk.panel.logic
        for name in SECTIONS:
            getattr(desk.ui, f"{name}Section").collapsed = False
        desk.module.enter()
        return desk.ui

    desk.open = open_panel
    return desk


def settle(desk):
    """Poll until nothing is read, written or checked."""
    for _ in range(400):
        desk.panel.poll()
        dataset = desk.logic.dataset
        if not desk.logic.progress[0] and not dataset.is_busy and dataset.is_audited:
            desk.panel.refresh()
            return
        desk.qt.wait_until(lambda: True)
        dataset._audit._due_at = 0.0 if dataset._audit._due_at is not None else None
    raise AssertionError(desk.logic.progress)


def press(desk, button):
    """Press a button as a person can: only while it works, and the panel shows what came of it."""
    desk.panel.refresh()
    assert button.enabled
    button.click()
    desk.panel.refresh()


def parameters_of_scene():
    from DyCONTrainingLib.parameters import parameter_node, read_parameters

    return read_parameters(parameter_node())


def build(desk, labeled=2, unlabeled=1):
    """Open a data set, add scans of the scene, save it."""
    scenes.scans(labeled, unlabeled)
    ui = desk.open()
    ui.folderPath.currentPath = str(desk.path / "set")
    press(desk, ui.addSceneButton)
    press(desk, ui.saveButton)
    settle(desk)
    return ui


# --- the file


def widgets():
    return list(ET.parse(UI).getroot().iter("widget"))  # noqa: S314 - our own file


def prop(widget, name):
    found = widget.find(f"property[@name='{name}']")
    return "".join(found.itertext()).strip() if found is not None else ""


def test_every_control_explains_itself_and_no_key_is_taken_twice():
    silent = [
        widget.get("name")
        for widget in widgets()
        if widget.get("class") in INTERACTIVE and not prop(widget, "toolTip")
    ]
    assert silent == []
    keys = [re.search(r"&(\w)", prop(widget, "text")) for widget in widgets()]
    taken = [key[1].lower() for key in keys if key]
    assert sorted(taken) == sorted(set(taken)), sorted(taken)


def test_what_has_no_text_of_its_own_has_a_name_for_screen_readers():
    silent = ("QTableWidget", "QSlider")
    nameless = [
        widget.get("name")
        for widget in widgets()
        if widget.get("class") in silent and not prop(widget, "accessibleName")
    ]
    assert nameless == []


def test_every_widget_of_the_code_is_in_the_file_and_the_other_way_round():
    named = {widget.get("name") for widget in widgets()} | {
        layout.get("name")
        for layout in ET.parse(UI).getroot().iter("layout")  # noqa: S314
    }
    code = "".join(path.read_text() for path in UI.parents[2].glob("DyCONTrainingLib/*.py"))
    used = set(re.findall(r"\bui\.(\w+)", code))
    assert used - named == set()
    controls = {w.get("name") for w in widgets() if w.get("class") in INTERACTIVE}
    assert controls - used == set()


def test_no_label_takes_what_it_is_given_for_html():
    code = "".join(path.read_text() for path in UI.parents[2].glob("DyCONTrainingLib/*.py"))
    assert "qt.QLabel" not in code  # all of them are in the file
    used = set(re.findall(r"ui\.(\w+Label)\b", code))
    formats = {widget.get("name"): prop(widget, "textFormat") for widget in widgets()}
    assert {name for name in used if formats[name] != "Qt::PlainText"} == set()


def test_words_of_a_foreign_run_are_shown_as_they_are(desk):
    import qt

    from dycon_engine.jobs.events import Failed

    words = '<h1>Verified</h1><img src="//10.0.0.5/share/x.png">'
    ui = build(desk)
    runs(desk, (words.replace("/", ""), [*folders.steps(1, 5), Failed(message=words)]))
    assert ui.adviceLabel.text == words
    assert ui.adviceLabel.textFormat == qt.Qt.PlainText
    tip = ui.runsTable.item(0, 0).toolTip()
    assert "&lt;h1&gt;Verified" in tip
    assert "<h1>" not in tip
    desk.qt.dialogs.answer(False)
    press(desk, ui.deleteButton)
    desk.widget.tell(words)
    assert [words in text for text in told(desk)] == [False, True]


def test_the_panel_fits_into_slicers_narrow_column(desk):
    ui = build(desk)
    assert not ui.labelSection.collapsed
    assert desk.module.parent.minimumSizeHint.width() <= WIDTH


def test_letters_half_as_large_again_clip_nothing(desk, monkeypatch):
    from PySide6 import QtGui, QtWidgets

    from Testing.slicer.host import qt as host

    def use_large_letters(*, dark=False):
        font = QtGui.QFont("DejaVu Sans")
        font.setPixelSize(18)
        QtWidgets.QApplication.instance().setFont(font)

    ui = build(desk)
    with monkeypatch.context() as patch:
        patch.setattr(host, "use_palette", use_large_letters)
        host.grab(desk.module, desk.path / "large.png")
        for button in (ui.compareButton, ui.segmentButton, ui.measureButton):
            native = host.unwrap(button)
            assert native.fontMetrics().horizontalAdvance(native.text()) < native.width()
        selector = host.unwrap(ui.budgetSelector)
        words = selector.fontMetrics().horizontalAdvance("minutes")
        assert words + ARROW < selector.width()
    host.use_palette()


# --- data set


def test_an_empty_panel_says_what_to_do(desk):
    ui = desk.open()
    assert ui.countsLabel.text.startswith("Choose an empty folder for a new data set")
    assert not ui.addSceneButton.enabled
    assert not ui.startButton.enabled
    assert ui.whyLabel.text == "Choose a folder for the data set first."
    assert ui.casesTable.isHidden()


def test_from_scans_to_a_saved_data_set(desk):
    scenes.scans(2, 1)
    ui = desk.open()
    ui.folderPath.currentPath = str(desk.path / "set")
    assert ui.addSceneButton.enabled
    press(desk, ui.addSceneButton)
    desk.panel.refresh()
    assert cells(ui.casesTable) == [
        ["scan 0", "yes", "labeled", "..."],
        ["scan 1", "yes", "labeled", "..."],
        ["scan 2", "-", "unlabeled", "..."],
    ]
    assert ui.countsLabel.text == "2 labeled, 1 unlabeled; 3 not saved yet"
    assert cells(ui.mappingTable)[0][:2] == ["ball", "2"]
    ui.casesTable.selectRow(1)
    press(desk, ui.heldOutButton)
    desk.panel.refresh()
    assert cells(ui.casesTable)[1][2] == "held-out"
    assert ui.whyLabel.text == "Save the data set first."
    press(desk, ui.saveButton)
    settle(desk)
    assert (desk.path / "set/manifest.toml").is_file()
    assert ui.savedLabel.text == "Saved."
    assert not ui.saveButton.enabled
    assert ui.findingsFrame.isHidden()
    assert [row[3] for row in cells(ui.casesTable)] == ["ok"] * 3
    assert told(desk) == []


def test_a_finding_is_shown_and_its_button_solves_it(desk):
    scenes.scans(2, 1)
    scenes.volume("copy", scenes.ball(2)[0])
    ui = desk.open()
    ui.folderPath.currentPath = str(desk.path / "set")
    press(desk, ui.addSceneButton)
    desk.panel.refresh()
    assert cells(ui.findingsTable)[0] == [f"Look: {NOT_SCORED}"]
    text = cells(ui.findingsTable)[1][0]
    assert text.startswith("Look: cases 'scan 2', 'copy': hold the same voxels")
    assert [row[3] for row in cells(ui.casesTable)][2:] == ["look", "look"]
    assert ui.casesTable.item(3, 3).toolTip() == text.removeprefix("Look: ")
    assert ui.fixButton.isHidden()
    ui.findingsTable.selectRow(1)
    assert ui.fixButton.text == "Leave it out"
    press(desk, ui.fixButton)
    desk.panel.refresh()
    assert [row[0] for row in cells(ui.casesTable)] == ["scan 0", "scan 1", "scan 2"]
    assert cells(ui.findingsTable) == [[f"Look: {NOT_SCORED}"]]
    ui.casesTable.selectRow(0)
    press(desk, ui.heldOutButton)
    assert ui.findingsFrame.isHidden()


def test_training_without_a_held_out_case_is_warned_of_before_it_starts(desk):
    ui = build(desk, labeled=3)
    assert cells(ui.findingsTable) == [[f"Look: {NOT_SCORED}"]]
    ui.findingsTable.selectRow(0)
    assert ui.fixButton.text == "Hold out one labeled case"
    press(desk, ui.fixButton)
    assert [row[2] for row in cells(ui.casesTable)].count("held-out") == 1
    assert ui.findingsFrame.isHidden()


def test_overlap_offers_both_answers(desk):
    image, mask = scenes.ball(3)
    ui = desk.open()
    scan = scenes.volume("both", image)
    scenes.segmentation(scan, {"a": mask, "b": np.roll(mask, 2, axis=0)})
    ui.folderPath.currentPath = str(desk.path / "set")
    press(desk, ui.addSceneButton)
    desk.panel.refresh()
    row = next(i for i, (text,) in enumerate(cells(ui.findingsTable)) if "overlap" in text)
    ui.findingsTable.selectRow(row)
    assert cells(ui.casesTable)[0][3] == "solve"
    assert (ui.fixButton.text, ui.otherFixButton.text) == ("'a' on top", "'b' on top")
    assert cells(ui.findingsTable)[row][0].startswith("Solve: segments overlap")
    problems = sum(text.startswith("Solve: ") for (text,) in cells(ui.findingsTable))
    many = f"{problems} problems" if problems > 1 else "A problem"
    assert ui.whyLabel.text == f"{many} in the data set: do first what is listed as 'Solve'."
    press(desk, ui.otherFixButton)
    assert desk.logic.dataset.draft.mapping.on_top == (2, 1)


def test_the_label_of_a_segment_is_chosen_in_the_table(desk):
    image, mask = scenes.ball(3)
    ui = desk.open()
    scenes.segmentation(scenes.volume("s", image), {"LA": mask})
    scenes.segmentation(scenes.volume("t", scenes.ball(4)[0]), {"atrium": scenes.ball(4)[1]})
    ui.folderPath.currentPath = str(desk.path / "set")
    press(desk, ui.addSceneButton)
    desk.panel.refresh()
    ui.mappingTable.cellWidget(1, 2).setCurrentIndex(0)
    desk.panel.refresh()
    assert desk.logic.dataset.draft.mapping.values == {"LA": 1, "atrium": 1}
    assert ui.mappingBox.title == "Segments and labels (1)"
    assert not any("atrium" in text for (text,) in cells(ui.findingsTable))
    assert ui.mappingTable.cellWidget(1, 2).count == 3  # both labels, and left out


def test_a_folder_that_is_no_data_set_is_told_and_nothing_changes(desk):
    (desk.path / "letters").mkdir()
    (desk.path / "letters/dear.txt").write_text("x")
    ui = desk.open()
    ui.folderPath.currentPath = str(desk.path / "letters")
    (sentence,) = told(desk)
    assert "is not empty and no data set" in sentence
    assert ui.folderPath.currentPath == ""


def test_a_drive_that_is_away_is_said_once(desk, monkeypatch):
    """Not in one dialog over the other every two seconds."""
    from DyCONTrainingLib.runs import Runs

    from dycon_engine.errors import DyconError

    build(desk)
    desk.logic.open(desk.path / "set")
    away = True

    def cards(_runs):
        if away:
            raise DyconError("folder 'set': the network drive is away")
        return []

    monkeypatch.setattr(Runs, "cards", cards)
    desk.qt.dialogs.clear()
    for _ in range(3):
        desk.logic.running.look()
    assert told(desk) == ["folder 'set': the network drive is away"]
    away = False
    desk.logic.running.look()
    away = True
    desk.logic.running.look()
    assert len(told(desk)) == 2


def test_a_dialog_of_a_poll_keeps_the_next_poll_waiting(desk, monkeypatch):
    """While a dialog is open Slicer goes on with its timers."""
    desk.open()
    depth = []

    def poll():
        depth.append(len(depth))
        desk.panel.poll()

    monkeypatch.setattr(desk.logic, "poll", poll)
    desk.panel.poll()
    assert depth == [0]
    desk.panel.poll()
    assert depth == [0, 1]


def test_a_path_that_is_typed_is_opened_when_it_is_done(desk):
    from PySide6.QtTest import QTest

    (desk.path / "letters").mkdir()
    (desk.path / "letters/dear.txt").write_text("x")
    scenes.scans(1, 1)
    ui = desk.open()
    ui.folderPath.currentPath = str(desk.path / "set")
    press(desk, ui.addSceneButton)
    line = ui.folderPath.comboBox().lineEdit()
    line.selectAll()
    QTest.keyClicks(line._raw, str(desk.path / "letters"))
    desk.panel.refresh()
    assert ui.folderPath.currentPath == str(desk.path / "letters")
    assert (told(desk), ui.casesTable.rowCount) == ([], 2)
    desk.qt.dialogs.answer(False)
    QTest.keyClick(line._raw, "\r")
    assert told(desk) == [
        "Not saved in the data set 'set': 2 new cases. Open 'letters' all the same?"
    ]
    assert ui.folderPath.currentPath == str(desk.path / "set")
    assert ui.casesTable.rowCount == 2


def test_a_path_that_is_being_completed_waits_for_its_end(desk):
    """A completer puts every folder on the way into the line, as if it was chosen."""
    (desk.path / "letters" / "old").mkdir(parents=True)
    ui = desk.open()
    line = ui.folderPath.comboBox().lineEdit()
    window = line._raw.window()
    window.show()
    window.activateWindow()
    line._raw.setFocus()
    desk.qt.wait_until(lambda: line.focus)
    ui.folderPath.currentPath = str(desk.path / "letters")  # not empty, and no data set
    desk.panel.refresh()
    assert told(desk) == []
    assert ui.folderPath.currentPath == str(desk.path / "letters")
    line._raw.editingFinished.emit()
    assert "is not empty and no data set" in told(desk)[0]
    ui.folderPath.currentPath = str(desk.path / "letters" / "old")
    assert str(desk.logic.dataset.folder.path) == str(desk.path / "letters" / "old")
    line._raw.clearFocus()
    window.hide()


def test_no_two_mnemonics_are_the_same_nor_those_of_slicers_menus():
    letters = []
    for widget in widgets():
        for name in ("text", "title"):
            found = widget.find(f"property[@name='{name}']")
            letters += re.findall("&(.)", "".join(found.itertext()) if found is not None else "")
    assert len(letters) == len({letter.lower() for letter in letters})
    assert not {letter.lower() for letter in letters} & set("fevh")


def test_the_data_set_of_the_last_time_is_found_with_its_runs(desk):
    """Slicer was closed while a run went on, and the scene was not saved."""
    import slicer

    build(desk)
    folders.hold(folders.write_run(desk.path / "set", "01-dycon", folders.steps(1, 7)))
    desk.module.cleanup()
    slicer.mrmlScene.RemoveNode(
        slicer.mrmlScene.GetSingletonNode("DyCONTraining", "vtkMRMLScriptedModuleNode")
    )
    ui = desk.open()
    assert ui.folderPath.currentPath == str(desk.path / "set")
    assert ui.watchSection.text == "4. Watch: 01-dycon"
    assert cells(ui.runsTable)[0][1] == "running"
    assert told(desk) == []


def test_a_scene_that_is_read_keeps_what_is_not_saved_yet(desk):
    import slicer

    scenes.scans(1, 1)
    ui = desk.open()
    ui.folderPath.currentPath = str(desk.path / "set")
    press(desk, ui.addSceneButton)
    slicer.mrmlScene.InvokeEvent(slicer.mrmlScene.EndImportEvent)
    desk.panel.poll()
    assert (ui.casesTable.rowCount, told(desk)) == (2, [])


# --- method, runs


def test_methods_and_their_settings_come_from_the_engine(desk):
    ui = build(desk)
    titles = [ui.methodSelector.itemText(i) for i in range(ui.methodSelector.count)]
    assert titles[0] == "DyCON (recommended)"
    assert len(titles) >= 4
    assert ui.settingsLayout.rowCount() == len(desk.logic.catalog.form("dycon", "laptop").fields)
    ui.methodSelector.currentIndex = titles.index("Supervised only (labeled scans)")
    desk.panel.refresh()
    assert desk.logic.chosen.method == "supervised"
    assert ui.compareCheckBox.isHidden()
    fields = desk.logic.catalog.form("supervised", "laptop").fields
    assert ui.settingsLayout.rowCount() == len(fields)


def test_the_tab_key_goes_through_the_settings_where_they_are(desk):
    import qt

    from Testing.slicer.host import qt as host

    ui = build(desk)
    ui.settingsBox.collapsed = False
    desk.logic.choose(method="ua_mt")  # made anew
    desk.panel.refresh()
    layout = ui.settingsLayout
    role = qt.QFormLayout.FieldRole
    fields = [layout.itemAt(row, role).widget() for row in range(layout.rowCount())]
    wanted = [host.unwrap(each) for each in (ui.settingsBox, *fields, ui.compareCheckBox)]
    here, order = wanted[0], []
    while len(order) < 400:
        order += [here] if here in wanted else []
        here = here.nextInFocusChain()
    assert order[: len(wanted)] == wanted


def test_a_changed_setting_reaches_the_run(desk):
    ui = build(desk)
    import qt

    box = ui.settingsLayout.itemAt(0, qt.QFormLayout.FieldRole).widget()
    box.setValue(0.25)
    name = desk.logic.catalog.form("dycon", "laptop").fields[0].name
    settings = desk.logic.request(5).settings
    assert {k: v for k, v in settings.items() if k.startswith("method.")} == {
        f"method.{name}": 0.25
    }


def test_training_from_the_button_to_the_figures(desk):
    scenes.scans(3, 1)
    ui = desk.open()
    ui.folderPath.currentPath = str(desk.path / "set")
    press(desk, ui.addSceneButton)
    ui.casesTable.selectRow(2)
    desk.panel.refresh()
    press(desk, ui.heldOutButton)
    press(desk, ui.saveButton)
    settle(desk)
    ui.budgetSelector.currentIndex = 1
    ui.budgetSpinBox.value = 4
    loop.choose_tiny(desk.logic, 4)
    desk.panel.refresh()
    assert ui.startButton.enabled
    press(desk, ui.startButton)
    for _ in range(3):
        desk.panel.poll()
        desk.panel.refresh()
    assert cells(ui.runsTable)[0][:3] == ["01-dycon", "finished", "4 / 4"]
    assert ui.adviceLabel.text.startswith("Done: 4 steps, Dice 0.")
    assert ui.resultLabel.text.startswith("Trained on 2 labeled and 1 unlabeled scans.")
    assert cells(ui.resultTable)[0][:2] == ["scan 2", "ball"]
    assert ui.modelLabel.text == "DyCON Segmentation offers the model as 'ball-01-dycon'."
    press(desk, ui.chartButton)
    press(desk, ui.rankButton)
    settle(desk)
    assert cells(ui.rankTable)[0][0] == "1. scan 3"
    assert not ui.rankTable.item(0, 0).icon().isNull()  # its picture
    assert told(desk) == []


def test_measure_tells_time_and_memory_and_makes_minutes_steps(desk):
    ui = build(desk, labeled=3)
    loop.choose_tiny(desk.logic, 4)
    desk.logic.choose(budget="minutes", minutes=30)
    desk.panel.refresh()
    assert not ui.startButton.enabled
    assert ui.whyLabel.text == "Press 'Measure' to tell how many steps fit into the time."
    desk.logic.probing.seconds = 0.2
    press(desk, ui.measureButton)
    settle(desk)
    found = desk.logic.probed()
    assert found.memory_gib > 0
    steps = desk.logic.steps()
    assert steps == pytest.approx((30 * 60 - found.overhead_s) / found.step_s, abs=1)
    assert re.match(rf"{steps} steps in about 30 min, done (tomorrow )?at", ui.budgetLabel.text)
    assert ui.startButton.enabled
    desk.logic.choose(profile="gpu")  # another network: what was measured holds no longer
    desk.panel.refresh()
    assert "not measured yet" in ui.budgetLabel.text


def runs(desk, *names_and_events):
    """Write runs into the data set's folder, and open it."""
    for name, events in names_and_events:
        folders.write_run(desk.path / "set", name, events)
    desk.logic.running.close()
    desk.logic.open(desk.path / "set")
    desk.panel.refresh()


def test_runs_of_every_kind_are_listed_and_the_right_buttons_work(desk):
    ui = build(desk)
    runs(
        desk,
        ("01-dycon", [*folders.steps(1, 40), folders.SCORED, folders.DONE]),
        ("02-dycon", [*folders.steps(1, 5), folders.STOPPED]),
        ("03-dycon", [*folders.steps(1, 5), folders.FAILED]),
        ("04-dycon", folders.steps(1, 7)),
    )
    assert [row[:2] for row in cells(ui.runsTable)] == [
        ["04-dycon", "interrupted"],
        ["03-dycon", "failed"],
        ["02-dycon", "stopped"],
        ["01-dycon", "finished"],
    ]
    assert "'Resume' goes on from the last checkpoint" in ui.adviceLabel.text
    assert (ui.stopButton.enabled, ui.resumeButton.enabled) == (False, True)
    ui.runsTable.selectRow(1)
    desk.panel.refresh()
    assert ui.watchSection.text == "4. Watch: 03-dycon"
    assert ui.adviceLabel.text == "the disk is full; make room"
    ui.runsTable.selectRow(3)
    desk.panel.refresh()
    assert (ui.resumeButton.enabled, ui.deleteButton.enabled) == (False, True)


def test_too_little_memory_is_told_once_in_words_of_the_panel(desk, monkeypatch):
    import slicer

    from dycon_engine.training.trainer import Trainer

    def without_memory(*_arguments):
        raise MemoryError("Unable to allocate 9 GiB")

    ui = build(desk)
    loop.choose_tiny(desk.logic, 3)
    desk.logic.choose(device="auto")
    monkeypatch.setattr(Trainer, "step", without_memory)
    press(desk, ui.measureButton)
    settle(desk)
    do = "close other programs and measure again"  # the engine said that it took the CPU
    assert told(desk)[-1:] == [f"too little memory for this run: {do}"]
    press(desk, ui.startButton)
    settle(desk)
    words = (
        "too little memory: close other programs and start a new run, or export the job to another "
        "computer"
    )
    assert (ui.adviceLabel.text, ui.runLabel.isHidden()) == (words, True)
    assert (ui.resumeButton.enabled, ui.startButton.enabled) == (False, True)
    ui.watchSection.collapsed = True
    desk.panel.poll()
    assert (ui.runLabel.text, ui.runLabel.isHidden()) == (words, False)
    runs(desk)  # found again
    press(desk, ui.logButton)
    assert "training.patch_size" in slicer.app.clipboard().text()


def test_a_run_that_waits_says_so(desk):
    ui = build(desk)
    folders.hold(folders.write_run(desk.path / "set", "01-dycon", folders.steps(1, 7)))
    runs(desk, ("02-dycon", []))
    ui.runsTable.selectRow(0)
    desk.panel.refresh()
    assert cells(ui.runsTable)[0][:2] == ["02-dycon", "queued"]
    assert ui.adviceLabel.text == "waits until no other run goes on"


def test_resuming_asks(desk):
    ui = build(desk)
    runs(desk, ("01-dycon", [folders.TRAINING, folders.STOPPED]))
    (desk.path / "set/runs/01-dycon/config.json").unlink()
    desk.panel.refresh()
    assert ui.adviceLabel.text == "Stopped before the first step; 'Resume' starts it anew"
    desk.qt.dialogs.answer(False)
    press(desk, ui.resumeButton)
    assert told(desk) == ["Go on with '01-dycon' at step 0 of 40?"]
    assert cells(ui.runsTable)[0][1] == "stopped"


def test_deleting_a_run_asks_with_its_name(desk):
    ui = build(desk)
    runs(desk, ("01-dycon", [*folders.steps(1, 40), folders.DONE]))
    desk.qt.dialogs.answer(False)
    press(desk, ui.deleteButton)
    assert "Delete the run '01-dycon'" in told(desk)[0]
    assert (desk.path / "set/runs/01-dycon").is_dir()
    press(desk, ui.deleteButton)
    desk.panel.refresh()
    assert not (desk.path / "set/runs/01-dycon").exists()
    assert ui.runLabel.text == "No run on this data set yet."
    assert ui.adviceLabel.text == "Start a run, or select one in the list."


def test_the_chart_is_shown_in_the_plot_view(desk):
    import slicer

    ui = build(desk)
    runs(desk, ("01-dycon", [*folders.steps(1, 40), folders.SCORED]))
    press(desk, ui.chartButton)
    view = slicer.app.layoutManager().plotWidget(0).mrmlPlotViewNode()
    assert view.GetPlotChartNode().GetTitle() == "01-dycon: Dice"
    ui.chartSelector.currentIndex = 1
    assert view.GetPlotChartNode().GetTitle() == "01-dycon: Loss terms"
    layout, other = slicer.app.layoutManager(), slicer.vtkMRMLLayoutNode
    assert layout.layout == other.SlicerLayoutFourUpPlotView
    layout.setLayout(other.SlicerLayoutConventionalPlotView)  # has a plot view, too
    press(desk, ui.chartButton)
    assert layout.layout == other.SlicerLayoutConventionalPlotView
    layout.setLayout(other.SlicerLayoutFourUpView)
    ui.chartSelector.currentIndex = 0  # the chart is out of sight: the layout stays
    assert layout.layout == other.SlicerLayoutFourUpView


def test_the_log_is_copied_without_names(desk):
    import slicer

    ui = build(desk)
    runs(desk, ("01-dycon", [*folders.steps(1, 5), folders.FAILED]))
    press(desk, ui.logButton)
    log = slicer.app.clipboard().text()
    assert "the disk is full" in log
    assert str(desk.path) not in log


def test_models_to_start_from_are_offered(desk):
    tiny_package.save(desk.path / "models/atrium.dycon")
    ui = build(desk)
    titles = [ui.startSelector.itemText(i) for i in range(ui.startSelector.count)]
    assert titles == ["Scratch", "The model of the last run", "atrium"]
    ui.startSelector.currentIndex = 2
    assert desk.logic.package() == desk.path / "models/atrium.dycon"


def test_a_job_for_another_computer_is_written(desk):
    ui = build(desk)
    loop.choose_tiny(desk.logic, 4)
    desk.panel.refresh()
    desk.qt.dialogs.answer(str(desk.path / "job"))
    press(desk, ui.exportButton)
    settle(desk)
    assert (desk.path / "job/README.md").is_file()
    assert told(desk)[1:] == []


# --- the life of the panel


def test_what_is_missing_is_said_before_anything_else(desk, monkeypatch):
    monkeypatch.setattr(interpreters, "missing_packages", lambda: ["torch>=2.6"])
    ui = desk.open()
    assert not ui.setupFrame.isHidden()
    assert "torch>=2.6" in ui.setupLabel.text
    assert ui.aboutLabel.text != ""


def test_what_came_before_an_installation_failed_is_not_asked_for_again(desk, monkeypatch):
    from dycon_engine.errors import DyconError

    left = ["torch>=2.6", "nibabel>=5.2"]

    class Installer:
        def ensure(self, begun):
            begun()
            left.remove("torch>=2.6")
            raise DyconError("no network; try again")

    monkeypatch.setattr(interpreters, "missing_packages", lambda: list(left))
    monkeypatch.setattr(desk.widget, "Installer", Installer)
    ui = desk.open()
    ui.installButton.click()
    assert told(desk) == ["no network; try again"]
    desk.panel.poll()
    assert "nibabel" in ui.setupLabel.text
    assert "torch" not in ui.setupLabel.text
    assert ui.installButton.enabled


def test_another_python_of_the_computer_can_run_the_training(desk, monkeypatch):
    monkeypatch.setattr(interpreters, "missing_packages", lambda: ["torch>=2.6"])
    monkeypatch.setattr(interpreters, "_ask", lambda *_: {"version": [3, 12], "missing": []})
    ui = desk.open()
    desk.qt.dialogs.answer(sys.prefix)
    ui.pythonButton.click()
    settle(desk)
    assert ui.setupFrame.isHidden()
    assert desk.started_with[0].chosen == Path(sys.prefix, "bin", "python3")
    interpreters.EnginePython(desk.started_with[0]._file.parent, {}).forget()
    desk.panel.enter()  # from the other panel, where Slicer's own was chosen again
    settle(desk)
    assert not ui.setupFrame.isHidden()


def test_choices_come_back_with_the_scene(desk):
    build(desk)
    desk.logic.choose(method="ua_mt", minutes=7, profile="gpu")
    desk.panel.poll()
    desk.panel.close()
    ui = desk.open()
    assert desk.logic.chosen.method == "ua_mt"
    assert ui.folderPath.currentPath == str(desk.path / "set")
    assert ui.budgetSpinBox.value == 7
    assert cells(ui.casesTable)[0][0] == "scan 0"


def test_closing_the_scene_keeps_what_lies_in_files(desk):
    """A person closes the scene to look at the next patient while a training goes on."""
    import slicer

    ui = build(desk)
    runs(desk, ("01-dycon", [*folders.steps(1, 40), folders.SCORED]))
    desk.logic.choose(method="ua_mt")
    scenes.scans(0, 1, first=7)
    press(desk, ui.addSceneButton)
    assert not desk.logic.dataset.is_saved
    slicer.mrmlScene.Clear(0)
    desk.panel.poll()
    assert desk.logic.dataset.is_saved  # the scan of the scene went with it
    assert ui.casesTable.rowCount == 3
    assert desk.logic.running.watched.name == "01-dycon"
    assert desk.logic.chosen.method == "ua_mt"
    stored = parameters_of_scene()
    assert (stored.method, stored.dataset) == ("ua_mt", str(desk.path / "set"))
    chart = desk.logic.running.watch.charts.node("Loss terms")
    assert slicer.mrmlScene.IsNodePresent(chart)  # made anew
    for _ in range(2):  # twice before the panel looks, as while it is hidden
        slicer.mrmlScene.Clear(0)
    desk.panel.poll()
    assert desk.logic.running.watched.name == "01-dycon"


def test_a_scan_of_the_next_scene_is_not_taken_for_one_of_the_last(desk):
    """Slicer counts its nodes anew."""
    import slicer

    ui = build(desk)
    before = [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    slicer.mrmlScene.Clear(0)
    scenes.scans(0, 1, first=7)
    (node,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert node.GetID() in before
    press(desk, ui.addSceneButton)
    assert cells(ui.casesTable)[3][0] == "scan 7"


def test_a_correction_that_was_not_saved_goes_with_the_scene(desk):
    import slicer
    from DyCONTrainingLib.cases import FromScene, Role

    build(desk)
    draft = desk.logic.dataset.draft
    index = next(i for i, row in enumerate(draft.rows) if row.role is Role.UNLABELED)
    rows = list(draft.rows)
    rows[index] = replace(
        rows[index], label=FromScene("vtkMRMLSegmentationNode1"), role=Role.LABELED
    )
    desk.logic.dataset.edit(draft.with_rows(tuple(rows)))
    assert not desk.logic.dataset.is_saved
    slicer.mrmlScene.Clear(0)
    assert desk.logic.dataset.draft.rows[index].role is Role.UNLABELED
    assert desk.logic.dataset.is_saved


def test_a_scene_with_choices_of_its_own_brings_them(desk, tmp_path):
    import slicer

    build(desk)
    desk.logic.choose(method="ua_mt", minutes=7)
    desk.panel.poll()
    scene = str(tmp_path / "scene.mrml")
    slicer.mrmlScene.SetURL(scene)
    assert slicer.mrmlScene.Commit(scene)
    desk.logic.choose(method="dycon", minutes=9)
    slicer.mrmlScene.Connect()
    assert (desk.logic.chosen.method, desk.logic.chosen.minutes) == ("ua_mt", 7)


def test_closing_the_panel_leaves_nothing(desk):
    build(desk)
    runs(desk, ("01-dycon", [*folders.steps(1, 40), folders.SCORED]))
    desk.module.cleanup()
    assert not desk.panel._timer.active
    assert desk.panel._observed == []
    assert list((desk.path / "temporary").iterdir()) == []


def test_reloading_the_module_makes_everything_anew(desk):
    build(desk)
    before = desk.panel
    desk.module.parent.enter()
    desk.module.onReload()
    assert "DyCONTrainingLib.widget" in sys.modules
    assert not before._timer.active
    assert desk.module.parent.self().panel._timer.active  # it is shown all the time


def test_without_a_main_window_nothing_fails(desk, monkeypatch):
    import slicer

    ui = build(desk)
    runs(desk, ("01-dycon", [*folders.steps(1, 40), folders.SCORED]))
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: None)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: None)
    press(desk, ui.chartButton)
    desk.widget.open_segmentation()
    assert told(desk) == []


def test_the_self_test_passes(desk):
    desk.open()
    import slicer
    from DyCONTrainingLib import self_test

    for test in self_test.TESTS:
        slicer.mrmlScene.Clear(0)
        test()
