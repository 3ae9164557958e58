"""What is missing, installing it through Slicer, and a check that tries a real operation."""

import re
import subprocess
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from SlicRegLib.errors import UserError
from SlicRegSlicer import installation
from SlicRegSlicer.installation import REQUIREMENTS, TEACHER, check, install, missing, summary

ROOT = Path(__file__).resolve().parents[1]


def absent(monkeypatch, *names):
    """Make find_spec say that packages are not there; returns the set, from which "installing" takes them."""
    gone, find = set(names), installation.importlib.util.find_spec
    monkeypatch.setattr(
        installation.importlib.util, "find_spec", lambda name, *a: None if name in gone else find(name, *a)
    )
    return gone


# ---- what is missing ------------------------------------------------------------------------------------------


def test_requirements_are_those_of_the_project():
    project = dict(
        re.findall(
            r'^    "([\w-]+)>=([\d.]+)"', (ROOT / "pyproject.toml").read_text().split("[project.opt")[0], re.MULTILINE
        )
    )
    assert {package.distribution for package in REQUIREMENTS.values()} == set(project)
    for package in REQUIREMENTS.values():
        assert ">=" in package.requirement and "==" not in package.requirement
        if package.distribution != "torch":  # for x86 macs, where torch ends at 2.2
            assert package.least == project[package.distribution]


def test_nothing_missing_here():
    assert missing() == [] and summary() == ""


def test_a_training_needs_its_teacher_too(monkeypatch):
    text = (ROOT / "pyproject.toml").read_text()
    assert f'train = ["{TEACHER["convexAdam"].requirement}"]' in text
    assert missing(training=True) == []
    absent(monkeypatch, "convexAdam")
    assert missing() == [] and missing(training=True) == ["convexAdam"]
    assert (
        summary() == ""
        and "1 Python package " in summary(training=True)
        and "convexAdam>=0.2" in summary(training=True)
    )


def test_missing_and_too_old(monkeypatch):
    absent(monkeypatch, "torch", "nibabel")
    monkeypatch.setattr(installation, "nvidia_driver", lambda: "")
    real = installation.importlib.metadata.version
    monkeypatch.setattr(
        installation.importlib.metadata, "version", lambda name: "0.18.3" if name == "scikit-image" else real(name)
    )
    assert missing() == ["torch", "nibabel", "skimage"]
    text = summary()
    for words in ("3 Python packages", "torch>=2.2, about 200 MB, from the PyTorch extension", "scikit-image>=0.21"):
        assert words in text
    assert "about 229 MB to download" in text
    monkeypatch.setattr(installation, "nvidia_driver", lambda: "NVIDIA X, 550")
    if sys.platform != "darwin":
        assert "about 3.0 GB to download" in summary()


@pytest.mark.parametrize(
    "version, least, older",
    [
        ("2.2.0+cu118", "2.2", False),
        ("2.10.1", "2.2", False),
        ("2.1.2", "2.2", True),
        ("5", "5.0", False),
        ("1.24.0rc1", "1.24", False),
        ("", "1", False),
        ("unknown", "1", True),
    ],
)
def test_versions(version, least, older):
    assert installation._older(version, least) == older


# ---- installing, with Slicer's functions replaced -------------------------------------------------------------


@pytest.fixture
def slicer_modules(monkeypatch):
    """slicer, slicer.util, slicer.packaging and PyTorchUtils that note what they are asked to do."""
    asked = []
    modules = {name: types.ModuleType(name) for name in ("slicer", "slicer.util", "slicer.packaging", "PyTorchUtils")}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    modules["slicer"].util, modules["slicer"].packaging = modules["slicer.util"], modules["slicer.packaging"]

    class Logic:
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            asked.append(("installTorch", askConfirmation, torchVersionRequirement))
            return asked

        def uninstallTorch(self):
            asked.append(("uninstallTorch",))

    def pip_ensure(requirements, constraints=None, **options):
        asked.append(("pip_ensure", requirements, Path(constraints).read_text(), options))

    def pip_install(requirements):
        asked.append(("pip_install", requirements[:-2], Path(requirements[-1]).read_text()))

    modules["PyTorchUtils"].PyTorchUtilsLogic = Logic
    modules["slicer.packaging"].pip_ensure, modules["slicer.util"].pip_install = pip_ensure, pip_install
    return types.SimpleNamespace(
        asked=asked, logic=Logic, packaging=modules["slicer.packaging"], util=modules["slicer.util"]
    )


def forget(gone, function):
    """``function``, after which nothing is missing any more."""

    def called(*arguments, **options):
        gone.clear()
        return function(*arguments, **options)

    return called


def test_installs_torch_and_packages_each_by_its_own_way(monkeypatch, slicer_modules):
    gone = absent(monkeypatch, "torch", "nibabel", "tqdm")
    slicer_modules.packaging.pip_ensure = forget(gone, slicer_modules.packaging.pip_ensure)
    steps = []
    install(lambda *step: steps.append(step))
    torch, packages = slicer_modules.asked
    assert torch == ("installTorch", False, ">=2.2")
    assert packages[1] == ["nibabel>=5.0", "tqdm>=4.64"] and packages[3]["prompt_install"] is False
    assert all(re.search(rf"^{name}==\d", packages[2], re.MULTILINE) for name in ("numpy", "scipy"))  # stay as they are
    assert "nibabel" not in packages[2] and steps[-1][1] == 1.0 and not gone


def test_older_slicer_without_packaging(monkeypatch, slicer_modules):
    gone = absent(monkeypatch, "nibabel")
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    slicer_modules.util.pip_install = forget(gone, slicer_modules.util.pip_install)
    install()
    assert slicer_modules.asked[0][:2] == ("pip_install", ["nibabel>=5.0"]) and "numpy==" in slicer_modules.asked[0][2]


def test_a_broken_torch_is_removed_first(slicer_modules):
    install(reinstall_torch=True)
    assert [a[0] for a in slicer_modules.asked] == ["uninstallTorch", "installTorch"]


def test_nothing_to_do(slicer_modules):
    install()
    assert slicer_modules.asked == []


def test_failures_are_said(monkeypatch, slicer_modules):
    gone = absent(monkeypatch, "nibabel")

    def fail(*_, **__):
        print("Collecting nibabel")
        print("ERROR: No matching distribution found for nibabel>=5.0")
        raise subprocess.CalledProcessError(1, "pip install")

    slicer_modules.packaging.pip_ensure = fail
    with pytest.raises(UserError, match="(?s)could not be installed.*No matching distribution"):
        install()
    slicer_modules.packaging.pip_ensure = lambda *_, **__: None  # Slicer's testing mode: it does nothing
    with pytest.raises(UserError, match="nibabel cannot be found"):
        install()
    gone.add("torch")
    slicer_modules.logic.installTorch = lambda self, **_: None
    with pytest.raises(UserError, match="declined"):
        install()
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(UserError, match="install the extension PyTorch in the Extensions Manager"):
        install()
    gone.add("numpy")
    with pytest.raises(UserError, match="This Slicer is too old"):
        install()


# ---- checking, with real processes ----------------------------------------------------------------------------


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setattr(installation, "nvidia_driver", lambda: "")


def fake_torch(tmp_path, monkeypatch, code: str) -> None:
    """A package torch that Python finds before the real one."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def problems(findings) -> list:
    assert all(f.cure for f in findings if not f.ok) and all(f.title for f in findings)
    return [f for f in findings if not f.ok]


def test_check_of_this_python():
    import torch

    findings = check()
    assert problems([f for f in findings if "GPU" not in f.title and "NVIDIA" not in f.title]) == []
    assert findings[0].title.startswith(f"PyTorch {torch.__version__}")
    assert any(f.title == "The CPU works" and "gradients took" in f.detail for f in findings)
    assert (
        sum(f.title.startswith("The GPU") and f.title.endswith("works") for f in findings) == torch.cuda.device_count()
    )


def test_half_installed_torch(tmp_path, monkeypatch, no_driver):
    fake_torch(tmp_path, monkeypatch, "raise ImportError('libtorch_cpu.so: cannot open shared object file')")
    (found,) = problems(check())
    assert "not whole" in found.title and "libtorch_cpu.so: cannot open" in found.detail and found.blocking
    assert "Force a reinstall through the PyTorch extension" in found.cure


def test_torch_that_ends_the_process(tmp_path, monkeypatch, no_driver):
    fake_torch(
        tmp_path, monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGILL if os.name != 'nt' else 9)"
    )
    (found,) = problems(check())
    assert "not whole" in found.title and found.detail and found.blocking


def test_torch_that_never_answers(tmp_path, monkeypatch, no_driver):
    fake_torch(tmp_path, monkeypatch, "import time; time.sleep(60)")
    (found,) = problems(check(timeout=1.0))
    assert "too long" in found.title and "within 1 s" in found.detail


def test_torch_too_old_and_incomplete(tmp_path, monkeypatch, no_driver):
    fake_torch(tmp_path, monkeypatch, "__version__ = '1.13.1+cu117'\nclass version: cuda = '11.7'")
    old, cpu = problems(check())
    assert (
        "PyTorch 1.13.1+cu117 is too old" in old.title and "2.2" in old.detail and "The CPU does not work" in cpu.title
    )


def test_no_torch_at_all(no_driver, tmp_path):
    """A Python without any package: the base interpreter, isolated from the environment's packages."""
    base = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(base)], check=True)
    python = base / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    torch, others = problems(check(str(python)))
    assert torch.title == "PyTorch is not installed" and "Press Install" in torch.cure
    assert "nibabel is missing" in others.detail and others.blocking


def test_a_python_that_does_not_start(no_driver):
    (found,) = problems(check("no/such/python"))
    assert found.title == "Slicer's Python does not start" and "cannot be started" in found.detail


def said(**changes):
    return {
        "absent": [],
        "version": "2.5.1+cu121",
        "cuda": "12.1",
        "devices": [],
        "broken": {},
        "seconds": 0.1,
    } | changes


@pytest.mark.parametrize(
    "report, title, detail, cure",
    [
        (
            said(cuda=None, version="2.5.1+cpu"),
            "The NVIDIA GPU is not used",
            "build without CUDA",
            "reinstall PyTorch with CUDA",
        ),
        (
            said(no_cuda="The NVIDIA driver on your system is too old (found version 11040)."),
            "The NVIDIA driver is too old",
            "11040",
            "Update the NVIDIA driver",
        ),
        (
            said(no_cuda="CUDA unknown error"),
            "The NVIDIA GPU is not used",
            "CUDA unknown error",
            "Update the NVIDIA driver",
        ),
    ],
    ids=["cpu build", "old driver", "unknown"],
)
def test_a_gpu_that_torch_does_not_see(monkeypatch, report, title, detail, cure):
    monkeypatch.setattr(installation, "nvidia_driver", lambda: "NVIDIA RTX A4000, 470.1")
    monkeypatch.setattr(installation, "_try_device", lambda *_: (report, ""))
    (found,) = problems(check())
    assert found.title.startswith(title) and detail in found.detail and cure in found.cure
    assert "NVIDIA RTX A4000, 470.1" in found.detail
    assert not found.blocking  # the CPU does it


def test_each_gpu_is_tried(monkeypatch):
    def try_device(python, device, timeout):
        if device == "cuda:1":
            return {
                "version": "2.5.1"
            }, "RuntimeError: CUDA error: no kernel image is available for execution on the device"
        return said(devices=["New", "Old"]), ""

    monkeypatch.setattr(installation, "nvidia_driver", lambda: "New, 550; Old, 550")
    monkeypatch.setattr(installation, "_try_device", try_device)
    findings = check()
    (found,) = problems(findings)
    assert (
        found.title == "The GPU 1 (Old) does not work" and "not built for this GPU" in found.cure and not found.blocking
    )
    assert any(f.title == "The GPU 0 (New) works" for f in findings)


def test_numpy_that_does_not_fit(monkeypatch, no_driver):
    report = said()
    del report["seconds"]
    monkeypatch.setattr(installation, "_try_device", lambda *_: (report, "RuntimeError: Numpy is not available"))
    (found,) = problems(check())
    assert "do not fit" in found.cure and found.blocking


def test_broken_and_old_packages(monkeypatch, no_driver):
    report = said(broken={"skimage": "ImportError: DLL load failed"}, versions={"nibabel": "3.2.1", "numpy": "1.26.4"})
    monkeypatch.setattr(installation, "_try_device", lambda *_: (report, ""))
    (found,) = problems(check())
    assert (
        found.detail
        == "skimage cannot be imported (ImportError: DLL load failed); nibabel>=5.0 is needed, 3.2.1 is installed"
    )
    assert found.cure.startswith("Press Install. In Slicer's Python console") and "--no-deps scikit-image" in found.cure


def test_the_driver_is_asked(tmp_path, monkeypatch):
    if sys.platform == "win32":
        pytest.skip("a shell script stands for nvidia-smi")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100, 550.54'\necho 'NVIDIA T4, 550.54'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert installation.nvidia_driver() == "NVIDIA H100, 550.54; NVIDIA T4, 550.54"
    assert installation.gpus() == [("cuda:0", "NVIDIA H100"), ("cuda:1", "NVIDIA T4")]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert installation.nvidia_driver() == "" and installation.gpus() == []
    monkeypatch.setenv("PATH", "")
    assert installation.nvidia_driver() == ""
