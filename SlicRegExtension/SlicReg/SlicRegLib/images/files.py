"""Names, limits and safe writing of files. Imports nothing heavy: Slicer uses it before packages are installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import UserError, show_name, write_error
from .dicom_tags import holds_dicom, is_dicom

NIFTI = (".nii", ".nii.gz")
IMAGE_SUFFIXES = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd")
MODEL_SUFFIX = ".slicreg"
MODEL_VERSION = 3
"""Format of the model files that are written, and the newest that can be read."""
MIN_SLICES = 8
"""Fewest voxels of a scan along an axis."""
MAX_SHEAR = 1e-3
"""Largest |cosine| between two axes of a scan."""
_ASKING = threading.Lock()
_PART = ".slicreg-part-"  # in the names of files that are being written


def split_series(path: str | Path) -> tuple[Path, str]:
    """A DICOM folder and its series from ``folder#3``, with a number or UID; any other path, and "" for the series."""
    path = Path(path)
    folder, _, series = str(path).rpartition("#")
    if folder and re.fullmatch(r"[0-9.]+", series) and Path(folder).is_dir() and not path.exists():
        return Path(folder), series
    return path, ""


def stem(path: str | Path) -> str:
    """The name of a scan: ``pt_1.nii.gz`` -> ``pt_1``; that of its folder for a DICOM file."""
    path, _ = split_series(path)
    name = path.name
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.absolute().parent.name if is_dicom(path) else name


def number_of(name: str) -> int | None:
    """ "img0038" -> 38; None for a name without a number at its end."""
    found = re.search(r"(\d+)$", name)
    return int(found[1]) if found else None


def list_images(folder: str | Path) -> list[Path]:
    """The scans of a folder, sorted by name: image files, and sub-folders that hold DICOM; hidden ones left out.

    A folder of DICOM files is one scan. Raises UserError if there are none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        problem = "is no folder" if folder.exists() else "does not exist"
        raise UserError(f"The folder {folder} {problem}; give a folder that holds the scans.")
    entries = [p for p in folder.iterdir() if not p.name.startswith(".")]
    found = [p for p in entries if p.name.lower().endswith(IMAGE_SUFFIXES)]
    found += [p for p in entries if p not in found and p.is_dir() and holds_dicom(p)]
    if holds_dicom(folder, deep=False):
        if found:
            raise UserError(
                f"The folder {folder} holds DICOM files beside other scans; put each series into a folder of its own."
            )
        return [folder]
    if not found:
        raise UserError(
            f"The folder {folder} holds no scan; expected folders of DICOM files, or files ending in "
            f"{', '.join(IMAGE_SUFFIXES)}."
        )
    return sorted(found)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that replaces it if the block succeeds.

    The content reaches the disk first: after a power failure the old or the new file is there, never a part of one. A
    symbolic link stays, and the file that it leads to is replaced. Raises WriteError where the file cannot be written.
    """
    check_path(path)
    name = ""
    try:
        target = _resolve_file(path)
        handle, name = tempfile.mkstemp(suffix=_find_suffix(target), prefix=_prefix(target), dir=target.parent)
        os.close(handle)
        yield Path(name)
        os.chmod(name, 0o666 & ~_umask())
        _flush(name)
        _replace(name, target)
        if os.name != "nt":
            _flush(target.parent)  # the name too
    except OSError as error:
        if name and error.filename not in (None, name, *_parts_of(path)):
            raise  # about another file, which the block read
        raise write_error(path, error) from error
    finally:
        if name:
            with suppress(OSError):
                Path(name).unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write ``content``; atomic."""
    with atomic(path) as part:
        part.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON; atomic."""
    write_bytes(path, json.dumps(content, indent=1).encode())


def check_path(path: str | Path) -> None:
    """Raise UserError for a name that not every reader and writer takes: at some, SimpleITK ends the process."""
    text = os.fspath(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"The name {show_name(text)} is not valid UTF-8; rename the file or folder.") from None
    if any(c < " " or c == "\x7f" for c in text):
        raise UserError(f"The name {show_name(text)} contains a control character; rename the file or folder.")


def is_valid_name(name: str) -> bool:
    """Whether `check_path` takes it."""
    try:
        check_path(name)
    except UserError:
        return False
    return True


def check_output(
    path: str | Path,
    folder: bool = False,
    *,
    names: Iterable[str] = (),
    inputs: Iterable[str | Path | None] = (),
    make_parents: bool = True,
) -> None:
    """Raise UserError unless ``path``, a file or a folder, can be written. Leaves nothing: called before any work.

    A temporary file is really made there, since permissions alone do not tell it. names: paths inside the folder that
    will be written. inputs: files that must not be overwritten, as no DICOM file is. make_parents: whether the parent
    may be missing.
    """
    check_path(path)
    target, made = Path(path), []
    files = [target / name for name in names] if folder else [target]
    given = {_identify(file) for one in inputs if one for file in (one, *_list_data(one))}
    try:
        if folder and os.path.lexists(target) and not target.is_dir():
            raise UserError(f"{path} is a file; give a folder.")
        place = target if folder else _resolve_file(target).parent
        if not (make_parents or place.is_dir()):
            raise UserError(f"The folder of {path} does not exist; create it first.")
        made = make_folder(place)
        for file in files:
            check_path(file)
            with suppress(FileNotFoundError, NotADirectoryError):
                os.lstat(file)  # too long a name is an error
                if _identify(file) in given or is_dicom(file):
                    raise UserError(f"{file} is one of the inputs and would be overwritten; choose another --out.")
        handle, probe = tempfile.mkstemp(prefix=f".{_PART[1:]}", dir=place)
        try:
            os.write(handle, bytes(4096))
        finally:
            os.close(handle)
            os.unlink(probe)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        remove_folders(made)


def check_space(path: str | Path, needed: int) -> None:
    """Raise UserError if the disk of ``path`` clearly has too little space. needed: bytes, at least."""
    place = Path(os.path.realpath(path))
    while not place.is_dir() and place != place.parent:
        place = place.parent
    with suppress(OSError):  # some network disks do not tell
        disk = shutil.disk_usage(place)
        if disk.total and disk.free < needed:
            raise UserError(
                f"The disk of {path} has {disk.free / 1e6:.1f} MB left, and at least {needed / 1e6:.1f} MB are needed; "
                "free some space or choose another folder."
            )


def make_folder(path: str | Path) -> list[Path]:
    """Make a folder with its parents; returns those that were made, the innermost first. Raises WriteError."""
    check_path(path)
    made: list[Path] = []
    folder = Path(path)
    missing = [one for one in (folder, *folder.parents) if not os.path.lexists(one)]
    try:
        for one in reversed(missing):
            with suppress(FileExistsError):  # another process was faster
                one.mkdir()
                made.insert(0, one)
        folder.mkdir(exist_ok=True)  # an error where it is a file, or a link that leads nowhere
    except OSError as error:
        remove_folders(made)
        raise write_error(path, error) from error
    return made


def remove_folders(folders: Iterable[Path]) -> None:
    """Remove those folders that are empty, the innermost first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Makes a folder with its parents. If the block fails, those that were made and are empty are removed."""
    made = make_folder(path)
    try:
        yield Path(path)
    except BaseException:
        remove_folders(made)
        raise


def remove_partial_files(folder: Path) -> None:
    """Remove the unfinished files that a killed process left in a folder, not those in its subfolders.

    No other process may be writing there.
    """
    for path in folder.glob(f".*{_PART}*"):
        path.unlink(missing_ok=True)


def _resolve_file(path: str | Path) -> Path:
    """Where a file is written that is called ``path``. Raises UserError for a folder, a device or a pipe."""
    target = Path(os.path.realpath(path))
    with suppress(FileNotFoundError):  # every other error, such as too long a name, is one
        target.lstat()
        if target.is_dir():
            raise UserError(f"{path} is a folder; give the name of a file.")
        if not target.is_file():
            raise UserError(f"{path} is a device or a pipe, which would be replaced; give the name of a file.")
    return target


def _find_suffix(path: Path) -> str:
    suffixes = (*IMAGE_SUFFIXES, MODEL_SUFFIX, ".h5")
    return next((s for s in suffixes if path.name.lower().endswith(s)), path.suffix[:16])


def _prefix(path: Path) -> str:
    """Of a temporary name, which must not be too long where the name itself is not."""
    return f".{stem(path).encode()[:32].decode(errors='ignore')}{_PART}"


def _parts_of(path: str | Path) -> set[str]:
    target = os.path.realpath(path)
    return {str(path), target, os.path.dirname(target)}


def _identify(path: str | Path) -> object:
    """The same for all names of a file."""
    with suppress(OSError):
        status = os.stat(path)
        return status.st_dev, status.st_ino
    return os.path.realpath(path)


def _list_data(path: str | Path) -> list[Path]:
    """Where the voxels may be of which this file is only the header."""
    is_header = Path(path).suffix.lower() in (".mhd", ".nhdr", ".hdr", ".img")
    return [Path(path).with_suffix(suffix) for suffix in (".raw", ".zraw", ".hdr", ".img") if is_header]


def _replace(name: str, path: Path) -> None:
    for _ in range(100 if os.name == "nt" else 0):  # Windows replaces no file that is open
        try:
            os.replace(name, path)
            return
        except PermissionError:
            time.sleep(0.02)
    os.replace(name, path)


def _flush(path: str | Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDWR if os.path.isfile(path) else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    with _ASKING:  # two threads would take each other's 0 for the mask
        value = os.umask(0)
        os.umask(value)
    return value
