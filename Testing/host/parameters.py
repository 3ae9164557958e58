"""Typed attributes kept in a parameter node, as string parameters or as node references.

Follows ``Base/Python/slicer/parameterNodeWrapper/serializers.py`` of Slicer.
"""

from __future__ import annotations

import enum
import logging
import pathlib
import typing

import slicer

from .annotations import Decimals, Default, SingleStep, Validator, find_annotation


class Kind:
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


class NodeKind(Kind):
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


class OptionalKind(Kind):
    """A value of another kind, or None."""

    def __init__(self, inner: Kind):
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


def find_kind(type_) -> Kind:
    if type_ is bool:
        return Kind(bool, False, from_text=lambda text: text == "True")
    if type_ in (int, float):
        return Kind(type_, 0, accepts=(int, float) if type_ is float else int)
    if type_ is str:
        return Kind(str, "")
    if isinstance(type_, type) and issubclass(type_, pathlib.PurePath):
        return Kind(type_, type_())  # PathSerializer.default: an empty path is written as "."
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return Kind(type_, next(iter(type_)), to_text=lambda value: value.name, from_text=lambda text: type_[text])
    if _is_node_class(type_):
        return NodeKind([type_])
    if typing.get_origin(type_) is typing.Union:
        parts = [part for part in typing.get_args(type_) if part is not type(None)]
        if all(map(_is_node_class, parts)):
            return NodeKind(parts)
        if len(parts) == 1:
            return OptionalKind(find_kind(parts[0]))
    raise TypeError(f"the host's parameterNodeWrapper does not know the type {type_}")


class Parameter:
    """One annotated attribute of a wrapper class: a Python property."""

    def __init__(self, name: str, annotation, given):
        hint = typing.get_args(typing.Annotated[annotation, None])
        self.name, self.annotation, self.type, self.annotations = name, annotation, hint[0], hint[1:-1]
        self.kind = find_kind(self.type)
        default = find_annotation(self.annotations, Default)
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
