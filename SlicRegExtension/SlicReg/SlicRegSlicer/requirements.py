"""The Python packages that SlicReg needs beyond the standard library, and which of them are missing.

The table repeats the dependencies in pyproject.toml, which is not part of the packaged extension; a test compares them.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass

from SlicRegLib.errors import UserError

from .gpus import describe_driver
from .translation import _

PYTORCH, SLICER, PIP = _("the PyTorch extension"), "Slicer", "pip"
ASK = "SlicRegLogic().installed(ask=True)"
"""What a script or a user in the Python console calls to install what is missing."""


@dataclass(frozen=True)
class Package:
    """A Python package and where it comes from."""

    requirement: str
    """As pip takes it, such as ``nibabel>=5.0``."""
    source: str
    """`PYTORCH`, `SLICER` or `PIP`."""
    megabytes: int
    """Rough size of the download."""

    @property
    def distribution(self) -> str:
        """The name under which it is installed."""
        return self.requirement.partition(">=")[0]

    @property
    def minimum(self) -> str:
        """The oldest version that will do."""
        return self.requirement.partition(">=")[2]


REQUIREMENTS = {
    "torch": Package("torch>=2.2", PYTORCH, 200),
    "numpy": Package("numpy>=1.24", SLICER, 0),
    "scipy": Package("scipy>=1.10", SLICER, 0),
    "SimpleITK": Package("SimpleITK>=2.3", SLICER, 0),
    "nibabel": Package("nibabel>=5.0", PIP, 4),
    "pydicom": Package("pydicom>=3.0", PIP, 3),
    "h5py": Package("h5py>=3.8", PIP, 5),
    "safetensors": Package("safetensors>=0.4", PIP, 1),
    "skimage": Package("scikit-image>=0.21", PIP, 25),
    "joblib": Package("joblib>=1.4", PIP, 1),
    "tqdm": Package("tqdm>=4.64", PIP, 1),
    "matplotlib": Package("matplotlib>=3.7", PIP, 20),
    "PIL": Package("Pillow>=10.1", PIP, 7),
    "tyro": Package("tyro>=1.0", PIP, 1),
    "jinja2": Package("jinja2>=3.1", PIP, 1),
    "filelock": Package("filelock>=3.12", PIP, 1),
    "psutil": Package("psutil>=5.9", PIP, 1),
    "packaging": Package("packaging>=23", PIP, 1),
}
"""Import name -> package."""
FILM_PACKAGES = {"imageio_ffmpeg": Package("imageio-ffmpeg>=0.6", PIP, 35)}
"""What films in MP4 need beyond that: installed when the first one is saved. VTK comes with Slicer."""
CUDA_MEGABYTES = 3000
"""Download of a torch with CUDA."""


def find_missing() -> list[str]:
    """Import names of the packages that are absent or too old. Imports none of them and starts no process."""
    importlib.invalidate_caches()
    return [
        name
        for name, package in REQUIREMENTS.items()
        if not is_found(name) or is_older(find_version(package), package.minimum)
    ]


def describe_missing() -> str:
    """What an installation would download and from where; "" if nothing is missing."""
    names = find_missing()
    if not names:
        return ""
    lines, total = [], 0
    for name in names:
        package = REQUIREMENTS[name]
        with_cuda = name == "torch" and sys.platform != "darwin" and describe_driver()
        size = CUDA_MEGABYTES if with_cuda else package.megabytes
        total += size
        line = _("- {package}, about {size}, from {source}") if size else _("- {package}, from {source}")
        lines.append(line.format(package=package.requirement, size=_format_size(size), source=package.source))
    first = _("SlicReg needs {packages} that Slicer does not have yet (about {size} to download):")
    return "\n".join(
        [
            first.format(packages=count_packages(len(names)), size=_format_size(total)),
            *lines,
            _("They are installed into Slicer's own Python."),
        ]
    )


def require_packages() -> None:
    """Raise UserError, which says what to run, where packages are missing: called before anything that needs them."""
    if names := find_missing():
        raise UserError(
            _(
                "SlicReg needs {packages} that Slicer does not have yet ({names}); run {command} in the Python "
                "console, or press Apply in the module SlicReg, to install them."
            ).format(packages=count_packages(len(names)), names=", ".join(names), command=ASK)
        )


def is_found(name: str) -> bool:
    """Whether a package could be imported under this name, as far as its place on the disk tells."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a module without a spec: partly removed
        return False


def find_version(package: Package) -> str:
    """The installed version; "" where none is recorded."""
    try:
        return importlib.metadata.version(package.distribution) or ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def is_older(version: str, minimum: str) -> bool:
    """Whether ``version`` is below ``minimum``. A pre-release counts as its release.

    A version that says nothing is not older, since the package may work: "", one that does not follow the rules of
    Python packages, and any while `packaging` itself is missing.
    """
    try:
        from packaging.version import InvalidVersion, Version
    except ImportError:
        return False
    try:
        return bool(version) and Version(Version(version).base_version) < Version(minimum)
    except InvalidVersion:
        return False


def count_packages(number: int) -> str:
    """Such as "3 Python packages"."""
    return (_("{number} Python package") if number == 1 else _("{number} Python packages")).format(number=number)


def _format_size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"
