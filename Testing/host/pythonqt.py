"""PySide6 made to behave as PythonQt, the binding inside Slicer, and published as the module ``qt``.

Follows ``src/PythonQt.cpp``, ``PythonQtInstanceWrapper.cpp`` and ``PythonQtStdDecorators.cpp`` of PythonQt (commontk).
Differences that matter to module code, and are copied here:

- a Qt property is a Python attribute: ``button.enabled = False``; ``edit.text`` is a string, not a method;
- ``widget.name`` is the object name, ``widget.className()`` the class name;
- signals are connected by signature, ``button.connect("clicked(bool)", f)``; an unknown signature raises;
- objects made in C++ take no new Python attributes (a subclass written in Python does).
"""

from __future__ import annotations

import ctypes
import math
import re
import sys
import types

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QObject

MODULES = (QtWidgets, QtGui, QtCore)  # the order in which a name is looked up for the module `qt`

# What PythonQt converts when a property is set: numbers to numbers of the other kind, nothing to text.
_CONVERT = {
    "int": lambda value: math.floor(value) if isinstance(value, float) else value.__index__(),
    "double": float,
    "bool": bool,
    "QStringList": list,
}


_BEING_READ: set[tuple[int, str]] = set()


class _QtProperty:
    """A Qt property as a data descriptor. The class attribute stays what PySide6 had: `QTimer.singleShot` is both."""

    def __init__(self, meta: QtCore.QMetaProperty, native):
        self.name, self.type, self.writable, self.native = meta.name(), meta.typeName(), meta.isWritable(), native

    def __get__(self, instance, owner=None):
        if instance is None:
            if self.native is None:
                raise AttributeError(self.name)
            return self.native
        key = (id(instance), self.name)
        if key in _BEING_READ:  # C++ asks whether Python overrides the virtual getter, such as sizeHint(): it does not
            return types.MethodType(self.native, instance)
        _BEING_READ.add(key)
        try:
            return QObject.property(instance, self.name)
        finally:
            _BEING_READ.discard(key)

    def __set__(self, instance, value):
        if not self.writable:
            raise AttributeError(f"property '{self.name}' is read-only")
        try:
            if self.type == "QString" and not isinstance(value, str):
                raise TypeError
            done = QObject.setProperty(instance, self.name, _CONVERT.get(self.type, lambda v: v)(value))
        except (TypeError, ValueError, AttributeError):
            done = False
        if not done:
            raise AttributeError(
                f"property '{self.name}' of type '{self.type}' does not accept {type(value).__name__} {value!r}"
            )


def make_property_attributes(cls: type) -> None:
    """Give ``cls`` one attribute for each property that its own meta-object adds."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        entry = meta.property(index)
        if not isinstance(cls.__dict__.get(entry.name()), _QtProperty):
            setattr(cls, entry.name(), _QtProperty(entry, getattr(cls, entry.name(), None)))


# --- signals by signature ---


def _signature(sender: QObject, text: str) -> str:
    """The normalised signature, if ``sender`` has that signal.

    The stand-ins carry VTK objects as Python objects, so that their ``vtkMRMLNode*`` is PySide6's ``PyObject``.
    """
    known = bytes(QtCore.QMetaObject.normalizedSignature(text).data()).decode()
    if is_stand_in(type(sender)):
        known = re.sub(r"vtk\w+\*", "PyObject", known)
    if "PyObject" in text or sender.metaObject().indexOfSignal(known) < 0:
        raise ValueError(f"QObject::connect: signal '{text}' does not exist on {sender.metaObject().className()}")
    return known


def _connect(self, signal, receiver, slot=None) -> bool:
    known = QtCore.SIGNAL(_signature(self, signal))
    if slot is not None:
        return bool(_NATIVE_CONNECT(self, known, receiver, QtCore.SLOT(slot)))
    if not callable(receiver):
        raise ValueError(f"'{signal}' cannot be connected to {receiver!r}, which is not callable")
    return bool(_NATIVE_CONNECT(self, known, receiver))


def _disconnect(self, signal=None, receiver=None, slot=None) -> bool:
    if signal is None:
        return bool(_NATIVE_DISCONNECT(self, None, None, None))
    known = QtCore.SIGNAL(_signature(self, signal))
    if slot is not None:
        return bool(_NATIVE_DISCONNECT(self, known, receiver, QtCore.SLOT(slot)))
    try:
        return bool(_NATIVE_DISCONNECT(self, known, receiver))
    except RuntimeError:  # nothing was connected: PythonQt answers False
        return False


_NATIVE_CONNECT, _NATIVE_DISCONNECT = QObject.connect, QObject.disconnect
_BY_SIGNATURE = {"connect": _connect, "disconnect": _disconnect}


# --- which classes count as made in C++ ---

_STAND_INS: set[type] = set()


def is_stand_in(cls: type) -> bool:
    """Whether ``cls`` is one of this package's replacements of a C++ class, or derives from one."""
    return any(base in _STAND_INS for base in cls.__mro__)


def stand_in(cls: type) -> type:
    """Class decorator: ``cls`` takes the place of a C++ class, so it refuses new public attributes too."""
    _STAND_INS.add(cls)
    return cls


LOADING_UI = [False]  # PySide6's loader sets the children as attributes of the parent; PythonQt has no such thing


def _set_attribute(self, name, value):
    if LOADING_UI[0] and isinstance(value, QObject) and value.objectName == name:
        return
    cls = type(self)
    native = cls.__module__.startswith("PySide6")
    own = not (native or cls in _STAND_INS) or (
        not native and name.startswith("_")
    )  # of Python code; the stand-in's state
    known = next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)
    if isinstance(value, QtCore.SignalInstance):
        self.__dict__[name] = value  # PySide6's own cache
    elif isinstance(known, QtCore.Property):
        if not QObject.setProperty(self, name, value):
            raise AttributeError(f"property '{name}' of {cls.__name__} does not accept {value!r}")
    elif hasattr(type(known), "__set__"):
        type(known).__set__(known, self, value)
    elif own:
        self.__dict__[name] = value
    elif known is not None:
        raise AttributeError(f"'{name}' of {cls.__name__} cannot be overwritten")
    elif QObject.property(self, name) is not None:
        QObject.setProperty(self, name, value)  # a dynamic property
    else:
        raise AttributeError(f"'{name}' does not exist on {cls.__name__}, and C++ objects take no new attributes")


def _hook(cls: type) -> None:
    """PySide6 answers ``connect`` in each type's own look-up, so each type needs the replacement."""
    native = cls.__getattribute__

    def look_up(self, name):
        replaced = _BY_SIGNATURE.get(name)
        return native(self, name) if replaced is None else types.MethodType(replaced, self)

    cls.__getattribute__ = look_up
    cls.__setattr__ = _set_attribute


def _names(module) -> dict:
    """The public names of a PySide6 module; it creates its classes when they are asked for, so `vars` lacks them."""
    return {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}


def _qobject_classes() -> list[type]:
    found = [value for module in MODULES for value in _names(module).values()]
    return list(dict.fromkeys(value for value in found if isinstance(value, type) and issubclass(value, QObject)))


def _keep_old_names() -> None:
    """``exec_``, as Slicer 5.10 with Qt 5 has it beside ``exec``."""
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu, QtCore.QEventLoop, QtCore.QCoreApplication):
        if not hasattr(cls, "exec_"):
            cls.exec_ = cls.exec


_WAITING: set[QtCore.QTimer] = set()


def _single_shot(milliseconds, function) -> None:
    """`QTimer.singleShot`, whose original uses the ``connect`` that was replaced."""
    timer = QtCore.QTimer()

    def fire():
        _WAITING.discard(timer)
        function()

    timer.setSingleShot(True)
    timer.timeout.connect(fire)
    _WAITING.add(timer)
    timer.start(milliseconds)


def _make_none_immortal() -> None:
    """PySide6 6.12 releases None once too often per call, of which Python before 3.12 dies within minutes."""
    if sys.version_info < (3, 12):
        ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40


def build() -> types.ModuleType:
    """Change PySide6's classes (once per process, for good) and return the module ``qt``."""
    _make_none_immortal()
    classes = _qobject_classes()
    for cls in classes:
        make_property_attributes(cls)
    QObject.name = QObject.__dict__["objectName"]
    QObject.className = lambda self: self.metaObject().className()
    _keep_old_names()
    QtCore.QTimer.__dict__["singleShot"].native = _single_shot
    for cls in classes:
        _hook(cls)
    module = types.ModuleType("qt", "Qt as PythonQt shows it, on PySide6")
    for source in reversed(MODULES):
        vars(module).update(_names(source))
    return module
