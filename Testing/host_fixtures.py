"""Fixtures of the host's own tests: the host, a watch for hidden errors, a small module with most kinds of widgets.

A test file takes them with ``pytest_plugins``.
"""

import textwrap

import pytest

import host as host_package

TINY_MODULE = """
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
TINY_UI = f"""<?xml version="1.0" encoding="UTF-8"?>
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


@pytest.fixture
def hidden_errors(host):
    """An empty scene without remembered dialogs; at the end the test fails if an error was hidden."""
    host.clear_scene(singletons=True)
    host.dialogs.clear()
    with host.watch() as problems:
        yield problems


@pytest.fixture
def tiny(host, hidden_errors, tmp_path):
    (tmp_path / "Resources/UI").mkdir(parents=True)
    (tmp_path / "Resources/UI/Tiny.ui").write_text(TINY_UI)
    (tmp_path / "Tiny.py").write_text(textwrap.dedent(TINY_MODULE))
    widget = host.load_module(tmp_path / "Tiny.py")
    yield widget
    host.unload_module("Tiny")
