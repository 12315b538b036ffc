"""`import qt`, `import ctk` and Slicer's widgets, on PySide6 without a screen.

start_qt() adds them to the host of scene.py. Dialogs are recorded and answered instead of waiting
for a person; the failures of slots and Qt's own warnings are kept for the test to look at.
"""

from __future__ import annotations

import ctypes
import inspect
import os
import sys
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import slicer

from Testing.slicer.host import ctk_widgets, modules, pythonqt, qmrml_widgets, scene
from Testing.slicer.host.pythonqt import class_of, find_class, slot_failures, unwrap, wrap
from Testing.slicer.host.ui_files import UiLoader

os.environ["QT_QPA_PLATFORM"] = "offscreen"
from PySide6 import QtCore, QtGui, QtWidgets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

warnings: list[str] = []  # what Qt itself complained about
_keep: list[Any] = []  # the application object and the main window


@dataclass(frozen=True)
class Shown:
    """A dialog that would have been shown: which function or class, its text and title."""

    kind: str
    text: str
    title: str


@dataclass
class Dialogs:
    """What the panel would have shown, and what the person answers next."""

    shown: list[Shown] = field(default_factory=list)
    answers: deque[Any] = field(default_factory=deque)

    def answer(self, *values: Any) -> None:
        """Queue answers: a button, True or False, a path; without one a question is agreed to."""
        self.answers.extend(values)

    def clear(self) -> None:
        """Forget everything."""
        self.shown.clear()
        self.answers.clear()

    def show(self, kind: str, text: str, title: str, agree: Any, refuse: Any) -> Any:
        """Record a dialog and return its answer."""
        self.shown.append(Shown(kind, text, title))
        value = self.answers.popleft() if self.answers else agree
        return {True: agree, False: refuse}.get(value, value) if isinstance(value, bool) else value


dialogs = Dialogs()


def _keep_none() -> None:
    """Give None references to spare: PySide6 6.12 takes one with every call that returns None.

    It counts on Python 3.12, where None is never counted; on 3.11 the process would abort.
    """
    if sys.version_info < (3, 12):
        ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40


def start_qt() -> None:
    """Start the host with Qt; does nothing the second time."""
    scene.start()
    if _keep:
        return
    _keep_none()
    QtCore.qInstallMessageHandler(_qt_says)
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    _keep.append(application)
    application.setQuitOnLastWindowClosed(False)
    use_palette()
    UiLoader.know((*ctk_widgets.ALL, *qmrml_widgets.WIDGETS))
    sys.modules["qt"] = _Qt("qt")
    sys.modules["ctk"] = _named_module("ctk", ctk_widgets.ALL)
    for kind in qmrml_widgets.WIDGETS:
        setattr(slicer, kind.__name__, class_of(kind))
    _answer_dialogs()
    _watch_threads()
    window = qmrml_widgets.qSlicerMainWindow()
    slicer.app.topLevelWidgets = lambda: (wrap(window),)
    signals = wrap(_ApplicationSignals())
    slicer.app.connect, slicer.app.disconnect = signals.connect, signals.disconnect
    _keep.extend([window, signals])
    slicer.app.processEvents = application.processEvents
    slicer.app.palette = lambda: wrap(application.palette())
    slicer.app.clipboard = lambda: wrap(application.clipboard())
    modules.install()


class _Qt(ModuleType):
    """The module `qt`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        own = {"QUiLoader": class_of(UiLoader), "QSettings": _Settings, "Qt": _Namespace()}
        return own.get(name) or find_class(name)


class _ApplicationSignals(pythonqt.StandIn, QtCore.QObject):
    """The signals of slicer.app that a panel may want."""

    _signals = ("startupCompleted()", "aboutToQuit()")


class _Namespace:
    """`qt.Qt`: enumerators only, without the classes of the enumerations."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(QtCore.Qt, name)
        if not inspect.isclass(value):
            return value
        raise AttributeError(f"qt.Qt has no attribute named '{name}'")


def _Settings(*_: Any) -> Any:
    """`qt.QSettings()`: the settings of slicer.app, in memory."""
    return slicer.app.userSettings()


def _named_module(name: str, classes: tuple[type, ...]) -> ModuleType:
    module = ModuleType(name)
    for kind in classes:
        setattr(module, kind.__name__, class_of(kind))
    return module


def _qt_says(kind: Any, context: Any, text: str) -> None:
    if kind != QtCore.QtMsgType.QtDebugMsg and "propagateSizeHints" not in text:
        warnings.append(text)


def wait_until(done: Callable[[], Any], timeout_s: float = 20.0) -> None:
    """Let timers and signals run until done() is true.

    Raises:
        TimeoutError: it did not become true in time.
    """
    end = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"not done within {timeout_s:g} s")
        slicer.app.processEvents()
        time.sleep(0.005)


def quit_slicer() -> None:
    """What happens to the loaded modules when Slicer quits: aboutToQuit(), then cleanup()."""
    unwrap(_keep[-1])._send("aboutToQuit()")
    modules.unload_all()


def failures() -> list[str]:
    """Tracebacks of slots and warnings of Qt since the last call."""
    found = [*slot_failures, *warnings]
    slot_failures.clear()
    warnings.clear()
    return found


def _watch_threads() -> None:
    """Count every thread as a failure: under PythonQt they starve while Qt's loop runs."""
    start = threading.Thread.start

    def watched(thread: threading.Thread) -> None:
        stack = "".join(traceback.format_stack(limit=8))
        slot_failures.append(f"a Python thread was started, which starves in Slicer:\n{stack}")
        start(thread)

    threading.Thread.start = watched  # type: ignore[method-assign]


# --- dialogs


def _answer_dialogs() -> None:
    """Put the recorder in the place of everything that would wait for a person."""
    box = QtWidgets.QMessageBox

    def message_box(text: str, parent: Any = None, **options: Any) -> Any:
        is_plain = options.get("textFormat") == QtCore.Qt.PlainText
        if QtGui.Qt.mightBeRichText(text) and not is_plain:
            slot_failures.append(f"a dialog would show this as HTML: {text}")
        buttons = options.get("standardButtons", box.Ok)
        agree = next(b for b in (box.Ok, box.Yes, box.Retry, box.Save, box.Close) if b & buttons)
        refuse = next((b for b in (box.Cancel, box.No, box.Close) if b & buttons), agree)
        icon = str(options.get("icon", box.NoIcon)).rsplit(".", maxsplit=1)[-1]
        return dialogs.show(icon, text, options.get("windowTitle", ""), agree, refuse)

    def delay_display(
        message: str, autoCloseMsec: int = 1000, parent: Any = None, **_: Any
    ) -> None:
        dialogs.show("delayDisplay", message, "", None, None)
        slicer.app.processEvents()

    slicer.util.messageBox, slicer.util.delayDisplay = message_box, delay_display
    pythonqt.EXEC.append(_exec)
    for name, empty in (
        ("getOpenFileName", ""),
        ("getSaveFileName", ""),
        ("getExistingDirectory", ""),
        ("getOpenFileNames", ()),
    ):
        pythonqt.STATIC_DIALOGS["QFileDialog", name] = _static(f"QFileDialog.{name}", empty)
    for name in ("getText", "getItem", "getInt", "getDouble"):
        pythonqt.STATIC_DIALOGS["QInputDialog", name] = _static(f"QInputDialog.{name}", "")
    for name, agree, refuse in (
        ("question", box.Yes, box.No),
        ("information", box.Ok, box.Ok),
        ("warning", box.Ok, box.Ok),
        ("critical", box.Ok, box.Ok),
    ):
        pythonqt.STATIC_DIALOGS["QMessageBox", name] = _static(f"QMessageBox.{name}", agree, refuse)


def _static(kind: str, agree: Any, refuse: Any = "") -> Any:
    def ask(parent: Any = None, title: str = "", text: str = "", *_: Any) -> Any:
        return dialogs.show(kind, str(text), title, agree, refuse)

    return ask


def _exec(dialog: Any) -> Any:
    """Answer exec_(): a message box with its buttons, another dialog with accept(), a menu."""
    if isinstance(dialog, QtWidgets.QMenu):
        return dialogs.show("QMenu", dialog.title(), "", None, None)
    text = dialog.text() if isinstance(dialog, QtWidgets.QMessageBox) else ""
    agree, refuse = QtWidgets.QDialog.Accepted, QtWidgets.QDialog.Rejected
    if isinstance(dialog, QtWidgets.QMessageBox):
        agree, refuse = QtWidgets.QMessageBox.Ok, QtWidgets.QMessageBox.Cancel
    answer = dialogs.show(type(dialog).__name__, text, dialog.windowTitle(), agree, refuse)
    (dialog.accept if answer == agree else dialog.reject)()
    return answer


load_module = modules.load_module

# --- pictures


def use_palette(*, dark: bool = False) -> None:
    """Fusion style in the colors of Slicer's light or dark theme."""
    application = QtWidgets.QApplication.instance()
    application.setStyle("Fusion")
    font = QtGui.QFont("DejaVu Sans")
    font.setPixelSize(12)
    application.setFont(font)
    role = QtGui.QPalette
    light = {
        role.Window: "#efefef", role.WindowText: "#000000", role.Base: "#ffffff",
        role.AlternateBase: "#f4f4f4", role.Text: "#000000", role.Button: "#efefef",
        role.ButtonText: "#000000", role.Highlight: "#308cc6", role.HighlightedText: "#ffffff",
        role.ToolTipBase: "#ffffdc", role.ToolTipText: "#000000", role.Link: "#0057ae",
        role.PlaceholderText: "#808080",
    }  # fmt: skip
    night = {
        role.Window: "#353535", role.WindowText: "#ffffff", role.Base: "#2a2a2a",
        role.AlternateBase: "#424242", role.Text: "#ffffff", role.Button: "#353535",
        role.ButtonText: "#ffffff", role.Highlight: "#308cc6", role.HighlightedText: "#ffffff",
        role.ToolTipBase: "#353535", role.ToolTipText: "#ffffff", role.Link: "#56b4f9",
        role.PlaceholderText: "#9a9a9a",
    }  # fmt: skip
    palette = QtGui.QPalette(QtGui.QColor("#353535" if dark else "#efefef"))
    for which, color in (night if dark else light).items():
        palette.setColor(which, QtGui.QColor(color))
    for which in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(role.Disabled, which, QtGui.QColor("#7f7f7f" if dark else "#a0a0a0"))
    application.setPalette(palette)


def grab(panel: Any, path: Path | str, width: int = 380, *, dark: bool = False) -> None:
    """Write the picture of a panel (a widget, or a module's Widget object) at its natural height.

    Slicer's module panel is about 380 pixels wide at first.
    """
    widget = unwrap(
        getattr(panel, "parent", panel) if not isinstance(panel, pythonqt.Wrapper) else panel
    )
    use_palette(dark=dark)
    layout = widget.layout()
    height = 0
    for _ in range(3):  # word-wrapped labels need a round to know their height
        widget.resize(width, max(height, 50))
        widget.show()
        QtWidgets.QApplication.processEvents()
        if layout is not None:
            layout.activate()
        wrapped = layout is not None and layout.hasHeightForWidth()
        height = layout.totalHeightForWidth(width) if wrapped else widget.sizeHint().height()
    widget.resize(width, height)
    QtWidgets.QApplication.processEvents()
    saved = widget.grab().save(str(path))
    widget.hide()
    if dark:
        use_palette()
    if not saved:
        raise OSError(f"could not write {path}")
