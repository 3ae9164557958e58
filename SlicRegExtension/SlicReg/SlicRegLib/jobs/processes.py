"""Operating system processes: started in groups of their own, found with all descendants, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psutil import Process

WINDOWS = os.name == "nt"
TERMINATE, KILL, GIVE_UP = 0.4, 1.2, 1.8
"""Seconds after which `end_tree` sends SIGTERM, then SIGKILL, and after which it gives up."""
STARTED: list[subprocess.Popen[bytes]] = []
"""Detached processes that this one started, to be reaped when they have ended."""


def make_group_options(outlive_job: bool = False) -> dict[str, Any]:
    """Arguments of `subprocess.Popen` for a process group of its own, without a console window.

    outlive_job: on Windows, also leave the job object of this process, which may forbid it (PermissionError).
    """
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return {"creationflags": flags | (subprocess.CREATE_BREAKAWAY_FROM_JOB if outlive_job else 0)}
    return {"start_new_session": True}


def start_detached(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that does not end with this one. options: of `subprocess.Popen`."""
    try:
        process = subprocess.Popen(command, **make_group_options(outlive_job=True), **options)
    except PermissionError:
        if not WINDOWS:
            raise
        process = subprocess.Popen(command, **make_group_options(), **options)
    STARTED.append(process)
    return process


def reap_started() -> None:
    """Let the system forget those of `STARTED` that have ended."""
    for process in STARTED:
        process.poll()


def end_tree(pid: int, at_once: bool = False, ended: bool = False) -> None:
    """End the process ``pid`` and everything that it started, in less than two seconds.

    First with SIGINT, as Ctrl+C does, so that the command can remove unfinished files; then with SIGTERM and SIGKILL.
    at_once: only SIGKILL. ended: ``pid`` itself has ended, so that its number may belong to another process by now;
    only the rest of its session is ended.
    """
    import psutil

    began, alive = time.monotonic(), set() if ended else find_tree(pid)
    sent: dict[Process, str] = {}
    while time.monotonic() - began < GIVE_UP:
        alive = _update_tree(pid, alive)
        if not alive:
            return
        seconds = time.monotonic() - began
        name = "kill" if at_once or WINDOWS or seconds > KILL else "terminate" if seconds > TERMINATE else "interrupt"
        for process in alive:
            if sent.get(process) != name or name == "kill":  # once each, also to those born in the meantime
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGINT) if name == "interrupt" else getattr(process, name)()
                sent[process] = name
        time.sleep(0.02)


def find_tree(pid: int) -> set[Process]:
    """The living processes among ``pid``, its descendants, and the session that it leads."""
    import psutil

    try:
        return _update_tree(pid, {psutil.Process(pid)})
    except psutil.Error:
        return _update_tree(pid, set())


def _update_tree(pid: int, known: set[Process]) -> set[Process]:
    """The living processes among ``known``, the session of ``pid``, and the descendants of both."""
    import psutil

    found = set(known)
    if not WINDOWS:  # an orphan is no descendant any more, but it is still in the session
        found |= {process for process in psutil.process_iter() if _find_session(process.pid) == pid}
    for process in list(found):
        with contextlib.suppress(psutil.Error):
            found.update(process.children(recursive=True))
    return {process for process in found if is_process_alive(process)}


def _find_session(pid: int) -> int | None:
    try:
        return os.getsid(pid) if sys.platform != "win32" else None
    except OSError:
        return None


def is_process_alive(process: Process) -> bool:
    """Whether a process runs: it is no zombie, and no other one that was given its number."""
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
