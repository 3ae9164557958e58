"""The Python that registrations run in, and its environment."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from ..errors import UserError
from .processes import WINDOWS


def find_python() -> str:
    """The Python that has torch: PythonSlicer inside Slicer (beside ``sys.executable`` or on the path), else this one."""
    name = "PythonSlicer.exe" if WINDOWS else "PythonSlicer"
    here = Path(sys.executable or ".")
    if (here.parent / name).is_file():
        return str(here.parent / name)
    if found := shutil.which("PythonSlicer"):
        return found
    if not sys.executable or "slicer" in here.name.lower():  # would open a second Slicer window
        raise UserError("PythonSlicer was not found in Slicer's program folder; install Slicer again.")
    return sys.executable


def make_environment(python: str) -> dict[str, str]:
    """The environment for the command line: finds this library, prints UTF-8 at once, keeps other Pythons' packages out."""
    variables = dict(os.environ)
    library = str(Path(__file__).resolve().parents[2])
    others = [p for p in variables.get("PYTHONPATH", "").split(os.pathsep) if p and p != library]
    variables |= {
        "PYTHONPATH": os.pathsep.join([library, *others]),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a torch.py in the working directory must not be imported
        "MPLBACKEND": "Agg",
    }  # Jupyter sets one here that exists only in its own process
    if Path(python).stem == "PythonSlicer":
        variables["PYTHONNOUSERSITE"] = "1"  # another Python's torch or numpy in the user's folder
    if python != sys.executable:
        variables.pop("PYTHONHOME", None)  # Slicer's own breaks every other Python; PythonSlicer sets it again
    return variables
