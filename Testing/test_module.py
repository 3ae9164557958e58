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
    assert widget.ui.modelComboBox.count == 2
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


@pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
def test_the_phantom_pair_is_offered_as_sample_data(monkeypatch):
    """Registered when Slicer has started, and made without a network."""
    start().clear_scene()
    offered = []

    class SampleDataLogic:
        registerCustomSampleDataSource = staticmethod(lambda **source: offered.append(source))

    monkeypatch.setitem(sys.modules, "SampleData", type(sys)("SampleData"))
    sys.modules["SampleData"].SampleDataLogic = SampleDataLogic
    start().load_module()
    start().unload_module()
    assert offered[-1]["category"] == "SlicReg"
    names = [node.GetName() for node in offered[-1]["customDownloader"](None)]
    assert names == ["Phantom template", "Phantom template organs", "Phantom target", "Phantom target organs"]
    start().clear_scene()
