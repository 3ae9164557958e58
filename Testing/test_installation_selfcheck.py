"""The check of an installation, with real processes: it tries a real operation and survives a broken torch."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from SlicRegSlicer import selfcheck, waiting
from SlicRegSlicer.findings import Finding
from SlicRegSlicer.requirements import REQUIREMENTS
from SlicRegSlicer.selfcheck import check_installation


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setattr(selfcheck, "describe_driver", lambda: "")


def write_torch(folder: Path, monkeypatch, code: str) -> None:
    """A package torch that Python finds before the real one."""
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def select_problems(findings: list[Finding]) -> list[Finding]:
    assert all(f.cure for f in findings if not f.ok) and all(f.title for f in findings)
    return [f for f in findings if not f.ok]


def list_repairs(findings: list[Finding]) -> list[str]:
    return [name for finding in findings for name in finding.repair]


def test_this_python_works():
    import torch

    findings = check_installation()
    assert select_problems([f for f in findings if "GPU" not in f.title and "NVIDIA" not in f.title]) == []
    assert findings[0].title.startswith(f"PyTorch {torch.__version__}") and list_repairs(findings) == []
    assert any(f.title == "The CPU works" and "gradients took" in f.detail for f in findings)
    working = sum(f.title.startswith("The GPU") and f.title.endswith("works") for f in findings)
    assert working == torch.cuda.device_count()


def test_a_partly_installed_torch(tmp_path, monkeypatch, no_driver):
    write_torch(tmp_path, monkeypatch, "raise ImportError('libtorch_cpu.so: cannot open shared object file')")
    (found,) = select_problems(check_installation())
    assert "incomplete" in found.title and "libtorch_cpu.so: cannot open" in found.detail and found.blocking
    assert "press Uninstall PyTorch" in found.cure


def test_a_torch_that_ends_the_process(tmp_path, monkeypatch, no_driver):
    signal = "signal.SIGILL" if os.name != "nt" else "9"
    write_torch(tmp_path, monkeypatch, f"import os, signal; os.kill(os.getpid(), {signal})")
    (found,) = select_problems(check_installation())
    assert "incomplete" in found.title and found.detail and found.blocking


def test_a_torch_that_never_answers(tmp_path, monkeypatch, no_driver):
    write_torch(tmp_path, monkeypatch, "import time; time.sleep(60)")
    (found,) = select_problems(check_installation(timeout=1.0))
    assert "too long" in found.title and "within 1 s" in found.detail


def test_a_torch_that_is_too_old_and_cannot_compute(tmp_path, monkeypatch, no_driver):
    write_torch(tmp_path, monkeypatch, "__version__ = '1.13.1+cu117'\nclass version: cuda = '11.7'")
    old, cpu = select_problems(check_installation())
    assert "PyTorch 1.13.1+cu117 is too old" in old.title and f"Version {REQUIREMENTS['torch'].minimum}" in old.detail
    assert "The CPU does not work" in cpu.title


def test_a_python_without_packages(no_driver, tmp_path):
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    torch, others = select_problems(check_installation(str(python)))
    assert torch.title == "PyTorch is not installed" and "Press Apply" in torch.cure
    assert "nibabel is missing" in others.detail and others.blocking and "Press Apply" in others.cure


def write_package(folder: Path, name: str, code: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(code)


def test_only_what_is_broken_is_repaired(tmp_path, monkeypatch, no_driver):
    """A broken torch hides no other package, and none hides torch."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write_package(tmp_path, "skimage", "raise ImportError('DLL load failed')")
    write_package(tmp_path, "torch", "raise ImportError('libtorch_cpu.so')")
    assert list_repairs(check_installation()) == ["torch", "skimage"]


def test_a_package_that_ends_the_process(tmp_path, monkeypatch, no_driver):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write_package(tmp_path, "h5py", "import os; os._exit(3)")
    findings = check_installation()
    (found,) = select_problems(findings)
    assert found.repair == ("h5py",) and "h5py cannot be imported" in found.detail
    assert any(f.title == "The CPU works" for f in findings)


def test_the_application_handles_events_meanwhile(monkeypatch):
    """At least every tenth of a second, and a program that takes too long is ended."""
    calls = []
    monkeypatch.setattr(waiting, "handle_events", lambda: calls.append(time.monotonic()) or time.sleep(0.02))
    ended = waiting.run_program([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"], 0.5)
    assert ended.code is None and ended.output.strip() == "1" and len(calls) > 5


def test_apples_gpu_is_tried(monkeypatch):
    lacking = "NotImplementedError: The operator 'aten::x' is not currently implemented for the MPS device."

    def probe_device(python, device, timeout):
        report = {"absent": [], "version": "2.5.1", "devices": [], "mps": True}
        return (report, lacking) if device == "mps" else ({**report, "seconds": 0.1}, "")

    monkeypatch.setattr(selfcheck, "describe_driver", lambda: "")
    monkeypatch.setattr(selfcheck, "probe_device", probe_device)
    (found,) = select_problems(check_installation())
    assert found.title == "The Apple GPU (mps) does not work" and not found.blocking and not found.repair
    assert "choose the CPU" in found.cure


def test_a_python_that_does_not_start(no_driver):
    (found,) = select_problems(check_installation("no/such/python"))
    assert found.title == "Slicer's Python does not start" and "cannot be started" in found.detail


def test_each_gpu_is_tried(monkeypatch):
    unsupported = "RuntimeError: CUDA error: no kernel image is available for execution on the device"

    def probe_device(python, device, timeout):
        if device == "cuda:1":
            return {"version": "2.5.1"}, unsupported
        return {"absent": [], "version": "2.5.1+cu121", "devices": ["New", "Old"], "seconds": 0.1}, ""

    monkeypatch.setattr(selfcheck, "describe_driver", lambda: "New, 550; Old, 550")
    monkeypatch.setattr(selfcheck, "probe_device", probe_device)
    findings = check_installation()
    (found,) = select_problems(findings)
    assert found.title == "The GPU 1 (Old) does not work" and found.detail == unsupported and not found.blocking
    assert any(f.title == "The GPU 0 (New) works" for f in findings)


def test_a_driver_whose_gpu_torch_does_not_see(monkeypatch):
    report = {"absent": [], "version": "2.5.1+cpu", "cuda": None, "devices": [], "seconds": 0.1}
    monkeypatch.setattr(selfcheck, "describe_driver", lambda: "NVIDIA RTX A4000, 470.1")
    monkeypatch.setattr(selfcheck, "probe_device", lambda *_: (report, ""))
    (found,) = select_problems(check_installation())
    assert found.title == "The NVIDIA GPU is not used" and "NVIDIA RTX A4000, 470.1" in found.detail
