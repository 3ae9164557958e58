"""The module as Slicer loads it, and the files that CMake packages."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from host import available, start
from SlicRegSlicer.requirements import REQUIREMENTS, SLICER

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "SlicRegExtension" / "SlicReg"

LOAD_WITHOUT_PACKAGES = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1:]:
            raise ImportError(name + " is hidden")
sys.meta_path.insert(0, Block())
sys.path.insert(0, "Testing")
from host import start
host = start()
with host.watch():
    widget = host.load_module()
    host.enter(widget)
    assert widget.ui.modelComboBox.findText("trunk-phantom") >= 0
    host.click(widget.ui.sampleButton)
    assert widget.parameters.target.GetName() == "Phantom target" and widget.ui.applyButton.enabled
    host.unload_module()
print("loaded")
"""


@pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
def test_the_module_loads_without_what_is_installed_later():
    hidden = {name for name, package in REQUIREMENTS.items() if package.source != SLICER}
    hidden.remove("packaging")  # the host itself needs it
    done = subprocess.run(
        [sys.executable, "-c", LOAD_WITHOUT_PACKAGES, *hidden], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert "loaded" in done.stdout, done.stderr[-3000:]


def read_list(name: str) -> set[str]:
    text = (MODULE / "CMakeLists.txt").read_text()
    return set(re.search(rf"set\({name}\n(.*?)\)", text, re.S)[1].split())


def test_cmake_lists_every_model():
    """Scripts and resources are checked in test_structure.py."""
    models = (ROOT / "SlicRegExtension" / "Resources" / "Models").glob("*.slicreg")
    assert read_list("MODELS") == {path.name for path in models}


def test_only_the_module_lies_at_the_top():
    """Slicer takes every script there for a module."""
    assert [path.name for path in MODULE.glob("*.py")] == ["SlicReg.py"]


def test_the_extension_describes_itself():
    text = (ROOT / "CMakeLists.txt").read_text()
    for name in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"):
        assert re.search(rf'^set\(EXTENSION_{name} "[^"\n]+"\)$', text, re.M), name


RELOAD = """
import shutil, sys
from pathlib import Path
sys.path.insert(0, "Testing")
folder = Path(sys.argv[1])
ignore = shutil.ignore_patterns("*.egg-info", "__pycache__")
shutil.copytree("SlicRegExtension/SlicReg", folder / "SlicReg", ignore=ignore)
shutil.copytree("SlicRegExtension/Resources/Models", folder / "Resources/Models")
sys.path.insert(0, str(folder / "SlicReg"))
from host import start
host = start()
with host.watch():
    widget = host.load_module(folder / "SlicReg" / "SlicReg.py")
    host.enter(widget)
    import slicer, SlicRegLib.stages, SlicRegSlicer.registration_tab
    assert str(folder) in SlicRegLib.stages.__file__
    old = SlicRegLib.stages
    edits = {"SlicRegLib/stages.py": "EDITED = 1", "SlicRegSlicer/sample.py": "def load(): return 'edited'"}
    for name, text in edits.items():
        path = folder / "SlicReg" / name
        path.write_text(path.read_text() + chr(10) + text + chr(10))
    widget.onReload()
    new = slicer.modules.SlicRegWidget
    assert new is not widget and type(new) is not type(widget)
    assert sys.modules["SlicRegLib.stages"].EDITED == 1 and not hasattr(old, "EDITED")
    assert host.click_sample("SlicRegPhantomPair") == "edited"
    assert new.ui.applyButton.toolTip == "Choose a target volume."
    path.write_text("this is no Python")
    known = sys.modules["SlicRegSlicer.sample"]
    try:
        new.onReload()
    except SyntaxError:
        pass
    else:
        raise AssertionError("a file that cannot be read was reloaded")
    assert sys.modules["SlicRegSlicer.sample"] is known
    host.unload_module()
print("reloaded")
"""


@pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
def test_reload_takes_edits_of_both_packages(tmp_path):
    """Also those of functions that Slicer calls and that were handed to it before. A file with a mistake changes
    nothing."""
    done = subprocess.run(
        [sys.executable, "-c", RELOAD, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert "reloaded" in done.stdout, done.stderr[-3000:]


@pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
def test_reload_and_test_without_packages_is_no_failure(monkeypatch):
    host = start()
    host.clear_scene()
    host.dialogs.clear()
    with host.watch():
        host.load_module()
        module = sys.modules["SlicReg"]
        monkeypatch.setattr(module, "find_missing", lambda: ["torch"])
        monkeypatch.setattr(module.sample, "load", lambda: [slicer_volume()] * 4)
        case = module.SlicRegTest()
        shown = []
        monkeypatch.setattr(module.SlicRegTest, "delayDisplay", lambda self, text, *_: shown.append(text))
        case.runTest()
        host.unload_module()
    assert shown == ["test_register was skipped: the Python packages are not installed"]
    assert not host.dialogs.texts()


def slicer_volume():
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")


@pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
def test_a_script_in_a_fresh_slicer_is_told_what_to_run():
    """One sentence from each function of the logic that needs the packages, and nothing is imported before."""
    hidden = {name for name, package in REQUIREMENTS.items() if package.source != SLICER} - {"packaging"}
    code = LOAD_WITHOUT_PACKAGES.split("with host.watch")[0] + SCRIPT
    done = subprocess.run([sys.executable, "-c", code, *hidden], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "told" in done.stdout, done.stderr[-3000:]


SCRIPT = """
sys.path.insert(0, "SlicRegExtension/SlicReg")
from SlicReg import SlicRegLogic
import slicer
from SlicRegLib.errors import UserError
from SlicRegLib.jobs.options import JobOptions
from SlicRegSlicer.request import Request
logic = SlicRegLogic()
a, b = (slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode") for _ in range(2))
request = Request(a, b, logic.model())
calls = {
    "register": lambda: logic.register(a, b),
    "in the background": lambda: logic.registerInBackground(a, b),
    "start": lambda: logic.start(request),
    "batch": lambda: logic.batch(request, "out", [b]),
    "check": lambda: logic.checkScans(JobOptions(template="a", images="b", name="c"), "job"),
    "train": lambda: logic.startTraining("job"),
}
for name, call in calls.items():
    try:
        call()
    except UserError as error:
        text = str(error)
        assert "SlicRegLogic().installed(ask=True)" in text and "torch" in text and "psutil" in text, text
        assert text.endswith(".") and chr(10) not in text
    else:
        raise AssertionError(name)
host.dialogs.answer(False)
assert not logic.installed(ask=True) and "SlicReg needs" in host.dialogs.texts("question")[0]
assert len(logic.models()) == 2
print("told")
"""


@pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
def test_nothing_heavy_is_imported_when_slicer_starts():
    code = """
import sys
sys.path[:0] = ["Testing", "SlicRegExtension/SlicReg"]
from host import start
start()
before = set(sys.modules)
import SlicReg
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before} & set(sys.argv[1:])))
"""
    heavy = [*REQUIREMENTS, "torch", "numba"]
    heavy.remove("numpy")
    done = subprocess.run([sys.executable, "-c", code, *heavy], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr[-2000:]
