"""Installs what is missing into Slicer's Python: torch through the PyTorch extension, other packages with pip."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
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
from .translation import _

STAGE = "installation"
WAIT_SECONDS = 5.0
"""How long an idle worker process may take to end."""


def install(
    progress: Callable[[str, float, str], None] = lambda stage, share, details: None,
    broken: Collection[str] = (),
) -> None:
    """Install what is missing, and install again what is ``broken``. Ask the user before. Works only inside Slicer.

    Everything else stays as it is, and so do the packages that come with Slicer. progress: called with (stage, share,
    details). broken: import names of packages that are there but do not work. Raises UserError, with the last lines of
    pip's output where pip failed.
    """
    POOL.close(WAIT_SECONDS)  # on Windows it holds the files that are replaced, and it would go on with the old ones
    absent = {name: REQUIREMENTS[name] for name in find_missing()}
    if bundled := [package.requirement for package in absent.values() if package.source == SLICER]:
        raise UserError(
            _("This Slicer is too old: it lacks {packages}; install a newer Slicer.").format(
                packages=", ".join(bundled)
            )
        )
    if "torch" in absent or "torch" in broken:
        progress(STAGE, 0.0, "PyTorch")
        _install_torch(remove_first="torch" in broken or is_found("torch"))
    # without packaging no version could be compared: then pip compares all
    wanted = REQUIREMENTS if "packaging" in absent else absent
    if requirements := [package.requirement for package in wanted.values() if package.source == PIP]:
        progress(STAGE, 0.7, ", ".join(requirements))
        install_packages(requirements)
    again = [REQUIREMENTS[name] for name in broken if name in REQUIREMENTS and name not in absent]
    if requirements := [package.requirement for package in again if package.source == PIP]:
        progress(STAGE, 0.9, ", ".join(requirements))
        _reinstall_packages(requirements)
    importlib.invalidate_caches()
    if left := find_missing():
        raise UserError(
            _(
                "The installation ended but {packages} cannot be found in a version that is new enough; "
                "restart Slicer and try again."
            ).format(packages=", ".join(left))
        )
    progress(STAGE, 1.0, "")


def _install_torch(remove_first: bool) -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        raise UserError(
            _(
                "PyTorch is installed by Slicer's extension PyTorch, which is missing; install the extension PyTorch "
                "in the Extensions Manager, restart Slicer and try again."
            )
        ) from error
    with _as_user_error(
        _("PyTorch could not be installed"), _("restart Slicer and try again, or use the module PyTorch Utils")
    ):
        logic = PyTorchUtils.PyTorchUtilsLogic()
        if remove_first:  # pip would keep an old or broken one
            logic.uninstallTorch()
        torch = logic.installTorch(askConfirmation=False, torchVersionRequirement=f">={REQUIREMENTS['torch'].minimum}")
    if torch is None:
        raise UserError(
            _("PyTorch was not installed because its installation was declined; press Apply to be asked again.")
        )


def install_packages(requirements: list[str]) -> None:
    """Install what is missing or too old, as pip names it; ask the user before. Raises UserError."""
    import slicer.util

    try:
        from packaging.requirements import Requirement
        from slicer.packaging import pip_ensure  # Slicer 5.12 and later; not all of them take texts
    except ImportError:
        pip_ensure = None
    with _constrained() as constraints:
        if pip_ensure:
            pip_ensure(
                [Requirement(text) for text in requirements],
                constraints=constraints,
                prompt_install=False,
                prompt_restart=False,
                requester="SlicReg",
            )
        else:
            slicer.util.pip_install([*requirements, "-c", constraints])


def _reinstall_packages(requirements: list[str]) -> None:
    """Install again what is there, which pip would otherwise keep; nothing that it depends on."""
    import slicer.util

    with _constrained() as constraints:
        slicer.util.pip_install(["--force-reinstall", "--no-deps", *requirements, "-c", constraints])


@contextlib.contextmanager
def _constrained() -> Iterator[str]:
    """The file of pip's constraints; what fails within becomes a UserError."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{line}\n" for line in _pin_installed()), encoding="utf-8")
        with _as_user_error(_("The packages could not be installed"), _("check the internet connection and try again")):
            yield str(constraints)


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
        text = _("{what}; {cure}. The last lines:").format(what=what, cure=cure)
        raise UserError("\n".join([text, *last])) from error


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
