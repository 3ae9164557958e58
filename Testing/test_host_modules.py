"""The host loads modules, records dialogs, finds hidden errors and reads and writes files as Slicer does."""

import logging
import re
from pathlib import Path

import pytest

import host as host_package

if not host_package.available():
    pytest.skip("slicer-core and PySide6 are not installed", allow_module_level=True)

pytest_plugins = ["host_fixtures"]
pytestmark = pytest.mark.usefixtures("hidden_errors")


def add_volume(name):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


def test_a_module_is_loaded_as_in_slicer(host, tiny):
    import slicer

    assert slicer.modules.tiny.title == "Tiny" and slicer.modules.tiny.categories == ["Registration"]
    assert slicer.modules.TinyWidget is tiny and slicer.util.modulePath("Tiny").endswith("Tiny.py")
    assert not tiny.parent.isEntered
    host.enter(tiny)
    assert tiny.parent.isEntered
    host.unload_module("Tiny")
    assert tiny.cleaned


def test_messages_are_recorded_and_questions_answered(host, tiny, hidden_errors):
    import slicer

    tiny.parameters.label = "bad"
    host.click(tiny.ui.applyButton)
    assert "a bad label" in hidden_errors.take()[0]  # Slicer shows the error and raises it again
    assert host.dialogs.texts("error") == ["It failed.\n\na bad label"]
    host.dialogs.answer(True, False)
    assert slicer.util.confirmOkCancelDisplay("Sure?") and not slicer.util.confirmYesNoDisplay("Really?")
    slicer.util.infoDisplay("done")
    assert [entry.kind for entry in host.dialogs.shown[1:]] == ["question", "question", "info"]
    with pytest.raises(AssertionError, match="no answer was prepared"):
        slicer.util.confirmYesNoDisplay("And now?")


def test_file_choosers_answer_a_text(host):
    import qt

    host.dialogs.choose_path("/data/a.nii")
    assert qt.QFileDialog.getOpenFileName(None, "Pick", "", "*.nii") == "/data/a.nii"


def test_nothing_is_installed(host):
    import slicer

    del host.packages.installed[:]
    slicer.packaging.pip_ensure("pytest>=1")
    host.dialogs.answer(False, True)
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("no-such-package>=1", requester="Tiny")
    assert host.packages.installed == []
    slicer.packaging.pip_ensure("no-such-package>=1")
    slicer.util.pip_install("--upgrade other")
    assert host.packages.installed == ["no-such-package>=1", "--upgrade", "other"]


def test_hidden_errors_are_found(host):
    import qt
    import slicer
    import vtk

    def fail(*_):
        raise ZeroDivisionError("in a slot")

    button, node = qt.QPushButton(), add_volume("scan")
    button.connect("clicked()", fail)
    node.AddObserver(vtk.vtkCommand.ModifiedEvent, fail)
    for act in (
        lambda: host.click(button),
        node.Modified,
        lambda: slicer.mrmlScene.AddNode(None) or vtk.vtkXMLImageDataReader().Update(),
    ):
        with pytest.raises(AssertionError, match="hidden errors"), host.watch():
            act()


def test_volumes_and_transforms_go_through_files(host, tmp_path):
    import numpy as np
    import slicer

    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    node = slicer.util.addVolumeFromArray(array, ijkToRAS=np.diag([2.0, 3, 4, 1]), name="scan")
    assert slicer.util.saveNode(node, str(tmp_path / "scan.nrrd"), {}) and slicer.util.exportNode(
        node, str(tmp_path / "out.nii.gz"), {}
    )
    for name in ("scan.nrrd", "out.nii.gz"):
        back = slicer.util.loadVolume(tmp_path / name, {"name": f"back of {name}"})
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(back), array)
        assert back.GetName() == f"back of {name}"
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    assert slicer.util.saveNode(transform, str(tmp_path / "shift.h5"), {})
    assert slicer.util.loadTransform(str(tmp_path / "shift.h5")).IsA("vtkMRMLTransformNode")
    slicer.util.setSliceViewerLayers(background=node, foreground=back, foregroundOpacity=0.4, fit=True)
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()) == (node.GetID(), back.GetID())
    slicer.util.resetSliceViews()


@pytest.mark.parametrize("ending", ["mrml", "mrb"])
def test_scenes_go_through_files(host, tiny, tmp_path, ending, caplog):
    import numpy as np
    import slicer

    slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name="scan")
    tiny.parameters.rounds = 21
    path = str(tmp_path / f"scene.{ending}")
    with caplog.at_level(logging.ERROR):
        assert slicer.util.saveScene(path, {}) and not caplog.records
    host.clear_scene()
    if ending == "mrb":
        slicer.util.loadScene(path, {"clear": False})
        assert slicer.util.getNode("scan").GetImageData().GetDimensions() == (4, 3, 2)
    assert tiny.logic.getParameterNode().GetAttribute("ModuleName") == "Tiny"


def test_each_stand_in_names_the_source_it_follows():
    """Only files that stand in for nothing of Slicer or Qt do not."""
    own = {"__init__", "actions", "problems"}
    files = sorted((Path(__file__).parent / "host").glob("*.py"))
    silent = {path.stem for path in files if not re.search(r"\bFollows\b.*\w", path.read_text(encoding="utf-8"))}
    assert silent == own
