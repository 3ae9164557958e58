"""The workers of this process: kept between registrations, one for each registration that runs at the same time."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..stages import OPTIONAL, STARTING
from .command_process import find_stages
from .python import find_python
from .remaining_time import RemainingTime
from .worker import Worker, WorkerCommand

FOLDER_PREFIX = "SlicRegSession-"
WARM_SECONDS = 0.5
"""Until the first report of a worker that has imported PyTorch."""


class WorkerPool:
    """A registration takes an idle worker, or starts another one. When it ends, one idle worker stays, others end.

    All methods are called from the same thread.
    """

    def __init__(self, make_command: Callable[[], list[str]] | None = None):
        """make_command: program and arguments of a worker; None: `slicreg serve` in `find_python`."""
        self._make_command = make_command or self._make_own_command
        self._workers: list[Worker] = []
        self._leaving: list[Worker] = []
        """Those that have been asked to end."""
        self.is_deaf = False
        """Whether requests do not reach the workers: then each registration has a process of its own."""
        self._folder: Path | None = None
        self._seconds: dict[tuple[str, ...], Mapping[str, float]] = {}
        """The last registration's seconds per stage, for each set of stages."""
        self._starting: dict[bool, float] = {True: WARM_SECONDS}
        """Seconds to the first report of a worker that is warm, and of one that is not."""
        atexit.register(self._end)

    def register(self, arguments: Sequence[object]) -> WorkerCommand:
        """Start ``slicreg register ARGUMENTS`` and return at once."""
        return WorkerCommand(arguments, self)

    def warm_up(self, model: str | Path = "") -> None:
        """Have an idle worker that has loaded PyTorch and this ``model``. Returns at once."""
        if self.is_deaf or any(worker.is_busy for worker in self._list()):
            return  # no use, or it will be idle soon
        worker = self.take()
        if model and not worker.problem:
            worker.ask("load", [str(model)])

    def free_memory(self) -> None:
        """Let idle workers give back what they keep."""
        for worker in self._list():
            if not worker.is_busy:
                worker.ask("free")

    def count_idle_memory(self) -> int:
        """Bytes that the idle worker, which the next registration will use, holds already."""
        import psutil

        pid = next((worker.pid for worker in self._list() if not worker.is_busy), None)
        try:
            return psutil.Process(pid).memory_info().rss if pid else 0
        except psutil.Error:
            return 0

    def close(self, seconds: float = 0.0) -> None:
        """End idle workers; those that work end after their registration. The next registration starts a new one.

        seconds: wait for the end of the idle ones, which are killed after so long; 0: do not wait.
        """
        for worker in list(self._list()):
            worker.is_outdated = True
            if not worker.is_busy:
                self._let_go(worker)
        self.is_deaf = False  # it is tried again
        if seconds:
            for worker in self._leaving:
                worker.wait(seconds)

    def pids(self) -> set[int]:
        """Numbers of the idle workers' processes."""
        return {worker.pid for worker in self._list() if worker.pid and not worker.is_busy}

    @property
    def folder(self) -> Path:
        """A folder for temporary files. It goes with this process, also when that is killed while a worker runs."""
        if self._folder is None or not self._folder.is_dir():
            self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        return self._folder

    def make_estimate(self, words: Sequence[str], is_warm: bool) -> RemainingTime:
        """For a registration with these words of the command line. is_warm: its worker has imported PyTorch."""
        typical = find_stages(["register", *words])
        measured = self._seconds.get(tuple(typical))
        stages = {**(measured or typical)}
        stages[STARTING] = self._starting.get(is_warm, typical[STARTING])
        return RemainingTime(stages, measured is not None)

    def learn(self, words: Sequence[str], is_warm: bool, seconds: Mapping[str, float]) -> None:
        """Expect of the next registration what this one took: ``seconds`` per stage."""
        names = tuple(find_stages(["register", *words]))
        if set(names) - OPTIONAL <= set(seconds):
            self._seconds[names] = {name: seconds.get(name, 0.0) for name in names}
            self._starting[is_warm] = seconds[STARTING]

    def _end(self) -> None:
        """When this process ends: end all workers, also those that work."""
        for worker in [*self._list(), *self._leaving]:
            worker.end()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def take(self) -> Worker:
        """An idle worker; a new one if there is none."""
        for worker in self._list():
            if not worker.is_busy:
                return worker
        worker = Worker(self._make_command())
        self._workers.append(worker)
        return worker

    def give_back(self, worker: Worker) -> None:
        """Keep a worker that has become idle, or let it end."""
        idle = [one for one in self._list() if not one.is_busy and one is not worker]
        if idle or worker.is_outdated:
            self._let_go(worker)

    def _let_go(self, worker: Worker) -> None:
        worker.dismiss()
        self._workers = [one for one in self._workers if one is not worker]
        self._leaving.append(worker)

    def _list(self) -> list[Worker]:
        """The workers that still run. Those that have ended are reaped by this look."""
        self._leaving = [worker for worker in self._leaving if worker.code is None]
        self._workers = [worker for worker in self._workers if worker.code is None]
        return self._workers

    def _make_own_command(self) -> list[str]:
        words = ["--parent", str(os.getpid()), "--temporary", str(self.folder)]
        return [find_python(), "-m", "SlicRegLib", "serve", *words]


POOL = WorkerPool()
"""That of this process: of all panels and logics of a Slicer session."""
