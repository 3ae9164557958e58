"""Ties parameters to widgets, with the restrictions of Slicer's connectors.

Follows Slicer's ``Base/Python/slicer/parameterNodeWrapper/guiConnectors.py``.
"""

from __future__ import annotations

import enum
import pathlib

import slicer
import vtk

from .annotations import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange, find_annotation
from .parameters import NodeKind, Parameter


class Connector:
    """Ties one widget to one parameter: read(), write(value), and the signal that says the user changed it."""

    def __init__(self, widget, parameter: Parameter):
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
        if isinstance(self.parameter.kind, NodeKind) and cls is slicer.qMRMLNodeComboBox:
            widget.nodeTypes = [node_class.__name__ for node_class in self.parameter.kind.classes]
            return widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
        raise RuntimeError(
            f"Unable to create GUI connector from datatype '{self.parameter.annotation}' to widget type '{cls}'"
        )

    def _limit(self, needed: bool) -> None:
        """The annotations' range, decimals and step, put on the widget."""
        annotations, widget = self.parameter.annotations, self.widget
        both = find_annotation(annotations, WithinRange)
        low, high = both or find_annotation(annotations, Minimum), both or find_annotation(annotations, Maximum)
        if needed and not (low and high):
            raise RuntimeError("a slider cannot show a number without a range")
        integer = self.parameter.type is int
        for annotation in (find_annotation(annotations, Decimals), find_annotation(annotations, SingleStep)):
            if annotation is not None:
                setattr(widget, "decimals" if isinstance(annotation, Decimals) else "singleStep", annotation.value)
        widget.minimum = low.minimum if low else -(2**31) if integer else float("-inf")
        widget.maximum = high.maximum if high else 2**31 - 1 if integer else float("inf")

    def _entries(self):
        """(read, write) of a combo box with one entry for each choice."""
        choice, type_ = find_annotation(self.parameter.annotations, Choice), self.parameter.type
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


class Connection:
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
