"""Files that are given. Imports nothing heavy: Slicer uses it before packages are installed."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError, show_name


def check_file(path: str | Path, cure: str, what: str = "") -> None:
    """Raise UserError "WHAT PATH does not exist; CURE." unless it is a regular file; it says what else it is.

    Opening a pipe waits for ever, and some devices never end.
    """
    path = Path(path)
    if path.is_file():
        return
    problem = "is a folder" if path.is_dir() else "is a device or a pipe" if path.exists() else "does not exist"
    raise UserError(f"{f'{what} ' if what else ''}{show_name(path)} {problem}; {cure}.")
