"""The command line in a process of its own: started, watched, and ended with all its children. Needs no Qt."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ..registration.model_header import AUTO
from ..stages import CHOICE, CHOICE_SECONDS, FILM, REFINEMENT, REGISTER, STARTING
from .command import Command, Streams, parse_object, parse_step, start_process
from .failure import explain_failure
from .processes import end_tree
from .python import find_python
from .remaining_time import RemainingTime

STRAGGLERS = 1.0
"""Seconds that children may outlive the command."""


class CommandProcess(Command):
    """``slicreg ARGUMENTS`` in a process group of its own; the constructor starts it."""

    def __init__(
        self,
        arguments: Sequence[object] = (),
        *,
        python: str | None = None,
        command: Sequence[object] | None = None,
        folder: str | Path | None = None,
    ):
        """python: the interpreter; None: `find_python`. command: run this instead (for tests). folder: the working
        directory, where relative paths among the arguments start."""
        words = [str(word) for word in arguments]
        python = str(python or find_python())
        self.command = [str(word) for word in command or (python, "-m", "SlicRegLib", *words, "--json")]
        super().__init__(self.command, RemainingTime(find_stages(words)))
        self.returncode: int | None = None
        self._process: subprocess.Popen[str] | None = None
        try:
            self._process = start_process(self.command, subprocess.DEVNULL, python, folder)
        except OSError as error:
            self._end("failed", f"{self.command[0]} cannot be started ({error.strerror or error}).")
            return
        self._streams = Streams(self._process)

    def cancel(self) -> None:
        """End the command and all its children in less than two seconds. Does nothing if it has ended already."""
        self._advance()
        if self.state != "running" or self._process is None:
            return
        end_tree(self._process.pid)
        self._streams.join(0.05)
        self._take_lines()
        self._end("cancelled")

    def _advance(self) -> None:
        if self.state != "running" or self._process is None:
            return
        self._take_lines()
        code = self._process.poll()
        if code is None:
            self._tick()
            return
        if self._ended is None:
            self._ended = time.monotonic()
        if self._streams.is_open:
            if time.monotonic() - self._ended < STRAGGLERS:
                return  # the last lines may not have been read yet
            end_tree(self._process.pid, at_once=True, ended=True)  # a child holds the pipes open
            self._streams.join(0.2)
        self._take_lines()
        if code == 0:
            self._end("finished")
        else:
            self._end("failed", explain_failure(code, self._errors))

    def _end(self, state: str, error: str = "", code: str = "") -> None:
        if self._process is not None and self.returncode is None:
            self.returncode = self._process.poll()
        super()._end(state, error, f" (exit code {self.returncode})" if self.returncode else "")

    def _take_lines(self) -> None:
        for source, line in self._streams.take():
            step = parse_step(parse_object(line)) if source == "stdout" else None
            if step:
                self._take_step(*step)
            else:
                self._take_text(line, source)


def find_stages(arguments: Sequence[str]) -> dict[str, float]:
    """Stages and typical seconds of a command; empty where they are unknown."""
    if arguments[:1] == ["film"]:
        return dict(FILM)
    stages = dict(REGISTER) if arguments[:1] == ["register"] else {}
    if "--no-refine" in arguments:
        stages.pop(REFINEMENT, None)
    if stages and _has_a_choice(arguments):
        stages = {STARTING: stages.pop(STARTING), CHOICE: CHOICE_SECONDS, **stages}
    return stages


def _has_a_choice(arguments: Sequence[str]) -> bool:
    """Whether the model is to be chosen: it is not named."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    return "--model" not in words or words[words.index("--model") + 1 :][:1] == [str(AUTO)]
