"""The header of a DICOM file, without its pixels. Without further packages: Slicer lists folders of scans with it.

Reads what decides about a series of slices, in milliseconds; the pixels are read by GDCM (see `dicom`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PREFIX = 132
"""Bytes up to and including the letters DICM."""
DEFLATED, BIG_ENDIAN, IMPLICIT = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"
PIXELS = 0x7FE00010
NESTED = {0x52009229, 0x52009230, 0x00209113, 0x00209116, 0x00289110, 0x00289145}
"""Sequences that are read: what all frames share, each frame; position, orientation, voxel size and rescaling."""
UNDEFINED = 0xFFFFFFFF
ITEM, END_OF_ITEM = 0xFFFEE000, 0xFFFEE00D
LONG_LENGTHS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
MAX_VALUE = 1 << 14
"""Longer values are not kept."""
MAX_DEPTH = 16
SNIFFED = 40
"""Files of a folder that are looked at, at most, to find out whether it holds DICOM."""

Items = dict[int, Any]
"""Tag -> bytes of the value, or the items of a sequence that is read."""


@dataclass
class Header:
    """What one file says. ``items``: the data set; ``syntax``: the transfer syntax."""

    path: Path
    items: Items = field(default_factory=dict)
    syntax: str = IMPLICIT
    big: bool = False
    is_complete: bool = True
    """Whether the pixels are there as far as the header can tell."""

    def text(self, tag: int, items: Items | None = None) -> str:
        """A value as text without padding; "" where it is absent."""
        value = (self.items if items is None else items).get(tag, b"")
        if not isinstance(value, bytes):
            return ""
        try:
            return value.decode("utf-8").strip("\0 ")
        except UnicodeDecodeError:
            return value.decode("latin-1").strip("\0 ")

    def numbers(self, tag: int, items: Items | None = None) -> list[float]:
        """The values of a decimal text; empty where one of them is no number."""
        try:
            return [float(part) for part in self.text(tag, items).split("\\")]
        except ValueError:
            return []

    def integer(self, tag: int, default: int = 0) -> int:
        """A short integer (US)."""
        value = self.items.get(tag, b"")
        return int(struct.unpack_from(">H" if self.big else "<H", value)[0]) if len(value) >= 2 else default


class _TooShort(Exception):
    """The bytes that were read end inside an element."""


def is_dicom(path: Path) -> bool:
    """Whether the file begins as a DICOM file does; some lack the usual 132 bytes."""
    if not path.is_file():  # opening a pipe waits for ever
        return False
    try:
        with path.open("rb") as file:
            return _find_start(file.read(PREFIX + 8)) is not None
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
    size = path.stat().st_size
    for amount in (1 << 16, 1 << 20, 1 << 24, size):
        with path.open("rb") as file:
            data = file.read(min(amount, size))
        start = _find_start(data)
        if start is None:
            return None
        header = Header(path)
        try:
            _parse_file(header, data, start, size)
            return header
        except _TooShort:
            if amount >= size:
                header.is_complete = False
                return header
    return None


def _find_start(data: bytes) -> int | None:
    """Where the data set begins; None if it is no DICOM file."""
    if data[128:PREFIX] == b"DICM":
        return PREFIX
    if len(data) < 12 or data[:2] not in (b"\x02\0", b"\x08\0") or data[3] != 0:
        return None
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    return 0 if explicit or 0 < struct.unpack_from("<I", data, 4)[0] < 256 else None


def _parse_file(header: Header, data: bytes, start: int, size: int) -> None:
    position, explicit = start, True
    while position + 4 <= len(data) and data[position : position + 2] == b"\x02\0":  # always little-endian, explicit
        tag, _, length, position = _read_element(data, position, "<", True)
        if position + length > len(data):
            raise _TooShort
        if tag == 0x00020010:
            header.syntax = data[position : position + length].decode("latin-1").strip("\0 ")
        position += length
    if header.syntax == DEFLATED:
        try:
            data, size = zlib.decompressobj(-15).decompress(data[position:], 1 << 26), UNDEFINED
        except zlib.error as error:
            raise _TooShort from error
        position = 0
    header.big = header.syntax == BIG_ENDIAN
    if position == 0 and header.syntax == IMPLICIT:
        explicit = data[4:6].isalpha() and data[4:6].isupper()
    else:
        explicit = header.syntax != IMPLICIT
    for tag, value, length, begin in _elements(data, position, ">" if header.big else "<", explicit, 0):
        if tag == PIXELS:
            header.items[PIXELS] = b""
            header.is_complete = length == UNDEFINED or begin + length <= size
            return
        header.items[tag] = value
    if len(data) < size < UNDEFINED or position >= len(data):
        raise _TooShort


def _elements(
    data: bytes, position: int, order: str, explicit: bool, depth: int, end: int | None = None
) -> Iterator[tuple[int, Any, int, int]]:
    """(tag, value, length, where the value begins) of each element; a value that is not kept is empty."""
    if depth > MAX_DEPTH:
        raise _TooShort
    while position < (len(data) if end is None else end):
        tag, kind, length, position = _read_element(data, position, order, explicit)
        if tag == END_OF_ITEM:
            yield tag, b"", 0, position
            return
        if tag == PIXELS and depth == 0:
            yield tag, b"", length, position
            return
        begin = position
        if tag in NESTED or length == UNDEFINED:
            form = (explicit and kind != b"UN", tag in NESTED)
            value: Any
            value, position = _read_items(data, position, length, order, form, depth + 1)
            yield tag, value if tag in NESTED else b"", length, begin
            continue
        position += length
        if position > len(data):
            raise _TooShort
        yield tag, data[begin:position] if length <= MAX_VALUE else b"", length, begin


def _read_items(
    data: bytes, position: int, length: int, order: str, form: tuple[bool, bool], depth: int
) -> tuple[list[Items], int]:
    """The items of a sequence, and where it ends. form: whether elements name their VR, and whether they are kept.

    Items that are not kept are passed over where their length is known.
    """
    if depth > MAX_DEPTH:
        raise _TooShort
    explicit, kept = form
    found: list[Items] = []
    end = None if length == UNDEFINED else position + length
    while end is None or position < end:
        if position + 8 > len(data):
            raise _TooShort
        group, element, size = struct.unpack_from(order + "HHI", data, position)
        position += 8
        if group << 16 | element != ITEM:
            break  # the end of the sequence, or damage
        if size != UNDEFINED and position + size > len(data):
            raise _TooShort
        if size != UNDEFINED and not kept:
            position += size
            continue
        item: Items = {}
        stop = None if size == UNDEFINED else position + size
        for tag, value, _, begin in _elements(data, position, order, explicit, depth, stop):
            if tag == END_OF_ITEM:
                position = begin
                break
            item[tag] = value
        else:
            if stop is None:
                raise _TooShort
        position = position if stop is None else stop
        found.append(item)
    return found, position if end is None else end


def _read_element(data: bytes, position: int, order: str, explicit: bool) -> tuple[int, bytes, int, int]:
    """(tag, VR, length, where the value begins)."""
    if position + 8 > len(data):
        raise _TooShort
    group, element = struct.unpack_from(order + "HH", data, position)
    tag = group << 16 | element
    kind = data[position + 4 : position + 6]
    if not explicit or group == 0xFFFE:
        return tag, b"", struct.unpack_from(order + "I", data, position + 4)[0], position + 8
    if kind not in LONG_LENGTHS:
        return tag, kind, struct.unpack_from(order + "H", data, position + 6)[0], position + 8
    if position + 12 > len(data):
        raise _TooShort
    return tag, kind, struct.unpack_from(order + "I", data, position + 8)[0], position + 12
