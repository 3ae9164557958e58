"""The host's parameter nodes tie values to widgets as Slicer's do."""

import sys

import pytest

import host as host_package

if not host_package.available():
    pytest.skip("slicer-core and PySide6 are not installed", allow_module_level=True)

pytest_plugins = ["host_fixtures"]
pytestmark = pytest.mark.usefixtures("hidden_errors")


def add_volume(name):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


def test_parameters_reach_the_widgets(host, tiny):
    from pathlib import Path

    ui, parameters = tiny.ui, tiny.parameters
    assert (ui.smoothSlider.value, ui.smoothSlider.maximum, ui.roundsBox.value, ui.warpBox.checked) == (
        2.5,
        10,
        7,
        True,
    )
    node = add_volume("scan")
    parameters.fixed, parameters.smooth, parameters.rounds, parameters.label, parameters.warp = node, 4.0, 9, "b", False
    parameters.model, parameters.folder, parameters.device = Path("m.pt"), Path("out"), "cuda"
    parameters.mode = sys.modules["Tiny"].Mode.EXACT
    assert ui.fixedSelector.currentNode() is node
    assert (ui.smoothSlider.value, ui.roundsBox.value, ui.labelEdit.text, ui.warpBox.checked) == (4.0, 9, "b", False)
    assert (ui.modelEdit.currentPath, ui.folderButton.directory) == ("m.pt", "out")
    assert (ui.deviceBox.currentText, ui.modeBox.currentText) == ("cuda", "EXACT")


def test_widgets_reach_the_parameters(host, tiny):
    import vtk

    ui, parameters, changes = tiny.ui, tiny.parameters, []
    parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: changes.append(1))
    first, second = add_volume("first"), add_volume("second")
    assert parameters.fixed is first  # without "None", the first node is taken
    host.choose(ui.fixedSelector, second)
    host.choose(ui.outputSelector, "Create new Transform")
    host.choose(ui.deviceBox, "cuda")
    host.click(ui.warpBox)
    ui.labelEdit.text, ui.roundsBox.value, ui.smoothSlider.value = "c", 12, 3.25
    host.dialogs.choose_path("chosen")
    host.click(ui.folderButton.findChild(type(ui.applyButton)))
    assert parameters.fixed is second and parameters.output is ui.outputSelector.currentNode() is not None
    assert (parameters.device, parameters.warp, parameters.label, parameters.rounds, parameters.smooth) == (
        "cuda",
        False,
        "c",
        12,
        3.25,
    )
    assert str(parameters.folder) == "chosen" and changes
    parameters.disconnectGui(tiny.tag)
    ui.labelEdit.text = "unheard"
    parameters.rounds = 5
    assert parameters.label == "c" and ui.roundsBox.value == 12


def test_values_are_checked_and_survive_in_the_scene(host, tiny):
    parameters = tiny.parameters
    for name, bad, error in (
        ("smooth", 11.0, ValueError),
        ("rounds", 2.5, TypeError),
        ("device", "tpu", ValueError),
        ("label", None, ValueError),
        ("fixed", parameters.parameterNode, TypeError),
    ):
        with pytest.raises(error):
            setattr(parameters, name, bad)
    parameters.limit = 1.5
    again = type(parameters)(tiny.logic.getParameterNode())
    assert (again.limit, again.smooth) == (1.5, 2.5) and again.parameterNode is parameters.parameterNode


def test_what_slicer_cannot_bind_is_refused(host):
    import ctk
    import qt
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(TypeError):
        parameterNodeWrapper(type("Unsupported", (), {"__annotations__": {"value": "int | None"}}))
    wrapper = parameterNodeWrapper(type("Plain", (), {"__annotations__": {"number": float, "text": str, "path": str}}))
    import slicer

    parameters = wrapper(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    for name, cls in (("number", ctk.ctkSliderWidget), ("text", qt.QComboBox), ("path", ctk.ctkPathLineEdit)):
        with pytest.raises(RuntimeError):
            parameters.connectParametersToGui({name: cls()})


def test_an_empty_path_is_a_dot(tiny):
    """As with Slicer's PathSerializer, whose default is ``Path()``: a reason to keep paths as text."""
    assert str(tiny.parameters.model) == "." == tiny.ui.modelEdit.currentPath
