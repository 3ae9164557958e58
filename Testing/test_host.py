"""The test host itself: it must behave as Slicer does, also where that means refusing."""

import logging
import sys
import textwrap

import host as host_package
import pytest

if not host_package.available():
    pytest.skip("slicer-core and PySide6 are not installed", allow_module_level=True)

MODULE = """
from pathlib import Path
from typing import Annotated, Optional
import enum
import qt, ctk, slicer, vtk
from slicer.i18n import tr as _, translate
from slicer.ScriptedLoadableModule import *
from slicer.parameterNodeWrapper import parameterNodeWrapper, WithinRange, Choice, Default
from slicer.util import VTKObservationMixin

class Mode(enum.Enum):
    FAST = 1
    EXACT = 2

@parameterNodeWrapper
class Parameters:
    fixed: slicer.vtkMRMLScalarVolumeNode
    output: Optional[slicer.vtkMRMLTransformNode]
    smooth: Annotated[float, WithinRange(0, 10)] = 2.5
    rounds: Annotated[int, WithinRange(1, 50), Default(7)]
    label: str = "a"
    warp: bool = True
    model: Path
    folder: Path
    device: Annotated[str, Choice(["cpu", "cuda"])] = "cpu"
    mode: Mode
    limit: Optional[float]

class Tiny(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = _("Tiny")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]

class TinyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.applied = []
        self.cleaned = False

    def setup(self):
        super().setup()
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/Tiny.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = TinyLogic()
        self.parameters = Parameters(self.logic.getParameterNode())
        self.tag = self.parameters.connectGui(self.ui)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)

    def onApply(self):
        with slicer.util.tryWithErrorDisplay("It failed."):
            if self.parameters.label == "bad":
                raise ValueError("a bad label")
            self.applied.append(self.parameters.smooth)

    def cleanup(self):
        self.removeObservers()
        self.cleaned = True

class TinyLogic(ScriptedLoadableModuleLogic):
    pass
"""


def _widget(cls, name, parameter="", properties=""):
    bound = (
        f'<property name="SlicerParameterName" stdset="0"><string>{parameter}</string></property>' if parameter else ""
    )
    return f'<item><widget class="{cls}" name="{name}">{bound}{properties}</widget></item>'


INSIDE = "".join(
    [
        _widget(
            "qMRMLNodeComboBox", "fixedSelector", "fixed", '<property name="addEnabled"><bool>false</bool></property>'
        ),
        _widget(
            "qMRMLNodeComboBox", "outputSelector", "output", '<property name="noneEnabled"><bool>true</bool></property>'
        ),
        _widget("ctkSliderWidget", "smoothSlider", "smooth"),
        _widget("QSpinBox", "roundsBox", "rounds"),
        _widget("QLineEdit", "labelEdit", "label"),
        _widget("QCheckBox", "warpBox", "warp"),
        _widget(
            "ctkPathLineEdit",
            "modelEdit",
            "model",
            '<property name="filters"><set>ctkPathLineEdit::Files|ctkPathLineEdit::Readable</set></property>',
        ),
        _widget("ctkDirectoryButton", "folderButton", "folder"),
        _widget("QComboBox", "deviceBox", "device"),
        _widget("QComboBox", "modeBox", "mode"),
        _widget("QPushButton", "applyButton", "", '<property name="text"><string>Apply</string></property>'),
    ]
)
UI = f"""<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Tiny</class><widget class="qMRMLWidget" name="Tiny"><layout class="QVBoxLayout">
<item><widget class="ctkCollapsibleButton" name="section"><property name="text"><string>Inputs</string></property>
<layout class="QVBoxLayout">{INSIDE}</layout></widget></item></layout></widget>
<connections>{
    "".join(
        f'''<connection><sender>Tiny</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>{name}</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>'''
        for name in ("fixedSelector", "outputSelector")
    )
}
</connections></ui>"""


@pytest.fixture(scope="session")
def host():
    return host_package.start()


@pytest.fixture(autouse=True)
def no_hidden_errors(host):
    host.clear_scene(singletons=True)
    host.dialogs.clear()
    with host.watch() as problems:
        yield problems


@pytest.fixture
def tiny(host, tmp_path):
    (tmp_path / "Resources/UI").mkdir(parents=True)
    (tmp_path / "Resources/UI/Tiny.ui").write_text(UI)
    (tmp_path / "Tiny.py").write_text(textwrap.dedent(MODULE))
    widget = host.load_module(tmp_path / "Tiny.py")
    yield widget
    host.unload_module("Tiny")


def volume(name):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


# --- Qt as PythonQt shows it ---


def test_properties_are_attributes(host):
    import qt

    button = qt.QPushButton("Go")
    button.enabled = False
    button.name = "go"
    assert (button.text, button.enabled, button.objectName, button.className()) == ("Go", False, "go", "QPushButton")
    with pytest.raises(AttributeError, match="no new attributes"):
        button.colour = 1
    with pytest.raises(AttributeError, match="does not accept"):
        button.text = 3
    with pytest.raises(AttributeError, match="overwritten"):
        button.click = None


def test_a_subclass_takes_attributes_and_overrides_virtuals(host):
    import qt

    class Wide(qt.QWidget):
        def __init__(self):
            super().__init__()
            self.extra = 1

        def sizeHint(self):
            return qt.QSize(333, 44)

    outer = qt.QWidget()
    layout = qt.QVBoxLayout(outer)
    wide = Wide()
    layout.addWidget(wide)
    assert wide.extra == 1 and outer.sizeHint.width() > 333


def test_signals_connect_by_signature(host):
    import qt

    button, heard = qt.QPushButton(), []
    with_state, without = heard.append, lambda: heard.append("none")
    button.checkable = True
    assert button.connect("toggled(bool)", lambda state: heard.append(state)) and button.connect("clicked()", without)
    host.click(button)
    assert heard == [True, "none"]
    assert button.disconnect("clicked()", without) and not button.disconnect("clicked()", with_state)
    for unknown in ("pressedTwice()", "clicked(int)"):
        with pytest.raises(ValueError, match="does not exist"):
            button.connect(unknown, without)


def test_timers_and_processes_report(host):
    import qt

    heard = []
    qt.QTimer.singleShot(1, lambda: heard.append("timer"))
    process = qt.QProcess()
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: heard.append(code))
    process.start(sys.executable, ["-c", "print('out'); raise SystemExit(3)"])
    host.wait(lambda: len(heard) == 2)
    assert heard == ["timer", 3] and process.readAllStandardOutput().data().strip() == b"out"


def test_settings_stay_in_the_hosts_folder(host):
    import qt

    assert qt.QSettings().fileName().startswith(str(host.folder))


# --- widgets ---


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
    from host.application import Application
    from host.ui_files import NAMES
    from PySide6.QtWidgets import QApplication

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
        with pytest.raises(error, match="odd.ui"):
            slicer.util.loadUI(str(path))


def test_a_node_selector_follows_the_scene(host):
    import slicer

    selector, heard = slicer.qMRMLNodeComboBox(), []
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: heard.append(node and node.GetName()))
    first = volume("first")
    volume("hidden").SetHideFromEditors(True)
    second = volume("second")
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


# --- parameter node ---


def test_parameters_reach_the_widgets(host, tiny):
    from pathlib import Path

    ui, parameters = tiny.ui, tiny.parameters
    assert (ui.smoothSlider.value, ui.smoothSlider.maximum, ui.roundsBox.value, ui.warpBox.checked) == (
        2.5,
        10,
        7,
        True,
    )
    node = volume("scan")
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
    first, second = volume("first"), volume("second")
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


# --- module, messages, errors ---


def test_a_module_is_loaded_as_in_slicer(host, tiny):
    import slicer

    assert slicer.modules.tiny.title == "Tiny" and slicer.modules.tiny.categories == ["Registration"]
    assert slicer.modules.TinyWidget is tiny and slicer.util.modulePath("Tiny").endswith("Tiny.py")
    assert not tiny.parent.isEntered
    host.enter(tiny)
    assert tiny.parent.isEntered
    host.unload_module("Tiny")
    assert tiny.cleaned


def test_messages_are_recorded_and_questions_answered(host, tiny, no_hidden_errors):
    import slicer

    tiny.parameters.label = "bad"
    host.click(tiny.ui.applyButton)
    assert "a bad label" in no_hidden_errors.take()[0]  # Slicer shows the error and raises it again
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

    button, node = qt.QPushButton(), volume("scan")
    button.connect("clicked()", fail)
    node.AddObserver(vtk.vtkCommand.ModifiedEvent, fail)
    for act in (
        lambda: host.click(button),
        node.Modified,
        lambda: slicer.mrmlScene.AddNode(None) or vtk.vtkXMLImageDataReader().Update(),
    ):
        with pytest.raises(AssertionError, match="hidden errors"), host.watch():
            act()


# --- scene and files ---


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
