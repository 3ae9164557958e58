"""`slicreg serve`: a process that stays and registers on request, so that PyTorch, model and template are loaded once.

The lines that it reads and writes are described in docs/reliability.md.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from ..errors import UserError, is_out_of_memory, one_sentence
from ..jobs.memory import LOW_MEMORY, available_memory
from ..jobs.processes import WINDOWS, is_process_alive
from ..progress import JsonLines
from ..results.options import RegisterRequest
from ..results.result_folder import remove_unfinished_results
from .channel import Channel, make_id
from .parser import make_request
from .registration_text import describe_registration, make_verdict_step
from .requests import ServeRequest
from .streams import check_words, tolerate_closed_streams

LOOK_SECONDS = 0.2
"""How often the process looks for the end of its input and of its parent."""
MEMORY_SECONDS = 5.0
"""How often an idle process looks at the computer's free memory."""
CLEAN_UP_SECONDS = 1.0
"""How long a registration may take to clean up once the parent has died; then the process ends in any case."""
COMMANDS = ("register", "load", "free")


class Server:
    """Answers the requests of a channel one after the other. ``kept`` stays empty until PyTorch has been imported."""

    def __init__(self, request: ServeRequest, channel: Channel):
        import psutil

        self.request, self.channel = request, channel
        self.parent: psutil.Process | None = None
        with contextlib.suppress(psutil.Error):  # it has ended already
            self.parent = psutil.Process(request.parent or os.getppid())
        if request.parent and self._is_orphan():
            self._remove_temporary()
            raise UserError(f"There is no process {request.parent}; give --parent the number of one that runs.")
        self.out: Path | None = None
        """Output folder of the registration that is running."""

    def run(self) -> None:
        """Until the input ends, nothing was asked for too long, memory is needed, or the parent dies."""
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            from ..results.kept import Kept
            from ..results.register_files import register_files

            self.kept, self._register_files = Kept(), register_files
            self.channel.send({"ready": True, "pid": os.getpid()})
            while (content := self._wait()) is not None:
                self.channel.send(self._answer(content))
        finally:
            if self._is_orphan():
                self._end_at_once()

    # ---- waiting

    def _wait(self) -> dict[str, Any] | str | None:
        """The next request; None if the process should end."""
        began = looked = time.monotonic()
        while True:
            with contextlib.suppress(queue.Empty):
                return self.channel.requests.get(timeout=LOOK_SECONDS)
            now = time.monotonic()
            if self.channel.ended or now - began > 60 * self.request.idle_minutes:
                return None if self.channel.requests.empty() else self.channel.requests.get()
            if now - looked > MEMORY_SECONDS:
                looked = now
                if available_memory() < LOW_MEMORY:
                    self.free()
                    if available_memory() < LOW_MEMORY:
                        return None

    def free(self) -> None:
        """Give the memory of model and template back to the system."""
        from ..network.devices import return_free_memory

        self.kept.clear()
        gc.collect()
        return_free_memory()
        _release_gpu()

    # ---- answering

    def _answer(self, content: dict[str, Any] | str) -> dict[str, Any]:
        """The last line about a request."""
        if isinstance(content, str):
            return {"id": None, "exit_code": 2, "error": content}
        number = make_id(content)
        try:
            with _in_folder(content.get("folder")):
                return {"id": number, "exit_code": 0, **self._execute(content, number)}
        except KeyboardInterrupt:
            self.channel.send({"id": number, "exit_code": 130, "error": "The registration was interrupted."})
            raise
        except Exception as error:
            if is_out_of_memory(error):
                self.free()
            known = isinstance(error, (UserError, OSError)) or is_out_of_memory(error)
            if not known:
                with contextlib.suppress(Exception):
                    traceback.print_exc()
                self.free()  # what it was working with may be in any state
            return {"id": number, "exit_code": 2 if known else 1, "error": one_sentence(error)}
        finally:
            self.out = None
            _release_gpu()

    def _execute(self, content: dict[str, Any], number: str | int | None) -> dict[str, Any]:
        """What a request's answer holds. Raises UserError for a wrong one."""
        command, words = content.get("command"), content.get("arguments", [])
        if command not in COMMANDS:
            raise UserError(f"There is no command {str(command)[:40]!r} here; choose one of {', '.join(COMMANDS)}.")
        if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
            raise UserError('The "arguments" of a request are a list of texts, the words of the command line.')
        check_words(words)
        if command == "free":
            self.free()
            return {}
        if command == "load":
            if len(words) != 1:
                raise UserError('The "arguments" of "load" are one model, its file or its name.')
            self.kept.load_model(words[0])
            return {}
        return self._register(words, number, content.get("folder"))

    def _register(self, words: list[str], number: str | int | None, folder: str | None) -> dict[str, Any]:
        """folder: where relative paths start; "" where that has been removed."""
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # tyro asks for the encoding
        try:
            with contextlib.redirect_stdout(printed):
                request: RegisterRequest = make_request(["register", *words])[1]
        except SystemExit:  # of --help
            printed.seek(0)
            return {"text": printed.read()}
        paths = [path for path in (request.template, request.target, request.out) if path]
        if folder == "" and not all(path.is_absolute() for path in paths):
            raise UserError("The working directory has been removed; change to another folder.")
        self.out = Path(os.path.abspath(request.out))
        progress = JsonLines(lambda step: self.channel.send({"id": number, **step}))
        report = self._register_files(request, progress, self.kept)
        self.channel.send({"id": number, **make_verdict_step(report)})
        return {"report": report, "text": describe_registration(request, report)}

    # ---- the parent's end

    def _is_orphan(self) -> bool:
        return self.parent is None or not is_process_alive(self.parent)

    def _watch(self) -> None:
        """In a thread: interrupt the work when the parent has died, and end it if that takes too long."""
        while not self._is_orphan():
            time.sleep(LOOK_SECONDS)
        self.channel.ended = True
        if not WINDOWS:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(CLEAN_UP_SECONDS)
        if self.out:
            remove_unfinished_results(self.out)
        self._end_at_once()

    def _end_at_once(self) -> NoReturn:
        """Without Python's own end, which takes a second with PyTorch and which nobody is there to see."""
        self._remove_temporary()
        os._exit(130)

    def _remove_temporary(self) -> None:
        if self.request.temporary:
            shutil.rmtree(self.request.temporary, ignore_errors=True)


@contextlib.contextmanager
def _in_folder(folder: Any) -> Iterator[None]:
    """Relative paths start in ``folder``, if one is given. Raises UserError where that is none."""
    if not folder:
        yield
        return
    if not isinstance(folder, str):
        raise UserError('The "folder" of a request is a text, the folder in which relative paths start.')
    check_words([folder])
    before = None
    with contextlib.suppress(OSError):  # it may have been removed
        before = os.getcwd()
    try:
        os.chdir(folder)
    except OSError as error:
        raise UserError(
            f"The working directory {folder} cannot be used ({error.strerror or error}); change to another folder."
        ) from error
    try:
        yield
    finally:
        if before:
            with contextlib.suppress(OSError):
                os.chdir(before)


def _release_gpu() -> None:
    """Let other programs have the GPU memory that PyTorch holds for later."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def serve(request: ServeRequest) -> None:
    """Answer requests on standard input until there is a reason to end."""
    server = Server(request, Channel())
    tolerate_closed_streams()
    server.run()
    sys.stdout.flush()
