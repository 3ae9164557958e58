"""Start, pause, resume and stop a job."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..errors import UserError
from .ownership import Owner, children, is_alive, find_owner, taken_sentence
from .processes import WINDOWS, end_tree, tree
from .status import read_last_state, read_state, write_state

START_SECONDS = 60.0  # a job that does not work in its folder after that long did not start


def start(
    folder: str | Path, arguments=(), python: str | None = None, environment: dict[str, str] | None = None
) -> int:
    """Start ``slicreg learn --out FOLDER ARGUMENTS`` in a process group of its own that outlives this process; its number.

    Returns when it works in the folder. Raises UserError with its own sentence where it refuses: wrong arguments, or another
    process works there.
    """
    folder = Path(folder).absolute()
    if owner := find_owner(folder):
        raise UserError(taken_sentence(folder, owner))
    made, began = not folder.exists(), round(time.time(), 1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = open(folder / "job.log", "ab")
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be written ({error.strerror}).") from error
    with log:
        begins = log.tell()
        command = [
            python or sys.executable,
            "-m",
            "SlicRegLib",
            "learn",
            "--out",
            str(folder),
            "--quiet",
            *map(str, arguments),
        ]
        process = _detached(command, folder, environment, log)
    children.append(process)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        code = process.poll()
        if code == 0:
            return process.pid  # it was finished before
        if code is not None:
            said = (folder / "job.log").read_bytes()[begins:].decode(errors="replace").strip().splitlines()
            if made:
                with contextlib.suppress(OSError):
                    (folder / "job.log").unlink()
                    folder.rmdir()  # only if nothing else came to stand there
            raise UserError(
                said[-1].removeprefix("slicreg: ") if said else f"The training ended at once with code {code}."
            )
        # Slicer's Python is a launcher: what works in the folder may be its child
        if (
            read_last_state(folder).updated >= began
            and (owner := find_owner(folder))
            and owner.pid in {one.pid for one in tree(process.pid)}
        ):
            return owner.pid
        time.sleep(0.05)
    end_tree(process.pid)
    raise UserError(f"The training did not start within {START_SECONDS:.0f} seconds; {folder / 'job.log'} may say why.")


def _detached(command: list[str], folder: Path, environment: dict[str, str] | None, log) -> subprocess.Popen:
    """A process that does not end with this one."""
    start = partial(
        subprocess.Popen, command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    if not WINDOWS:
        return start(start_new_session=True)
    flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    try:
        return start(creationflags=flags | subprocess.CREATE_BREAKAWAY_FROM_JOB)
    except PermissionError:  # where what Slicer was started by forbids it
        return start(creationflags=flags)


def stop(folder: str | Path) -> None:
    """End the job with all its processes within two seconds; starting it again goes on. Raises UserError where none runs."""
    owner = _owner_here(folder)
    _signal(owner, "resume")  # who is held does not hear
    end_tree(owner.pid)
    if (state := read_state(folder)).state in ("interrupted", "running"):  # it was killed before it could say so
        write_state(folder, replace(state, state="stopped", remaining=None))


def pause(folder: str | Path) -> None:
    """Hold all processes of the job where they are; they keep their memory. Raises UserError where none runs."""
    import psutil

    owner = _owner_here(folder)
    for _ in range(50):  # the system takes a moment, and a child may just have been born
        _signal(owner, "suspend")
        with contextlib.suppress(psutil.Error):
            if all(process.status() == psutil.STATUS_STOPPED for process in tree(owner.pid)):
                break
        time.sleep(0.02)


def resume(folder: str | Path) -> None:
    """Let a paused job go on. Raises UserError where none runs."""
    _signal(_owner_here(folder), "resume")


def _owner_here(folder: str | Path) -> Owner:
    owner = find_owner(folder)
    if owner is None:
        raise UserError(f"No training runs in {folder}; start it first.")
    if owner.host == platform.node() and is_alive(owner):
        return owner
    raise UserError(f"The training in {folder} runs elsewhere ({owner.sentence()}); stop it there.")


def _signal(owner: Owner, what: str) -> None:
    import psutil

    for process in sorted(tree(owner.pid), key=lambda one: one.pid != owner.pid):  # its leader first: it starts no more
        with contextlib.suppress(psutil.Error):
            getattr(process, what)()
