"""Whether the compressed voxels of an MHA, NRRD or NIfTI file are whole. SimpleITK does not ask for the checksum.

ITK's MetaImage reader takes whatever it could unpack: a file with one wrong bit is read without a word. Its NIfTI
reader fills a file that ends too early with zeros.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from ..errors import UserError

HEADER_BYTES = 1 << 16
"""More than the text of any header."""
MAX_REST = 1 << 28
"""Bytes that may be stored behind the declared voxels."""


def check_compressed(path: Path, declared: int) -> None:
    """Raise UserError unless the voxels, if they are compressed by deflate, unpack to ``declared`` bytes or more."""
    if (place := _find_stream(path)) is None:
        return
    file_path, start = place
    unpacker, count = zlib.decompressobj(47), 0  # 47: zlib or gzip
    try:
        with file_path.open("rb") as file:
            file.seek(start)
            while not unpacker.eof and (part := file.read(1 << 20)):
                while part and count <= declared + MAX_REST:
                    count += len(unpacker.decompress(part, 1 << 24))
                    part = unpacker.unconsumed_tail
        whole = unpacker.eof and count >= declared
    except zlib.error:
        whole = False
    if not whole:
        raise UserError(f"{path} cannot be read as an image (its compressed voxels are damaged); copy it again.")


def _find_stream(path: Path) -> tuple[Path, int] | None:
    """The file with the compressed voxels and where they begin; None if there are none, or in several files."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if path.name.lower().endswith(".nii.gz"):
        return (path, 0) if start.startswith(b"\x1f\x8b") else None
    if path.name.lower().endswith((".mha", ".mhd")):
        packed, last = rb"^CompressedData\s*=\s*True", rb"^ElementDataFile\s*=\s*(.*?)\r?\n"
        end = re.search(last, start + b"\n", re.MULTILINE | re.IGNORECASE)
        header = start[: end.end()] if end else start
        name = end.group(1).decode(errors="replace").strip() if end else ""
        where = "" if name.upper() == "LOCAL" else name
    elif path.name.lower().endswith((".nrrd", ".nhdr")):
        packed = rb"^encoding:\s*gz"
        end = re.search(rb"\r?\n\r?\n", start)
        header = start[: end.start()] if end else start
        found = re.search(rb"^data ?file:\s*(.*?)\s*$", header, re.MULTILINE | re.IGNORECASE)
        where = found.group(1).decode(errors="replace") if found else ""
        if re.search(rb"^(byte|line) ?skip:", header, re.MULTILINE | re.IGNORECASE):
            return None
    else:
        return None
    if (end is None and not where) or not re.search(packed, header, re.MULTILINE | re.IGNORECASE):
        return None
    if not where:
        return path, end.end() if end else 0
    other = path.parent / where
    return (other, 0) if other.is_file() else None
