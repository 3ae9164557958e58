"""The Python interpreter for child processes, and its environment."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from ..errors import UserError
from .processes import WINDOWS


def find_python() -> str:
    """The interpreter that has PyTorch: in Slicer PythonSlicer, which is beside ``sys.executable`` or on the path, else
    this one. Raises UserError if PythonSlicer is missing."""
    name = "PythonSlicer.exe" if WINDOWS else "PythonSlicer"
    here = Path(sys.executable or ".")
    if (here.parent / name).is_file():
        return str(here.parent / name)
    if found := shutil.which("PythonSlicer"):
        return found
    if not sys.executable or "slicer" in here.name.lower():  # it would open a second Slicer
        raise UserError("PythonSlicer was not found in Slicer's program folder; install Slicer again.")
    return sys.executable


def make_environment(python: str) -> dict[str, str]:
    """Environment variables for ``python -m SlicRegLib``.

    The library can be imported, output is UTF-8 and unbuffered, and packages of other interpreters are not found.
    """
    variables = dict(os.environ)
    library = str(Path(__file__).resolve().parents[2])
    others = [p for p in variables.get("PYTHONPATH", "").split(os.pathsep) if p and p != library]
    variables |= {
        "PYTHONPATH": os.pathsep.join([library, *others]),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a torch.py in the working directory must not be imported
        "PYTORCH_ENABLE_MPS_FALLBACK": variables.get("PYTORCH_ENABLE_MPS_FALLBACK", "1"),  # the CPU does what it lacks
        "MPLBACKEND": "Agg",  # Jupyter sets one that exists only in its own process
    }
    if Path(python).stem == "PythonSlicer":
        variables["PYTHONNOUSERSITE"] = "1"  # the user's folder may hold another version of torch
    if python != sys.executable:
        variables.pop("PYTHONHOME", None)  # Slicer's breaks every other Python; PythonSlicer sets its own
    return variables
