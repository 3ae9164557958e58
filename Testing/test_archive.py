"""Zip, NPZ and JSON files from anywhere: whole and harmless, or refused before anything large is allocated."""

import io
import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SlicRegLib.images.archive import ArchiveError, open_archive
from SlicRegLib.images.arrays import read_arrays, take, take_affine
from SlicRegLib.images.json_reading import make_finite, parse_json

BOMB = 1 << 31


def zipped(*parts: tuple[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in parts:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy(shape: str, descr: str = "'|u1'", content: bytes = b"") -> bytes:
    """A file of one array with a header of one's own."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def declare(content: bytes, size: int) -> bytes:
    """The archive with another unpacked size of its only part in both of its headers."""
    at = content.rindex(b"PK\1\2")
    changed = bytearray(content)
    changed[at + 24 : at + 28] = changed[22:26] = struct.pack("<I", size)
    return bytes(changed)


def flag(content: bytes, offset: int, value: int) -> bytes:
    at = content.rindex(b"PK\1\2")
    changed = bytearray(content)
    changed[at + offset] = value
    return bytes(changed)


def read_all(content: bytes, largest: int = 1000) -> dict[str, bytes]:
    with open_archive(io.BytesIO(content)) as archive:
        return {name: archive.read(name, largest) for name in archive.names}


WHOLE = zipped(("a", b"x" * 100))


def test_parts_come_back():
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        parts = {"a": b"x" * 1000, "b.json": b""}
        assert read_all(zipped(*parts.items(), compression=compression)) == parts


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "no archive"),
        (b"PK" * 50, "no archive"),
        (WHOLE[:-1], "cut off"),
        (WHOLE + b"more", "cut off"),
        (WHOLE[40:], "cut off|damaged"),
        (WHOLE.replace(b"xxxx", b"xxyx", 1), "damaged"),
        (zipped(("a", b"x" * 1001)), "a is too large"),
        (zipped(("a", bytes(5000)), compression=zipfile.ZIP_DEFLATED), "a is too large"),
        (declare(zipped(("a", bytes(5000)), compression=zipfile.ZIP_DEFLATED), 900), "damaged|cut off"),
        (declare(WHOLE, 2**32 - 2), "too large"),
        (declare(WHOLE, 999), "damaged|cut off"),
        (zipped(("../a", b"")), "do not belong"),
        (zipped(("/etc/a", b"")), "do not belong"),
        (zipped(("C:a", b"")), "do not belong"),
        (zipped(("..", b"")), "do not belong"),
        (zipped(*[(str(n), b"") for n in range(65)]), "too many parts"),
        (zipped(("a", b"1"), compression=zipfile.ZIP_BZIP2), "unknown way"),
        (flag(WHOLE, 8, 1), "encrypted"),
        (flag(WHOLE, 10, 99), "unknown way|no archive"),
    ],
)
def test_archives_that_are_refused(content, words):
    with pytest.raises(ArchiveError, match=words):
        read_all(content)


def test_two_parts_of_one_name_are_refused():
    with pytest.warns(UserWarning, match="Duplicate"):
        content = zipped(("a", b"1"), ("a", b"2"))
    with pytest.raises(ArchiveError, match="two parts of one name"):
        read_all(content)


def test_a_list_of_a_million_parts_is_not_read():
    """Nor is one of which the file itself says that it is short."""
    entry = zipped(("a", b""))
    at, end = entry.rindex(b"PK\1\2"), entry.rindex(b"PK\5\6")
    listed = entry[:at] + entry[at:end] * 200_000
    size = 200_000 * (end - at)
    for count in (64, 0xFFFF):
        content = listed + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, size, at, 0)
        tracemalloc.start()
        with pytest.raises(ArchiveError, match="too many parts"):
            read_all(content)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(content)
        tracemalloc.stop()


def test_arrays_come_back():
    arrays = {
        "a": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        "f": np.asfortranarray(np.random.default_rng(0).normal(size=(3, 5))),
        "big": np.arange(3, dtype=">f4"),
        "one": np.array(7, np.uint8),
        "four axes": np.arange(16, dtype=np.int8).reshape(2, 2, 2, 2),
        "flags": np.array([True, False]),
    }
    back = read_arrays(npz(**arrays))
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert np.array_equal(back[name], array) and back[name].dtype.isnative and back[name].shape == array.shape
    assert list(read_arrays(npz(**arrays), "f", "none")) == ["f"]


@pytest.mark.parametrize(
    "content, words",
    [
        (npz(a=np.array([1, np.nan])), "not finite"),
        (npz(a=np.array([1, -np.inf], np.float16)), "not finite"),
        (npz(a=np.array(["x"])), "wrong type"),
        (npz(a=np.zeros(2, complex)), "wrong type"),
        (npz(a=np.zeros(2, [("x", "f4")])), "wrong type"),
        (npz(a=np.zeros((1,) * 5)), "wrong type or size"),
        (zipped(("a.npy", b"")), "damaged"),
        (zipped(("a.npy", npy("(2, 3)"))), "cut off"),
        (zipped(("a.npy", npy("(2,)", content=b"123"))), "cut off"),
        (zipped(("a.npy", npy("(1000000000, 1000000000)"))), "too large"),
        (zipped(("a.npy", npy("(-2, 3)", content=b"123456"))), "wrong type or size|damaged"),
        (zipped(("a.npy", npy("(2.5,)"))), "damaged"),
        (zipped(("a.npy", npy("(2,)", "'|O'"))), "wrong type"),
        (zipped(("a.npy", npy("(2,)", "'|V999999999'"))), "wrong type"),
        (zipped(("a.npy", npy("(" * 2000))), "damaged"),
        (zipped(("a.npy", npy("(2,)" + " " * 15000))), "damaged"),
    ],
)
def test_arrays_that_are_refused(content, words):
    with pytest.raises(ArchiveError, match=words):
        read_arrays(content, largest=1 << 20)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_checksum_of_an_array_is_compared(save):
    buffer = io.BytesIO()
    save(buffer, a=np.arange(5000))
    content = bytearray(buffer.getvalue())
    at = content.rindex(b"PK\1\2")
    content[at + 16] = content[14] = content[14] ^ 1
    with pytest.raises(ArchiveError, match=r"its part a\.npy is damaged"):
        read_arrays(bytes(content))


def test_a_bomb_of_an_array_is_not_unpacked():
    """Kilobytes that would be 64 MB."""
    size = 1 << 26
    header = npy(f"({size},)")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as part:
        part.write(header)
        for _ in range(size >> 24):
            part.write(bytes(1 << 24))
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="too large"):
        read_arrays(buffer.getvalue(), largest=1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def test_types_and_shapes_are_asked_for():
    arrays = {"a": np.zeros((2, 3), np.float32), "empty": np.zeros((0, 3), np.float32)}
    assert take(arrays, "a", "f8 f4", (None, 3)) is arrays["a"]
    for name, dtypes, shape in (
        ("b", "f4", (2, 3)),
        ("a", "f8", (2, 3)),
        ("a", "f4", (2, 4)),
        ("a", "f4", (2,)),
        ("empty", "f4", (None, 3)),
    ):
        with pytest.raises(ArchiveError):
            take(arrays, name, dtypes, shape)


@pytest.mark.parametrize(
    "matrix",
    [np.zeros((4, 4)), np.diag([1.0, 1, 1, 2]), np.diag([1e-3, 1, 1, 1]), np.diag([2e3, 1, 1, 1]),
     np.array([[1, 1, 0, 0], [0, 1e-3, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
     np.array([[1, 0, 0, 1e9], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])],
)  # fmt: skip
def test_matrices_that_are_refused(matrix):
    with pytest.raises(ArchiveError, match="no voxel-to-world matrix"):
        take_affine({"affine": matrix})


def test_oblique_and_mirrored_matrices_are_taken():
    for matrix in (np.diag([-2.0, 3, 4, 1]), np.array([[0, -2.0, 0, 5], [1.5, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])):
        assert take_affine({"affine": matrix}) is matrix


@pytest.mark.parametrize("edge, taken", [(0.0099, False), (0.0101, True), (999.9, True), (1000.1, False)])
def test_limits_of_voxel_sizes(edge, taken):
    for axis in range(3):
        matrix = np.eye(4)
        matrix[axis, axis] = edge
        if taken:
            assert take_affine({"model affine": matrix}, "model affine") is matrix
        else:
            with pytest.raises(ArchiveError, match="its model affine is no voxel-to-world matrix"):
                take_affine({"model affine": matrix}, "model affine")


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "NaN", '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e400}', '{"a": ' + "9" * 5000 + "}", "[" * 10**5,
     '{"a":' * 10**5, "{'a': 1}", '{"a": 1'],
)  # fmt: skip
def test_json_that_is_refused(text):
    with pytest.raises(ValueError):
        parse_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.dictionaries(st.text(), JSON))
def test_finite_json_comes_back_as_it_was(content):
    finite = make_finite(content)
    text = json.dumps(finite)
    assert parse_json(text) == finite and json.dumps(parse_json(text)) == text
