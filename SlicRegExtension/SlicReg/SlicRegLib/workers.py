"""Work beside work: one function on many items in processes, where no failure stops the others; tasks in threads."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from typing import Any, NamedTuple, TypeVar

from joblib import cpu_count
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool, ShutdownExecutorError

from .errors import WriteError, one_sentence

Item = TypeVar("Item")
IDLE_SECONDS = 300
"""How long a process waits for more work before it ends."""
LOOK_SECONDS = 0.5
"""How often a process looks whether the one that started it is still there."""
DIED = (
    "The system ended the process that worked on it, most likely because memory ran out; close other programs or crop "
    "the scan."
)
"""Why an item failed whose process was killed or crashed."""
IN_THIS_PROCESS = False
"""Whether everything runs in this process: for debuggers, and for tests that replace functions."""


class Done(NamedTuple):
    """An item, what the function returned for it, and why it failed ("" if it did not)."""

    item: Any
    result: Any
    problem: str = ""


def run_each(
    function: Callable[[Item], Any],
    items: Iterable[Item],
    jobs: int = 1,
    isolate: bool = False,
    after_death: Callable[[], None] = lambda: None,
    on_start: Callable[[Item], None] = lambda item: None,
) -> Iterator[Done]:
    """Call ``function`` with each item in ``jobs`` processes; yields the outcomes as they come.

    An exception, of whatever kind, is the item's ``problem``; only `WriteError` is raised, since a full disk concerns
    all. If a process dies, the items that were being worked on are tried again, one at a time, so that only the one
    that is to blame fails. Where none is, there was too little memory for so many processes, and there will be fewer.

    isolate: with ``jobs`` = 1, use a process of its own instead of this one. It is started anew only when it dies.
    after_death: called when a process has died and the others, too, have ended. on_start: called with each item before
    it is given to a process, also again where it is tried again.
    """
    waiting = deque(items)
    if IN_THIS_PROCESS or (jobs == 1 and not isolate):
        for item in waiting:
            on_start(item)
            yield _attempt(function, item)
        return
    while waiting:
        suspects: list[Item] = []
        for done in _run_until_death(function, waiting, jobs, on_start):
            if done.problem == DIED:
                suspects.append(done.item)
            else:
                yield done
        if suspects:
            after_death()
        blamed = False  # whether one of them dies alone as well
        for item in suspects:
            for done in _run_until_death(function, deque([item]), 1, on_start):
                yield done
                if done.problem == DIED:
                    blamed = True
                    after_death()
        if suspects and not blamed:
            jobs = max(1, jobs // 2)


def run_together(tasks: Sequence[Callable[[], object]], done: Callable[[float], None], threads: int = 2) -> None:
    """Call ``tasks`` in threads of this process, in order. The first exception is raised, and what has not begun is
    left. done: called in this thread with the share of the tasks that have ended."""
    with ThreadPoolExecutor(threads) as pool:
        try:
            for number, task in enumerate(as_completed([pool.submit(task) for task in tasks]), 1):
                task.result()
                done(number / len(tasks))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _run_until_death(
    function: Callable[[Item], Any], waiting: deque[Item], jobs: int, on_start: Callable[[Item], None]
) -> Iterator[Done]:
    """Take items from ``waiting`` until it is empty or a process dies; the problem of those that it hit is `DIED`."""
    threads = str(max(1, (cpu_count() or 1) // jobs))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    limits = {name: os.environ.get(name, threads) for name in names}
    executor = get_reusable_executor(
        max_workers=jobs, timeout=IDLE_SECONDS, env=limits, initializer=_end_with, initargs=(os.getpid(),)
    )
    running: dict[Future[Done], Item] = {}
    dead = finished = False
    try:
        while running or (waiting and not dead):
            while waiting and not dead and len(running) < jobs:  # no more: those that wait cannot be hit
                on_start(waiting[0])
                try:
                    running[executor.submit(_attempt, function, waiting[0])] = waiting[0]
                    waiting.popleft()
                except (BrokenProcessPool, ShutdownExecutorError):
                    dead = True
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    dead = True
                    yield Done(item, None, DIED)
        finished = True
    finally:
        if not finished or dead:
            executor.shutdown(wait=True, kill_workers=True)


def _attempt(function: Callable[[Item], Any], item: Item) -> Done:
    try:
        return Done(item, function(item))
    except WriteError:
        raise
    except Exception as error:
        return Done(item, None, one_sentence(error))


def _end_with(parent: int) -> None:
    """In a new process: let it end once the process ``parent``, which started it, has been killed."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    if os.name == "nt":  # where the number of a parent stays when it has ended
        import psutil

        with contextlib.suppress(psutil.Error):
            process = psutil.Process(parent)
            while process.is_running():
                time.sleep(LOOK_SECONDS)
    else:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
    os._exit(1)
