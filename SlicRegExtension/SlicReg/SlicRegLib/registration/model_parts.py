"""The parts of a model file, checked before anything is made of them; without torch.

bundle.json holds the SHA-256 of each part, and of itself without these sums. Files of older versions have no sums.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..images.archive import ArchiveError, open_archive
from ..images.files import MODEL_VERSION
from ..images.json_reading import parse_json

ABOUT = "bundle.json"
LIMITS = {
    ABOUT: 1 << 20,
    "weights.safetensors": 1 << 29,
    "supervoxels.npz": 1 << 28,
    "key_points.npz": 1 << 26,
    "template.npz": 1 << 29,
    "atlas.npz": 1 << 28,
    "consensus.npz": 1 << 28,
}
"""Parts and the most bytes that each may have."""
NEEDED = (ABOUT, "weights.safetensors", "supervoxels.npz")


class NewerModelError(UserError):
    """A sentence about a model file that begins "It was written by"."""


def read_parts(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The content of bundle.json and the parts of a model file.

    Raises ArchiveError for a file that is damaged or no model, NewerModelError for one of a newer version,
    OSError from the system.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError("it is a device or a pipe")  # opening one may wait for ever
    with open(path, "rb") as file, open_archive(file) as archive:
        if absent := [part for part in NEEDED if part not in archive.names]:
            raise ArchiveError(f"it lacks {', '.join(absent)}")
        try:
            about = parse_json(archive.read(ABOUT, LIMITS[ABOUT]))
        except ArchiveError:
            raise
        except ValueError as error:
            raise ArchiveError(f"its description cannot be read: {error}") from error
        _check_about(about)
        parts = {name: archive.read(name, limit) for name, limit in LIMITS.items() if name in archive.names}
    if "sha256" in about and about.pop("sha256") != make_sums(about, parts):
        raise ArchiveError("it is not what was saved: its SHA-256 sums differ")
    return about, parts


def make_sums(about: dict[str, Any], parts: dict[str, bytes]) -> dict[str, str]:
    """SHA-256 of each part; of bundle.json, that of ``about``, its content without the sums."""
    contents = {**parts, ABOUT: json.dumps(about).encode()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def _check_about(about: dict[str, Any]) -> None:
    version = about.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ArchiveError("its description has no version")
    if version > MODEL_VERSION:
        raise NewerModelError(
            f"It was written by a newer SlicReg (format {version}, this one reads up to {MODEL_VERSION}); "
            "update SlicReg."
        )
    if absent := [key for key in ("network", "preparation", "provenance") if not isinstance(about.get(key), dict)]:
        raise ArchiveError(f"its description lacks {', '.join(absent)}")
