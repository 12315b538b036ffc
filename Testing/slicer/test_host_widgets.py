"""The ctk and qMRML stand-ins and the loading of .ui files do what Slicer does, or refuse."""

from __future__ import annotations

import pytest

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>Panel</class>
 <widget class="qMRMLWidget" name="Panel">
  <layout class="QFormLayout" name="form">
   <item row="0" column="0"><widget class="QLabel" name="scanLabel">
     <property name="text"><string>Scan:</string></property></widget></item>
   <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="scanSelector">
     <property name="nodeTypes">
      <stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
     <property name="noneEnabled"><bool>true</bool></property></widget></item>
   <item row="1" column="0" colspan="2"><widget class="ctkCollapsibleButton" name="advanced">
     <property name="text"><string>Advanced</string></property>
     <property name="collapsed"><bool>true</bool></property>
     <layout class="QFormLayout" name="inside">
      <item row="0" column="1"><widget class="ctkPathLineEdit" name="folder">
       <property name="filters">
        <set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Writable</set></property></widget></item>
      <item row="1" column="1"><widget class="ctkSliderWidget" name="threshold">
       <property name="maximum"><double>1.0</double></property>
       <property name="value"><double>0.5</double></property></widget></item>
     </layout></widget></item>
   <item row="2" column="0"><widget class="QCheckBox" name="advancedBox"/></item>
  </layout>
 </widget>
 <connections>
  <connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>scanSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>
  <connection><sender>advancedBox</sender><signal>toggled(bool)</signal>
   <receiver>folder</receiver><slot>setEnabled(bool)</slot></connection>
 </connections>
</ui>"""


def panel(tmp_path, *changes):
    import slicer

    text = UI
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "panel.ui").write_text(text)
    widget = slicer.util.loadUI(str(tmp_path / "panel.ui"))
    return widget, slicer.util.childWidgetVariables(widget)


def scalar(name, **attributes):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    for key, value in attributes.items():
        node.SetAttribute(key, value)
    return node


def test_a_ui_file_gives_its_widgets_with_their_properties(slicer_qt, tmp_path):
    _, ui = panel(tmp_path)
    assert ui.scanLabel.text == "Scan:"
    assert ui.scanSelector.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    assert ui.advanced.collapsed
    assert ui.folder.filters == 0x21
    assert (ui.threshold.maximum, ui.threshold.value) == (1.0, 0.5)


def test_its_connections_are_made(slicer_qt, tmp_path):
    import slicer

    node = scalar("scan")
    widget, ui = panel(tmp_path)
    widget.setMRMLScene(slicer.mrmlScene)
    assert ui.scanSelector.mrmlScene() is slicer.mrmlScene
    assert ui.scanSelector.nodeFromIndex(0) is node
    ui.advancedBox.checked = True
    ui.advancedBox.checked = False
    assert not ui.folder.enabled


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<signal>mrmlSceneChanged(", "<signal>mrmlSceneChange(", "no signal"),
        ("<slot>setMRMLScene(vtkMRMLScene*)", "<slot>setScene(vtkMRMLScene*)", "no slot"),
        ("<receiver>folder<", "<receiver>folders<", "no object named 'folders'"),
        ('class="ctkSliderWidget"', 'class="ctkSlider"', "no widget class ctkSlider"),
        ('name="noneEnabled"', 'name="noneAllowed"', "scanSelector.noneAllowed"),
        ('name="text"><string>Scan', 'name="txt"><string>Scan', "has no txt"),
        ("ctkPathLineEdit::Writable", "ctkPathLineEdit::Writeable", "Writeable"),
    ],
)
def test_what_is_misspelled_in_a_ui_file_is_an_error(slicer_qt, tmp_path, old, new, said):
    with pytest.raises((RuntimeError, ValueError, AttributeError), match=said):
        panel(tmp_path, (old, new))
    slicer_qt.failures()  # Qt complains about the class as well


def test_a_missing_ui_file_is_an_error(slicer_qt, tmp_path):
    import slicer

    with pytest.raises(RuntimeError, match="file not found"):
        slicer.util.loadUI(str(tmp_path / "none.ui"))


def selector(**properties):
    import slicer

    made = slicer.qMRMLNodeComboBox()
    made.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    for name, value in properties.items():
        setattr(made, name, value)
    return made


def test_setting_the_scene_chooses_a_node_unless_none_is_allowed(slicer_qt):
    import slicer

    node = scalar("scan")
    strict, lax = selector(), selector(noneEnabled=True, noneDisplay="New")
    strict.setMRMLScene(slicer.mrmlScene)
    lax.setMRMLScene(slicer.mrmlScene)
    assert strict.currentNode() is node
    assert lax.currentNode() is None
    assert (strict.nodeCount(), lax.nodeCount()) == (1, 1)


def test_a_node_that_comes_later_is_not_chosen(slicer_qt):
    import slicer

    strict = selector()
    strict.setMRMLScene(slicer.mrmlScene)
    node = scalar("scan")
    assert strict.nodeCount() == 1
    assert strict.currentNode() is None
    strict.setCurrentNode(node)
    assert strict.currentNodeID == node.GetID()


def test_when_the_chosen_node_goes_another_becomes_current(slicer_qt):
    import slicer

    first, second = scalar("first"), scalar("second")
    strict, told = selector(), []
    strict.setMRMLScene(slicer.mrmlScene)
    strict.connect("currentNodeChanged(vtkMRMLNode*)", told.append)
    strict.setCurrentNode(second)
    slicer.mrmlScene.RemoveNode(second)
    assert strict.currentNode() is first
    assert told == [second, first]


def test_closing_the_scene_empties_the_list(slicer_qt):
    import slicer

    scalar("scan")
    strict, told = selector(), []
    strict.setMRMLScene(slicer.mrmlScene)
    strict.connect("currentNodeChanged(bool)", told.append)
    slicer.mrmlScene.Clear(0)
    assert strict.nodeCount() == 0
    assert told == [False]


def test_only_nodes_that_fit_are_listed(slicer_qt):
    import slicer

    scalar("scan")
    marked = scalar("map", DyCON="uncertainty")
    hidden = scalar("hidden")
    hidden.HideFromEditorsOn()
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    only = selector(showChildNodeTypes=False)
    only.setMRMLScene(slicer.mrmlScene)
    assert only.nodeCount() == 2
    only.addAttribute("vtkMRMLScalarVolumeNode", "DyCON", "uncertainty")
    assert only.nodeCount() == 1
    assert only.nodeFromIndex(0) is marked
    with pytest.raises(AttributeError):  # public in C++, but neither slot nor Q_INVOKABLE
        only.setNodeTypes(["vtkMRMLModelNode"])


def test_signals_are_checked_by_their_cpp_signature_and_can_be_blocked(slicer_qt):
    import slicer

    strict, told = selector(), []
    with pytest.raises(ValueError, match="no signal"):
        strict.connect("currentNodeChanged(QString)", told.append)
    strict.connect("currentNodeChanged(vtkMRMLNode*)", told.append)
    strict.blockSignals(True)
    scalar("scan")
    strict.setMRMLScene(slicer.mrmlScene)
    assert told == []


def test_only_the_constructor_with_a_parent_is_there(slicer_qt):
    import ctk

    with pytest.raises(ValueError, match="only ctkCollapsibleButton"):
        ctk.ctkCollapsibleButton("Advanced")


def test_a_collapsed_section_takes_only_its_header(slicer_qt):
    import ctk
    import qt

    panel_widget = qt.QWidget()
    layout = qt.QVBoxLayout(panel_widget)
    section = ctk.ctkCollapsibleButton()
    told = []
    section.connect("contentsCollapsed(bool)", told.append)
    layout.addWidget(section)
    inside = qt.QVBoxLayout(section)
    for _ in range(5):
        inside.addWidget(qt.QPushButton("x"))
    full = panel_widget.sizeHint.height()
    section.collapsed = True
    assert panel_widget.sizeHint.height() < full - 60
    assert told == [True]


def test_a_slider_says_what_changed_once_within_its_range(slicer_qt):
    import ctk

    slider, told = ctk.ctkSliderWidget(), []
    slider.decimals, slider.maximum = 2, 1.0
    slider.connect("valueChanged(double)", told.append)
    slider.value = 0.25
    slider.value = 0.25
    slider.value = 7
    assert told == [0.25, 1.0]


def test_paths_are_judged_and_browsed_for(slicer_qt, tmp_path):
    import ctk

    path, told = ctk.ctkPathLineEdit(), []
    path.filters = ctk.ctkPathLineEdit.Dirs
    path.connect("validInputChanged(bool)", told.append)
    path.connect("currentPathChanged(QString)", told.append)
    slicer_qt.dialogs.answer(str(tmp_path))
    path.browse()
    assert told == [True, str(tmp_path)]
    assert slicer_qt.dialogs.shown[0].kind == "QFileDialog.getExistingDirectory"


def test_items_of_the_subject_hierarchy_are_listed(slicer_qt):
    import slicer

    scalar("scan")
    wanted = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
    box = slicer.qMRMLSubjectHierarchyComboBox()
    box.nodeTypes = ["vtkMRMLSegmentationNode"]
    box.setMRMLScene(slicer.mrmlScene)
    assert box.count == 1
    box.setCurrentNode(wanted)
    assert box.currentNode() is wanted


def test_dialogs_are_recorded_and_answered(slicer_qt):
    import qt
    import slicer

    assert slicer.util.confirmOkCancelDisplay("Download 200 MB?")
    slicer_qt.dialogs.answer(False)
    assert not slicer.util.confirmYesNoDisplay("Overwrite 'result'?")
    slicer.util.errorDisplay("No scan is chosen.")
    slicer.util.delayDisplay("Ready")
    texts = [shown.text for shown in slicer_qt.dialogs.shown]
    assert texts == ["Download 200 MB?", "Overwrite 'result'?", "No scan is chosen.", "Ready"]
    assert slicer_qt.dialogs.shown[2].kind == "Critical"

    box = qt.QMessageBox()
    box.setText("Stop the run?")
    slicer_qt.dialogs.answer(qt.QMessageBox.Cancel)
    assert box.exec_() == qt.QMessageBox.Cancel
    slicer_qt.dialogs.answer("/models/la.dycon")
    assert qt.QFileDialog.getOpenFileName(None, "Model", "/models") == "/models/la.dycon"


def test_segment_editor_is_opened_on_nodes(slicer_qt):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
    scan = scalar("scan")
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(scan)
    kept = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    kept.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideVisibleSegments)
    assert kept.GetSegmentationNode() is node
    assert editor.mrmlSegmentEditorNode().GetSourceVolumeNode() is scan
    assert slicer.util.selectedModule() == "SegmentEditor"
    with pytest.raises(ValueError, match="no module 'Nothing'"):
        slicer.util.selectModule("Nothing")


def test_a_panel_is_pictured_in_light_and_dark(slicer_qt, tmp_path):
    from PySide6.QtGui import QImage

    widget, _ = panel(tmp_path)
    slicer_qt.grab(widget, tmp_path / "light.png", width=300)
    slicer_qt.grab(widget, tmp_path / "dark.png", width=300, dark=True)
    light, dark = (QImage(str(tmp_path / f"{name}.png")) for name in ("light", "dark"))
    assert light.width() == dark.width() == 300
    assert light.pixelColor(2, 2).lightness() > 200
    assert dark.pixelColor(2, 2).lightness() < 80
