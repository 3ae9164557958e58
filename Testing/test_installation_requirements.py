"""Which packages SlicReg needs and which of them are missing."""

import importlib.metadata
import importlib.util
import platform
import re
import sys
from pathlib import Path

import pytest

from SlicRegLib.errors import UserError
from SlicRegSlicer import gpus, requirements
from SlicRegSlicer.requirements import REQUIREMENTS, describe_missing, find_missing, is_older

ROOT = Path(__file__).resolve().parents[1]


def hide_packages(monkeypatch, *names: str) -> None:
    """Make find_spec report that packages are not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in names else find(name, *rest))


def read_minimum_versions(list_name: str) -> dict[str, str]:
    """Distribution -> minimum version of a list of requirements in pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    entries = re.search(rf"^{list_name} = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)[1]
    return dict(re.findall(r'"([\w-]+)>=([\d.]+)"', entries))


def test_the_table_repeats_the_dependencies_of_the_project():
    dependencies = read_minimum_versions("dependencies")
    assert len(dependencies) > 10
    assert {package.distribution: package.minimum for package in REQUIREMENTS.values()} == dependencies


def test_import_names_belong_to_their_distributions():
    """scikit-image is imported as skimage: a wrong name here would be missing for ever."""
    providers = importlib.metadata.packages_distributions()
    for name, package in REQUIREMENTS.items():
        assert package.distribution.lower() in {provider.lower() for provider in providers[name]}, name


def test_nothing_is_missing_here():
    assert find_missing() == [] and describe_missing() == ""


def test_absent_and_old_packages_are_missing(monkeypatch):
    hide_packages(monkeypatch, "torch", "nibabel")
    monkeypatch.setattr(requirements, "describe_driver", lambda: "")
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.18.3" if name == "scikit-image" else version(name)
    )
    assert find_missing() == ["torch", "nibabel", "skimage"]
    text = describe_missing()
    torch = f"{REQUIREMENTS['torch'].requirement}, about 200 MB, from the PyTorch extension"
    for words in ("3 Python packages", torch, "scikit-image>=0.21"):
        assert words in text
    assert "about 229 MB to download" in text
    monkeypatch.setattr(requirements, "describe_driver", lambda: "NVIDIA X, 550")
    if sys.platform != "darwin":
        assert "about 3.0 GB to download" in describe_missing()


@pytest.mark.parametrize(
    "version, minimum, older",
    [
        ("2.2.0+cu118", "2.2", False),
        ("2.10.1", "2.2", False),
        ("2.1.2", "2.2", True),
        ("5", "5.0", False),
        ("1.24.0rc1", "1.24", False),
        ("2.2.0a0+git12ab", "2.2", False),
        ("", "1", False),
        ("unknown", "1", False),
    ],
)
def test_versions_are_compared_by_number(version, minimum, older):
    assert is_older(version, minimum) == older


def test_without_packaging_itself_no_version_is_too_old(monkeypatch):
    monkeypatch.setitem(sys.modules, "packaging.version", None)
    assert not is_older("0.1", "1")
    hide_packages(monkeypatch, "packaging")
    assert find_missing() == ["packaging"]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for nvidia-smi")
def test_the_driver_knows_the_gpus(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100, 550.54'\necho 'NVIDIA T4, 550.54'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert gpus.describe_driver() == "NVIDIA H100, 550.54; NVIDIA T4, 550.54"
    assert gpus.list_gpus() == [("cuda:0", "NVIDIA H100"), ("cuda:1", "NVIDIA T4")]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert gpus.describe_driver() == "" and gpus.list_gpus() == []
    monkeypatch.setenv("PATH", "")
    assert gpus.describe_driver() == ""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert gpus.list_gpus() == [("mps", "Apple GPU")]


def test_what_a_script_is_told_where_packages_are_missing(monkeypatch):
    requirements.require_packages()
    hide_packages(monkeypatch, "torch", "psutil")
    with pytest.raises(UserError, match=r"2 Python packages .*torch, psutil.* run SlicRegLogic\(\)\.installed"):
        requirements.require_packages()
