"""Stand-ins for the CTK widgets that panels use, with the names of CTK's headers.

Public are properties, slots and Q_INVOKABLE methods, as PythonQt shows them; they look about like
CTK's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Property, QRect, QSize, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QGroupBox,
    QHBoxLayout,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QToolButton,
    QWidget,
)

from Testing.slicer.host import pythonqt
from Testing.slicer.host.pythonqt import StandIn


def stored(kind: Any, name: str, default: Any) -> Any:
    """A property that is only kept."""

    def read(self: Any) -> Any:
        return self.__dict__.get("_" + name, default)

    def write(self: Any, value: Any) -> None:
        self.__dict__["_" + name] = value

    return Property(kind, read, write)


class ctkCollapsibleButton(StandIn, QAbstractButton):
    """A header that shows or hides what is laid out in it."""

    _signals = ("contentsCollapsed(bool)",)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QSizePolicy.Preferred, QSizePolicy.Preferred)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.toggled.connect(self._toggled)

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 8

    def _toggled(self, expanded: bool) -> None:
        self.setMaximumHeight(16777215 if expanded else self._header_height())
        self.updateGeometry()
        self._send("contentsCollapsed(bool)", not expanded)

    def _collapse(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: not self.isChecked(), _collapse)
    collapsedHeight = stored(int, "collapsedHeight", 10)
    flat = stored(bool, "flat", False)
    contentsFrameShape = stored(int, "contentsFrameShape", 0)
    contentsLineWidth = stored(int, "contentsLineWidth", 1)

    def minimumSizeHint(self) -> QSize:
        """Room for the header, and the contents unless collapsed."""
        inside = self.layout().totalMinimumSize() if self.layout() else QSize()
        height = inside.height() if self.isChecked() else 0
        return QSize(inside.width(), max(height, self._header_height()))

    def sizeHint(self) -> QSize:
        """Room for the header, and the contents unless collapsed."""
        inside = self.layout().totalSizeHint() if self.layout() else QSize()
        height = inside.height() if self.isChecked() else 0
        return QSize(inside.width(), max(height, self._header_height()))

    def hitButton(self, position: Any) -> bool:
        """Only the header is clicked."""
        return bool(position.y() < self._header_height())

    def paintEvent(self, event: Any) -> None:
        """Draw the header with its arrow, and a thin frame around the contents."""
        painter = QPainter(self)
        option = QStyleOptionButton()
        option.initFrom(self)
        option.rect = QRect(0, 0, self.width(), self._header_height())
        option.state |= QStyle.State_Raised
        self.style().drawControl(QStyle.CE_PushButtonBevel, option, painter, self)
        arrow = QStyle.PE_IndicatorArrowDown if self.isChecked() else QStyle.PE_IndicatorArrowRight
        option.rect = QRect(8, (self._header_height() - 10) // 2, 10, 10)
        self.style().drawPrimitive(arrow, option, painter, self)
        text = QRect(26, 0, self.width() - 30, self._header_height())
        self.style().drawItemText(
            painter, text, Qt.AlignVCenter, self.palette(), self.isEnabled(), self.text()
        )
        painter.setPen(self.palette().mid().color())
        painter.drawRect(QRect(0, 0, self.width() - 1, self.height() - 1))


class ctkCollapsibleGroupBox(StandIn, QGroupBox):
    """A group box that shows its contents only while it is checked."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.toggled.connect(self._toggled)

    def _toggled(self, expanded: bool) -> None:
        self.setMaximumHeight(16777215 if expanded else self.fontMetrics().height() + 8)
        self.updateGeometry()

    def _collapse(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: not self.isChecked(), _collapse)
    collapsedHeight = stored(int, "collapsedHeight", 14)


class ctkPathLineEdit(StandIn, QWidget):
    """A line for a path, with a button to browse."""

    _signals = ("validInputChanged(bool)", "currentPathChanged(QString)")
    _slots = (
        "setCurrentPath(QString)",
        "browse()",
        "retrieveHistory()",
        "addCurrentPathToHistory()",
    )
    Dirs, Files, Drives, NoSymLinks = 0x001, 0x002, 0x004, 0x008
    Readable, Writable, Executable, Modified, Hidden = 0x010, 0x020, 0x040, 0x080, 0x100
    ShowDirsOnly, DontConfirmOverwrite, ReadOnly = 0x01, 0x04, 0x20

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        self._box = QComboBox(self)
        self._box.setEditable(True)
        self._box.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self._box.setSizeAdjustPolicy(QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self._button = QToolButton(self)
        self._button.setText("...")
        self._button.setSizePolicy(QSizePolicy.Fixed, QSizePolicy.Fixed)
        row.addWidget(self._box)
        row.addWidget(self._button)
        self._box.editTextChanged.connect(self._changed)
        self._button.clicked.connect(self._browse)
        self._valid = False

    def _changed(self, path: str) -> None:
        valid = Path(path).exists() if path else False
        if self.filters & (self.Dirs | self.Files) == self.Dirs:
            valid = Path(path).is_dir() if path else False
        if valid != self._valid:
            self._valid = valid
            self._send("validInputChanged(bool)", valid)
        self._send("currentPathChanged(QString)", path)

    def setCurrentPath(self, path: str) -> None:
        self._box.setEditText(path)

    def browse(self) -> None:
        only_folders = self.filters & (self.Dirs | self.Files) == self.Dirs
        name = "getExistingDirectory" if only_folders else "getOpenFileName"
        if self.filters & self.Writable:
            name = "getSaveFileName"
        path = pythonqt.STATIC_DIALOGS["QFileDialog", name](self, self.label, self.currentPath)
        if path:
            self.setCurrentPath(path)

    def _browse(self, _checked: bool = False) -> None:
        self.browse()

    def retrieveHistory(self) -> None:
        """Nothing was kept."""

    def addCurrentPathToHistory(self) -> None:
        """Put the path on top; as in CTK, other paths are current for a moment, and signaled."""
        path = self.currentPath
        if not path:
            return
        index = self._box.findText(path)
        if index >= 0:
            self._box.removeItem(index)
        self._box.insertItem(0, path)
        self._box.setCurrentIndex(0)

    def comboBox(self) -> QComboBox:
        return self._box

    currentPath = Property(str, lambda self: self._box.currentText(), setCurrentPath)
    label = stored(str, "label", "")
    settingKey = stored(str, "settingKey", "")
    filters = stored(int, "filters", Dirs | Files | Drives)
    options = stored(int, "options", 0)
    nameFilters = stored("QStringList", "nameFilters", [])
    minimumContentsLength = stored(int, "minimumContentsLength", 0)
    showHistoryButton = stored(bool, "showHistoryButton", True)

    def _show_button(self, shown: bool) -> None:
        self._button.setVisible(shown)

    showBrowseButton = Property(bool, lambda self: not self._button.isHidden(), _show_button)


def _spin_box(parent: QWidget) -> QDoubleSpinBox:
    box = QDoubleSpinBox(parent)
    box.setKeyboardTracking(False)
    box.setRange(0, 99)
    return box


class ctkSliderWidget(StandIn, QWidget):
    """A slider and a spin box for one number."""

    _signals = ("valueChanged(double)", "valueIsChanging(double)", "decimalsChanged(int)")
    _slots = ("reset()", "setValue(double)", "setSpinBoxVisible(bool)", "setDecimals(int)")
    _STEPS = 1000

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider = QSlider(Qt.Horizontal, self)
        self._slider.setRange(0, self._STEPS)
        self._box = _spin_box(self)
        row.addWidget(self._slider, 1)
        row.addWidget(self._box)
        self._slider.sliderMoved.connect(self._moved)
        self._box.valueChanged.connect(self._changed)

    def _moved(self, step: int) -> None:
        low, high = self._box.minimum(), self._box.maximum()
        self._box.setValue(low + (high - low) * step / self._STEPS)

    def _changed(self, value: float) -> None:
        low, high = self._box.minimum(), self._box.maximum()
        self._slider.setValue(round((value - low) / (high - low or 1) * self._STEPS))
        self._send("valueIsChanging(double)", value)
        self._send("valueChanged(double)", value)

    def reset(self) -> None:
        self.setValue(0.0)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def setSpinBoxVisible(self, shown: bool) -> None:
        self._box.setVisible(shown)

    def setDecimals(self, decimals: int) -> None:
        self._box.setDecimals(decimals)
        self._send("decimalsChanged(int)", decimals)

    def _of_box(kind: Any, name: str) -> Any:  # makes the properties below
        setter = "set" + name[0].upper() + name[1:]

        def write(self: Any, value: Any) -> None:
            getattr(self._box, setter)(value)
            self._changed_range()

        return Property(kind, lambda self: getattr(self._box, name)(), write)

    def _changed_range(self) -> None:
        self._slider.blockSignals(True)
        low, high = self._box.minimum(), self._box.maximum()
        self._slider.setValue(round((self._box.value() - low) / (high - low or 1) * self._STEPS))
        self._slider.blockSignals(False)

    value = Property(float, lambda self: self._box.value(), setValue)
    decimals = Property(int, lambda self: self._box.decimals(), setDecimals)
    minimum, maximum = _of_box(float, "minimum"), _of_box(float, "maximum")
    singleStep = _of_box(float, "singleStep")
    prefix, suffix = _of_box(str, "prefix"), _of_box(str, "suffix")
    pageStep = stored(float, "pageStep", 10.0)
    tickInterval = stored(float, "tickInterval", 0.0)
    tracking = stored(bool, "tracking", True)
    popupSlider = stored(bool, "popupSlider", False)
    spinBoxVisible = Property(bool, lambda self: not self._box.isHidden(), setSpinBoxVisible)


ALL = (
    ctkCollapsibleButton,
    ctkCollapsibleGroupBox,
    ctkPathLineEdit,
    ctkSliderWidget,
)
