"""Names, limits and safe writing of files. Imports nothing heavy: Slicer uses it before packages are installed."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError

NIFTI = (".nii", ".nii.gz")
IMAGE_SUFFIXES = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd")
MODEL_SUFFIX = ".slicreg"
MODEL_VERSION = 1
"""Format of the model files that are written, and the newest that can be read."""
MIN_SLICES = 8
"""Fewest voxels of a scan along an axis."""
MAX_SHEAR = 1e-3
"""Largest |cosine| between two axes of a scan."""
_PART = ".slicreg-part-"  # in the names of files that are being written


def stem(path: str | Path) -> str:
    """File name without the image suffix: ``pt_1.nii.gz`` -> ``pt_1``."""
    name = Path(path).name
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def list_images(folder: str | Path) -> list[Path]:
    """The image files of a folder, sorted by name; hidden ones left out. Raises UserError if there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"The folder {folder} does not exist; give a folder that holds the scans.")
    found = sorted(
        p for p in folder.iterdir() if p.name.lower().endswith(IMAGE_SUFFIXES) and not p.name.startswith(".")
    )
    if not found:
        raise UserError(f"The folder {folder} holds no scan; expected files ending in {', '.join(IMAGE_SUFFIXES)}.")
    return found


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that replaces it if the block succeeds.

    The content reaches the disk first: after a power failure the old or the new file is there, never a part of one.
    """
    path = Path(path)
    suffix = next((s for s in (*IMAGE_SUFFIXES, MODEL_SUFFIX, ".h5") if path.name.lower().endswith(s)), path.suffix)
    handle, name = tempfile.mkstemp(suffix=suffix, prefix=f".{stem(path)}{_PART}", dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o666 & ~_umask())
        _flush(name)
        _replace(name, path)
        if os.name != "nt":
            _flush(path.parent)  # the name too
    finally:
        Path(name).unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON; atomic."""
    with atomic(path) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")


def remove_partial_files(folder: Path) -> None:
    """Remove the unfinished files that a killed process left in a folder, not those in its subfolders.

    No other process may be writing there.
    """
    for path in folder.glob(f".*{_PART}*"):
        path.unlink(missing_ok=True)


def _replace(name: str, path: Path) -> None:
    for _ in range(100 if os.name == "nt" else 0):  # Windows replaces no file that is open
        try:
            os.replace(name, path)
            return
        except PermissionError:
            time.sleep(0.02)
    os.replace(name, path)


def _flush(path: str | Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDWR if os.path.isfile(path) else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
