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
    QMessageBox,
    QPushButton,
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
        if self._box.findText(self.currentPath) < 0:
            self._box.addItem(self.currentPath)

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


class ctkDirectoryButton(StandIn, QWidget):
    """A button that shows a folder and lets choose another."""

    _signals = ("directoryChanged(QString)", "directorySelected(QString)")
    _slots = ("browse()",)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._button = QPushButton(self)
        row.addWidget(self._button)
        self._button.clicked.connect(self._browse)
        self._folder = ""

    def _set(self, folder: str) -> None:
        changed = folder != self._folder
        self._folder = folder
        self._button.setText(folder)
        if changed:
            self._send("directoryChanged(QString)", folder)

    def browse(self) -> str:
        dialog = pythonqt.STATIC_DIALOGS["QFileDialog", "getExistingDirectory"]
        folder = str(dialog(self, self.caption, self._folder))
        if folder:
            self._set(folder)
            self._send("directorySelected(QString)", folder)
        return folder

    def _browse(self, _checked: bool = False) -> None:
        self.browse()

    directory = Property(str, lambda self: self._folder, _set)
    caption = stored(str, "caption", "")
    text = stored(str, "text", "")
    options = stored(int, "options", 0)


class ctkComboBox(StandIn, QComboBox):
    """A list whose text for "nothing chosen" can be set."""

    _signals = ("returnRelease()",)
    NeverScroll, AlwaysScroll, ScrollWithFocus, ScrollWithNoVScrollBar = range(4)

    def _show_default(self, text: str) -> None:
        self.setPlaceholderText(text)

    defaultText = Property(str, lambda self: self.placeholderText(), _show_default)
    forceDefault = stored(bool, "forceDefault", False)
    scrollWheelEffect = stored(int, "scrollWheelEffect", 1)

    def setCurrentUserDataAsString(self, data: str) -> None:
        self.setCurrentIndex(self.findData(data))

    currentUserDataAsString = Property(
        str, lambda self: str(self.currentData() or ""), setCurrentUserDataAsString
    )


class ctkMessageBox(StandIn, QMessageBox):
    """A message box that may offer not to be shown again."""

    dontShowAgain = stored(bool, "dontShowAgain", False)
    dontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")


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


class ctkRangeWidget(StandIn, QWidget):
    """Two spin boxes for a lowest and a highest number (CTK's slider between them is left out)."""

    _signals = (
        "minimumValueChanged(double)",
        "maximumValueChanged(double)",
        "valuesChanged(double,double)",
        "rangeChanged(double,double)",
    )
    _slots = (
        "setMinimumValue(double)",
        "setMaximumValue(double)",
        "setValues(double,double)",
        "setDecimals(int)",
    )

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._low, self._high = _spin_box(self), _spin_box(self)
        self._high.setValue(99)
        self._line = QSlider(Qt.Horizontal, self)
        for widget in (self._low, self._line, self._high):
            row.addWidget(widget)
        self._low.valueChanged.connect(self._changed)
        self._high.valueChanged.connect(self._changed)
        self._last = (0.0, 99.0)

    def _changed(self, _: float) -> None:
        values = (self._low.value(), max(self._low.value(), self._high.value()))
        before, self._last = self._last, values
        if values[0] != before[0]:
            self._send("minimumValueChanged(double)", values[0])
        if values[1] != before[1]:
            self._send("maximumValueChanged(double)", values[1])
        if values != before:
            self._send("valuesChanged(double,double)", *values)

    def setMinimumValue(self, value: float) -> None:
        self._low.setValue(value)

    def setMaximumValue(self, value: float) -> None:
        self._high.setValue(value)

    def setValues(self, low: float, high: float) -> None:
        self._low.setValue(low)
        self._high.setValue(high)

    def setRange(self, low: float, high: float) -> None:
        self._low.setRange(low, high)
        self._high.setRange(low, high)
        self._send("rangeChanged(double,double)", low, high)

    def setDecimals(self, decimals: int) -> None:
        self._low.setDecimals(decimals)
        self._high.setDecimals(decimals)

    minimumValue = Property(float, lambda self: self._low.value(), setMinimumValue)
    maximumValue = Property(float, lambda self: self._high.value(), setMaximumValue)
    minimum = Property(
        float, lambda self: self._low.minimum(), lambda self, v: self.setRange(v, self.maximum)
    )
    maximum = Property(
        float, lambda self: self._low.maximum(), lambda self, v: self.setRange(self.minimum, v)
    )
    decimals = Property(int, lambda self: self._low.decimals(), setDecimals)
    singleStep = stored(float, "singleStep", 1.0)
    suffix = stored(str, "suffix", "")


ALL = (
    ctkCollapsibleButton,
    ctkCollapsibleGroupBox,
    ctkComboBox,
    ctkDirectoryButton,
    ctkMessageBox,
    ctkPathLineEdit,
    ctkRangeWidget,
    ctkSliderWidget,
)
