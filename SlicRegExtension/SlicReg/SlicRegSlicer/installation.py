"""What registering needs beyond Slicer: what is missing, installing it, and a check that tries it instead of believing it.

Nothing is imported from torch here; the check runs in processes of its own, since a broken torch can end the whole program.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from SlicRegLib.errors import UserError
from SlicRegLib.jobs.failure import explain_failure
from SlicRegLib.jobs.processes import WINDOWS
from SlicRegLib.jobs.python import find_python, make_environment

PYTORCH, SLICER, PIP = "the PyTorch extension", "Slicer", "pip"
EXTENSION_HINT = "install the extension PyTorch in the Extensions Manager, restart Slicer and try again"
REINSTALL = (
    "Force a reinstall through the PyTorch extension: in the module PyTorch Utils press Uninstall, restart Slicer, "
    "then press Install."
)
UPDATE_DRIVER = "Update the NVIDIA driver, or choose the CPU as device."
TIMEOUT = 180.0  # seconds for the check of one device: the first import of torch from a slow disk takes most of it


@dataclass(frozen=True)
class Package:
    """A package that registering imports. source: who brings it. megabytes: rough size of the download."""

    requirement: str
    source: str
    megabytes: int

    @property
    def distribution(self) -> str:
        return self.requirement.partition(">=")[0]

    @property
    def least(self) -> str:
        return self.requirement.partition(">=")[2]


REQUIREMENTS = {  # import name -> package
    "torch": Package("torch>=2.2", PYTORCH, 200),
    "numpy": Package("numpy>=1.24", SLICER, 0),
    "scipy": Package("scipy>=1.10", SLICER, 0),
    "SimpleITK": Package("SimpleITK>=2.3", SLICER, 0),
    "nibabel": Package("nibabel>=5.0", PIP, 4),
    "safetensors": Package("safetensors>=0.4", PIP, 1),
    "skimage": Package("scikit-image>=0.21", PIP, 25),
    "joblib": Package("joblib>=1.4", PIP, 1),
    "tqdm": Package("tqdm>=4.64", PIP, 1),
    "matplotlib": Package("matplotlib>=3.7", PIP, 20),
    "filelock": Package("filelock>=3.12", PIP, 1),
    "psutil": Package("psutil>=5.9", PIP, 1),
}
TEACHER = {"convexAdam": Package("convexAdam>=0.2", PIP, 10)}  # what a training needs besides; a registration does not
CUDA_MEGABYTES = 3000  # of torch where it comes with CUDA


@dataclass(frozen=True)
class Finding:
    """One result of `check`. cure: what to do, empty where nothing is to be done. blocking: no registration before that."""

    ok: bool
    title: str
    detail: str = ""
    cure: str = ""
    blocking: bool = False


def needed(training: bool) -> dict[str, Package]:
    return REQUIREMENTS | TEACHER if training else REQUIREMENTS


def missing(training: bool = False) -> list[str]:
    """Import names of the requirements that are not there or too old. Imports nothing and starts no process."""
    importlib.invalidate_caches()
    return [
        name
        for name, package in needed(training).items()
        if not _found(name) or _older(_version(package), package.least)
    ]


def summary(training: bool = False) -> str:
    """What an installation would bring, and how much; "" if nothing is missing."""
    names = missing(training)
    if not names:
        return ""
    lines, total = [], 0
    for name in names:
        package = needed(training)[name]
        size = CUDA_MEGABYTES if name == "torch" and sys.platform != "darwin" and nvidia_driver() else package.megabytes
        total += size
        lines.append(f"- {package.requirement}, {f'about {_size(size)}, ' if size else ''}from {package.source}")
    return "\n".join(
        [
            f"SlicReg needs {_count(len(names), 'Python package')} that Slicer does not have yet "
            f"(about {_size(total)} to download):",
            *lines,
            "They are installed into Slicer's own Python.",
        ]
    )


def install(
    progress: Callable[[str, float, str], None] = lambda *_: None, reinstall_torch: bool = False, training: bool = False
) -> None:
    """Install what is missing: torch through the PyTorch extension, the rest with pip. Ask the user before.

    progress: called with (stage, share, details). reinstall_torch: remove a broken torch first. Runs inside Slicer only.
    Packages that Slicer brings are never touched. Raises UserError with the last lines of pip's output.
    """
    absent = missing(training)
    bundled = [name for name in absent if needed(training)[name].source == SLICER]
    if bundled:
        raise UserError(
            f"This Slicer is too old: it lacks {', '.join(REQUIREMENTS[name].requirement for name in bundled)}; "
            "install a newer Slicer."
        )
    if "torch" in absent or reinstall_torch:
        progress("installation", 0.0, "PyTorch")
        _install_torch(reinstall_torch or _found("torch"))
    wanted = [needed(training)[name].requirement for name in absent if needed(training)[name].source == PIP]
    if wanted:
        progress("installation", 0.7, ", ".join(wanted))
        _install_packages(wanted)
    importlib.invalidate_caches()
    left = missing(training)
    if left:
        raise UserError(f"The installation ended but {', '.join(left)} cannot be found; restart Slicer and try again.")
    progress("installation", 1.0, "")


def check(python: str | None = None, timeout: float = TIMEOUT) -> list[Finding]:
    """Try what a registration does, on the CPU and on every CUDA device, each in a process of its own. Takes seconds.

    python: the interpreter instead of the one that registrations run in.
    """
    python = python or find_python()
    said, problem = _try_device(python, "cpu", timeout)
    driver = nvidia_driver()
    findings = [_torch_finding(said, problem)]
    if said.get("version"):
        findings += [_packages_finding(said), _device_finding("The CPU", said, problem, blocking=True)]
        devices = said.get("devices", [])
        if driver and not devices:
            findings.append(_unused_gpu_finding(said, driver))
        for index, name in enumerate(devices):
            tried = _try_device(python, f"cuda:{index}", timeout)
            findings.append(_device_finding(f"The GPU {index} ({name})", *tried, blocking=False))
        if not driver and not devices:
            findings.append(Finding(True, "No NVIDIA GPU was found", "Registrations run on the CPU."))
    elif said.get("absent"):
        findings.append(_packages_finding(said))
    return findings


def nvidia_driver() -> str:
    """ "NAME, DRIVER VERSION" of the NVIDIA GPUs that the driver knows, "" if there is none. Does not need torch."""
    program = shutil.which("nvidia-smi")
    if not program:
        return ""
    try:
        done = subprocess.run(
            [program, "--query-gpu=name,driver_version", "--format=csv,noheader"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            creationflags=_no_window(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "; ".join(line.strip() for line in done.stdout.splitlines() if line.strip()) if done.returncode == 0 else ""


def gpus() -> list[tuple[str, str]]:
    """[("cuda:0", its name), ...] of the NVIDIA GPUs that the driver knows, without torch, which may not use them all."""
    names = [entry.rpartition(",")[0].strip() for entry in nvidia_driver().split("; ") if entry]
    return [(f"cuda:{index}", name) for index, name in enumerate(names)]


# ---- installing -----------------------------------------------------------------------------------------------


def _install_torch(remove_first: bool) -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        raise UserError(
            f"PyTorch is installed by Slicer's PyTorch extension, which is not there; {EXTENSION_HINT}."
        ) from error
    with _explained("PyTorch could not be installed", "restart Slicer and try again, or use the module PyTorch Utils"):
        logic = PyTorchUtils.PyTorchUtilsLogic()
        if remove_first:  # pip would leave a broken or old one as it is
            logic.uninstallTorch()
        torch = logic.installTorch(askConfirmation=False, torchVersionRequirement=">=" + REQUIREMENTS["torch"].least)
    if torch is None:
        raise UserError("PyTorch was not installed, since the installation was declined; press Install to begin again.")


def _install_packages(requirements: list[str]) -> None:
    import slicer.util

    try:
        from slicer.packaging import pip_ensure  # Slicer 5.12 and later
    except ImportError:
        pip_ensure = None
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "keep.txt"
        pins.write_text("".join(f"{line}\n" for line in _present()))  # pip must fit the new packages to what is there
        with _explained("The packages could not be installed", "check the internet connection and try again"):
            if pip_ensure:
                pip_ensure(
                    requirements, constraints=str(pins), prompt_install=False, prompt_restart=False, requester="SlicReg"
                )
            else:
                slicer.util.pip_install([*requirements, "-c", str(pins)])


def _present() -> list[str]:
    """pip constraints that keep torch and Slicer's own packages at the versions that are installed."""
    kept = [(package, _version(package)) for package in REQUIREMENTS.values() if package.source in (SLICER, PYTORCH)]
    return [f"{package.distribution}=={version}" for package, version in kept if version]


@contextlib.contextmanager
def _explained(what: str, cure: str):
    """Turns any failure inside into a UserError with the last lines of what was printed: Slicer's pip prints, then raises."""
    copy = _Copy(sys.stdout)
    try:
        with contextlib.redirect_stdout(copy):
            yield
    except Exception as error:  # subprocess's, Slicer's own RuntimeErrors, import errors of a broken torch
        printed = copy.text.getvalue().strip().splitlines()
        last = [line for line in printed if line.strip()][-8:] or [str(error)]
        raise UserError(f"{what}; {cure}. The last lines:\n" + "\n".join(last)) from error


class _Copy(io.TextIOBase):
    """Passes text on to ``stream`` and keeps a copy."""

    def __init__(self, stream):
        self.stream, self.text = stream, io.StringIO()

    def write(self, text: str) -> int:
        self.text.write(text)
        if self.stream is not None:  # Windows programs without a console have none
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self.stream is not None and hasattr(self.stream, "flush"):  # Slicer's console lacks it in some versions
            self.stream.flush()


# ---- checking -------------------------------------------------------------------------------------------------

# What a registration does, small: a 3-D convolution and a resampling, forward and backward, and arrays to and from numpy. Each
# line that begins with the mark is a report; they are flushed at once, so that those before a crash arrive.
_MARK, _SILENT = "SLICREG ", "It did not answer within"
_SCRIPT = r"""
import importlib, importlib.metadata, importlib.util, json, sys, time
device, names = sys.argv[1], json.loads(sys.argv[2])
def say(**what):
    print("SLICREG " + json.dumps(what), flush=True)
say(absent=[n for n in names if importlib.util.find_spec(n) is None])
import torch
say(version=str(torch.__version__), cuda=torch.version.cuda, place=str(torch.__file__))
if device == "cpu":
    broken = {}
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            broken[name] = f"{type(error).__name__}: {error}".strip().splitlines()[-1]
    versions = {}
    for name, distribution in names.items():
        try:
            versions[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            pass
    say(broken=broken, versions=versions)
    try:
        torch.cuda.init()
        say(devices=[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())])
    except Exception as error:
        say(devices=[], no_cuda=f"{error}".strip().splitlines()[0])
import numpy
began = time.perf_counter()
scan = torch.from_numpy(numpy.random.default_rng(0).standard_normal((1, 1, 24, 24, 24)).astype(numpy.float32)).to(device)
weight = torch.ones(4, 1, 3, 3, 3, device=device, requires_grad=True)
field = torch.zeros(1, 12, 12, 12, 3, device=device, requires_grad=True)
found = torch.nn.functional.grid_sample(torch.nn.functional.conv3d(scan, weight, padding=1), field, align_corners=False)
found.square().mean().backward()
result = [float(numpy.abs(g.detach().cpu().numpy()).sum()) for g in (weight.grad, field.grad)]
assert all(numpy.isfinite(result)) and min(result) > 0, f"wrong result {result}"
say(seconds=time.perf_counter() - began)
"""


def _try_device(python: str, device: str, timeout: float) -> tuple[dict, str]:
    """(what the script reported, why it did not come to its end or "")."""
    others = json.dumps({name: package.distribution for name, package in REQUIREMENTS.items() if name != "torch"})
    try:
        done = subprocess.run(
            [python, "-c", _SCRIPT, device, others],
            env=make_environment(python),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
            creationflags=_no_window(),
        )
        output, errors, code = done.stdout, done.stderr, done.returncode
        if code == 0:
            problem = ""
        elif code == 1:  # an exception: its last line says most
            problem = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), "no message")
        else:
            problem = explain_failure(code, errors.splitlines())
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        output = output.decode("utf-8", "replace") if isinstance(output, bytes) else output
        problem = f"{_SILENT} {timeout:.0f} s."
    except OSError as error:
        output, problem = "", f"{python} cannot be started ({error.strerror or error})."
    said = {}
    for line in output.splitlines():
        if line.startswith(_MARK):
            with contextlib.suppress(ValueError):  # a line that the crash cut off
                said |= json.loads(line[len(_MARK) :])
    return said, problem


def _torch_finding(said: dict, problem: str) -> Finding:
    if version := said.get("version"):
        build = f"for CUDA {said['cuda']}" if said.get("cuda") else "for the CPU"
        least = REQUIREMENTS["torch"].least
        if _older(version, least):
            detail = f"Version {least} or newer is needed. {said.get('place', '')}".strip()
            return Finding(False, f"PyTorch {version} is too old", detail, REINSTALL, blocking=True)
        return Finding(True, f"PyTorch {version}, built {build}", said.get("place", ""))
    if re.match(r"ModuleNotFoundError: No module named 'torch'", problem):
        return Finding(
            False,
            "PyTorch is not installed",
            cure="Press Install; it comes through the PyTorch extension.",
            blocking=True,
        )
    if "absent" in said and problem.startswith(_SILENT):
        return Finding(
            False,
            "PyTorch takes too long to be imported",
            problem,
            "Wait until other programs are done and check again.",
            blocking=True,
        )
    if "absent" not in said:
        return Finding(False, "Slicer's Python does not start", problem, "Install Slicer again.", blocking=True)
    return Finding(
        False,
        "PyTorch is there but cannot be imported: its installation is not whole",
        problem,
        REINSTALL,
        blocking=True,
    )


def _packages_finding(said: dict) -> Finding:
    absent, broken = said.get("absent", []), dict(said.get("broken", {}))
    broken = {name: why for name, why in broken.items() if name not in absent}
    old = {
        name: version
        for name, version in said.get("versions", {}).items()
        if name not in broken and _older(version, REQUIREMENTS[name].least)
    }
    if absent or broken or old:
        details = [
            *(f"{name} is missing" for name in absent),
            *(f"{name} cannot be imported ({why})" for name, why in broken.items()),
            *(f"{REQUIREMENTS[name].requirement} is needed, {version} is installed" for name, version in old.items()),
        ]
        ours = {name for name in (*absent, *broken, *old) if REQUIREMENTS[name].source == PIP}
        names = " ".join(REQUIREMENTS[name].distribution for name in broken if name in ours)
        repair = f"In Slicer's Python console: slicer.util.pip_install('--force-reinstall --no-deps {names}')."
        cures = [
            *(["Press Install."] if ours - set(broken) else []),
            *([repair] if names else []),
            *(["Install a newer Slicer."] if ours != {*absent, *broken, *old} else []),
        ]
        return Finding(
            False,
            f"{_count(len(details), 'Python package')} cannot be used",
            "; ".join(details),
            " ".join(cures),
            blocking=True,
        )
    return Finding(
        True, "All other Python packages are there", ", ".join(name for name in REQUIREMENTS if name != "torch")
    )


def _device_finding(device: str, said: dict, problem: str, blocking: bool) -> Finding:
    if "seconds" in said:
        return Finding(
            True, f"{device} works", f"A convolution and a resampling with gradients took {said['seconds']:.2f} s."
        )
    if re.search(
        r"numpy is not available|_ARRAY_API|numpy\.core\.multiarray|compiled using NumPy 1", problem, re.IGNORECASE
    ):
        cure = "PyTorch and numpy do not fit each other. " + REINSTALL
    elif re.search(r"no kernel image|not compatible with the current PyTorch", problem):
        cure = (
            "This PyTorch was not built for this GPU; choose the CPU as device, or another CUDA version in the module "
            "PyTorch Utils."
        )
    elif re.search(r"out of memory", problem):
        cure = "Close other programs that use the GPU, or choose the CPU as device."
    else:
        cure = REINSTALL if blocking else UPDATE_DRIVER
    return Finding(False, f"{device} does not work", problem, cure, blocking)


def _unused_gpu_finding(said: dict, driver: str) -> Finding:
    """There is an NVIDIA driver but torch sees no GPU."""
    title = "The NVIDIA GPU is not used"
    if not said.get("cuda"):
        return Finding(
            False,
            title,
            f"PyTorch {said['version']} is a build without CUDA, although there is {driver}.",
            "For faster registrations reinstall PyTorch with CUDA. " + REINSTALL,
        )
    why = said.get("no_cuda", "")
    if "driver" in why and "old" in why:
        return Finding(
            False,
            "The NVIDIA driver is too old for this PyTorch",
            f"{driver}; PyTorch {said['version']} is built for CUDA {said['cuda']}: {why}",
            "Update the NVIDIA driver, or install PyTorch for an older CUDA in the module PyTorch Utils.",
        )
    return Finding(
        False,
        title,
        f"PyTorch {said['version']} finds no GPU, although there is {driver}{': ' if why else '.'}{why}",
        UPDATE_DRIVER,
    )


# ---- versions -------------------------------------------------------------------------------------------------


def _found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a module without a spec: half removed
        return False


def _version(package: Package) -> str:
    """The installed version, "" where none is recorded."""
    try:
        return importlib.metadata.version(package.distribution) or ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def _older(version: str, least: str) -> bool:
    """Whether ``version`` is known and below ``least``; "2.10.1+cu121" is compared as (2, 10, 1)."""
    return bool(version) and _numbers(version) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    digits = re.match(r"[\d.]*", version)[0]
    return tuple(int(n) for n in re.sub(r"(\.0*)+$", "", digits).split(".") if n)


def _no_window() -> int:
    return subprocess.CREATE_NO_WINDOW if WINDOWS else 0


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
