"""What a user can cause: one kind of error, a sentence with cause and cure."""

from __future__ import annotations

import errno
import re


class UserError(Exception):
    """Something that the user gave is wrong. The text is one sentence, shown as it is, without a traceback."""


class WriteError(UserError, OSError):
    """A file or folder cannot be written. An `OSError` as well, so that whoever handles those handles it, too."""


CURES = {
    errno.ENOSPC: "the disk is full{}; free some space or choose another folder",
    errno.EDQUOT: "your share of the disk is used up{}; free some space or choose another folder",
    errno.EFBIG: "it would be larger than the system allows{}; raise the limit or choose another disk",
    errno.EROFS: "the disk is read-only{}; choose another folder",
    errno.EACCES: "you have no permission{}; change it or choose another folder",
    errno.EPERM: "you have no permission{}; change it or choose another folder",
    errno.ENAMETOOLONG: "the name is too long{}; choose a shorter one",
    errno.ENOTDIR: "a part of its path is a file{}; correct the path",
    errno.EISDIR: "it is a folder{}; give the name of a file",
    errno.ENOENT: "its folder does not exist{}; correct the path",
    errno.ELOOP: "its symbolic links lead in a circle{}; correct the path",
    errno.EIO: "the disk reports an error{}; check the disk",
    errno.EMFILE: "this process has too many open files{}; raise the limit",
}
"""Error number -> cause and cure; {} is for the system's own words."""
OUT_OF_MEMORY = "The computer ran out of memory; close other programs or crop the scans."
GPU_OUT_OF_MEMORY = "The GPU ran out of memory; close other programs that use it, or choose the CPU as device."
_MEMORY = re.compile(
    r"DefaultCPUAllocator|bad_alloc|out of memory|([Cc]annot|can't|Unable to) allocate|CUBLAS_STATUS_ALLOC_FAILED"
)


def refuse(what: str, problems: list[tuple[bool, str]]) -> None:
    """Raise UserError "WHAT cannot start: ..." with the texts of all (condition, text) whose condition holds."""
    texts = [text for holds, text in problems if holds]
    if texts:
        raise UserError(f"{what} cannot start: {'; '.join(texts)}.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy, PyTorch or SimpleITK means that memory ran out."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_MEMORY.search(str(error))))


def one_sentence(error: BaseException) -> str:
    """A `UserError`'s own text; for an `OSError` which file, why and the cure; for any other error that it is one."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        return f"{show_name(error.filename or 'A file')} cannot be read or written: {explain_os_error(error)}."
    if is_out_of_memory(error):
        return GPU_OUT_OF_MEMORY if re.search("CUDA|CUBLAS", str(error)) else OUT_OF_MEMORY
    reason = " ".join(str(error).split()) or "no message"
    return f"An unexpected {type(error).__name__}: {reason[:300]}; please report it."


def write_error(path: object, error: OSError) -> WriteError:
    """The error to raise where ``path`` cannot be written because of ``error``."""
    if isinstance(error, WriteError):
        return error
    found = WriteError(f"{show_name(path)} cannot be written: {explain_os_error(error)}.")
    found.errno = error.errno
    return found


def explain_os_error(error: OSError) -> str:
    """Cause and cure without a full stop, such as "the disk is full (No space left on device); free some space ..."."""
    words = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return CURES[error.errno].format(f" ({words})") if error.errno in CURES else words


def show_name(path: object) -> str:
    """A path as printable text of one line: what is no UTF-8 and control characters are shown as escapes."""
    text = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
