"""Qt in the host behaves as under PythonQt: habits of PySide fail here as they fail in Slicer."""

from __future__ import annotations

import pytest


def test_properties_are_bare_and_can_be_set(slicer_qt):
    import qt

    button = qt.QPushButton("Segment")
    assert button.text == "Segment"
    with pytest.raises(TypeError, match="not callable"):
        button.text()
    with pytest.raises(TypeError, match="not callable"):
        qt.QComboBox().currentIndex()
    button.text = "Cancel"
    button.enabled = False
    assert (button.text, button.enabled, button.isEnabled()) == ("Cancel", False, False)


def test_classes_are_not_related_for_isinstance(slicer_qt):
    import qt

    button = qt.QPushButton()
    assert isinstance(button, qt.QPushButton)
    assert not isinstance(button, qt.QWidget)
    assert button.inherits("QWidget")
    assert not button.inherits("QLabel")
    assert button.className() == "QPushButton"


def test_no_keyword_arguments(slicer_qt):
    import qt

    with pytest.raises(ValueError, match="no keyword arguments"):
        qt.QLabel(text="x")
    with pytest.raises(ValueError, match="no keyword arguments"):
        qt.QLabel().setText(text="x")


def test_connecting_needs_the_exact_signature_of_a_signal_that_exists(slicer_qt):
    import qt

    button, got = qt.QPushButton(), []
    assert button.connect("clicked()", lambda: got.append("no argument"))
    assert button.connect("clicked(bool)", got.append)
    button.clicked.connect(lambda: got.append("attribute"))  # Slicer's own modules do this, too
    button.click()
    assert got == ["no argument", False, "attribute"]
    for wrong in ("bad()", "clicked", "clicked(int)"):
        with pytest.raises(ValueError, match="signal"):
            button.connect(wrong, print)
    with pytest.raises(ValueError, match="no signal"):  # gone in Qt 6
        qt.QComboBox().connect("currentIndexChanged(QString)", print)
    with pytest.raises(ValueError, match="no signal"):  # not yet in Qt 5.15
        qt.QCheckBox().connect("checkStateChanged(Qt::CheckState)", print)


def test_disconnecting_undoes_connecting(slicer_qt):
    import qt

    button, got = qt.QPushButton(), []

    def clicked():
        got.append(1)

    button.connect("clicked()", clicked)
    assert button.disconnect("clicked()", clicked)
    assert not button.disconnect("clicked()", clicked)
    button.click()
    assert got == []


def test_a_receiver_and_its_slot_can_be_connected(slicer_qt):
    import qt

    box, line = qt.QCheckBox(), qt.QLineEdit()
    box.connect("toggled(bool)", line, "setDisabled(bool)")
    box.checked = True
    assert not line.enabled
    with pytest.raises(ValueError, match="no slot"):
        box.connect("toggled(bool)", line, "setDisable(bool)")


def test_a_slot_gets_as_many_arguments_as_it_takes_and_its_failure_is_kept(slicer_qt, capsys):
    import qt

    box, got = qt.QSpinBox(), []
    box.connect("valueChanged(int)", lambda: got.append("none"))
    box.connect("valueChanged(int)", got.append)
    box.connect("valueChanged(int)", lambda: 1 / 0)
    box.value = 3
    assert got == ["none", 3]
    (failure,) = slicer_qt.failures()
    assert "ZeroDivisionError" in failure


def test_single_shot_is_hidden_by_the_static_slot(slicer_qt):
    import qt

    timer = qt.QTimer()
    with pytest.raises(AttributeError, match="singleShot"):
        timer.singleShot = True
    timer.setSingleShot(True)
    assert timer.isSingleShot()
    got = []
    qt.QTimer.singleShot(0, lambda: got.append(1))
    import slicer

    slicer.app.processEvents()
    assert got == [1]


def test_no_new_attributes_and_no_wrong_types(slicer_qt):
    import qt

    label = qt.QLabel("x")
    with pytest.raises(AttributeError, match="creating new attributes"):
        label.txt = "y"
    with pytest.raises(AttributeError, match="can only be read"):
        label.width = 30
    with pytest.raises(AttributeError, match="does not accept"):
        label.text = None
    with pytest.raises(AttributeError, match="no attribute"):
        label.currentText  # noqa: B018


def test_only_plain_numbers_and_text_reach_qt(slicer_qt, tmp_path):
    import numpy as np
    import qt
    import slicer

    box = qt.QDoubleSpinBox()
    box.value = np.float64(3)  # a Python float
    for value in (np.float32(2), np.int64(2)):
        with pytest.raises(ValueError, match="PythonQt does not know"):
            box.value = value
    with pytest.raises(ValueError, match="PythonQt does not know"):
        slicer.util.loadUI(tmp_path / "panel.ui")


def test_signals_with_two_signatures_in_qt5_need_one_of_them(slicer_qt):
    import qt

    for widget, name in ((qt.QComboBox(), "currentIndexChanged"), (qt.QSpinBox(), "valueChanged")):
        with pytest.raises(AttributeError, match="two signatures"):
            getattr(widget, name)
        assert widget.connect(f"{name}(int)", print)


def test_enumerators_are_on_the_class_and_are_integers(slicer_qt):
    import ctk
    import qt

    assert qt.Qt.AlignRight == 2
    assert qt.QMessageBox.Ok | qt.QMessageBox.Cancel == 0x400 | 0x400000
    assert ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Files == 3
    for scoped in (
        lambda: qt.Qt.AlignmentFlag.AlignRight,
        lambda: qt.QMessageBox.StandardButton.Ok,
    ):
        with pytest.raises(AttributeError):
            scoped()
    label = qt.QLabel("x")
    label.setAlignment(qt.Qt.AlignRight | qt.Qt.AlignTop)
    assert label.alignment == 34


def test_sequences_come_back_as_tuples(slicer_qt):
    import ctk
    import qt

    widget = qt.QWidget()
    layout = qt.QVBoxLayout(widget)
    button = qt.QPushButton("x")
    layout.addWidget(button)
    assert widget.children() == (layout, button)
    path = ctk.ctkPathLineEdit()
    path.nameFilters = ["*.nii", "*.nrrd"]
    assert path.nameFilters == ("*.nii", "*.nrrd")


def test_name_is_the_object_name_and_children_are_found_by_class_name(slicer_qt):
    import qt

    widget = qt.QWidget()
    label = qt.QLabel("x", widget)
    label.name = "status"
    assert label.objectName == "status"
    assert widget.findChild("QLabel", "status") == label
    assert widget.findChildren(qt.QPushButton) == ()


def test_a_destroyed_object_says_so(slicer_qt):
    import qt

    widget = qt.QWidget()
    label = qt.QLabel("x", widget)
    widget.delete()
    with pytest.raises(ValueError, match="destroyed"):
        label.text  # noqa: B018


def test_no_python_classes_of_qt_classes_and_no_callables_as_arguments(slicer_qt):
    import qt

    with pytest.raises(TypeError, match="Python classes"):
        type("Mine", (qt.QWidget,), {})
    with pytest.raises(ValueError, match="connect"):
        qt.QMenu().addAction("x", lambda: None)
    with pytest.raises(AttributeError, match="Signal"):
        qt.Signal(int)


def test_timers_run_while_waiting(slicer_qt):
    import qt

    timer, ticks = qt.QTimer(), []
    timer.connect("timeout()", lambda: ticks.append(1))
    timer.start(5)
    slicer_qt.wait_until(lambda: len(ticks) >= 3)
    timer.stop()
    with pytest.raises(TimeoutError):
        slicer_qt.wait_until(lambda: False, timeout_s=0.05)


def test_a_python_thread_is_a_failure(slicer_qt):
    import threading

    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    (failure,) = slicer_qt.failures()
    assert "starves in Slicer" in failure


def test_settings_are_slicers(slicer_qt):
    import qt
    import slicer

    qt.QSettings().setValue("DyCON/models", "/models")
    assert slicer.app.userSettings().value("DyCON/models") == "/models"
    assert slicer.util.settingsValue("DyCON/none", 4, converter=int) == 4
    qt.QSettings().remove("DyCON")
    assert not qt.QSettings().contains("DyCON/models")
