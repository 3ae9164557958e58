"""`slicer.parameterNodeWrapper`: typed attributes kept in a parameter node, tied to widgets by `SlicerParameterName`.

As strict as Slicer's: the widget's class must be exactly one that has a connector, a slider needs a range, a combo box
needs `Choice` or an enumeration, and ``X | None`` is not understood (`typing.Optional` is).
"""

from __future__ import annotations

import dataclasses
import enum
import logging
import pathlib
import typing

import slicer
import vtk

PROPERTY = "SlicerParameterName"


# --- annotations ---


class Validator:
    """Base of the annotations that refuse values."""

    def validate(self, value) -> None:
        raise NotImplementedError


@dataclasses.dataclass
class WithinRange(Validator):
    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} and {self.maximum}")


@dataclasses.dataclass
class Minimum(Validator):
    minimum: float

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclasses.dataclass
class Maximum(Validator):
    maximum: float

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


@dataclasses.dataclass
class Choice(Validator):
    choices: list

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


@dataclasses.dataclass
class Exclude(Validator):
    excludedValues: list

    def validate(self, value):
        if value in self.excludedValues:
            raise ValueError(f"{value!r} is excluded")


@dataclasses.dataclass
class Default:
    value: object


@dataclasses.dataclass
class Decimals:
    value: int


@dataclasses.dataclass
class SingleStep:
    value: float


def _first(annotations, kind):
    return next((entry for entry in annotations if isinstance(entry, kind)), None)


# --- values as strings and node references ---


class _Kind:
    """How values of one type are stored: as a string parameter, or as a node reference."""

    def __init__(self, type_, default, to_text=str, from_text=None, accepts=None):
        self.type, self.default, self.accepts = type_, default, accepts or type_
        self.to_text, self.from_text = to_text, from_text or type_

    def check(self, value):
        if value is None:
            raise ValueError("the value must not be None")
        if not isinstance(value, self.accepts):
            raise TypeError(f"{value!r} is not of type {self.type.__name__}")

    def write(self, node, name, value):
        node.SetParameter(name, self.to_text(value))

    def read(self, node, name):
        return self.from_text(node.GetParameter(name))


class _NodeKind(_Kind):
    """One MRML class or several."""

    def __init__(self, classes):
        super().__init__(classes[0], None)
        self.classes = tuple(classes)

    def check(self, value):
        if value is not None and not isinstance(value, self.classes):
            raise TypeError(f"{value!r} is none of {[cls.__name__ for cls in self.classes]}")

    def write(self, node, name, value):
        node.SetParameter(name, "")  # says that the parameter exists, for None is a value
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name):
        return node.GetNodeReference(name)


class _OptionalKind(_Kind):
    """A value of another kind, or None."""

    def __init__(self, inner: _Kind):
        super().__init__(inner.type, None)
        self.inner = inner

    def check(self, value):
        if value is not None:
            self.inner.check(value)

    def write(self, node, name, value):
        node.SetParameter(name, "None" if value is None else "Some")
        if value is not None:
            self.inner.write(node, name + "_value", value)

    def read(self, node, name):
        return self.inner.read(node, name + "_value") if node.GetParameter(name) == "Some" else None


def _is_node_class(type_) -> bool:
    return isinstance(type_, type) and issubclass(type_, slicer.vtkMRMLNode)


def _kind(type_) -> _Kind:
    if type_ is bool:
        return _Kind(bool, False, from_text=lambda text: text == "True")
    if type_ in (int, float):
        return _Kind(type_, 0, accepts=(int, float) if type_ is float else int)
    if type_ is str:
        return _Kind(str, "")
    if isinstance(type_, type) and issubclass(type_, pathlib.PurePath):
        return _Kind(type_, type_())
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return _Kind(type_, next(iter(type_)), to_text=lambda value: value.name, from_text=lambda text: type_[text])
    if _is_node_class(type_):
        return _NodeKind([type_])
    if typing.get_origin(type_) is typing.Union:
        parts = [part for part in typing.get_args(type_) if part is not type(None)]
        if all(map(_is_node_class, parts)):
            return _NodeKind(parts)
        if len(parts) == 1:
            return _OptionalKind(_kind(parts[0]))
    raise TypeError(f"the host's parameterNodeWrapper does not know the type {type_}")


class _Parameter:
    """One annotated attribute of a wrapper class: a Python property."""

    def __init__(self, name: str, annotation, given):
        hint = typing.get_args(typing.Annotated[annotation, None])
        self.name, self.annotation, self.type, self.annotations = name, annotation, hint[0], hint[1:-1]
        self.kind = _kind(self.type)
        default = _first(self.annotations, Default)
        self.default = given if given is not None else default.value if default else self.kind.default
        known = (Validator, Default, Decimals, SingleStep)
        if unused := [entry for entry in self.annotations if not isinstance(entry, known)]:
            logging.warning("Unused annotations: %s", unused)

    def write(self, node, value) -> None:
        self.kind.check(value)
        for entry in self.annotations:
            if isinstance(entry, Validator) and value is not None:
                entry.validate(value)
        with slicer.util.NodeModify(node):
            self.kind.write(node, self.name, value)

    def read(self, node):
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        return self.kind.read(node, self.name)

    def __get__(self, wrapper, owner=None):
        return self if wrapper is None else self.read(wrapper.parameterNode)

    def __set__(self, wrapper, value):
        self.write(wrapper.parameterNode, value)


# --- widgets ---


class _Connector:
    """Ties one widget to one parameter: read(), write(value), and the signal that says the user changed it."""

    def __init__(self, widget, parameter: _Parameter):
        self.widget, self.parameter = widget, parameter
        self.signal, self.read, self.write = self._choose(type(widget))

    def _choose(self, cls):
        import ctk
        import qt

        widget, type_ = self.widget, self.parameter.type

        def attribute(name, convert=lambda value: value, back=lambda value: value):
            return lambda: convert(getattr(widget, name)), lambda value: setattr(widget, name, back(value))

        if type_ is bool and cls in (qt.QCheckBox, qt.QPushButton):
            if cls is qt.QPushButton:
                widget.checkable = True
            return widget.toggled, *attribute("checked")
        if (type_ is int and cls in (qt.QSpinBox, qt.QSlider)) or (
            type_ is float and cls in (qt.QDoubleSpinBox, ctk.ctkSliderWidget)
        ):
            self._limit(needed=cls in (qt.QSlider, ctk.ctkSliderWidget))
            return widget.valueChanged, *attribute("value")
        if type_ is str and cls is qt.QLineEdit:
            return widget.textChanged, *attribute("text")
        if type_ is str and cls is qt.QTextEdit:
            return widget.textChanged, widget.toPlainText, widget.setPlainText
        if cls is qt.QComboBox:
            return widget.currentIndexChanged, *self._entries()
        if (
            isinstance(type_, type)
            and issubclass(type_, pathlib.PurePath)
            and cls in (ctk.ctkPathLineEdit, ctk.ctkDirectoryButton)
        ):
            name = "currentPath" if cls is ctk.ctkPathLineEdit else "directory"
            return getattr(widget, name + "Changed" if name == "currentPath" else "directoryChanged"), *attribute(
                name, type_, str
            )
        if isinstance(self.parameter.kind, _NodeKind) and cls is slicer.qMRMLNodeComboBox:
            widget.nodeTypes = [node_class.__name__ for node_class in self.parameter.kind.classes]
            return widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
        raise RuntimeError(
            f"Unable to create GUI connector from datatype '{self.parameter.annotation}' to widget type '{cls}'"
        )

    def _limit(self, needed: bool) -> None:
        """The annotations' range, decimals and step, put on the widget."""
        annotations, widget = self.parameter.annotations, self.widget
        both = _first(annotations, WithinRange)
        low, high = both or _first(annotations, Minimum), both or _first(annotations, Maximum)
        if needed and not (low and high):
            raise RuntimeError("a slider cannot show a number without a range")
        integer = self.parameter.type is int
        for annotation in (_first(annotations, Decimals), _first(annotations, SingleStep)):
            if annotation is not None:
                setattr(widget, "decimals" if isinstance(annotation, Decimals) else "singleStep", annotation.value)
        widget.minimum = low.minimum if low else -(2**31) if integer else float("-inf")
        widget.maximum = high.maximum if high else 2**31 - 1 if integer else float("inf")

    def _entries(self):
        """(read, write) of a combo box with one entry for each choice."""
        choice, type_ = _first(self.parameter.annotations, Choice), self.parameter.type
        if isinstance(type_, type) and issubclass(type_, enum.Enum):
            label = getattr(type_, "label", lambda value: value.name)
            values, texts = list(type_), [label(value) for value in type_]
        elif choice is not None:
            values, texts = list(choice.choices), [str(value) for value in choice.choices]
        else:
            raise RuntimeError("a combo box needs the annotation Choice")
        self.widget.clear()
        for text in texts:
            self.widget.addItem(text)

        def write(value):
            if value not in values:
                raise ValueError(f"{value!r} is none of {values}")
            self.widget.currentIndex = values.index(value)

        return lambda: values[self.widget.currentIndex], write


class _Connection:
    """All widgets of one `connectGui` call."""

    def __init__(self, wrapper, connectors: dict):
        self.wrapper, self.connectors, self.slots = wrapper, connectors, []
        for name, connector in connectors.items():
            connector.write(wrapper.getValue(name))
            slot = self._to_parameter(name, connector)
            connector.signal.connect(slot)
            self.slots.append((connector.signal, slot))
        self.tag = wrapper.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._to_widgets())

    def _to_parameter(self, name, connector):
        def slot(*_):
            with slicer.util.NodeModify(self.wrapper):
                if not self.wrapper._updating:
                    self.wrapper.setValue(name, connector.read())

        return slot

    def _to_widgets(self) -> None:
        wrapper = self.wrapper
        if wrapper._updating:
            return
        wrapper._updating = True
        try:
            with slicer.util.NodeModify(wrapper):
                for name, connector in self.connectors.items():
                    connector.write(wrapper.getValue(name))
        finally:
            wrapper._updating = False

    def close(self) -> None:
        self.wrapper.RemoveObserver(self.tag)
        for signal, slot in self.slots:
            signal.disconnect(slot)


# --- the wrapper class ---


class _Wrapper:
    """What `parameterNodeWrapper` adds to a class."""

    def __init__(self, parameterNode, prefix=None):
        if prefix:
            raise NotImplementedError("the host's parameter nodes have no prefixes")
        self.parameterNode = parameterNode
        self._updating, self._connections, self._next_tag = False, {}, 0
        for parameter in self.allParameters.values():
            parameter.read(parameterNode)  # writes the default where nothing is stored

    def _parameter(self, name) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"no parameter is named '{name}'; there are {', '.join(self.allParameters)}")
        return self.allParameters[name]

    def getValue(self, name):
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name, value):
        self._parameter(name).write(self.parameterNode, value)

    def default(self, name):
        return Default(self._parameter(name).default)

    def dataType(self, name):
        return self._parameter(name).annotation

    def connectGui(self, gui) -> int:
        """Widgets below ``gui``, or among its attributes as from `slicer.util.childWidgetVariables`. Returns a tag."""
        import qt

        widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else vars(gui).values()
        return self.connectParametersToGui({w.property(PROPERTY): w for w in widgets if w.property(PROPERTY)})

    def connectParametersToGui(self, mapping) -> int:
        connectors = {name: _Connector(widget, self._parameter(name)) for name, widget in mapping.items()}
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._connections[tag] = _Connection(self, connectors)
        return tag

    def disconnectGui(self, tag) -> None:
        connection = self._connections.pop(tag, None)
        if connection is not None:
            connection.close()

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        self.parameterNode.Modified()


def parameterNodeWrapper(cls=None):
    """Class decorator; the annotations of ``cls`` become its parameters."""
    if cls is None:
        return parameterNodeWrapper
    parameters = {}
    for name, annotation in typing.get_type_hints(cls, include_extras=True).items():
        parameters[name] = _Parameter(name, annotation, vars(cls).get(name))
        setattr(cls, name, parameters[name])
    cls.allParameters = parameters
    for name, function in vars(_Wrapper).items():
        if callable(function):
            if name in parameters:
                raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
            setattr(cls, name, function)
    return cls


def isParameterNodeWrapper(class_or_object) -> bool:
    return hasattr(class_or_object, "allParameters")


__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "Maximum",
    "Minimum",
    "SingleStep",
    "Validator",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]
