"""Reading of NPZ files that anybody may have made: only plain numbers, and none allocated before its size is known."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .archive import Archive, ArchiveError, open_archive

Arrays = dict[str, np.ndarray]
HEADER_BYTES = 16_384
MAX_BYTES = 1 << 29
"""Of one array."""


def read_arrays(source: Path | bytes, *names: str, largest: int = MAX_BYTES) -> Arrays:
    """The arrays ``names`` (default: all) that the file holds, with native byte order.

    Raises ArchiveError if one has more bytes than ``largest``, holds anything but finite numbers, or is damaged.
    OSError comes from the system only.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file, open_archive(file) as archive:
        found = [name.removesuffix(".npy") for name in archive.names]
        return {name: _read_array(archive, name, largest) for name in names or found if name in found}


def take(arrays: Arrays, name: str, dtypes: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """The array ``name``, if it has one of the ``dtypes`` ("f4 f8") and the ``shape``; None there means any length.

    Raises ArchiveError otherwise.
    """
    if name not in arrays:
        raise ArchiveError(f"it lacks {name}")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if array.dtype.str[1:] not in dtypes.split() or not fits or array.size == 0:
        raise ArchiveError(f"its {name} have a wrong type or size")
    return array


def take_affine(arrays: Arrays, name: str = "affine") -> np.ndarray:
    """A voxel-to-world matrix with voxels of 0.01 to 1000 mm. Raises ArchiveError if it is none."""
    matrix = take(arrays, name, "f8", (4, 4))
    edges = np.linalg.norm(matrix[:3, :3], axis=0)
    if (
        np.abs(matrix).max() > 1e7
        or not np.array_equal(matrix[3], [0, 0, 0, 1])
        or edges.min() < 0.01
        or edges.max() > 1000
        or abs(np.linalg.det(matrix[:3, :3] / edges)) < 0.01
    ):
        raise ArchiveError(f"its {name.replace('_', ' ')} is no voxel-to-world matrix")
    return matrix


def _read_array(archive: Archive, name: str, largest: int) -> np.ndarray:
    part = f"{name}.npy"
    with archive.open(part, largest + HEADER_BYTES) as file:
        shape, fortran, dtype, start = _read_header(file, name)
        bytes_ = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
        if bytes_ > largest:
            raise ArchiveError(f"its {name} are too large")
        if archive.size(part) != start + bytes_:
            raise ArchiveError(f"its {name} are cut off")
        content = file.read(bytes_)
        if len(content) != bytes_ or file.read(1):  # the second reading also checks the sum at the end
            raise ArchiveError(f"its {name} are cut off")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise ArchiveError(f"its {name} hold numbers that are not finite")
    return array.astype(dtype.newbyteorder("="))


def _read_header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, order, type and length of the header of an NPY file. Raises ArchiveError for other than plain numbers."""
    counted = _Counted(file)
    try:
        version = np.lib.format.read_magic(counted)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(counted)
    except Exception as error:  # of many kinds
        raise ArchiveError(f"its {name} are damaged") from error
    if dtype.kind not in "biuf" or dtype.shape or len(shape) > 4 or any(n < 0 for n in shape):
        raise ArchiveError(f"its {name} have a wrong type or size")
    return shape, fortran, dtype, counted.position


class _Counted:
    """A file of which at most a header can be read, with the number of bytes read so far."""

    def __init__(self, file: BinaryIO):
        self.file, self.position = file, 0

    def read(self, size: int = -1, /) -> bytes:
        if size < 0 or self.position + size > HEADER_BYTES:
            raise ArchiveError("a header is too long")
        content = self.file.read(size)
        self.position += len(content)
        return content
