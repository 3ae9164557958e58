"""A process `slicreg serve` as its parent sees it, and a registration in it. Needs no Qt."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .command import Command, Streams, parse_object, parse_step, start_process
from .command_process import STRAGGLERS, CommandProcess
from .failure import explain_failure
from .processes import end_tree
from .remaining_time import RemainingTime

ACCEPT_SECONDS = 15.0
"""A worker that is ready and has not accepted a request after this time never will."""
TRIES = 3
"""How often a registration goes to another worker because the one it was sent to had ended."""
_REAP_SECONDS = 1.0
_LAST_ERRORS = 60


class Worker:
    """A process that takes one request after the other. ``problem`` says why it could not be started."""

    def __init__(self, command: Sequence[str]):
        """command: the program and its arguments; `slicreg serve` or what speaks like it."""
        self.is_busy, self.is_ready, self.problem = False, False, ""
        self.is_outdated = False
        """Whether it should end after what it is doing."""
        self.errors: deque[str] = deque(maxlen=_LAST_ERRORS)
        """The last lines on stderr."""
        self._number = 0
        self._process: subprocess.Popen[str] | None = None
        try:
            self._process = start_process(command, subprocess.PIPE)
        except OSError as error:
            self.problem = f"{command[0]} cannot be started ({error.strerror or error})."
            return
        self._streams = Streams(self._process)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def code(self) -> int | None:
        """The exit code; None while the process runs."""
        return self._process.poll() if self._process else -1

    @property
    def has_more(self) -> bool:
        """Whether lines may still come."""
        return self._process is not None and self._streams.is_open

    def ask(self, command: str, arguments: Sequence[str] = (), folder: str | None = None) -> int:
        """Send a request; returns its number. Whether it arrived shows the process's answer or its end.

        folder: where relative paths among the arguments start; None: this process's working directory.
        """
        self._number += 1
        content = {"id": self._number, "command": command, "arguments": list(arguments)}
        line = json.dumps({**content, "folder": folder or find_folder()})
        if self._process and self._process.stdin:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
        return self._number

    def take(self) -> list[tuple[dict[str, Any] | None, str, str]]:
        """(JSON object or None, line, "stdout" or "stderr") of the lines since the last call."""
        lines = []
        for source, line in self._streams.take() if self._process else ():
            content = parse_object(line) if source == "stdout" else None
            if content and content.get("ready"):
                self.is_ready = True
                continue
            if source == "stderr":
                self.errors.append(line)
            lines.append((content, line, source))
        return lines

    def dismiss(self) -> None:
        """Let it end once it has nothing to do. Does not wait."""
        if self._process and self._process.stdin:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.close()

    def end(self, at_once: bool = False) -> None:
        """End it with all its children in less than two seconds, at once without its cleaning up."""
        if self._process and self._process.poll() is None:
            end_tree(self._process.pid, at_once)
            self._streams.join(0.05)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_REAP_SECONDS)  # otherwise it stays in the system's list
        self.dismiss()

    def wait(self, seconds: float) -> None:
        """Wait for its end after `dismiss`; then kill it. Needs no psutil."""
        if self._process:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def find_folder() -> str:
    """This process's working directory; "" where it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


class Pool(Protocol):
    """Where a `WorkerCommand` has its worker from, and what is known of the time that it will take."""

    is_deaf: bool
    """Whether requests do not reach the workers, as where a launcher does not pass its input on."""

    def take(self) -> Worker: ...
    def give_back(self, worker: Worker) -> None: ...
    def make_estimate(self, words: Sequence[str], is_warm: bool) -> RemainingTime: ...
    def learn(self, words: Sequence[str], is_warm: bool, seconds: Mapping[str, float]) -> None: ...


class WorkerCommand(Command):
    """``slicreg register ARGUMENTS`` in a worker. The end of the worker is the end of this registration only."""

    def __init__(self, arguments: Sequence[object], pool: Pool):
        """arguments: the words after the command's name. pool: has a worker that is idle."""
        self._words, self._pool = [str(word) for word in arguments], pool
        self._tries, self._folder = 0, find_folder()
        self._worker: Worker | None = None
        self._plain: CommandProcess | None = None  # where no request arrives at a worker
        super().__init__(["slicreg", "register", *self._words], RemainingTime({}))
        if pool.is_deaf:
            self._begin_plain()
        else:
            self._begin()

    def cancel(self) -> None:
        """End the worker in less than two seconds, and with it the registration. Nothing if it has ended already."""
        self._advance()
        if self.state != "running":
            return
        if self._plain:
            self._plain.cancel()
        if self._worker:
            self._worker.end()
        self._end("cancelled")
        self._take_lines()  # for the log: that it was interrupted

    def _begin(self) -> None:
        """Send the request to a worker that has nothing to do."""
        self._tries += 1
        self._worker = self._pool.take()
        self._worker.is_busy = True
        if self._worker.problem:
            self._end("failed", self._worker.problem)
            return
        for _, line, source in self._worker.take():  # of the time before
            self._log.append(f"{source}: {line}") if source == "stderr" else None
        self._accepted, self._stepped = False, False
        self._was_ready: float | None = None
        self._lost: float | None = None
        self._is_warm = self._worker.is_ready
        self._estimate = self._pool.make_estimate(self._words, self._is_warm)
        self._number = self._worker.ask("register", self._words, self._folder)

    def _begin_plain(self) -> None:
        self._plain = CommandProcess(["register", *self._words], folder=self._folder or None)

    def _advance(self) -> None:
        if self.state != "running":
            return
        if self._plain:
            self._follow_plain()
            return
        assert self._worker is not None
        self._take_lines()
        if self.state != "running":
            return
        if self._worker.code is not None:
            self._take_end(self._worker.code)
        elif self._is_ignored():
            self._worker.end(at_once=True)
            self._worker, self._pool.is_deaf = None, True
            self._begin_plain()
        else:
            self._tick()

    def _take_lines(self) -> None:
        for content, line, source in self._worker.take() if self._worker else ():
            if content and content.get("id", self._number) != self._number:
                continue  # about an earlier request, such as "load"
            if self.state != "running" or not content or "id" not in content:
                self._take_text(line, source)
            elif "exit_code" in content:
                self._take_answer(content)
            elif step := parse_step(content):
                self._stepped = True
                self._take_step(*step)
            else:
                self._accepted = True

    def _take_answer(self, content: dict[str, Any]) -> None:
        for line in str(content.get("text", "")).splitlines():
            self._take_text(line, "stdout")
        assert self._worker is not None
        code = content["exit_code"]
        if code == 0:
            self._end("finished")
            self._pool.learn(self._words, self._is_warm, self._estimate.measure(self.elapsed))
        else:
            self._end("failed", str(content.get("error", "")), f" (exit code {code})")
        if code in (0, 2):
            self._worker.is_busy = False
            self._pool.give_back(self._worker)
        else:
            self._worker.dismiss()  # after a defect nobody knows what state it is in

    def _take_end(self, code: int) -> None:
        """The worker has ended without an answer."""
        assert self._worker is not None
        self._lost = self._lost or time.monotonic()
        if self._worker.has_more and time.monotonic() - self._lost < STRAGGLERS:
            return
        self._take_lines()
        if self.state != "running":
            return
        self._worker.end()
        unknown = not self._stepped if code == 0 else self._is_warm and not self._accepted
        if unknown and self._tries < TRIES:  # it ended while it waited, just before the request came
            self._begin()
        else:
            self._end("failed", explain_failure(code, list(self._worker.errors)), f" (exit code {code})")

    def _is_ignored(self) -> bool:
        """Whether no request reaches the worker."""
        if self._accepted or not (self._worker and self._worker.is_ready):
            return False
        self._was_ready = self._was_ready or time.monotonic()
        return time.monotonic() - self._was_ready > ACCEPT_SECONDS

    def _follow_plain(self) -> None:
        assert self._plain is not None
        self._events += self._plain.poll()
        self.progress, self.output, self._log = self._plain.progress, self._plain.output, self._plain._log
        if self._plain.state != "running":
            self._end(self._plain.state, self._plain.error)
