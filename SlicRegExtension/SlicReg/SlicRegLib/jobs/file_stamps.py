"""Recognises whether a scan or another file has changed since an earlier run, reading it only if necessary."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..images.detached import find_data_files
from ..images.dicom_tags import is_dicom
from ..images.files import IMAGE_SUFFIXES, split_series

Stamp = dict[str, Any]
"""Size, modification time and SHA-256 of a file, as JSON; of a DICOM series, those of all files of its folder; of a
header, also those of the files with its voxels."""


def make_stamp(path: Path) -> Stamp | None:
    """None if the file is missing, or no regular one: a pipe would be waited for."""
    try:
        size, modified_ns = _measure(path)
        return {"size": size, "modified_ns": modified_ns, "sha256": _hash(path, size, modified_ns)}
    except OSError:
        return None


def is_unchanged(stamp: Any, path: Path) -> bool:
    """Whether the file has the content that it had when ``stamp`` was made. A new time alone is no change."""
    try:
        size, modified_ns = _measure(path)
        if not isinstance(stamp, dict) or size != stamp.get("size"):
            return False
        if modified_ns == stamp.get("modified_ns"):
            return True
        return _hash(path, size, modified_ns) == stamp.get("sha256")
    except OSError:
        return False


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or all files of a DICOM folder; a DICOM file stands for those of its folder."""
    path, _ = split_series(path)
    if path.is_dir():
        yield from sorted(p for p in path.rglob("*") if p.is_file())
    elif not path.name.lower().endswith(IMAGE_SUFFIXES) and is_dicom(path):
        yield from sorted(p for p in path.parent.iterdir() if p.is_file())
    else:
        yield path
        yield from find_data_files(path)


def _measure(path: Path) -> tuple[int, int]:
    """Bytes, and the newest modification time in nanoseconds."""
    stats = [file.stat() for file in _files(path)]
    if not all(stat.S_ISREG(status.st_mode) for status in stats):
        raise OSError(f"{path} is no regular file")
    return sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)


@lru_cache(maxsize=1024)
def _hash(path: Path, size: int, modified_ns: int) -> str:
    """SHA-256; size and time are arguments so that a changed file is read again."""
    digest = hashlib.sha256()
    for file in _files(path):
        if file != path:
            digest.update(f"{file.name}\0".encode())
        with file.open("rb") as opened:
            while part := opened.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()
