"""The interpreter for child processes and its environment; what can be imported before packages are installed."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from SlicRegLib.errors import UserError
from SlicRegLib.jobs.memory import available_memory, estimate_memory
from SlicRegLib.jobs.python import find_python, make_environment


def test_pythonslicer_is_beside_the_application(tmp_path, monkeypatch):
    assert find_python() == sys.executable
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    (tmp_path / name).write_text("")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "SlicerApp-real"))
    assert find_python() == str(tmp_path / name)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=r"PythonSlicer was not found"):
        find_python()


def test_the_environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    monkeypatch.setenv("PYTHONHOME", "slicer")
    monkeypatch.setenv("MPLBACKEND", "module://inline")
    own = make_environment(sys.executable)
    assert own["PYTHONPATH"].split(os.pathsep)[1:] == ["somewhere"]
    assert own["PYTHONHOME"] == "slicer" and own["MPLBACKEND"] == "Agg"
    assert (Path(own["PYTHONPATH"].split(os.pathsep)[0]) / "SlicRegLib" / "__main__.py").is_file()
    other = make_environment("bin/PythonSlicer")
    assert "PYTHONHOME" not in other and other["PYTHONNOUSERSITE"] == "1"


def test_memory():
    assert 1 << 26 < available_memory() < 1 << 50
    assert estimate_memory(128**3, 128**3) == 1_600_000_000  # the scans do not matter
    assert estimate_memory(32_800_000, 32_800_000) == pytest.approx(2.6e9, rel=0.02)
    assert estimate_memory(68_400_000, 68_400_000) == pytest.approx(4.3e9, rel=0.02)


LIGHT = (
    *("arguments", "batch", "command_process", "control", "failure", "file_stamps", "lock", "memory", "options"),
    *("processes", "python", "recorder", "remaining_time", "status", "view"),
)


def test_jobs_are_imported_without_the_packages_that_must_be_installed_first():
    program = f"""
        import sys
        for name in ("torch", "numpy", "nibabel", "skimage", "scipy", "safetensors", "SimpleITK", "tqdm", "joblib",
                     "matplotlib", "psutil", "filelock", "tyro", "jinja2", "qt", "slicer", "vtk"):
            sys.modules[name] = None
        import {", ".join(f"SlicRegLib.jobs.{module}" for module in LIGHT)}
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, env=make_environment(sys.executable), check=False)
    assert done.returncode == 0, done.stderr
