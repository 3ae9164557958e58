"""Widgets that show an option of the library take their tool tips from the option's own description."""

from __future__ import annotations

from typing import Any

from SlicRegLib.option import describe_options

from .parameters import SOURCES
from .translation import _

KINDS = ("SpinBox", "CheckBox", "ComboBox", "Edit", "Path")
"""Endings of the widgets' names; what comes before is the parameter."""


def find_option_widgets(ui) -> dict[str, Any]:
    """The widget of each parameter in `SOURCES`. ui: as from `slicer.util.childWidgetVariables`."""
    widgets = {name: widget for name, widget in vars(ui).items() if name.endswith(KINDS)}
    return {
        parameter: next(widgets[parameter + kind] for kind in KINDS if parameter + kind in widgets)
        for parameter in SOURCES
    }


def describe_parameter(parameter: str) -> str:
    """What the option means, in one line."""
    cls, name = SOURCES[parameter]
    return _(" ".join(describe_options(cls)[name].split()))


def set_tool_tips(ui) -> None:
    for parameter, widget in find_option_widgets(ui).items():
        widget.toolTip = describe_parameter(parameter)
