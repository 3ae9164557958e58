"""Reading of zip files that anybody may have made: sizes are known to be allowed before anything is unpacked.

Nothing is ever written to disk under a name from the file. Imports nothing heavy: lists of models need no torch.
"""

from __future__ import annotations

import errno
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeGuard

MAX_PARTS = 64
MAX_DIRECTORY = 1 << 16
"""Bytes of the list of parts."""


class ArchiveError(ValueError):
    """Why a file cannot be trusted: half a sentence, such as "it is cut off"."""


class Archive:
    """An open zip file whose list of parts has been checked."""

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive
        self.names = tuple(info.filename for info in archive.infolist())

    def size(self, name: str) -> int:
        """The declared size of an unpacked part, which `read` and `open` never exceed."""
        if name not in self.names:
            raise ArchiveError(f"it lacks {name}")
        return self._archive.getinfo(name).file_size

    def read(self, name: str, largest: int) -> bytes:
        """A part's content. Raises ArchiveError if it is missing, has more bytes than ``largest`` or is damaged."""
        with self.open(name, largest) as part:
            content = part.read()
        if len(content) != self.size(name):
            raise ArchiveError(f"its part {name} is cut off")
        return content

    @contextmanager
    def open(self, name: str, largest: int) -> Iterator[BinaryIO]:
        """A part to be read piece by piece; raises as `read` does."""
        if self.size(name) > largest:
            raise ArchiveError(f"its part {name} is too large")
        try:
            with self._archive.open(name) as part:
                yield part  # type: ignore[misc]  # ZipExtFile is a BinaryIO but for its type
        except (ArchiveError, MemoryError):
            raise
        except Exception as error:  # zipfile and zlib fail in many ways
            if is_read_failure(error):
                raise
            raise ArchiveError(f"its part {name} is damaged") from error


@contextmanager
def open_archive(file: BinaryIO, is_allowed: Callable[[str], bool] = lambda name: True) -> Iterator[Archive]:
    """The parts of an open zip file. Raises ArchiveError if it is none, or no harmless one."""
    _check_end(file)
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # zipfile fails in many ways
        if is_read_failure(error):
            raise
        raise ArchiveError("it is no archive or is cut off") from error
    with archive:
        found = [info.filename for info in archive.infolist()]
        for info in archive.infolist():
            plain = info.filename and not any(sign in info.filename for sign in "/\\:\0") and ".." not in info.filename
            if not plain or not is_allowed(info.filename):
                raise ArchiveError("it contains files that do not belong to it")
            if found.count(info.filename) > 1:
                raise ArchiveError("it contains two parts of one name")
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ArchiveError("it is encrypted or compressed in an unknown way")
        yield Archive(archive)


def is_read_failure(error: Exception) -> TypeGuard[OSError]:
    """Whether the system could not read the file, which may be intact. A wrong position in it is the file's fault."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def _check_end(file: BinaryIO) -> None:
    """The last 22 bytes tell how many parts there are: checked before zipfile reads the list of them."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 42))
    end = file.read(42)
    if len(end) < 22 or end[-22:-18] != b"PK\5\6":
        raise ArchiveError("it is no archive or is cut off")
    parts, length = struct.unpack("<HI", end[-12:-6])
    if parts > MAX_PARTS or length > MAX_DIRECTORY or end[:4] == b"PK\6\7":
        raise ArchiveError("it contains too many parts")
    file.seek(0)
