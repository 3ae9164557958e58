"""Which process works in a job's folder: one at a time."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UserError
from ..images.files import remove_partial_files, write_json
from .processes import end_tree


@dataclass(frozen=True)
class Owner:
    """The process that works in a job folder."""

    pid: int
    created: float  # seconds since 1970 by the system's clock: numbers of processes are used again
    host: str
    user: str
    started: str

    def sentence(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}, since {self.started}"


def find_owner(folder: str | Path) -> Owner | None:
    """Who works in the folder; None if nobody does."""
    from filelock import FileLock, Timeout

    folder = Path(folder)
    for child in children:
        child.poll()  # so that the system can forget those that ended
    for _ in range(
        100
    ):  # others who look hold the lock for a moment too, and who has just taken it has not yet said who it is
        if not os.path.isfile(folder / ".lock"):
            return None
        try:
            with FileLock(folder / ".lock", timeout=0):
                return None
        except Timeout:
            pass
        except OSError:
            return None  # a folder that cannot be written to
        if (owner := last_owner(folder)) and (owner.host != platform.node() or is_alive(owner)):
            return owner
        time.sleep(0.01)
    return Owner(0, 0.0, "this computer", "somebody", "a moment ago")


def last_owner(folder: Path) -> Owner | None:
    try:
        return Owner(**json.loads((folder / "owner.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def is_alive(owner: Owner) -> bool:
    """Whether the process itself lives, on this computer, and not another with its number."""
    import psutil

    try:
        return abs(psutil.Process(owner.pid).create_time() - owner.created) < 1
    except psutil.Error:
        return False


children: list[subprocess.Popen] = []


@contextlib.contextmanager
def claim_folder(folder: Path):
    """Within it this process, and no other, works in the folder. Raises UserError that names the owner if there is one."""
    import psutil
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0.2)  # those who only look hold it for a moment
    try:
        lock.acquire()
    except Timeout:
        raise UserError(taken_sentence(folder, find_owner(folder))) from None
    try:
        before = last_owner(folder)
        if (
            before
            and before.pid != os.getpid()
            and before.host == platform.node()
            and not psutil.pid_exists(before.pid)
        ):
            end_tree(before.pid, at_once=True, ended=True)  # what a killed run left behind
        owner = Owner(
            os.getpid(),
            psutil.Process().create_time(),
            platform.node(),
            getpass.getuser(),
            time.strftime("%Y-%m-%d %H:%M:%S"),
        )
        write_json(folder / "owner.json", asdict(owner))
        yield
    finally:
        lock.release()


def taken_sentence(folder: Path, owner: Owner | None) -> str:
    who = owner.sentence() if owner else "another process"
    return f"A training runs in {folder} already ({who}); stop it first or choose another folder."


def remove_partial_job_files(folder: Path) -> None:
    """Only for the folder's owner."""
    for part in (folder, folder / "study", folder / "study" / "scans"):
        remove_partial_files(part)
