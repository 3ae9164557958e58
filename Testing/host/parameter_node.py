"""`slicer.parameterNodeWrapper`: typed attributes kept in a parameter node, tied to widgets by `SlicerParameterName`.

Follows Slicer's ``Base/Python/slicer/parameterNodeWrapper/wrapper.py`` and is as strict: the widget's class must be
exactly one that has a connector, a slider needs a range, a combo box needs `Choice` or an enumeration, and ``X | None``
is not understood (`typing.Optional` is).
"""

from __future__ import annotations

import typing

from .annotations import Choice, Decimals, Default, Exclude, Maximum, Minimum, SingleStep, Validator, WithinRange
from .connectors import Connection, Connector
from .parameters import Parameter

PROPERTY = "SlicerParameterName"


class _Wrapper:
    """What `parameterNodeWrapper` adds to a class."""

    def __init__(self, parameterNode, prefix=None):
        if prefix:
            raise NotImplementedError("the host's parameter nodes have no prefixes")
        self.parameterNode = parameterNode
        self._updating, self._connections, self._next_tag = False, {}, 0
        for parameter in self.allParameters.values():
            parameter.read(parameterNode)  # writes the default where nothing is stored

    def _parameter(self, name) -> Parameter:
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
        connectors = {name: Connector(widget, self._parameter(name)) for name, widget in mapping.items()}
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._connections[tag] = Connection(self, connectors)
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
        parameters[name] = Parameter(name, annotation, vars(cls).get(name))
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
