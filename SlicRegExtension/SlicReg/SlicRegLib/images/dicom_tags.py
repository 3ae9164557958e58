"""The header of a DICOM file, without its pixels, which GDCM reads (see `dicom`).

pydicom is imported only where a header is read: Slicer lists folders of scans before packages are installed.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

PREFIX = 132
"""Bytes up to and including the letters DICM."""
IMPLICIT = "1.2.840.10008.1.2"
PIXELS = 0x7FE00010
UNDEFINED = 0xFFFFFFFF
SNIFFED = 40
"""Files of a folder that are looked at, at most, to find out whether it holds DICOM."""


@dataclass
class Header:
    """What one file says. ``items``: the pydicom data set; ``syntax``: the transfer syntax."""

    path: Path
    items: Any = field(default_factory=dict)
    syntax: str = IMPLICIT
    has_pixels: bool = False
    is_complete: bool = False
    """Whether all of the file is there as far as the header can tell."""

    def text(self, tag: int, items: Any = None) -> str:
        """A value as it is stored, without padding; "" where it is absent."""
        items = self.items if items is None else items
        element = items.get_item(tag) if tag in items else None
        value = b"" if element is None else element.value
        if not isinstance(value, bytes):
            return "" if value is None else "\\".join(map(str, value if isinstance(value, (list, tuple)) else [value]))
        try:
            return value.decode("utf-8").strip("\0 ")
        except UnicodeDecodeError:
            return value.decode("latin-1").strip("\0 ")

    def numbers(self, tag: int, items: Any = None) -> list[float]:
        """The values of a decimal text; empty where one of them is no number."""
        try:
            return [float(part) for part in self.text(tag, items).split("\\")]
        except ValueError:
            return []

    def integer(self, tag: int, default: int = 0) -> int:
        """A short integer (US)."""
        try:
            return int(self.items[tag].value)
        except Exception:  # absent, or damaged in one of many ways
            return default

    def sequence(self, tag: int, items: Any = None) -> list[Any]:
        """The items of a sequence; none where it is absent or damaged."""
        items = self.items if items is None else items
        try:
            return list(items[tag].value) if tag in items else []
        except Exception:  # pydicom raises many kinds for a damaged one
            return []


def is_dicom(path: Path) -> bool:
    """Whether the file begins as a DICOM file does; some lack the usual 132 bytes."""
    if not path.is_file():  # opening a pipe waits for ever
        return False
    try:
        with path.open("rb") as file:
            return _begins_as_dicom(file.read(PREFIX + 8))
    except OSError:
        return False


def holds_dicom(folder: Path, deep: bool = True) -> bool:
    """Whether the folder's files, or with ``deep`` also those in its sub-folders, are DICOM."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return False
    if any(is_dicom(entry) for entry in [e for e in entries if e.is_file()][:SNIFFED]):
        return True
    folders = [entry for entry in entries if entry.is_dir() and not entry.is_symlink()] if deep else []
    return any(holds_dicom(entry) for entry in folders[:SNIFFED])


def read_header(path: Path) -> Header | None:
    """The file's header; None if it is no DICOM file. Raises OSError if it cannot be read."""
    import pydicom

    header = Header(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        if not _begins_as_dicom(file.read(PREFIX + 8)):
            return None
        file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                header.items = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        except OSError:
            raise
        except Exception:  # pydicom raises many kinds for damaged files
            return header
        header.syntax = str(header.items.file_meta.get("TransferSyntaxUID", IMPLICIT))
        if header.syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
            header.has_pixels = header.is_complete = "Rows" in header.items
        else:
            header.has_pixels, header.is_complete = _find_pixels(file, size, header.items)
    return header


def _find_pixels(file: BinaryIO, size: int, items: Any) -> tuple[bool, bool]:
    """Whether pixels follow where the header ends, and whether the file is as long as its last element needs."""
    implicit, little = items.original_encoding
    order: Literal["little", "big"] = "little" if little else "big"
    begin = file.tell()
    start = file.read(12)
    tag = PIXELS.to_bytes(4, "big")
    if little:
        tag = tag[1::-1] + tag[:1:-1]
    if len(start) < 12 or start[:4] != tag:
        last: Any = items.get_item(max(items.keys())) if items else None
        ends = last.value_tell + last.length if hasattr(last, "value_tell") else begin  # a sequence has no such place
        return False, last is not None and ends == size
    at = 4 if implicit or not start[4:6].isalpha() else 8
    length = int.from_bytes(start[at : at + 4], order)
    return True, length == UNDEFINED or begin + at + 4 + length <= size


def _begins_as_dicom(data: bytes) -> bool:
    if data[128:PREFIX] == b"DICM":
        return True
    if len(data) < 12 or data[:2] not in (b"\x02\0", b"\x08\0") or data[3] != 0:
        return False
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    return explicit or 0 < int.from_bytes(data[4:8], "little") < 256
