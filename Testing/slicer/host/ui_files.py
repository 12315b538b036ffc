"""Loads .ui files as Slicer's QUiLoader does, and refuses what it would only warn about.

Custom widgets come from the stand-ins. Their properties and the <connections> are applied here,
because Qt's loader knows neither; every class, property, sender, signal, receiver and slot is
checked.
"""

from __future__ import annotations

import functools
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QBuffer, QByteArray, QFile, QObject
from PySide6.QtUiTools import QUiLoader

from Testing.slicer.host.pythonqt import Wrapper, slot_of, wrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What a .ui file says about a property -> the Python value
CONVERTERS = {
    "bool": lambda e: e.text == "true",
    "number": lambda e: int(e.text or 0),
    "double": lambda e: float(e.text or 0),
    "string": lambda e: e.text or "",
    "stringlist": lambda e: [s.text or "" for s in e.findall("string")],
}


class UiLoader(QUiLoader):
    """What `qt.QUiLoader()` is in the host."""

    classes: Mapping[str, type] = {}  # custom widgets by name; filled by qt.py

    @classmethod
    def know(cls, kinds: Sequence[type]) -> None:
        """Take the stand-ins; what Qt has of them is asked now, before any widget is deleted."""
        cls.classes = {kind.__name__: kind for kind in kinds}
        for kind in kinds:
            _native_properties(_native(kind))

    def createWidget(self, name: str, parent: Any = None, object_name: str = "") -> Any:
        """Make a widget; custom ones from the stand-ins."""
        if name not in self.classes:
            made = super().createWidget(name, parent, object_name)
            if made is None:
                raise RuntimeError(f"{object_name}: the host has no widget class {name}")
            return made
        made = self.classes[name](parent)
        made.setObjectName(object_name)
        return made

    def load(self, device: Any, parent: Any = None) -> Any:
        """Load the .ui file that an open QFile reads."""
        tree = ET.fromstring(bytes(device.readAll()))  # noqa: S314 our own .ui files
        later = self._take_custom_properties(tree)
        connections = tree.find("connections")
        if connections is not None:
            tree.remove(connections)
        buffer = QBuffer(self)
        buffer.setData(QByteArray(ET.tostring(tree)))
        buffer.open(QFile.ReadOnly)
        widget = super().load(buffer, parent)
        if widget is None:
            raise RuntimeError(f"QUiLoader: {self.errorString()}")
        for name, key, value in later:
            target = _named(widget, name)
            if not target.setProperty(key, value):
                raise RuntimeError(f"{name}.{key} does not take {value!r}")
        _check_properties(tree, widget)
        for connection in connections if connections is not None else ():
            _connect(widget, {part.tag: part.text or "" for part in connection})
        return widget

    def _take_custom_properties(self, tree: ET.Element) -> list[tuple[str, str, Any]]:
        """Remove the stand-ins' own properties from the tree and return them as values."""
        taken = []
        for element in tree.iter("widget"):
            kind = self.classes.get(element.get("class", ""))
            if kind is None:
                continue
            native = _native(kind)
            for item in element.findall("property"):
                key = item.get("name", "")
                if key not in _native_properties(native):
                    taken.append((element.get("name", ""), key, _value(kind, item[0])))
                    element.remove(item)
        return taken


def _native(kind: type) -> Any:
    """The Qt class that a stand-in derives from."""
    return next(base for base in kind.__mro__ if base.__module__.startswith("PySide6"))


@functools.cache
def _native_properties(native: Any) -> frozenset[str]:
    """Names of the Qt properties of a class, asked once.

    PySide6 loses a class's meta object when Qt deletes widgets of that class, as those in the
    cells of a table.
    """
    meta = native.staticMetaObject
    return frozenset(meta.property(index).name() for index in range(meta.propertyCount()))


def _value(kind: type, element: ET.Element) -> Any:
    """The Python value of a property; enumerators are looked up in the widget's class."""
    if element.tag in ("enum", "set"):
        names = (part.split("::")[-1] for part in (element.text or "").split("|"))
        return sum(int(getattr(kind, name)) for name in names)
    return CONVERTERS[element.tag](element)


def _named(root: Any, name: str) -> Any:
    if root.objectName() == name:
        return root
    found = root.findChild(QObject, name)
    if found is None:
        raise RuntimeError(f".ui file: there is no object named '{name}'")
    return found


def _check_properties(tree: ET.Element, root: Any) -> None:
    """Qt's loader makes a dynamic property of a misspelled name; that is an error here."""
    for element in tree.iter("widget"):
        target = _named(root, element.get("name", ""))
        for item in element.findall("property"):
            key = item.get("name", "")
            custom = item.get("stdset") == "0" and target.metaObject().indexOfProperty(key) < 0
            if key in map(_text, target.dynamicPropertyNames()) and not custom:
                raise RuntimeError(f"{element.get('name')} ({element.get('class')}) has no {key}")


def _connect(root: Any, parts: Mapping[str, str]) -> None:
    sender, receiver = wrap(_named(root, parts["sender"])), _named(root, parts["receiver"])
    assert isinstance(sender, Wrapper)
    sender.connect(parts["signal"], slot_of(receiver, parts["slot"]))


def _text(value: Any) -> str:
    return bytes(value).decode()
