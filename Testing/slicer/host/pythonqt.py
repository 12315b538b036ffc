"""Qt objects on PySide6 that behave as under PythonQt, so that habits of PySide fail here.

PythonQt is what Slicer's `import qt` gives. Seen on a real build and imitated: properties are bare
(`label.text`, never `label.text()`), classes are not related for isinstance, no keyword arguments,
`connect` by exact signature, enumerators directly on the class, sequences come back as tuples, no
new attributes on Qt objects. Where PythonQt would only print (an unknown signal, a failing slot)
this raises or keeps the failure for the test.
"""

from __future__ import annotations

import enum
import inspect
import traceback
import weakref
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6 import QtCore, QtGui, QtWidgets
from shiboken6 import Shiboken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# A static method of the same name hides the property, as in PythonQt
HIDDEN_PROPERTIES = {"QTimer": {"singleShot"}}
# Not in Qt 5.15, which Slicer is built with
NEWER_THAN_QT5 = {"checkStateChanged"}
# Two signatures of one name in Qt 5.15: `widget.NAME.connect` would take either of them
OVERLOADED_IN_QT5 = {
    "QButtonGroup": {"buttonClicked", "buttonPressed", "buttonReleased", "buttonToggled"},
    "QComboBox": {"activated", "currentIndexChanged", "highlighted"},
    "QDoubleSpinBox": {"valueChanged"},
    "QSpinBox": {"valueChanged"},
}
# Static dialogs wait for a person; qt.py answers and records them
STATIC_DIALOGS: dict[tuple[str, str], Callable[..., Any]] = {}
EXEC: list[Callable[[Any], Any]] = []  # how QDialog.exec_() is answered; set by qt.py

slot_failures: list[str] = []  # tracebacks of slots: PythonQt prints and goes on
_wrappers: weakref.WeakValueDictionary[int, Wrapper] = weakref.WeakValueDictionary()
_classes: dict[type, WrapperType] = {}
_connections: dict[tuple[int, str], list[tuple[Any, Any]]] = {}


class WrapperType(type):
    """What `qt.QLabel` is: makes objects, gives enumerators and static methods."""

    raw: type

    def __call__(cls, *args: Any, **keywords: Any) -> Any:
        """Make an object."""
        if keywords:
            raise ValueError(f"{cls.__name__}: PythonQt takes no keyword arguments: {keywords}")
        if issubclass(cls.raw, StandIn):
            _refuse_overloads(cls, args)
        return wrap(_call(cls.raw, args))

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> WrapperType:
        """Refuse Python classes of Qt classes."""
        if any(getattr(base, "raw", None) for base in bases):
            raise TypeError(f"class {name}: the host makes no Python classes of Qt classes")
        return super().__new__(mcs, name, bases, body)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_") or name in NEWER_THAN_QT5:
            raise AttributeError(name)
        if (cls.__name__, name) in STATIC_DIALOGS:
            return STATIC_DIALOGS[cls.__name__, name]
        value = getattr(cls.raw, name, None)
        if value is None or (inspect.isclass(value) and issubclass(value, enum.Enum)):
            raise AttributeError(f"{cls.__name__} has no attribute named '{name}'")
        if cls.raw is QtCore.QObject and name in ("connect", "disconnect"):
            return getattr(Wrapper, name)
        return (
            value
            if isinstance(value, enum.Enum | int)
            else _Method(value, f"{cls.__name__}.{name}")
        )


class Wrapper(metaclass=WrapperType):
    """A Qt object; `_raw` is the PySide one."""

    __slots__ = ("__weakref__", "_raw")
    _raw: Any

    def __getattr__(self, name: str) -> Any:  # noqa: PLR0911 one case each, in PythonQt's order
        raw = _alive(self)
        if isinstance(raw, QtCore.QObject):
            name = "objectName" if name == "name" else name
            if _property_index(raw, name) >= 0:
                return wrap(raw.property(name))
        if name.startswith("_") or name in NEWER_THAN_QT5:
            raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
        if isinstance(raw, StandIn) and name in raw._signal_names():
            return _Signal(self, name)
        value = getattr(raw, name, None)
        if isinstance(value, QtCore.SignalInstance):
            return _Signal(self, name)
        if isinstance(value, enum.Enum):
            return value
        if callable(value) and not inspect.isclass(value):
            if name in ("exec", "exec_") and isinstance(raw, QtWidgets.QDialog | QtWidgets.QMenu):
                return lambda *_: EXEC[0](raw)
            return _Method(value, f"{type(self).__name__}.{name}")
        if isinstance(raw, QtCore.QObject) and name in map(_text, raw.dynamicPropertyNames()):
            return wrap(raw.property(name))
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        raw = _alive(self)
        name = "objectName" if name == "name" else name
        index = _property_index(raw, name) if isinstance(raw, QtCore.QObject) else -1
        if index < 0:
            raise AttributeError(
                f"Attribute '{name}' does not exist and creating new attributes on C++ objects is "
                f"not allowed ({type(self).__name__})"
            )
        kind = raw.metaObject().property(index)
        if not kind.isWritable():
            raise AttributeError(f"{type(self).__name__}.{name} can only be read")
        if value is None or not raw.setProperty(name, unwrap(value)):
            raise AttributeError(
                f"Property '{name}' of type '{kind.typeName()}' does not accept an object of type "
                f"{type(value).__name__} ({value!r})"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Wrapper):
            return False
        same = self._raw is other._raw
        return same or (not isinstance(self._raw, QtCore.QObject) and self._raw == other._raw)

    def __hash__(self) -> int:
        return Shiboken.getCppPointer(self._raw)[0]

    def __repr__(self) -> str:
        name = f' "{self.objectName}"' if isinstance(self._raw, QtCore.QObject) else ""
        return f"{type(self).__name__} (C++ object{name})"

    def className(self) -> str:
        """The name of the Qt class."""
        return type(self).__name__

    def inherits(self, name: str) -> bool:
        """Whether the object is of that Qt class or one below it."""
        return any(kind.__name__ == name for kind in type(self._raw).__mro__)

    def delete(self) -> None:
        """Delete the Qt object now."""
        Shiboken.delete(self._raw)

    def children(self) -> tuple[Wrapper, ...]:
        """The objects directly below."""
        return tuple(wrap(child) for child in _alive(self).children())

    def findChildren(self, kind: Any, name: str = "") -> tuple[Wrapper, ...]:
        """All objects below of a class, given as class or as name of the class."""
        wanted = kind if isinstance(kind, str) else kind.__name__
        below = _alive(self).findChildren(QtCore.QObject)
        found = (wrap(child) for child in below)
        return tuple(w for w in found if w.inherits(wanted) and name in ("", w.objectName))

    def findChild(self, kind: Any, name: str = "") -> Wrapper | None:
        """The first of findChildren, or None."""
        return next(iter(self.findChildren(kind, name)), None)

    def connect(self, signal: str, *target: Any) -> bool:
        """Connect by exact signature to a callable, or to a (receiver, "slot()").

        Raises:
            ValueError: there is no such signal or slot; PythonQt prints a line and returns False.
        """
        raw = _alive(self)
        wanted = _normalized(signal)
        function = _receiver(target)
        if isinstance(raw, StandIn) and wanted in raw._signals:
            raw._listeners.setdefault(wanted, []).append(function)
            return True
        if raw.metaObject().indexOfSignal(wanted) < 0 or wanted.split("(")[0] in NEWER_THAN_QT5:
            raise ValueError(f"{type(self).__name__} has no signal '{signal}' in Qt 5.15 and Qt 6")

        def forward(*args: Any) -> None:
            call_slot(function, tuple(wrap(a) for a in args))

        QtCore.QObject.connect(raw, QtCore.SIGNAL(wanted), forward)  # type: ignore[call-overload]
        key = (Shiboken.getCppPointer(raw)[0], wanted)
        _connections.setdefault(key, []).append((function, forward))
        return True

    def disconnect(self, signal: str, *target: Any) -> bool:
        """Undo connect; False if there was nothing to undo."""
        raw = _alive(self)
        wanted, function = _normalized(signal), _receiver(target)
        if isinstance(raw, StandIn) and wanted in raw._signals:
            known = raw._listeners.get(wanted, [])
            return function in known and known.remove(function) is None
        made = _connections.get((Shiboken.getCppPointer(raw)[0], wanted), [])
        for entry in made:
            if entry[0] == function:
                made.remove(entry)
                QtCore.QObject.disconnect(raw, QtCore.SIGNAL(wanted), entry[1])  # type: ignore[call-overload]
                return True
        return False


class StandIn:
    """Base of the ctk and qMRML stand-ins: signals by their C++ signature, public names as in C++.

    Only properties, slots and Q_INVOKABLE methods are public in them, since PythonQt shows nothing
    else of a class without generated wrappers.
    """

    _signals: tuple[str, ...] = ()
    _slots: tuple[str, ...] = ()

    @property
    def _listeners(self) -> dict[str, list[Callable[..., Any]]]:
        """Callables by signature."""
        return self.__dict__.setdefault("_connected", {})

    def _signal_names(self) -> set[str]:
        """Names of the signals without their arguments."""
        return {signature.split("(")[0] for signature in self._signals}

    def _send(self, signature: str, *args: Any) -> None:
        """Emit one of _signals."""
        if not self.signalsBlocked():  # type: ignore[attr-defined]
            for listener in tuple(self._listeners.get(signature, ())):
                call_slot(listener, args)


class _Method:
    """A bound Qt method: no keyword arguments, no callables, tuples for lists."""

    __slots__ = ("_function", "_name")

    def __init__(self, function: Any, name: str) -> None:
        self._function, self._name = function, name

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if keywords:
            raise ValueError(f"{self._name}: PythonQt takes no keyword arguments: {keywords}")
        if self._name.startswith("QTimer.singleShot"):
            delay_ms, function = args
            return self._function(delay_ms, lambda: call_slot(function, ()))
        if any(inspect.isroutine(a) for a in args):
            raise ValueError(f"{self._name}: PythonQt takes no callables here; use connect()")
        return wrap(_call(self._function, args))


class _Signal:
    """`widget.clicked`: something with connect, disconnect and emit."""

    def __init__(self, owner: Wrapper, name: str) -> None:
        raw = owner._raw
        own = raw._signals if isinstance(raw, StandIn) else ()
        meta = raw.metaObject()
        native = (_text(meta.method(i).methodSignature()) for i in range(meta.methodCount()))
        if _listed(raw, name, OVERLOADED_IN_QT5):
            raise AttributeError(f"'{name}' has two signatures in Qt 5: use connect('{name}(...)')")
        self._owner, self._name = owner, name
        self._signature = next(s for s in (*own, *native) if s.split("(")[0] == name)

    def connect(self, function: Callable[..., Any]) -> bool:
        """Connect to a callable."""
        return self._owner.connect(self._signature, function)

    def disconnect(self, function: Callable[..., Any]) -> bool:
        """Undo connect."""
        return self._owner.disconnect(self._signature, function)

    def emit(self, *args: Any) -> None:
        """Send the signal."""
        raw = self._owner._raw
        if isinstance(raw, StandIn) and self._signature in raw._signals:
            raw._send(self._signature, *args)
        else:
            getattr(raw, self._name).emit(*map(unwrap, args))


def call_slot(function: Callable[..., Any], args: Sequence[Any]) -> None:
    """Call with as many arguments as the function takes; a failure is kept, not raised."""
    try:
        kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # builtins without a signature take all
        kinds = [inspect.Parameter.VAR_POSITIONAL]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        args = args[: sum(kind in positional for kind in kinds)]
    try:
        function(*args)
    except Exception:  # noqa: BLE001 as PythonQt: nothing may cross Qt's event loop
        traceback.print_exc()
        slot_failures.append(traceback.format_exc())


def wrap(value: Any) -> Any:
    """What PythonQt gives for a value that PySide gave."""
    if isinstance(value, list | tuple):
        return tuple(wrap(item) for item in value)
    if isinstance(value, dict):
        return {wrap(key): wrap(item) for key, item in value.items()}
    if not isinstance(value, Shiboken.Object):
        return value
    known = _wrappers.get(id(value))
    if known is not None and known._raw is value:
        return known
    wrapper = object.__new__(class_of(type(value)))
    object.__setattr__(wrapper, "_raw", value)
    _wrappers[id(value)] = wrapper
    return wrapper


def unwrap(value: Any) -> Any:
    """What PySide needs for a value of the panel."""
    if isinstance(value, Wrapper):
        return _alive(value)
    if isinstance(value, list | tuple):
        return [unwrap(item) for item in value]
    if isinstance(value, Shiboken.Object):
        raise TypeError(f"a PySide object reached the panel: {value!r}")
    if isinstance(value, np.float64 | np.str_):  # are float and str for Python, too
        return value.item()
    if isinstance(value, np.generic | PathLike):
        kind = type(value).__name__
        raise ValueError(  # noqa: TRY004 the kind of error that PythonQt raises
            f"PythonQt does not know {kind}: use float(), int(), str()"
        )
    return value


def class_of(raw: type) -> WrapperType:
    """The class that the panel sees for a PySide class."""
    if raw not in _classes:
        made = type.__new__(WrapperType, raw.__name__, (Wrapper,), {"__slots__": (), "raw": raw})
        _classes[raw] = made
    return _classes[raw]


def _call(function: Callable[..., Any], args: Sequence[Any]) -> Any:
    try:
        return function(*map(unwrap, args))
    except TypeError as error:
        raise ValueError(f"wrong arguments {tuple(args)!r}: {error}") from None


def _alive(wrapper: Wrapper) -> Any:
    raw = object.__getattribute__(wrapper, "_raw")
    if not Shiboken.isValid(raw):
        raise ValueError(f"the C++ object of this {type(wrapper).__name__} is destroyed")
    return raw


def _property_index(raw: Any, name: str) -> int:
    hidden = _listed(raw, name, HIDDEN_PROPERTIES)
    return -1 if hidden else raw.metaObject().indexOfProperty(name)


def _listed(raw: Any, name: str, by_class: Mapping[str, set[str]]) -> bool:
    """Whether the name is listed for the class of the object or one above it."""
    return any(name in by_class.get(kind.__name__, ()) for kind in type(raw).__mro__)


def _normalized(signal: Any) -> str:
    if not isinstance(signal, str) or not signal.endswith(")"):
        raise ValueError(f"connect needs a signal's signature such as 'clicked()', not {signal!r}")
    return _text(QtCore.QMetaObject.normalizedSignature(signal))


def _receiver(target: tuple[Any, ...]) -> Callable[..., Any]:
    """The callable of connect's arguments after the signal."""
    if len(target) == 1 and callable(target[0]):
        return target[0]
    if len(target) == 2 and isinstance(target[0], Wrapper):
        return slot_of(target[0]._raw, target[1])
    raise ValueError(f"connect to a callable or to (receiver, 'slot()'), not to {target!r}")


class SlotCall:
    """A slot by name; equal ones are equal, so that disconnect finds them."""

    def __init__(self, raw: Any, signature: str) -> None:
        self._raw, self._signature = raw, signature

    def __call__(self, *args: Any) -> None:
        """Call the slot with as many arguments as its signature names."""
        name, arguments = self._signature[:-1].split("(")
        count = len(arguments.split(",")) if arguments else 0
        getattr(self._raw, name)(*map(unwrap, args[:count]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SlotCall) and vars(self) == vars(other)

    __hash__ = object.__hash__


def slot_of(raw: Any, slot: str) -> SlotCall:
    """The slot of that exact signature.

    Raises:
        ValueError: there is no such slot.
    """
    wanted = _normalized(slot)
    own = isinstance(raw, StandIn) and wanted in raw._slots
    if not own and raw.metaObject().indexOfMethod(wanted) < 0:
        raise ValueError(f"{type(raw).__name__} '{raw.objectName()}' has no slot '{slot}'")
    return SlotCall(raw, wanted)


def _refuse_overloads(cls: WrapperType, args: Sequence[Any]) -> None:
    """PythonQt knows only the constructor with a parent of ctk and qMRML classes."""
    if len(args) > 1 or not all(a is None or isinstance(a, Wrapper) for a in args):
        raise ValueError(f"{cls.__name__}{tuple(args)!r}: only {cls.__name__}(parent) is there")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).decode()


def find_class(name: str) -> WrapperType:
    """The class that `qt.NAME` is.

    Raises:
        AttributeError: Qt has no such class in its core, GUI and widgets libraries.
    """
    for module in (QtCore, QtGui, QtWidgets):
        value = getattr(module, name, None)
        if inspect.isclass(value) and name.startswith("Q"):  # not Signal, Slot, Property
            return class_of(value)
    raise AttributeError(f"module 'qt' has no attribute '{name}'")
