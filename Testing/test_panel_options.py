"""Widgets that show an option of the library have the library's default and its description."""

from dataclasses import MISSING, fields

import pytest

from host import available

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    from panel_samples import fresh_panel
    from SlicRegLib.option import describe_options
    from SlicRegSlicer.option_widgets import find_option_widgets
    from SlicRegSlicer.parameters import OPTIONS, OUTPUTS, SOURCES, name_keeping
    from SlicRegSlicer.run import Request

    NO_OPTIONS = {"batchScene", "batchInput", "batchOutput", *map(name_keeping, OUTPUTS)}
    """Parameters bound to a widget, nodes apart, that no options class of the library has."""


@pytest.fixture(scope="module")
def ui():
    with fresh_panel() as panel:
        yield panel.ui


def default_of(cls, name):
    field = next(field for field in fields(cls) if field.name == name)
    return field.default if field.default_factory is MISSING else field.default_factory()


def expected() -> dict:
    """(default, description) of every option that the panel shows; 0 stands for None in a spin box."""
    result = {}
    for parameter, (cls, name) in SOURCES.items():
        default, description = default_of(cls, name), describe_options(cls)[name]
        result[parameter] = (0 if default is None else default, " ".join(description.split()))
    return result


def value_of(widget):
    """What the user sees; of a combo box the data of its entry, where it has any."""
    kind = widget.className()
    if kind == "QComboBox":
        data = widget.itemData(widget.currentIndex)
        return widget.currentText if data is None else data
    names = {"QCheckBox": "checked", "QLineEdit": "text", "ctkPathLineEdit": "currentPath"}
    return getattr(widget, names.get(kind, "value"))


def find_differences(ui, options: dict) -> set[str]:
    """Parameters whose widget shows another value, or another tool tip, than the option has."""
    shown = {name: (value_of(widget), widget.toolTip) for name, widget in find_option_widgets(ui).items()}
    assert shown.keys() == options.keys()
    return {name for name in shown if shown[name] != options[name]}


def test_every_widget_shows_the_default_and_the_description_of_its_option(ui):
    assert find_differences(ui, expected()) == set()
    assert all(description for _, description in expected().values())


def test_any_other_default_or_description_is_found(ui):
    """The comparison sees each widget, of whatever kind."""
    options = expected()
    for name, (default, description) in options.items():
        other = not default if isinstance(default, bool) else default + ("x" if isinstance(default, str) else 1)
        assert find_differences(ui, {**options, name: (other, description)}) == {name}
        assert find_differences(ui, {**options, name: (default, description + ".")}) == {name}


def test_every_parameter_bound_to_a_widget_has_an_option(ui):
    bound = {
        widget.property("SlicerParameterName")
        for widget in vars(ui).values()
        if widget.property("SlicerParameterName") and not widget.objectName.endswith("Selector")
    }
    assert bound - NO_OPTIONS <= set(SOURCES) and {"alpha", "trainingPreset"} < bound


def test_scripts_have_the_same_defaults():
    numbers = [name for name in OPTIONS if name != "mode"]  # scripts give numbers, so that is "custom" there
    of_scripts = {name: default_of(Request, name) for name in numbers}
    assert of_scripts == {name: default_of(*SOURCES[name]) for name in numbers}
