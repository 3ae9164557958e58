"""Damage to files: to bytes, numbers in texts, fields of headers, parts of zip files, arrays."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable

import numpy as np

Rng = np.random.Generator
WORDS = [
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-1",
    "0",
    "2147483648",
    "99999999999999999999",
    "1e-320",
    "x",
    "",
    "1 1 1 1",
    "☃",
]
VALUES = [
    None,
    True,
    [],
    {},
    "",
    "x",
    -1,
    0,
    1,
    2**31,
    2**63,
    10**30,
    1e308,
    -1e-308,
    [1, 2, 3],
    [[[]]],
    "../../x",
    "a\0b",
]
BOMB_BITS = 30
"""A bomb unpacks to less than 2^30 bytes."""
PATHS = ["../../etc/x", "/etc/passwd", "..", "C:\\x", "a/../../b", "\0"]


def damage(content: bytes, rng: Rng, header: int = 400) -> bytes:
    """The content with one to three changes to its bytes; half of them in the first ``header`` bytes."""
    for _ in range(rng.integers(1, 4)):
        if not content:
            break
        content = BYTES[rng.integers(len(BYTES))](content, rng, min(header, len(content)))
    return content


def _place(content: bytes, rng: Rng, header: int) -> int:
    return int(rng.integers(header if rng.random() < 0.6 else len(content)))


def _flip(content: bytes, rng: Rng, header: int) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        changed[_place(content, rng, header)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut(content: bytes, rng: Rng, header: int) -> bytes:
    return content[: _place(content, rng, header)]


def _fill(content: bytes, rng: Rng, header: int) -> bytes:
    at, run = _place(content, rng, header), int(rng.integers(1, 64))
    return content[:at] + bytes([int(rng.choice([0, 255]))]) * run + content[at + run :]


def _extreme(content: bytes, rng: Rng, header: int) -> bytes:
    """A number of 2, 4 or 8 bytes replaced by an extreme one."""
    kind = str(rng.choice(["h", "i", "q", "f", "d", "H", "I", "Q"]))
    values = [0.0, np.nan, np.inf, -np.inf, 1e30, -1.0] if kind in "fd" else [0, 1]
    if kind in "hiq":
        values += [-1, -(1 << (8 * struct.calcsize(kind) - 1)), (1 << (8 * struct.calcsize(kind) - 1)) - 1]
    if kind in "HIQ":
        values += [(1 << (8 * struct.calcsize(kind))) - 1]
    packed = struct.pack(str(rng.choice(["<", ">"])) + kind, values[rng.integers(len(values))])
    at = _place(content, rng, header) // len(packed) * len(packed)
    return content[:at] + packed + content[at + len(packed) :]


def _splice(content: bytes, rng: Rng, header: int) -> bytes:
    """A piece copied over, inserted at, or taken out of another place."""
    a, b, run = _place(content, rng, header), _place(content, rng, header), int(rng.integers(1, 300))
    piece = content[a : a + run]
    return [
        content[:b] + piece + content[b + run :],
        content[:b] + piece + content[b:],
        content[:a] + content[a + run :],
    ][rng.integers(3)]


BYTES = (_flip, _flip, _cut, _fill, _extreme, _extreme, _splice)


def change_text(text: bytes, rng: Rng) -> bytes:
    """A number, word or line of a text replaced, doubled or left out."""
    numbers = list(re.finditer(rb"-?\d[\d.eE+-]*", text))
    lines = text.split(b"\n")
    choice = rng.integers(5)
    if choice < 2 and numbers:
        hit = numbers[rng.integers(len(numbers))]
        return text[: hit.start()] + str(rng.choice(WORDS)).encode() + text[hit.end() :]
    n = int(rng.integers(len(lines)))
    if choice == 2:
        return b"\n".join(lines[:n] + lines[n + 1 :])
    if choice == 3:
        return b"\n".join([*lines[: n + 1], *lines[n:]])
    words = re.split(rb"(\s+|[,:=])", text)
    words[rng.integers(len(words))] = str(rng.choice([*WORDS, *PATHS])).encode()
    return b"".join(words)


def change_json(text: bytes, rng: Rng) -> bytes:
    """An entry at any depth replaced, left out or added; or `change_text`."""
    if rng.random() < 0.3:
        return change_text(text, rng)
    content = json.loads(text)
    places: list[tuple] = []

    def collect(part) -> None:
        for key in list(part) if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], (dict, list)) and part[key]:
                collect(part[key])

    collect(content)
    part, key = places[rng.integers(len(places))]
    if rng.random() < 0.2:
        del part[key]
    elif rng.random() < 0.2 and isinstance(part, dict):
        part["more"] = VALUES[rng.integers(len(VALUES))]
    else:
        part[key] = VALUES[rng.integers(len(VALUES))]
    return json.dumps(content).encode()


def change_npz(content: bytes, rng: Rng) -> bytes:
    """An array with another type, shape or an odd value, or missing."""
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files}
    name = list(arrays)[rng.integers(len(arrays))]
    array = arrays[name]
    match int(rng.integers(7)):
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = array.astype(str(rng.choice(["f8", "i2", "u1", "c16", "U3", ">f4", "O", "bool"])))
        case 2:
            arrays[name] = array.reshape(-1)[: max(1, array.size // 2)]
        case 3:
            arrays[name] = array[..., None] if rng.random() < 0.5 else array[:0]
        case 4:
            arrays[name] = array.T.copy()
        case _:
            odd = rng.choice([np.nan, np.inf, -np.inf, 0, 1e30, -1, 200, 255]) if array.dtype.kind == "f" else 255
            arrays[name] = array.copy()
            arrays[name].flat[rng.integers(array.size)] = odd if array.dtype.kind in "fu" else -1
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def change_header_of_npz(content: bytes, rng: Rng) -> bytes:
    """The header of an array inside: huge or odd shapes, other types, damage."""

    def edit(part: bytes) -> bytes:
        if rng.random() < 0.5:
            return damage(part, rng, 128)
        shape = str(rng.choice(["(1000000, 1000000)", "(-1,)", "()", "(2, 2)", "(1" + "0" * 30 + ",)"]))
        changed = re.sub(rb"\([\d, ]*\)", shape.encode(), part[:128], count=1)
        return changed[:128].ljust(128) + part[128:] if rng.random() < 0.5 else changed + part[128:]

    return change_zip(content, rng, {}, edit, zipfile.ZIP_DEFLATED)


def change_zip(
    content: bytes,
    rng: Rng,
    editors: dict[str, Callable[[bytes, Rng], bytes]],
    other: Callable[[bytes], bytes],
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """One part of a zip file edited, or something done to the list of parts; its own sums fit again.

    editors: by the end of the part's name; other: for parts without one.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    n = int(rng.integers(len(parts)))
    name, part = parts[n]
    match int(rng.integers(10)):
        case 0:
            del parts[n]
        case 1:
            parts.append((str(rng.choice(PATHS)).replace("\0", "_"), b"x"))
        case 2:
            parts.append((name, damage(part, rng)))
        case 3:
            parts[n], compression = (name, bytes(1 << int(rng.integers(20, BOMB_BITS)))), zipfile.ZIP_DEFLATED
        case 4:
            compression = int(rng.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED]))
        case _:
            edit = next((lambda c, e=e: e(c, rng) for end, e in editors.items() if name.endswith(end)), other)
            parts[n] = (name, edit(part))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, part in parts:
            archive.writestr(zipfile.ZipInfo(name), part, compression)
    changed = buffer.getvalue()
    return damage(changed, rng, 100) if rng.random() < 0.1 else changed


def change_gzip(content: bytes, rng: Rng, edit: Callable[[bytes], bytes]) -> bytes:
    """What is inside edited and compressed again; or the compressed bytes damaged; or much behind the content."""
    if rng.random() < 0.25:
        return damage(content, rng, 30)
    inside = edit(gzip.decompress(content))
    if rng.random() < 0.1:
        inside += bytes(1 << int(rng.integers(20, BOMB_BITS)))
    return gzip.compress(inside, 1, mtime=0)
