"""Installing what is missing. Slicer's functions are replaced by ones that note what they are asked to do."""

import importlib.util
import re
import subprocess
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from SlicRegLib.errors import UserError
from SlicRegLib.jobs.worker_pool import POOL
from SlicRegSlicer.installing import install
from SlicRegSlicer.requirements import PIP, REQUIREMENTS


@pytest.fixture
def gone(monkeypatch):
    """Names of packages that count as not installed; a test adds them, and "installing" removes them."""
    names, find = set(), importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in names else find(name, *rest))
    return names


@pytest.fixture
def slicer_modules(monkeypatch):
    """slicer, slicer.util, slicer.packaging and PyTorchUtils; ``calls`` lists what they were asked to do."""
    calls = []
    modules = {name: types.ModuleType(name) for name in ("slicer", "slicer.util", "slicer.packaging", "PyTorchUtils")}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    modules["slicer"].util, modules["slicer"].packaging = modules["slicer.util"], modules["slicer.packaging"]

    class Logic:
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            calls.append(("installTorch", askConfirmation, torchVersionRequirement))
            return calls

        def uninstallTorch(self):
            calls.append(("uninstallTorch",))

    def pip_ensure(requirements, constraints=None, **options):
        assert all(isinstance(entry, Requirement) for entry in requirements)  # what every version of Slicer takes
        calls.append(("pip_ensure", [*map(str, requirements)], Path(constraints).read_text(), options))

    def pip_install(requirements):
        calls.append(("pip_install", requirements[:-2], Path(requirements[-1]).read_text()))

    modules["PyTorchUtils"].PyTorchUtilsLogic = Logic
    modules["slicer.packaging"].pip_ensure, modules["slicer.util"].pip_install = pip_ensure, pip_install
    return types.SimpleNamespace(
        calls=calls, logic=Logic, packaging=modules["slicer.packaging"], util=modules["slicer.util"]
    )


def clearing(gone, function):
    """``function``, after which nothing is missing any more."""

    def call(*arguments, **options):
        gone.clear()
        return function(*arguments, **options)

    return call


def test_torch_and_packages_are_installed_each_in_its_own_way(gone, slicer_modules, monkeypatch):
    gone |= {"torch", "nibabel", "tqdm"}
    slicer_modules.packaging.pip_ensure = clearing(gone, slicer_modules.packaging.pip_ensure)
    steps, waited = [], []
    monkeypatch.setattr(POOL, "close", lambda seconds: waited.append((seconds, list(slicer_modules.calls))))
    install(lambda *step: steps.append(step))
    assert waited == [(5.0, [])]  # before anything is replaced
    torch, packages = slicer_modules.calls
    assert torch == ("installTorch", False, f">={REQUIREMENTS['torch'].minimum}")
    assert packages[1] == ["nibabel>=5.0", "tqdm>=4.64"] and packages[3]["prompt_install"] is False
    assert all(re.search(rf"^{name}==\d", packages[2], re.MULTILINE) for name in ("numpy", "scipy"))  # stay as they are
    assert "nibabel" not in packages[2] and steps[-1][1] == 1.0 and not gone


def test_an_older_slicer_without_packaging_functions(monkeypatch, gone, slicer_modules):
    gone.add("nibabel")
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    slicer_modules.util.pip_install = clearing(gone, slicer_modules.util.pip_install)
    install()
    (call,) = slicer_modules.calls
    assert call[:2] == ("pip_install", ["nibabel>=5.0"]) and "numpy==" in call[2]


def test_without_packaging_pip_compares_all_versions(gone, slicer_modules):
    gone.add("packaging")
    slicer_modules.packaging.pip_ensure = clearing(gone, slicer_modules.packaging.pip_ensure)
    install()
    (call,) = slicer_modules.calls
    assert call[1] == [package.requirement for package in REQUIREMENTS.values() if package.source == PIP]


def test_what_is_broken_is_installed_again_and_nothing_else(slicer_modules):
    install(broken=["skimage", "numpy"])  # numpy is Slicer's
    (call,) = slicer_modules.calls
    assert call[:2] == ("pip_install", ["--force-reinstall", "--no-deps", "scikit-image>=0.21"])
    assert re.search(r"^torch==\d", call[2], re.MULTILINE)


def test_what_is_broken_and_what_is_missing_together(gone, slicer_modules):
    gone.add("nibabel")
    slicer_modules.packaging.pip_ensure = clearing(gone, slicer_modules.packaging.pip_ensure)
    install(broken=["torch", "nibabel"])
    assert [call[0] for call in slicer_modules.calls] == ["uninstallTorch", "installTorch", "pip_ensure"]


def test_a_broken_torch_is_removed_first(slicer_modules):
    install(broken=["torch"])
    assert [call[0] for call in slicer_modules.calls] == ["uninstallTorch", "installTorch"]


def test_nothing_is_installed_where_nothing_is_missing(slicer_modules):
    install()
    assert slicer_modules.calls == []


def test_a_failure_of_pip_shows_its_last_lines(gone, slicer_modules):
    gone.add("nibabel")

    def fail(*_, **__):
        print("Collecting nibabel")
        print("ERROR: No matching distribution found for nibabel>=5.0")
        raise subprocess.CalledProcessError(1, "pip install")

    slicer_modules.packaging.pip_ensure = fail
    with pytest.raises(UserError, match=r"(?s)could not be installed.*No matching distribution"):
        install()


def test_an_installation_without_effect_is_an_error(gone, slicer_modules):
    gone.add("nibabel")
    slicer_modules.packaging.pip_ensure = lambda *_, **__: None  # as in Slicer's testing mode
    with pytest.raises(UserError, match="nibabel cannot be found"):
        install()


def test_torch_that_is_declined_and_a_missing_extension_are_errors(monkeypatch, gone, slicer_modules):
    gone.add("torch")
    slicer_modules.logic.installTorch = lambda self, **_: None
    with pytest.raises(UserError, match="declined; press Apply"):
        install()
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(UserError, match="install the extension PyTorch in the Extensions Manager"):
        install()


def test_packages_of_slicer_are_not_replaced(gone, slicer_modules):
    gone |= {"numpy", "nibabel"}
    with pytest.raises(UserError, match="This Slicer is too old"):
        install()
    assert slicer_modules.calls == []
