"""The panel itself, on Qt with the manners of PythonQt: what a person sees, presses and is told."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dycon_engine.config import NetworkConfig
from DyCONLib import interpreters
from Testing import tiny_package
from Testing.slicer.segmentation import fake_predict
from Testing.slicer.segmentation.contents import REASON, add_segmentation, add_volume, report_table
from Testing.slicer.shown import cells, told

ROOT = Path(__file__).resolve().parents[3]
MODULE = ROOT / "DyCONSegmentation" / "DyCONSegmentation.py"
UI = ROOT / "DyCONSegmentation" / "Resources" / "UI" / "DyCONSegmentation.ui"
SIZE = (8, 9, 10)
WIDTH = 320
ABSENT = ("torch", "scipy", "SimpleITK", "nibabel", "h5py", "safetensors", "matplotlib", "jinja2")


@pytest.fixture
def desk(slicer_qt, slicer_scene, package, tmp_path, monkeypatch):
    """The module as Slicer opens it, the engine behaving in one chosen way."""
    import slicer
    from DyCONSegmentationLib import widget

    from DyCONLib.models import models_folder
    from Testing.slicer.host import modules

    folder = models_folder(slicer.app.slicerUserSettingsFilePath)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(package, folder / "tiny.dycon")
    monkeypatch.setattr(interpreters, "missing_packages", list)
    desk = SimpleNamespace(scene=slicer_scene, qt=slicer_qt, path=tmp_path, models=folder)
    desk.engine = widget.start_engine

    def open_panel(way="good", **environment):
        monkeypatch.setattr(
            widget, "start_engine", fake_predict.start(way, tmp_path / "fake", **environment)
        )
        desk.module = modules.load_module(MODULE)
        desk.ui, desk.panel = desk.module.ui, desk.module.panel
        desk.session = desk.panel.session
        desk.session.choose(model="tiny.dycon")
        return desk.ui

    desk.open = open_panel
    yield desk
    shutil.rmtree(folder, ignore_errors=True)


def scan_array():
    return np.random.default_rng(0).integers(0, 200, SIZE).astype(np.int16)


def add_scan(name="scan"):
    return add_volume(scan_array(), name)


def wait_idle(desk, timeout_s=60):
    """Let the panel's own timer work until nothing runs."""
    desk.qt.wait_until(
        lambda: desk.session.run.phase == "idle" and desk.panel.batch.phase == "idle", timeout_s
    )


def run_once(desk, **environment):
    """Open the panel, segment, wait for the result."""
    ui = desk.open("good", **environment)
    add_scan()
    desk.panel.enter()
    ui.segmentButton.click()
    wait_idle(desk)
    return ui


REGIONS = json.dumps(report_table()["regions"])


def volumes(reason=""):
    """What the engine reports of the ball in `add_scan`, and of a structure that is not there."""
    counted = int((scan_array() > fake_predict.BRIGHT).sum())
    ball, absent = report_table()["volumes"]
    ml = counted / 1000
    ball |= {"name": "ball", "voxels": counted, "volume_ml": ml, "low_ml": ml, "high_ml": 2 * ml}
    return json.dumps([ball | {"review": bool(reason), "reason": reason}, absent])


# --- the file


def tree():
    return ET.parse(UI).getroot()  # noqa: S314 - our own file


def widgets():
    return list(tree().iter("widget"))


def prop(widget, name):
    found = widget.find(f"property[@name='{name}']")
    return "".join(found.itertext()).strip() if found is not None else ""


INTERACTIVE = (
    *("QCheckBox", "QComboBox", "QDoubleSpinBox", "QPlainTextEdit", "QPushButton", "QSpinBox"),
    *("QTableWidget", "QToolButton", "ctkCollapsibleGroupBox", "ctkPathLineEdit"),
    *("ctkSliderWidget", "qMRMLNodeComboBox"),
)


def test_whatever_can_be_used_has_a_tooltip_and_is_reached_by_the_keyboard():
    stops = [stop.text for stop in tree().iter("tabstop")]
    for widget in widgets():
        if widget.get("class") in INTERACTIVE:
            assert prop(widget, "toolTip"), widget.get("name")
            assert widget.get("name") in stops
    assert len(stops) == len(set(stops))


def test_tables_and_sliders_have_a_name_for_screen_readers():
    named = [w for w in widgets() if w.get("class") in ("QTableWidget", "ctkSliderWidget")]
    assert len(named) >= 5
    for widget in named:
        assert prop(widget, "accessibleName"), widget.get("name")


def test_no_two_mnemonics_are_the_same_nor_those_of_slicers_menus():
    letters = []
    for widget in widgets():
        letters += re.findall("&(.)", prop(widget, "text") + prop(widget, "title"))
    assert len(letters) == len({letter.lower() for letter in letters})
    assert not {letter.lower() for letter in letters} & set("fevh")


def test_every_label_of_a_field_has_its_field_as_buddy():
    named = {widget.get("name") for widget in widgets()}
    buddies = {prop(widget, "buddy") for widget in widgets()} - {""}
    assert buddies <= named
    assert {"volumeSelector", "modelSelector", "outputSelector"} <= buddies


# --- the panel


def test_no_label_takes_what_it_is_given_for_html():
    code = "".join(path.read_text() for path in UI.parents[2].glob("DyCONSegmentationLib/*.py"))
    used = set(re.findall(r"ui\.(\w+Label)\b", code))
    formats = {widget.get("name"): prop(widget, "textFormat") for widget in widgets()}
    rich = {"cardLabel", "evidenceLabel"}  # made by model_words, which escapes
    assert {name for name in used if formats[name] != "Qt::PlainText"} == rich
    assert code.count("qt.QLabel()") == code.count("label.textFormat = qt.Qt.PlainText")


def test_what_a_model_calls_its_channels_and_structures_is_shown_as_it_is(desk):
    import qt
    from DyCONSegmentationLib import widget

    from dycon_engine.data.cases import Label
    from dycon_engine.package import save_package

    desk.open()
    names = ('T1<img src="//10.0.0.5/share/x.png">', "T2 & <b>FLAIR</b>")
    labels = (Label(0, "background"), Label(3, "ball<img src=x>", (200, 30, 30), "T-D0050"))
    plain = tiny_package.info(channels=2, seen_scans=0, labels=labels)
    info = replace(plain, channels=names)
    save_package(desk.models / "a<b>c.dycon", info, tiny_package.states(info))
    desk.session.find_models()
    desk.session.choose(model="a<b>c.dycon")
    desk.panel.refresh()
    ui = desk.ui
    second = desk.panel._segment._labels[1]
    assert [ui.volumeLabel.text, second.text] == [f"{names[0]}:", "T2 && <b>FLAIR</b>:"]
    assert {ui.volumeLabel.textFormat, second.textFormat} == {qt.Qt.PlainText}
    assert "ball&lt;img src=x&gt;" in ui.cardLabel.text
    assert "<img" not in ui.segmentButton.toolTip
    widget.tell("case 'x<h1>verified</h1>': is damaged")
    assert told(desk) == ["case 'x<h1>verified</h1>': is damaged"]


def test_the_panel_fits_into_320_pixels(desk):
    ui = run_once(desk, REGIONS=REGIONS)
    ui.advancedBox.collapsed = False
    ui.logBox.collapsed = False
    ui.batchSection.collapsed = False
    ui.computerSection.collapsed = False
    assert desk.module.layout.minimumSize().width() <= WIDTH


def test_every_kind_of_uncertainty_says_what_it_is(desk):
    import qt
    from DyCONSegmentationLib.segment_section import KINDS

    from dycon_engine.inference.uncertainty import AXES, DROPOUT_PASSES

    selector = open_with_all_kinds(desk).kindSelector
    tips = [selector.itemData(row, qt.Qt.ToolTipRole) for row in range(selector.count)]
    assert len(set(tips)) == len(KINDS) == selector.count == 4
    assert "coin" in tips[KINDS.index("entropy")]
    assert "two networks" in tips[KINDS.index("disagreement")]
    assert "dropout" in tips[KINDS.index("mc-dropout")]
    assert "one more pass for each axis" in tips[KINDS.index("tta")]
    names = [selector.itemText(row) for row in range(selector.count)]
    assert f"({DROPOUT_PASSES} more passes)" in names[KINDS.index("mc-dropout")]
    assert f"(up to {len(AXES)} more passes)" in names[KINDS.index("tta")]


def open_with_all_kinds(desk):
    """Open the panel with a model that can give every kind of uncertainty."""
    ui = desk.open()
    network = NetworkConfig(filters=(4, 8), dropout=0.5)
    tiny_package.save(desk.models / "all.dycon", network=network)
    desk.session.find_models()
    desk.session.choose(model="all.dycon")
    return ui


def choosable(selector):
    """The rows that a person can choose."""
    from PySide6.QtCore import Qt

    items = [selector._raw.model().item(row) for row in range(selector.count)]
    return [row for row, item in enumerate(items) if item.flags() & Qt.ItemIsEnabled]


def test_kinds_of_uncertainty_that_the_model_cannot_give_cannot_be_chosen(desk):
    import qt

    ui = open_with_all_kinds(desk)
    selector = ui.kindSelector
    assert choosable(selector) == [0, 1, 2, 3]
    selector.currentIndex = 3
    assert desk.session.parameters.uncertainty_kind == "tta"
    desk.session.choose(model="DyCONLeftAtriumLGE.dycon")
    assert choosable(selector) == [0]
    assert (selector.currentIndex, desk.session.parameters.uncertainty_kind) == (0, "entropy")
    tips = [selector.itemData(row, qt.Qt.ToolTipRole) for row in range(4)]
    assert "coin" in tips[0]
    for tip, why in zip(tips[1:], ("one network only", "without dropout", "axes"), strict=True):
        assert tip.startswith("Not with this model: the model ")
        assert why in tip
    desk.session.choose(model="tiny.dycon")
    assert choosable(selector) == [0, 1, 3]
    desk.session.choose(model="all.dycon")
    assert choosable(selector) == [0, 1, 2, 3]


def test_a_scene_with_a_kind_that_the_model_cannot_give_takes_the_standard(desk, tmp_path):
    import slicer

    ui = open_with_all_kinds(desk)
    ui.kindSelector.currentIndex = 2
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    shutil.copy(desk.models / "tiny.dycon", desk.models / "all.dycon")
    desk.scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    desk.session.find_models()
    assert desk.session.parameters.uncertainty_kind == "entropy"
    assert choosable(ui.kindSelector) == [0, 1, 3]


def test_an_empty_scene_says_what_is_needed_and_offers_the_sample(desk):
    ui = desk.open()
    assert not ui.segmentButton.enabled
    assert ui.hintLabel.text == "Choose a volume."
    assert ui.sampleButton.isVisibleTo(ui.segmentSection)
    assert "For research use only" in ui.researchLabel.text
    assert not ui.resultSection.isVisibleTo(desk.module.parent)
    assert not ui.bannerLabel.isVisibleTo(desk.module.parent)
    ui.sampleButton.click()
    assert ui.segmentButton.enabled
    assert desk.session.model.name == "DyCONPhantomHeart"
    assert not ui.sampleButton.isVisibleTo(ui.segmentSection)


def test_the_card_tells_what_a_model_is(desk):
    text = desk.open().cardLabel.text
    for words in (
        "ball",
        "4 labeled and 9 unlabeled scans",
        "Dice 0.875",
        "2.0 percentage points off",
    ):
        assert words in text


def test_the_evidence_is_folded_below_the_card_and_leads_to_the_page(desk, monkeypatch):
    import qt

    ui = desk.open()
    desk.session.choose(model="tiny.dycon")
    assert not ui.evidenceBox.isVisibleTo(ui.segmentSection)  # it says nothing
    desk.session.choose(model="DyCONLeftAtriumLGE.dycon")
    assert ui.evidenceBox.isVisibleTo(ui.segmentSection)
    assert ui.evidenceBox.collapsed
    assert "known limits" in ui.evidenceBox.title
    assert "held-out scans: Dice" in ui.evidenceLabel.text
    ui.evidenceBox.collapsed = False
    assert desk.module.layout.minimumSize().width() <= WIDTH
    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toString()))
    ui.pageButton.click()
    assert opened[0].endswith("/docs/models/left-atrium.md")
    assert opened[0] in ui.pageButton.toolTip


def test_a_scan_that_shows_too_much_leads_to_a_region_with_one_click(desk):
    ui = desk.open("good", FLAGS=json.dumps([{"topic": "field-of-view", "message": "200 mm"}]))
    scan = add_volume(np.full((40, 90, 80), 50, np.int16), "chest", spacing=(2.0, 2.0, 2.0))
    desk.panel.enter()
    ui.segmentButton.click()
    wait_idle(desk)
    assert "What helps: draw a region" in ui.bannerLabel.text
    assert ui.regionButton.isVisibleTo(desk.module.parent)
    desk.session.choose(model="DyCONPhantomHeart.dycon")
    ui.regionButton.click()
    roi = ui.roiSelector.currentNode()
    assert roi.IsA("vtkMRMLMarkupsROINode")
    assert roi.GetSize() == pytest.approx(desk.session.model.largest_seen_mm)
    assert not ui.segmentSection.collapsed
    assert not ui.advancedBox.collapsed
    assert desk.session.model.name == "tiny"
    assert desk.session.volumes == (scan,)
    ui.regionButton.click()  # the same region, not a second one
    assert desk.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 1


def test_missing_packages_show_one_explanation_and_one_button(desk, monkeypatch):
    from DyCONSegmentationLib import widget

    left, asked = ["torch>=2.6", "nibabel>=5.2"], []

    class Installer:
        def ensure(self, begun):
            begun()
            asked.append((ui.installButton.enabled, "being installed" in ui.setupLabel.text))
            left.clear()
            return True

    monkeypatch.setattr(interpreters, "missing_packages", lambda: list(left))
    monkeypatch.setattr(widget, "Installer", Installer)
    ui = desk.open()
    add_scan()
    desk.panel.enter()
    assert ui.setupFrame.isVisibleTo(desk.module.parent)
    assert "needs PyTorch and the Python package nibabel, which" in ui.setupLabel.text
    assert not ui.segmentButton.enabled
    assert asked == []  # nothing happens without a click
    ui.installButton.click()
    assert asked == [(False, True)]  # shown, and no second click, while Slicer's events go on
    assert ui.installButton.enabled
    assert not ui.setupFrame.isVisibleTo(desk.module.parent)
    assert ui.segmentButton.enabled


def test_a_no_to_installing_changes_nothing_and_a_failure_is_told(desk, monkeypatch):
    from DyCONSegmentationLib import widget

    from dycon_engine.errors import CancelledError, DyconError

    answers = [CancelledError("nothing was installed"), DyconError("no network; try again")]

    class Installer:
        def ensure(self, begun):
            raise answers.pop(0)

    monkeypatch.setattr(interpreters, "missing_packages", lambda: ["torch>=2.6"])
    monkeypatch.setattr(widget, "Installer", Installer)
    ui = desk.open()
    ui.installButton.click()
    assert told(desk) == []
    ui.installButton.click()
    assert told(desk) == ["no network; try again"]
    assert ui.setupFrame.isVisibleTo(desk.module.parent)


def test_where_pytorch_cannot_come_the_person_is_told_and_not_asked(desk, monkeypatch):
    from DyCONSegmentationLib import setup_section, texts

    monkeypatch.setattr(interpreters, "missing_packages", lambda: ["torch>=2.6"])
    for module in (setup_section, texts):
        monkeypatch.setattr(module, "hindrance", lambda: "this Mac cannot")
    ui = desk.open()
    assert ui.setupLabel.text == "Segmenting is not possible here: this Mac cannot."
    assert not ui.installButton.isVisibleTo(ui.setupFrame)


def test_another_python_of_the_computer_can_run_the_engine(desk, monkeypatch):
    """Where Slicer's own cannot have PyTorch, or a person has one with it already."""
    from DyCONSegmentationLib import widget

    monkeypatch.setattr(interpreters, "missing_packages", lambda: ["torch>=2.6"])
    ui = desk.open()
    add_scan()
    desk.panel.enter()
    ui.pythonButton.click()  # and the dialog closed without a choice
    assert ui.setupFrame.isVisibleTo(desk.module.parent)
    desk.qt.dialogs.answer(str(desk.path))
    ui.pythonButton.click()
    assert "no Python found there" in told(desk)[-1]
    assert not ui.segmentButton.enabled
    monkeypatch.setattr(interpreters, "_ask", lambda *_: {"version": [3, 12], "missing": []})
    desk.qt.dialogs.answer(sys.prefix)
    ui.pythonButton.click()
    assert not ui.setupFrame.isVisibleTo(desk.module.parent)
    assert ui.segmentButton.enabled
    assert ui.pythonLabel.text == f"Engine's Python: {sys.prefix}/bin/python3"
    started = []
    for name in ("Job", "Preflight"):
        start = SimpleNamespace(start=lambda *_, **given: started.append(given))
        monkeypatch.setattr(widget, name, start if name == "Job" else start.start)
    desk.engine((), desk.path / "run")
    widget._preflight(desk.path)
    assert [str(given["python"]) for given in started] == [f"{sys.prefix}/bin/python3"] * 2
    ui.ownPythonButton.click()
    assert ui.pythonLabel.text == "The engine runs in Slicer's Python."
    assert not ui.ownPythonButton.isVisibleTo(ui.computerSection)
    assert ui.setupFrame.isVisibleTo(desk.module.parent)


def test_a_model_that_was_trained_meanwhile_is_there_when_the_panel_is_opened(desk, package):
    ui = desk.open()
    shutil.copy(package, desk.models / "first run.dycon")
    desk.panel.enter()
    assert [ui.modelSelector.itemText(n) for n in range(ui.modelSelector.count)][:2] == [
        "first run",
        "tiny",
    ]
    assert desk.session.model.name == "tiny"  # what was chosen stays


def test_a_removed_region_is_not_replaced_by_its_neighbor(desk):
    ui = desk.open()
    add_scan()
    first, second = (
        desk.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name) for name in ("one", "two")
    )
    desk.panel.enter()
    ui.roiSelector.setCurrentNode(first)
    desk.panel.refresh()
    assert ui.hintLabel.text == "Only inside the region 'one'."  # its box may be folded
    desk.scene.RemoveNode(first)
    assert (desk.session.parameters.roi, ui.roiSelector.currentNodeID) == ("", "")
    desk.panel.refresh()
    assert ui.hintLabel.text == ""
    assert desk.scene.IsNodePresent(second)


def test_maps_of_results_are_not_offered_as_scans(desk):
    ui = run_once(desk)
    selector = ui.volumeSelector
    names = [selector.nodeFromIndex(n).GetName() for n in range(selector.nodeCount())]
    assert names == ["scan"]
    assert desk.session.result.uncertainty.GetID() in desk.session.maps


def test_the_check_of_the_computer_is_asked_for_and_shown(desk, monkeypatch):
    from DyCONSegmentationLib import widget

    from DyCONLib.preflight import Device, Machine

    gpu = Device("cuda", "Old GPU", False, 1.0, 2.0)
    machine = Machine((Device("cpu", "x86", True, None, None), gpu), 3.5, 120.0, 4, "2.6.0", {})
    answers = [None, machine]

    class Preflight:
        def __init__(self, folder, python, environment):
            assert folder.is_dir()

        def poll(self):
            return answers.pop(0)

        def kill(self):
            raise AssertionError("it has ended")

    monkeypatch.setattr(widget, "Preflight", Preflight)
    ui = desk.open()
    ui.computerSection.collapsed = False
    ui.checkButton.click()
    assert ui.computerLabel.text.startswith("Checking")
    assert not ui.checkButton.enabled
    desk.qt.wait_until(lambda: not desk.panel.setup.checking)
    for words in (
        "Automatic device: CPU",
        "CPU works",
        "Old GPU (cuda) does NOT work with this PyTorch",
        "Memory: 3.5 GiB free",
    ):
        assert words in ui.computerLabel.text


def test_a_run_shows_step_times_and_cancel_and_ends_with_the_result(desk, tmp_path):
    gate = tmp_path / "open"
    ui = desk.open("gated", GATE=str(gate), REGIONS=REGIONS, VOLUMES=volumes(REASON))
    add_scan()
    desk.panel.enter()
    ui.segmentButton.click()
    assert not ui.segmentButton.enabled
    assert ui.cancelButton.isVisibleTo(ui.segmentSection)
    assert ui.progressFrame.isVisibleTo(ui.segmentSection)
    desk.qt.wait_until(lambda: ui.stepLabel.text.startswith("Segmenting"))
    assert "elapsed" in ui.timeLabel.text
    assert not ui.modelSelector.enabled
    gate.touch()
    wait_idle(desk)
    assert ui.segmentButton.enabled
    assert not ui.cancelButton.isVisibleTo(ui.segmentSection)
    assert ui.resultSection.isVisibleTo(desk.module.parent)
    assert cells(ui.structureTable)[0] == ["ball", "0.379", "0.379 - 0.758", "0.31", "review"]
    assert REASON in ui.structureTable.item(0, 0).toolTip()
    assert cells(ui.structureTable)[1] == ["left ventricle", "-", "-", "-", "removed"]
    assert ui.leftLabel.text == "3 of 3 regions left to review"
    assert cells(ui.regionTable)[0] == ["1", "left atrium", "4.20", "0.91", "open"]
    assert ui.madeLabel.text == "Model tiny, 4 s on the CPU"
    assert told(desk) == []


def test_one_scan_waits_for_a_batch_and_a_batch_for_one_scan(desk, tmp_path):
    ui = desk.open("gated", GATE=str(tmp_path / "never"))
    add_scan()
    desk.panel.enter()
    ui.batchSection.collapsed = False
    ui.segmentButton.click()
    assert not ui.batchButton.enabled
    ui.cancelButton.click()
    wait_idle(desk)
    assert ui.batchButton.enabled
    desk.panel.batch.phase = "running"
    desk.panel.refresh()
    assert ui.hintLabel.text == "A batch is running."
    assert not ui.segmentButton.enabled
    desk.panel.batch.phase = desk.session.run.phase


def test_cancel_leaves_the_node_list_as_before(desk, tmp_path):
    ui = desk.open("gated", GATE=str(tmp_path / "never"))
    add_scan()
    desk.panel.enter()
    before = [desk.scene.GetNthNode(i).GetID() for i in range(desk.scene.GetNumberOfNodes())]
    ui.segmentButton.click()
    desk.qt.wait_until(lambda: ui.stepLabel.text.startswith("Segmenting"))
    began = time.monotonic()
    ui.cancelButton.click()
    assert ui.stepLabel.text == "Cancelling"
    wait_idle(desk)
    assert time.monotonic() - began < 6
    after = [desk.scene.GetNthNode(i).GetID() for i in range(desk.scene.GetNumberOfNodes())]
    assert (after, told(desk)) == (before, [])
    assert ui.hintLabel.text == "Cancelled; nothing was changed."
    ui.segmentButton.click()
    assert ui.hintLabel.text == ""


def test_a_failure_is_one_message_and_the_log_can_be_copied(desk):
    import qt

    ui = desk.open("failed")
    add_scan("Doe^Jane")
    desk.panel.enter()
    ui.segmentButton.click()
    wait_idle(desk)
    assert told(desk) == ["'Doe^Jane': needs 9 GiB, 2 GiB are free; close other programs"]
    words = "Last run failed: 'Doe^Jane': needs 9 GiB, 2 GiB are free; close other programs"
    assert ui.hintLabel.text == words
    desk.panel.enter()
    assert ui.hintLabel.text == words
    assert ui.hintLabel.isVisibleTo(ui.segmentSection)
    ui.logBox.collapsed = False
    desk.panel.refresh()
    assert "failed (1)" in ui.logText.plainText
    ui.copyLogButton.click()
    assert qt.QApplication.clipboard().text() == desk.session.run.log


def test_a_run_that_crashed_is_not_called_one_that_can_be_resumed(desk):
    ui = desk.open("killed")
    add_scan()
    desk.panel.enter()
    ui.segmentButton.click()
    wait_idle(desk)
    assert "crashed" in told(desk)[-1]
    assert "resume" not in told(desk)[-1]
    assert ui.hintLabel.text == f"Last run failed: {told(desk)[-1]}"


def test_a_run_that_cannot_start_leaves_its_reason(desk, monkeypatch):
    ui = desk.open()
    add_scan()
    desk.panel.enter()
    monkeypatch.setattr(desk.session.run, "_temporary", desk.path / "absent")
    ui.segmentButton.click()
    assert ui.hintLabel.text == f"Last run failed: {told(desk)[-1]}"


def test_files_that_are_no_models_are_named_with_their_reason(desk):
    ui = desk.open()
    assert not ui.brokenLabel.isVisibleTo(ui.segmentSection)
    (desk.models / "damaged.dycon").write_bytes(b"junk")
    look_again = ui.modelMenuButton.menu().actions()[1]
    look_again.trigger()
    assert ui.brokenLabel.isVisibleTo(ui.segmentSection)
    assert ui.brokenLabel.text.startswith("1 file cannot be used:\ndamaged.dycon: not a usable")
    for number in range(4):
        (desk.models / f"other {number}.dycon").write_bytes(b"junk")
    look_again.trigger()
    lines = ui.brokenLabel.text.splitlines()
    assert (lines[0], lines[-1]) == (
        "5 files cannot be used:",
        "2 more in the folder of your models",
    )
    assert desk.session.model.name == "tiny"


def test_replacing_a_segmentation_is_asked_by_name_and_no_starts_nothing(desk):
    ui = run_once(desk)
    old = desk.session.result.segmentation
    ui.outputSelector.setCurrentNodeID(old.GetID())
    desk.qt.dialogs.answer(False)
    ui.segmentButton.click()
    assert desk.session.run.phase == "idle"
    assert f"'{old.GetName()}'" in told(desk)[0]
    ui.segmentButton.click()
    wait_idle(desk)
    assert desk.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert ui.outputSelector.currentNodeID == ""  # the next one is new again


def test_closing_the_scene_while_running_ends_the_run_in_silence(desk, tmp_path):
    import slicer

    from Testing.slicer.host.scene import new_scene

    ui = desk.open("gated", GATE=str(tmp_path / "never"))
    add_scan()
    desk.panel.enter()
    ui.segmentButton.click()
    process = desk.session.run._run.job._process
    new_scene()
    assert process.poll() is not None
    slicer.app.processEvents()
    assert desk.session.run.phase == "idle"
    assert told(desk) == []
    assert not ui.segmentButton.enabled


def test_leaving_slicer_or_loading_the_module_anew_ends_the_run(desk, tmp_path):
    import slicer

    ui = desk.open("deaf")
    add_scan()
    desk.panel.enter()
    ui.segmentButton.click()
    process, panel = desk.session.run._run.job._process, desk.panel
    slicer.app.moduleManager().unload("DyCONSegmentation")
    assert process.poll() is not None
    add_scan("later")  # nobody listens any more
    assert not panel._timer.active


def test_what_is_chosen_is_kept_with_the_scene(desk, tmp_path):
    import slicer

    ui = desk.open()
    add_scan("kept")
    desk.panel.enter()
    ui.kindSelector.currentIndex = 3
    ui.overlapBox.value = 40
    ui.largestBox.checked = True
    ui.hideSlider.value = 0.7
    assert desk.session.parameters.uncertainty_kind == "tta"
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    desk.scene.Clear(0)
    slicer.app.processEvents()
    assert desk.session.model is not None
    assert (ui.kindSelector.currentIndex, ui.overlapBox.value) == (0, -10)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    slicer.app.processEvents()
    assert (ui.kindSelector.currentIndex, ui.overlapBox.value) == (3, 40)
    assert (ui.largestBox.checked, ui.hideSlider.value) == (True, 0.7)
    assert ui.volumeSelector.currentNode().GetName() == "kept"


def test_the_overlay_follows_its_controls(desk):
    ui = run_once(desk)
    view = desk.scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    uncertainty = desk.session.result.uncertainty
    assert view.GetForegroundVolumeID() == uncertainty.GetID()
    ui.opacitySlider.value = 0.3
    ui.hideSlider.value = 0.8
    assert view.GetForegroundOpacity() == pytest.approx(0.3)
    assert uncertainty.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.8)
    ui.overlayBox.checked = False
    assert view.GetForegroundVolumeID() != uncertainty.GetID()
    assert not ui.opacitySlider.enabled


def test_review_by_mouse_and_keyboard(desk):
    ui = run_once(desk, REGIONS=REGIONS)
    assert not ui.acceptButton.enabled
    red = desk.scene.GetNodeByID("vtkMRMLSliceNodeRed")
    ui.regionTable.setCurrentCell(1, 0)
    assert red.GetSliceOffset() == pytest.approx(2.0)
    yellow = desk.scene.GetNodeByID("vtkMRMLSliceNodeYellow")
    assert yellow.GetSliceOffset() == pytest.approx(-20.0)  # it counts to the left
    ui.acceptButton.click()
    assert ui.leftLabel.text == "2 of 3 regions left to review"
    assert ui.regionTable.currentRow() == 2
    ui.fixedButton.click()
    assert ui.regionTable.currentRow() == 0
    assert not ui.adviceLabel.isVisibleTo(ui.reviewSection)
    ui.acceptButton.click()
    assert ui.leftLabel.text == "All 3 uncertain regions are reviewed."
    assert ui.adviceLabel.isVisibleTo(ui.reviewSection)
    assert "whole scan" in ui.adviceLabel.text
    assert not ui.nextButton.enabled
    ui.reopenButton.click()
    assert [row[4] for row in cells(ui.regionTable)] == ["open", "accepted", "fixed"]


def test_editing_opens_segment_editor_with_the_mask(desk):
    import slicer
    from DyCONSegmentationLib.editing import is_masked

    from DyCONLib.segment_editor import editor_node

    ui = run_once(desk)
    ui.editUncertainButton.click()
    assert slicer.util.selectedModule() == "SegmentEditor"
    assert is_masked(editor_node())
    ui.editAllButton.click()
    assert not is_masked(editor_node())


@pytest.mark.parametrize("button", ["editUncertainButton", "editAllButton"])
def test_opening_the_editor_leaves_scan_and_overlay_in_the_views(desk, button):
    """Slicer's editor begins on the scene's first segmentation, and shows that one's scan."""
    import slicer

    other = add_volume(np.zeros(SIZE, np.int16), "another patient")
    add_segmentation(np.ones(SIZE, np.uint8), other, ("liver",))
    ui = desk.open()
    scan = add_scan()
    desk.session.choose(volumes=(scan.GetID(),))
    ui.segmentButton.click()
    wait_idle(desk)
    getattr(ui, button).click()
    assert slicer.util.selectedModule() == "SegmentEditor"
    shown = desk.session.result
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {view.GetBackgroundVolumeID() for view in views} == {shown.volume.GetID()}
    assert {view.GetForegroundVolumeID() for view in views} == {shown.uncertainty.GetID()}


def test_add_to_training_set_asks_where_and_under_which_name(desk, tmp_path):
    ui = run_once(desk)
    ui.trainingButton.click()  # answered with no folder
    assert not desk.qt.failures()
    desk.qt.dialogs.clear()
    desk.qt.dialogs.answer(str(tmp_path / "set"), "case-001")
    ui.trainingButton.click()
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["images", "labels"]
    desk.qt.dialogs.clear()
    desk.qt.dialogs.answer(str(tmp_path / "set"), "case-001")
    ui.trainingButton.click()
    assert "is in this data set already" in told(desk)[-1]


def test_the_export_menu_writes_what_it_says(desk, tmp_path):
    ui = run_once(desk, VOLUMES=json.dumps(json.loads(volumes())[:1]))
    actions = {action.text: action for action in ui.exportButton.menu().actions()}
    ui.exportButton.menu().aboutToShow.emit()
    assert actions["Segmentation as file..."].enabled
    desk.qt.dialogs.answer(str(tmp_path / "mine"))
    actions["Segmentation as file..."].trigger()
    assert b"_Name:=ball" in (tmp_path / "mine.seg.nrrd").read_bytes()
    assert not actions["Segmentation as DICOM..."].enabled
    assert "DICOM module" in actions["Segmentation as DICOM..."].toolTip
    assert actions["Report for people..."].enabled
    desk.qt.dialogs.answer(str(tmp_path / "r.html"))
    actions["Report for people..."].trigger()
    assert (tmp_path / "r.html").read_text() == "<html>the page</html>"
    desk.qt.dialogs.answer(str(tmp_path / "absent" / "u.nrrd"))
    actions["Uncertainty as file..."].trigger()
    assert "cannot be written" in told(desk)[-1]
    assert ui.exportLabel.text == "'r.html' is written"


def test_exported_files_get_names_that_every_system_takes(desk, tmp_path):
    ui = run_once(desk)
    desk.session.result.segmentation.SetName("6: CT Thorax T1/T2")
    actions = {action.text: action for action in ui.exportButton.menu().actions()}
    report = actions["Report for people..."]
    desk.qt.dialogs.answer(str(tmp_path / "mine"))  # as dialogs on Linux give it
    report.trigger()
    assert desk.qt.dialogs.shown[-1].text == "6_ CT Thorax T1_T2 report.html"
    assert [path.name for path in tmp_path.glob("mine*")] == ["mine.html"]
    (tmp_path / "mine.html").write_text("older")
    desk.qt.dialogs.answer(str(tmp_path / "mine"), False)
    report.trigger()
    assert told(desk)[-1] == "'mine.html' is there already. Replace it?"
    assert (tmp_path / "mine.html").read_text() == "older"


def test_a_file_that_takes_its_time_blocks_nothing_and_can_be_cancelled(desk, tmp_path):
    ui = run_once(desk)
    removed = []

    def slowly(path):
        try:
            while True:
                yield "Writing DICOM"
        finally:
            removed.append(path.name)

    desk.panel.writing.start(slowly, tmp_path / "s.dcm")
    desk.qt.wait_until(lambda: ui.exportLabel.text == "Writing DICOM...", 10)
    assert not ui.exportButton.enabled
    assert ui.exportCancelButton.isVisibleTo(ui.resultSection)
    assert ui.segmentButton.enabled
    ui.exportCancelButton.click()
    assert removed == ["s.dcm"]
    assert ui.exportButton.enabled
    assert not ui.exportCancelButton.isVisibleTo(ui.resultSection)
    assert "nothing was written" in ui.exportLabel.text
    desk.panel.writing.start(slowly, tmp_path / "t.dcm")
    desk.panel.close()
    assert removed == ["s.dcm", "t.dcm"]


def test_why_a_structure_asks_for_review_is_written_below_the_table(desk):
    ui = run_once(desk, VOLUMES=volumes(REASON))
    assert ui.reasonLabel.text == f"ball: {REASON}"
    ui.structureTable.setCurrentCell(1, 0)
    assert not ui.reasonLabel.isVisibleTo(ui.resultSection)
    ui.structureTable.setCurrentCell(0, 0)
    assert ui.reasonLabel.text == f"ball: {REASON}"
    assert ui.reasonLabel.isVisibleTo(ui.resultSection)


def test_after_a_correction_the_table_shows_what_is_there_now(desk):
    import slicer

    ui = run_once(desk, VOLUMES=json.dumps(json.loads(volumes())[:1]))
    assert cells(ui.structureTable) == [["ball", "0.379", "0.379 - 0.758", "0.31", ""]]
    assert not ui.correctedLabel.isVisibleTo(ui.resultSection)
    result = desk.session.result
    nothing = np.zeros(SIZE, np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        nothing, result.segmentation, "ball", result.volume
    )
    desk.panel.enter()
    assert cells(ui.structureTable) == [["ball", "0", "-", "-", ""]]
    assert ui.correctedLabel.text == "Corrected; the model drew ball 0.379 ml."
    assert ui.correctedLabel.isVisibleTo(ui.resultSection)


def test_names_of_structures_stay_readable_where_there_is_little_room(desk):
    ui = run_once(desk, VOLUMES=volumes(REASON))
    result, table = desk.session.result, ui.structureTable
    result.segmentation.GetSegmentation().GetSegment("ball").SetName("left atrial appendage")
    desk.panel.enter()
    hidden = {}
    for width in (WIDTH, 600, WIDTH):
        desk.qt.grab(desk.module, desk.path / "shown.png", width=width)
        hidden[width] = [table.isColumnHidden(column) for column in range(5)]
        letters = table.columnWidth(0) - 28
        assert letters > 9 * table.fontMetrics().averageCharWidth()
    assert hidden == {WIDTH: [False, False, False, True, False], 600: [False] * 5}
    assert "0.379 ml (0.379 - 0.758), edge 0.31" in table.item(0, 0).toolTip()


def test_a_model_of_two_channels_gets_two_selectors(desk):
    import qt

    ui = desk.open()
    tiny_package.save(desk.models / "two.dycon", channels=2, name_patterns=("_0000", "_0001"))
    second, first = add_scan("pt_0001"), add_scan("pt_0000")
    desk.session.find_models()
    names = [ui.modelSelector.itemText(index) for index in range(ui.modelSelector.count)]
    ui.modelSelector.currentIndex = names.index("two")
    assert desk.session.volumes == (first, second)
    assert [ui.volumeLabel.text, ui.volumeSelector.currentNode()] == ["c0:", first]
    other = ui.inputLayout.itemAt(1, qt.QFormLayout.FieldRole).widget()
    assert other.currentNode() is second
    desk.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert (ui.volumeSelector.nodeCount(), other.nodeCount()) == (2, 2)
    ui.modelSelector.currentIndex = names.index("tiny")
    assert ui.volumeLabel.text == "Vol&ume:"
    assert len(desk.session.volumes) == 1
    desk.scene.RemoveNode(second)  # the hidden selector of the second channel lets go of it
    assert len(desk.session.volumes) == 1


def test_a_corrected_case_of_two_channels_is_one_the_engine_accepts(desk, tmp_path):
    import slicer

    ui, folder = desk.open(), tmp_path / "set"
    tiny_package.save(desk.models / "two.dycon", channels=2, name_patterns=("_0000", "_0001"))
    desk.session.find_models()
    kept = {}
    for number in (1, 2):
        scans = []
        for channel in (1, 0):
            noise = np.random.default_rng(10 * number + channel).integers(0, 200, (16, 18, 20))
            scans.insert(0, add_volume(noise.astype(np.int16), f"pt{number}_000{channel}"))
        desk.session.choose(model="two.dycon", volumes=tuple(scan.GetID() for scan in scans))
        ui.segmentButton.click()
        wait_idle(desk)
        assert desk.session.result.volumes == tuple(scans)
        desk.qt.dialogs.clear()
        desk.qt.dialogs.answer(str(folder), f"case-00{number}")
        ui.trainingButton.click()
        assert told(desk)[-1].startswith("Name of the case")
        for path, content in kept.items():  # what was there is as it was
            assert path.read_bytes() == content
        kept = {path: path.read_bytes() for path in folder.glob("*/*")}
    line = [sys.executable, "-m", "dycon_engine.audit", "--data", folder, "--method", "supervised"]
    audited = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert audited.returncode == 0, audited.stdout + audited.stderr
    for channel in (0, 1):
        name = "case-002.nrrd" if channel == 0 else "case-002-ch2.nrrd"
        stored = slicer.util.loadVolume(str(folder / "images" / name))
        given = desk.session.result.volumes[channel]
        arrays = [slicer.util.arrayFromVolume(each) for each in (stored, given)]
        assert np.array_equal(*arrays)


def test_a_model_is_imported_from_the_menu_and_a_broken_one_is_refused(desk, package, tmp_path):
    ui = desk.open()
    action = ui.modelMenuButton.menu().actions()[0]
    shutil.copy(package, tmp_path / "atrium.dycon")
    desk.qt.dialogs.answer(str(tmp_path / "atrium.dycon"))
    action.trigger()
    assert ui.modelSelector.currentText == "atrium"
    (tmp_path / "broken.dycon").write_bytes(b"no model")
    desk.qt.dialogs.answer(str(tmp_path / "broken.dycon"))
    action.trigger()
    assert "'broken.dycon': not a usable DyCON model" in told(desk)[-1]
    assert ui.modelSelector.currentText == "atrium"


def test_a_batch_from_the_panel(desk, tmp_path):
    import slicer

    ui = desk.open("many", FAIL="b")
    (tmp_path / "scans").mkdir()
    for name in ("a", "b"):
        scan = add_scan(name)
        slicer.util.exportNode(scan, str(tmp_path / "scans" / f"{name}.nrrd"))
        desk.scene.RemoveNode(scan)
    ui.batchSection.collapsed = False
    ui.batchButton.click()
    assert "choose the folder of the scans" in told(desk)[-1]
    ui.batchInputPath.currentPath = str(tmp_path / "scans")
    ui.batchOutputPath.currentPath = str(tmp_path / "results")
    ui.batchButton.click()
    assert ui.batchCancelButton.isVisibleTo(ui.batchSection)
    assert ui.batchProgressBar.isVisibleTo(ui.batchSection)
    wait_idle(desk)
    rows = cells(ui.batchTable)
    assert rows[0] == ["a", "left atrium 84.6 ml, left ventricle 120 ml", "review"]
    assert rows[1] == ["b", "is cut short; copy it again", "failed"]
    assert ui.batchLabel.text == "1 of 2 segmented, 1 failed"
    assert not ui.batchCancelButton.isVisibleTo(ui.batchSection)
    assert ui.batchRowLabel.text == "b: is cut short; copy it again"  # the first that failed
    assert ui.batchOpenButton.isVisibleTo(ui.batchSection)
    ui.batchTable.setCurrentCell(1, 0)
    assert not ui.batchOpenButton.enabled
    ui.batchTable.setCurrentCell(0, 0)
    assert ui.batchRowLabel.text == "a: left atrium 84.6 ml, left ventricle 120 ml"
    assert desk.session.result is None
    ui.batchOpenButton.click()
    result = desk.session.result
    assert result.volume.GetName() == "a"
    assert np.array_equal(slicer.util.arrayFromVolume(result.volume), scan_array())
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentation, "ball", result.volume)
    assert np.array_equal(mask > 0, scan_array() > fake_predict.BRIGHT)
    assert ui.reviewSection.isVisibleTo(desk.module.parent)
    view = desk.scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert view.GetForegroundVolumeID() == result.uncertainty.GetID()
    desk.qt.unwrap(ui.batchTable).cellDoubleClicked.emit(0, 1)  # it is there already
    assert desk.session.result.segmentation is result.segmentation
    assert desk.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2


def test_the_self_test_of_the_module_passes(desk):
    import slicer

    desk.open()
    slicer.selfTests["DyCONSegmentation"]()
    assert told(desk)[-1] == "Test passed"


def test_the_module_loads_where_only_numpy_is_installed():
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{*{ABSENT!r}}}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from Testing.slicer.host import qt as host
host.start_qt()
from Testing.slicer.host import modules
panel = modules.load_module({str(MODULE)!r})
assert panel.ui.segmentButton is not None
assert not host.failures()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
