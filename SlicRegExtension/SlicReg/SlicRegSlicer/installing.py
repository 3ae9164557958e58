"""Installs what is missing into Slicer's Python: torch through the PyTorch extension, other packages with pip."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from SlicRegLib.errors import UserError
from SlicRegLib.jobs.worker_pool import POOL

from .requirements import (
    PIP,
    PYTORCH,
    REQUIREMENTS,
    SLICER,
    Package,
    find_missing,
    find_version,
    is_found,
)

STAGE = "installation"
WAIT_SECONDS = 5.0
"""How long an idle worker process may take to end."""


def install(
    progress: Callable[[str, float, str], None] = lambda stage, share, details: None,
    reinstall_torch: bool = False,
) -> None:
    """Install what is missing. Ask the user before. Works only inside Slicer.

    Packages that come with Slicer stay as they are. progress: called with (stage, share, details). reinstall_torch:
    remove torch first, since it does not work. Raises UserError, with the last lines of pip's output where pip failed.
    """
    POOL.close(WAIT_SECONDS)  # on Windows it holds the files that are replaced, and it would go on with the old ones
    absent = {name: REQUIREMENTS[name] for name in find_missing()}
    if bundled := [package.requirement for package in absent.values() if package.source == SLICER]:
        raise UserError(f"This Slicer is too old: it lacks {', '.join(bundled)}; install a newer Slicer.")
    if "torch" in absent or reinstall_torch:
        progress(STAGE, 0.0, "PyTorch")
        _install_torch(remove_first=reinstall_torch or is_found("torch"))
    # without packaging no version could be compared: then pip compares all
    wanted = REQUIREMENTS if "packaging" in absent else absent
    if requirements := [package.requirement for package in wanted.values() if package.source == PIP]:
        progress(STAGE, 0.7, ", ".join(requirements))
        _install_packages(requirements)
    importlib.invalidate_caches()
    if left := find_missing():
        raise UserError(
            f"The installation ended but {', '.join(left)} cannot be found in a version that is new enough; "
            "restart Slicer and try again."
        )
    progress(STAGE, 1.0, "")


def _install_torch(remove_first: bool) -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        raise UserError(
            "PyTorch is installed by Slicer's extension PyTorch, which is missing; install the extension PyTorch in "
            "the Extensions Manager, restart Slicer and try again."
        ) from error
    with _as_user_error(
        "PyTorch could not be installed", "restart Slicer and try again, or use the module PyTorch Utils"
    ):
        logic = PyTorchUtils.PyTorchUtilsLogic()
        if remove_first:  # pip would keep an old or broken one
            logic.uninstallTorch()
        torch = logic.installTorch(askConfirmation=False, torchVersionRequirement=f">={REQUIREMENTS['torch'].minimum}")
    if torch is None:
        raise UserError(
            "PyTorch was not installed because its installation was declined; press Apply to be asked again."
        )


def _install_packages(requirements: list[str]) -> None:
    import slicer.util

    try:
        from slicer.packaging import pip_ensure  # Slicer 5.12 and later
    except ImportError:
        pip_ensure = None
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{line}\n" for line in _pin_installed()), encoding="utf-8")
        with _as_user_error("The packages could not be installed", "check the internet connection and try again"):
            if pip_ensure:
                pip_ensure(
                    requirements,
                    constraints=str(constraints),
                    prompt_install=False,
                    prompt_restart=False,
                    requester="SlicReg",
                )
            else:
                slicer.util.pip_install([*requirements, "-c", str(constraints)])


def _pin_installed() -> list[str]:
    """pip constraints that keep torch and Slicer's own packages at their installed versions."""
    pinned: list[Package] = [package for package in REQUIREMENTS.values() if package.source in (SLICER, PYTORCH)]
    return [f"{package.distribution}=={version}" for package in pinned if (version := find_version(package))]


@contextlib.contextmanager
def _as_user_error(what: str, cure: str) -> Iterator[None]:
    """Turn any exception into a UserError with the last lines that were printed: Slicer's pip prints, then raises."""
    copy = _CopiedStream(sys.stdout)
    try:
        with contextlib.redirect_stdout(copy):
            yield
    except Exception as error:  # subprocess's, Slicer's own RuntimeErrors, import errors of a broken torch
        printed = [line for line in copy.text.getvalue().splitlines() if line.strip()]
        last = printed[-8:] or [str(error)]
        raise UserError(f"{what}; {cure}. The last lines:\n" + "\n".join(last)) from error


class _CopiedStream(io.TextIOBase):
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
