"""Names, limits and safe writing of files; imports nothing heavy, so that Slicer can ask before anything is installed."""

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
_PART = ".slicreg-part-"  # in the names of files that are being written
MODEL_SUFFIX = ".slicreg"
MODEL_VERSION = 1  # of the model files that are written, and the newest that can be read
MIN_SLICES = 8  # of a scan, along each axis
MAX_SHEAR = 1e-3  # of a scan: cosine between two axes


def stem(path: str | Path) -> str:
    """File name without the image suffix: ``pt_1.nii.gz`` -> ``pt_1``."""
    name = Path(path).name
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def list_images(folder: str | Path) -> list[Path]:
    """The image files of a folder, sorted by name. Raises UserError if there are none."""
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
    """Yields a temporary path beside ``path`` that takes its place only if the block succeeds, also through a loss of power."""
    path = Path(path)
    suffix = next((s for s in (*IMAGE_SUFFIXES, MODEL_SUFFIX, ".h5") if path.name.lower().endswith(s)), path.suffix)
    handle, name = tempfile.mkstemp(suffix=suffix, prefix=f".{stem(path)}{_PART}", dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o666 & ~_umask())
        _flushed(name)
        _take_place(name, path)
        if os.name != "nt":
            _flushed(path.parent)  # the name too
    finally:
        Path(name).unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON; atomic."""
    with atomic(path) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")


def remove_partial_files(folder: Path) -> None:
    """Remove from a folder, not from those in it, what a killed process was just writing; for who alone writes there."""
    for path in folder.glob(f".*{_PART}*"):
        path.unlink(missing_ok=True)


def _take_place(name: str, path: Path) -> None:
    for _ in range(100 if os.name == "nt" else 0):  # Windows replaces no file that somebody is reading
        try:
            os.replace(name, path)
            return
        except PermissionError:
            time.sleep(0.02)
    os.replace(name, path)


def _flushed(path: str | Path) -> None:
    """What was written to a file or folder stands on the disk when this returns."""
    handle = os.open(path, os.O_RDWR if os.path.isfile(path) else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
