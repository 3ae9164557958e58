"""``slicreg``: parse, run, print; one sentence and exit code 2 for a user's mistake."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

from .. import __version__
from ..errors import UserError, is_out_of_memory, one_sentence, show_name
from ..progress import Bars, JsonLines, Quiet
from . import commands
from .parser import parse
from .streams import Guarded, check_words, prepare_streams, print_text, settle_streams

CLEAN_UP_SECONDS = 5.0
"""How long further signals are ignored after the first, so that they do not cut its clean-up short."""
ANEW, GO_ON = "repeat the command to begin anew", "repeat the command to continue"
_NEXT = {
    "train": "repeat the command with --resume to continue",
    **dict.fromkeys(("batch", "demo", "learn", "prepare", "recipe"), GO_ON),
}
"""What an interrupted command says, where it keeps what it has done."""


def run() -> NoReturn:
    """Run the command line and end the process. Taking down Python and PyTorch would add half a second to each
    registration, which has nothing left to save."""
    code = main()
    if sys.argv[1:2] == ["register"]:
        atexit._run_exitfuncs()
        os._exit(code)
    sys.exit(code)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 after a user's mistake, 130 after an interruption."""
    words = sys.argv[1:] if arguments is None else arguments
    _let_threads_sleep()
    # PyTorch reads it when it is imported: the CPU does what Apple's GPU lacks
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    prepare_streams()
    try:
        return _run(words)
    finally:
        settle_streams()


def _let_threads_sleep() -> None:
    """Threads of PyTorch that wait for each other soon give their core away. By default they turn in a loop, which on
    a busy computer keeps those that work from it: beside two other processes a registration took 15 to 20 s and not 12
    to 14."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "30000")


def _run(words: list[str]) -> int:
    if words == ["--version"]:
        print(f"slicreg {__version__}")
        return 0
    progress = Guarded(Quiet())
    try:
        check_words(words)
        command, request, output = parse(words)
        first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts: the others are silent
        if first and not getattr(request, "quiet", False):
            progress = Guarded(JsonLines() if output.json else Bars())
        with _interrupted_once():
            text = getattr(commands, command)(request, output, progress)
        progress.close()
        if first and text:
            print_text(text, sys.stderr if output.json and command not in ("info", "job") else sys.stdout)
    except BrokenPipeError:  # of a help page, for example
        return 0
    except KeyboardInterrupt:
        return _end(progress, f"interrupted; {_NEXT.get(words[0], ANEW)}.", 130)
    except Exception as error:
        if "--debug" in words or not (isinstance(error, (UserError, OSError)) or is_out_of_memory(error)):
            raise
        return _end(progress, one_sentence(error), 2)
    return 0


def _end(progress: Guarded, sentence: str, code: int) -> int:
    progress.close()
    shown = "\n".join(map(show_name, sentence.split("\n")))  # names in it may hold what a terminal would obey
    with contextlib.suppress(UserError):  # there is no place left to say it
        print_text(f"slicreg: {shown}", sys.stderr)
    return code


@contextlib.contextmanager
def _interrupted_once() -> Iterator[None]:
    """The first Ctrl+C or SIGTERM raises KeyboardInterrupt; those that follow soon are ignored."""
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    last = -float("inf")

    def interrupt(*_: object) -> None:
        nonlocal last
        if time.monotonic() - last >= CLEAN_UP_SECONDS:
            last = time.monotonic()
            raise KeyboardInterrupt

    before = {one: signal.signal(one, interrupt) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler or signal.SIG_DFL)  # None: it was not set from Python
