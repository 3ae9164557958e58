"""Recognises whether a file has changed since an earlier run, reading it only if necessary."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

Stamp = dict[str, Any]
"""Size, modification time and SHA-256 of a file, as JSON."""


def make_stamp(path: Path) -> Stamp | None:
    """None if the file is missing."""
    try:
        stat = path.stat()
        return {
            "size": stat.st_size,
            "modified_ns": stat.st_mtime_ns,
            "sha256": _hash_file(path, stat.st_size, stat.st_mtime_ns),
        }
    except OSError:
        return None


def is_unchanged(stamp: Any, path: Path) -> bool:
    """Whether the file has the content that it had when ``stamp`` was made. A new time alone is no change."""
    try:
        stat = path.stat()
        if not isinstance(stamp, dict) or stat.st_size != stamp.get("size"):
            return False
        if stat.st_mtime_ns == stamp.get("modified_ns"):
            return True
        return _hash_file(path, stat.st_size, stat.st_mtime_ns) == stamp.get("sha256")
    except OSError:
        return False


@lru_cache(maxsize=1024)
def _hash_file(path: Path, size: int, modified_ns: int) -> str:
    """SHA-256; size and time are arguments so that a changed file is read again."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
