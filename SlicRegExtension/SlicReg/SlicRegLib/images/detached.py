"""Headers of NRRD and MetaImage files whose voxels are in other files."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
_HEADER = 1 << 20
_FIELD = re.compile(rb"(?:data ?file:(?!=)|ElementDataFile\s*=)\s*(.*?)[\s\0]*$", re.IGNORECASE)


def find_data_files(path: Path) -> list[Path]:
    """The files that hold the voxels of which ``path`` is the header; empty where it holds them itself.

    Whether they exist is not asked, except of those that a numbered pattern stands for. Raises OSError where the
    header cannot be read.
    """
    if not (path.name.lower().endswith(SUFFIXES) and path.is_file()):
        return []
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if header.startswith(b"NRRD"):
        header = re.split(rb"\r?\n\r?\n", header, maxsplit=1)[0]  # the voxels follow
    lines = header.splitlines()
    for number, line in enumerate(lines):
        if found := _FIELD.match(line):
            value = os.fsdecode(found[1])
            if value.upper() == "LOCAL":
                return []
            if value.upper().split()[:1] == ["LIST"]:
                return [path.parent / os.fsdecode(name.strip()) for name in lines[number + 1 :] if name.strip()]
            if numbered := re.fullmatch(r"(.*)%\d*d(\S*)(?:\s+-?\d+)*", value):  # scan%03d.raw 1 120 1
                before, after = map(glob.escape, numbered.groups())
                return [path.parent / name for name in sorted(glob.glob(f"{before}*{after}", root_dir=path.parent))]
            return [path.parent / value]
    return []
