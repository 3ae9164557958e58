"""Which process works in a job's folder: never more than one."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UserError
from ..images.files import remove_partial_files, write_json
from ..images.json_reading import read_json
from .processes import end_tree, reap_started

OWNER = "owner.json"


@dataclass(frozen=True)
class Owner:
    """The process that works in a job folder."""

    pid: int
    created: float
    """Seconds since 1970: process numbers are used again."""
    host: str
    user: str
    started: str
    """Date and time as text."""

    def sentence(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}, since {self.started}"


UNKNOWN_OWNER = Owner(0, 0.0, "this computer", "an unknown user", "a moment ago")


def find_owner(folder: str | Path) -> Owner | None:
    """The process that works in the folder; None if there is none."""
    from filelock import FileLock, Timeout

    folder = Path(folder)
    reap_started()
    # Other readers hold the lock for a moment, too, and a new owner needs one to write owner.json.
    for _ in range(100):
        if not os.path.isfile(folder / ".lock"):
            return None
        try:
            with FileLock(folder / ".lock", timeout=0):
                return None
        except Timeout:
            pass
        except OSError:
            return None  # the folder is read-only
        if (owner := read_last_owner(folder)) and (owner.host != platform.node() or is_alive(owner)):
            return owner
        time.sleep(0.01)
    return UNKNOWN_OWNER


def read_last_owner(folder: Path) -> Owner | None:
    """The process that last worked in the folder, whether or not it still does."""
    try:
        owner = Owner(**read_json(folder / OWNER))
        texts = owner.host, owner.user, owner.started
        is_owner = isinstance(owner.pid, int) and 0 < owner.pid < 1 << 31 and isinstance(owner.created, (int, float))
        return owner if is_owner and all(isinstance(text, str) for text in texts) else None
    except (OSError, ValueError, TypeError):
        return None


def is_alive(owner: Owner) -> bool:
    """Whether the process itself, not another one with its number, runs on this computer."""
    import psutil

    try:
        return abs(psutil.Process(owner.pid).create_time() - owner.created) < 1
    except psutil.Error:
        return False


@contextlib.contextmanager
def claim_folder(folder: Path, work: str = "training") -> Iterator[None]:
    """Make this process the owner of the folder inside the block. Raises UserError if there is another one.

    work: what runs there, for the error.
    """
    import psutil
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0.2)  # readers hold it for a moment
    try:
        lock.acquire()
    except Timeout:
        raise make_conflict(folder, find_owner(folder), work) from None
    try:
        before = read_last_owner(folder)
        if (
            before
            and before.pid != os.getpid()
            and before.host == platform.node()
            and not psutil.pid_exists(before.pid)
        ):
            end_tree(before.pid, at_once=True, ended=True)  # children that a killed run left behind
        owner = Owner(
            os.getpid(),
            psutil.Process().create_time(),
            platform.node(),
            getpass.getuser(),
            time.strftime("%Y-%m-%d %H:%M:%S"),
        )
        write_json(folder / OWNER, asdict(owner))
        yield
    finally:
        lock.release()


def make_conflict(folder: Path, owner: Owner | None, work: str = "training") -> UserError:
    """The error for a second process."""
    who = owner.sentence() if owner else "another process"
    return UserError(f"A {work} is already running in {folder} ({who}); stop it first or choose another folder.")


def remove_partial_job_files(folder: Path) -> None:
    """Remove what a killed run was writing. Only for the folder's owner."""
    for part in (folder, folder / "study", folder / "study" / "scans"):
        remove_partial_files(part)
