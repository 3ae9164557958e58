"""Processes and all that they started: found, held, ended. Imports nothing heavy, so that Slicer can use it."""

from __future__ import annotations

import contextlib
import os
import signal
import time

WINDOWS = os.name == "nt"
# seconds after which `end_tree` becomes harsher, and those after which it gives up
TERMINATE, KILL, GIVE_UP = 0.4, 1.2, 1.8


def end_tree(pid: int, at_once: bool = False, ended: bool = False) -> None:
    """End the process ``pid`` and everything that it started, in less than two seconds.

    First as Ctrl+C does, which lets the command remove its half-written files; then SIGTERM; then SIGKILL (``at_once``: only
    that). ended: the process itself is gone and its number may be another's; only what is left of its session is ended.
    """
    import psutil

    began, told, alive = time.monotonic(), {}, set() if ended else tree(pid)
    while time.monotonic() - began < GIVE_UP:
        alive = _grown(pid, alive)
        if not alive:
            return
        seconds = time.monotonic() - began
        wanted = "kill" if at_once or WINDOWS or seconds > KILL else "terminate" if seconds > TERMINATE else "interrupt"
        for one in alive:
            if told.get(one) != wanted or wanted == "kill":  # once each, also those that are born meanwhile
                with contextlib.suppress(psutil.Error):
                    one.send_signal(signal.SIGINT) if wanted == "interrupt" else getattr(one, wanted)()
                told[one] = wanted
        time.sleep(0.02)


def tree(pid: int) -> set:
    """The living `psutil.Process`es: ``pid``, the session that it leads, all descendants."""
    import psutil

    try:
        return _grown(pid, {psutil.Process(pid)})
    except psutil.Error:
        return _grown(pid, set())


def _grown(pid: int, known: set) -> set:
    """Those of ``known`` that live, the session of ``pid``, and all descendants of both."""
    import psutil

    found = set(known)
    if not WINDOWS:  # a child whose own parent has ended is no descendant any more, but still of the session
        found |= {one for one in psutil.process_iter() if _session(one.pid) == pid}
    for one in list(found):
        with contextlib.suppress(psutil.Error):
            found.update(one.children(recursive=True))
    return {one for one in found if _lives(one)}


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _lives(process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
