"""`slicer.packaging`: what is installed is looked up; what would be installed is recorded and never is.

Follows ``Base/Python/slicer/packaging.py`` of Slicer.
"""

from __future__ import annotations

import shlex
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

installed: list[str] = []  # what pip was asked to install, one requirement or option each
removed: list[str] = []
on_install: list = []  # functions called with the requirements, to act as pip or to raise as pip does


def _requirements(given) -> list[Requirement]:
    if isinstance(given, str):
        try:
            return [Requirement(given)]
        except InvalidRequirement:
            given = given.split()
    return [
        Requirement(entry) if isinstance(entry, str) else entry
        for entry in (given if isinstance(given, list) else [given])
    ]


def load_requirements(path) -> list[Requirement]:
    lines = [line.strip() for line in Path(path).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pip_check(req) -> bool:
    """Whether every requirement is installed (extras are not looked into)."""
    for entry in _requirements(req):
        if entry.marker is not None and not entry.marker.evaluate():
            continue
        try:
            if metadata.version(entry.name) not in entry.specifier:
                return False
        except metadata.PackageNotFoundError:
            return False
    return True


def pip_install(requirements, **kwargs) -> None:
    parts = shlex.split(requirements) if isinstance(requirements, str) else [str(entry) for entry in requirements]
    installed.extend(parts)
    for function in on_install:
        function(parts)


def pip_uninstall(requirements, **kwargs) -> None:
    removed.extend(shlex.split(requirements) if isinstance(requirements, str) else map(str, requirements))


def pip_ensure(
    requirements,
    constraints=None,
    skip_packages=None,
    prompt_install=True,
    prompt_restart=True,
    requester=None,
    skip_in_testing=True,
    show_progress=True,
) -> None:
    """Install what is missing after a question; RuntimeError where the answer is no."""
    import slicer

    missing = [str(entry) for entry in _requirements(requirements) if not pip_check(entry)]
    if not missing:
        return
    question = f"{requester or 'A module'} needs Python packages: {', '.join(missing)}"
    if prompt_install and not slicer.util.confirmOkCancelDisplay(question):
        raise RuntimeError("User declined package installation")
    pip_install(missing)
