"""The host's stand-ins for CTK and MRML widgets have the names of the originals and no others."""

import pytest

import host as host_package

if not host_package.available():
    pytest.skip("slicer-core and PySide6 are not installed", allow_module_level=True)

pytest_plugins = ["host_fixtures"]
pytestmark = pytest.mark.usefixtures("hidden_errors")


def add_volume(name):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


def test_stand_ins_have_no_other_names(host):
    """Beyond Qt's own names, only those that Python in Slicer sees."""
    from host import ctk_widgets, mrml_widgets
    from host.application import qSlicerAppMainWindow, qSlicerModuleManager
    from host.ui_files import NAMES

    for cls in (*ctk_widgets.CLASSES, *mrml_widgets.CLASSES, qSlicerAppMainWindow, qSlicerModuleManager):
        if cls.__name__ == "qSlicerScriptedLoadableModuleWidget":
            continue  # Slicer's own panel, not a widget that modules make
        qt_base = next(base for base in cls.__mro__ if base.__module__.startswith("PySide6"))
        own = {name for name in dir(cls) if not name.startswith("_")} - set(dir(qt_base))
        assert own <= set(NAMES[cls.__name__]), (cls.__name__, own - set(NAMES[cls.__name__]))


def test_the_application_has_no_other_names(host):
    import slicer
    from PySide6.QtWidgets import QApplication

    from host.application import Application
    from host.ui_files import NAMES

    own = {name for name in set(dir(Application)) | set(vars(slicer.app)) if not name.startswith("_")}
    qt_names = {"connect", "disconnect"} | set(dir(QApplication))
    assert own - qt_names - set(NAMES["qSlicerApplication"]) == {"testingEnabled"}  # slicer.util calls it
    with pytest.raises(AttributeError):
        slicer.app.noSuchThing  # noqa: B018
    with pytest.raises(AttributeError):
        slicer.app.noSuchThing = 1


def test_unknown_classes_and_properties_in_a_ui_file_are_refused(host, tmp_path):
    import slicer

    path = tmp_path / "odd.ui"
    for body, error in (
        ('<widget class="ctkNoSuchThing" name="w"/>', NotImplementedError),
        (
            '<widget class="ctkSliderWidget" name="w"><property name="colour"><string>x</string></property></widget>',
            ValueError,
        ),
    ):
        path.write_text(f'<ui version="4.0"><class>Odd</class>{body}</ui>')
        with pytest.raises(error, match=r"odd\.ui"):
            slicer.util.loadUI(str(path))


def test_a_node_selector_follows_the_scene(host):
    import slicer

    selector, heard = slicer.qMRMLNodeComboBox(), []
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: heard.append(node and node.GetName()))
    first = add_volume("first")
    add_volume("hidden").SetHideFromEditors(True)
    second = add_volume("second")
    host.choose(selector, second)
    first.SetName("renamed")
    host.choose(selector, "renamed")
    assert selector.currentNode() is first and selector.currentNodeID == first.GetID() and selector.nodeCount() == 2
    host.choose(selector, "Create new Volume")
    made = selector.currentNode()
    assert made.IsA("vtkMRMLScalarVolumeNode") and selector.nodeCount() == 3
    host.choose(selector, None)
    slicer.mrmlScene.RemoveNode(first)
    assert heard == ["second", "renamed", made.GetName(), None] and selector.nodeCount() == 2
    with pytest.raises(AssertionError, match="not listed"):
        host.choose(selector, "renamed")


def test_what_a_user_cannot_reach_cannot_be_clicked(host, tiny):
    tiny.ui.applyButton.enabled = False
    with pytest.raises(AssertionError, match="disabled"):
        host.click(tiny.ui.applyButton)
    tiny.ui.applyButton.enabled = True
    host.click(tiny.ui.applyButton)
    host.click(tiny.ui.section)
    assert tiny.ui.section.collapsed and len(tiny.applied) == 1
    with pytest.raises(AssertionError, match="not visible"):
        host.click(tiny.ui.applyButton)
    host.click(tiny.ui.section)
    host.click(tiny.ui.applyButton)
    assert len(tiny.applied) == 2


def test_a_path_field_tells_of_acceptable_paths_only(host, tmp_path):
    """Without name filters anything but nothing is acceptable; clearing is told by the other signal alone."""
    import ctk

    edit, told = ctk.ctkPathLineEdit(), []
    edit.connect("currentPathChanged(QString)", lambda path: told.append(path))
    edit.connect("validInputChanged(bool)", lambda valid: told.append(valid))
    edit.currentPath = "no/such/file"
    edit.currentPath = "another"
    edit.currentPath = ""
    assert told == ["no/such/file", True, "another", False] and edit.currentPath == ""
    told.clear()
    edit.nameFilters = ["Models (*.slicreg *.pt)", "Text (*.txt)"]
    for path in ("a.png", "a.pt", "a.slicreg"):
        edit.currentPath = path
    assert told == ["a.pt", True, "a.slicreg"]


def test_a_file_chooser_that_is_cancelled_changes_no_path(host):
    import ctk

    edit = ctk.ctkPathLineEdit()
    edit.currentPath = "before"
    host.dialogs.choose_path("", "after")
    edit.browse()
    assert edit.currentPath == "before"
    edit.browse()
    assert edit.currentPath == "after"


def test_a_selector_lists_nothing_while_the_scene_imports(host):
    import slicer

    scene, selector = slicer.mrmlScene, slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(scene)
    first = add_volume("first")
    scene.StartState(scene.ImportState)
    add_volume("second")
    assert selector._combo.findText("second") < 0 and selector.currentNode() is first
    scene.EndState(scene.ImportState)
    assert selector._combo.findText("second") >= 0 and selector.currentNode() is first
    selector.setMRMLScene(None)
