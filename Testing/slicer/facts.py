"""Facts of Slicer that the host imitates, as functions that run in both: needs no pytest.

test_host_facts.py runs them on the host, run_in_slicer.py in the real application. One that holds
only on the host shows where the host is wrong. They import only what Slicer's Python console has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def refused(attempt: Callable[[], Any]) -> bool:
    """Whether it raises, or says False as PythonQt's connect does."""
    try:
        return attempt() is False
    except Exception:  # noqa: BLE001 the kind of error differs between PythonQt and the host
        return True


def properties_are_bare() -> None:
    """`label.text` is text; calling it fails."""
    import qt

    label = qt.QLabel("x")
    assert label.text == "x"
    assert refused(lambda: label.text())  # noqa: PLW0108 calling text is what must fail
    label.text = "y"
    assert label.text == "y"


def classes_are_not_related() -> None:
    """Only the exact class counts for isinstance; inherits() knows the others."""
    import qt

    assert isinstance(qt.QPushButton(), qt.QPushButton)
    assert not isinstance(qt.QPushButton(), qt.QWidget)
    assert qt.QPushButton().inherits("QWidget")


def keyword_arguments_are_refused() -> None:
    """No constructor takes keywords."""
    import qt

    assert refused(lambda: qt.QLabel(text="x"))


def unknown_signals_are_refused() -> None:
    """connect() knows only the signals of Qt 5.15 and Qt 6."""
    import qt

    assert refused(lambda: qt.QPushButton().connect("bad()", print))
    assert not refused(lambda: qt.QPushButton().connect("clicked()", print))


def single_shot_is_a_static_slot() -> None:
    """The property of QTimer is hidden by the static slot; the setter works."""
    import qt

    timer = qt.QTimer()
    assert refused(lambda: setattr(timer, "singleShot", True))
    timer.setSingleShot(True)
    assert timer.isSingleShot()


def new_attributes_are_refused() -> None:
    """A misspelled property does not become a Python attribute."""
    import qt

    assert refused(lambda: setattr(qt.QLabel(), "txt", "x"))


def sequences_are_tuples() -> None:
    """Lists of strings and of children."""
    import ctk
    import qt

    path = ctk.ctkPathLineEdit()
    path.nameFilters = ["*.nii", "*.nrrd"]
    assert tuple(path.nameFilters) == path.nameFilters == ("*.nii", "*.nrrd")
    assert qt.QWidget().children() == ()


def enumerators_are_integers_on_the_class() -> None:
    """No scope of the enumeration in between."""
    import ctk
    import qt

    assert int(qt.Qt.AlignRight) == 2
    assert int(ctk.ctkPathLineEdit.Dirs) == 1
    assert int(qt.QMessageBox.Ok | qt.QMessageBox.Cancel) == 0x400400


def a_row_of_a_selector_keeps_its_flags_as_data() -> None:
    """Without them it cannot be chosen; where the data is taken away it has the usual ones."""
    import qt

    selector, flags = qt.QComboBox(), qt.Qt.UserRole - 1
    selector.addItems(["one", "two"])
    for data in (0, None):
        selector.setItemData(1, data, flags)
        assert selector.itemData(1, flags) == data


def ctk_has_only_the_constructor_with_a_parent() -> None:
    """A text cannot be given at once."""
    import ctk

    assert refused(lambda: ctk.ctkCollapsibleButton("text"))


def only_properties_and_slots_of_ctk_are_there() -> None:
    """Public C++ methods that are neither are not."""
    import ctk

    slider = ctk.ctkSliderWidget()
    assert refused(lambda: slider.setRange(0, 1))
    slider.maximum = 1.0
    slider.value = 0.5
    assert slider.value == 0.5


def a_later_node_is_not_chosen_and_a_neighbor_replaces_a_removed_one() -> None:
    """Seen on a qMRMLNodeComboBox with noneEnabled False."""
    import slicer

    slicer.mrmlScene.Clear(0)
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLTextNode"]
    selector.noneEnabled = False
    selector.setMRMLScene(slicer.mrmlScene)
    first = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "first")
    second = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "second")
    assert selector.currentNode() is None
    selector.setCurrentNode(second)
    slicer.mrmlScene.RemoveNode(second)
    assert selector.currentNode() is first


def arrays_of_some_types_are_refused() -> None:
    """int64, float16 and bool must be cast before they become volumes."""
    import numpy as np
    import slicer

    for dtype in (np.int64, np.float16, bool):
        array = np.zeros((2, 3, 4), dtype)
        assert refused(lambda array=array: slicer.util.addVolumeFromArray(array)), dtype


def a_wrong_color_id_is_silently_none() -> None:
    """A volume with an unknown color node has none."""
    import numpy as np
    import slicer

    node = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.float32))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeNoSuchColors")
    assert node.GetDisplayNode().GetColorNode() is None


FACTS = tuple(
    value
    for name, value in tuple(globals().items())
    if callable(value) and value.__module__ == __name__ and name != "refused"
)
