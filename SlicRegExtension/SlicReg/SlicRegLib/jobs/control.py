"""Start, pause, resume and stop a job from another process."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from .lock import Owner, find_owner, is_alive, make_conflict
from .processes import end_tree, find_tree, start_detached
from .status import read_last_state, read_state, write_state

LEARN = ("-m", "SlicRegLib", "learn")
"""What Python runs for a training."""
START_SECONDS = 60.0
"""A job that does not own its folder after this time has failed to start."""


def start(
    folder: str | Path,
    arguments: Sequence[object] = (),
    python: str | None = None,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = LEARN,
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """Start ``slicreg learn --out FOLDER ARGUMENTS`` as a process that outlives this one; returns its number.

    Returns when the process owns the folder. Raises UserError if another process works there, and the job's own error
    if it refuses to start. command: what Python runs instead of `LEARN`; it must claim the folder and write its state.
    wait: called with seconds, again and again, while the process starts; a window can handle its events in it.
    """
    folder = Path(folder).absolute()
    if owner := find_owner(folder):
        raise make_conflict(folder, owner)
    new, began = not folder.exists(), round(time.time(), 1)
    words = [python or sys.executable, *command, "--out", str(folder), "--quiet", *map(str, arguments)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = open(folder / "job.log", "ab")  # noqa: SIM115  closed below
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be written ({error.strerror}); choose another one.") from error
    with log:
        position = log.tell()
        process = start_detached(words, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        code = process.poll()
        if code == 0:
            return process.pid  # the training was finished before
        if code is not None:
            lines = (folder / "job.log").read_bytes()[position:].decode(errors="replace").strip().splitlines()
            if new:
                with contextlib.suppress(OSError):
                    (folder / "job.log").unlink()
                    folder.rmdir()  # unless something else is in it
            raise UserError(
                lines[-1].removeprefix("slicreg: ") if lines else f"The training ended at once with exit code {code}."
            )
        # Slicer's Python is a launcher: the owner may be its child.
        if (
            read_last_state(folder).updated >= began
            and (owner := find_owner(folder))
            and owner.pid in {one.pid for one in find_tree(process.pid)}
        ):
            return owner.pid
        wait(0.05)
    end_tree(process.pid)
    raise UserError(f"The training did not start within {START_SECONDS:.0f} seconds; see {folder / 'job.log'}.")


def stop(folder: str | Path) -> None:
    """End the job and all its processes within two seconds; it can be started again. Raises UserError if none runs."""
    owner = _find_owner_here(folder)
    _send(owner, "resume")  # a suspended process does not react to signals
    end_tree(owner.pid)
    state = read_state(folder)
    if state.state in ("interrupted", "running"):  # it was killed before it could write its last state
        write_state(folder, replace(state, state="stopped", remaining=None))


def pause(folder: str | Path) -> None:
    """Suspend all processes of the job; they keep their memory. Raises UserError if none runs."""
    import psutil

    owner = _find_owner_here(folder)
    for _ in range(50):  # the system needs a moment, and a process may just have been born
        _send(owner, "suspend")
        with contextlib.suppress(psutil.Error):
            if all(process.status() == psutil.STATUS_STOPPED for process in find_tree(owner.pid)):
                break
        time.sleep(0.02)


def resume(folder: str | Path) -> None:
    """Continue a paused job. Raises UserError if none runs."""
    _send(_find_owner_here(folder), "resume")


def _find_owner_here(folder: str | Path) -> Owner:
    owner = find_owner(folder)
    if owner is None:
        raise UserError(f"No training runs in {folder}; start it first.")
    if owner.host == platform.node() and is_alive(owner):
        return owner
    raise UserError(
        f"The training in {folder} cannot be controlled from here ({owner.sentence()}); do it where it runs."
    )


def _send(owner: Owner, action: str) -> None:
    """Suspend or resume all processes of the owner, itself first, so that it starts no others in the meantime."""
    import psutil

    for process in sorted(find_tree(owner.pid), key=lambda one: one.pid != owner.pid):
        with contextlib.suppress(psutil.Error):
            getattr(process, action)()
