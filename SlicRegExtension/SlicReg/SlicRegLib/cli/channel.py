"""JSON lines on standard input and output that nothing else can read or write: requests in, answers out."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

from ..images.json_reading import make_finite, parse_json

LONGEST_LINE = 1 << 20
"""Bytes of a request; a longer line is none."""
_PIECE = 1 << 16


class Channel:
    """``requests`` holds what was asked: objects, or a sentence (a text) about a line that is none.

    Each request is confirmed as soon as it is read, also during a long work: {"id": ..., "accepted": true}.
    """

    def __init__(self) -> None:
        """Takes the process's standard input and output for itself. Whatever else is printed goes to stderr, also by
        libraries in C++; whatever else reads finds nothing."""
        sys.stdout.flush()
        self._input, self._output = os.dup(0), os.dup(1)
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self.requests: queue.Queue[dict[str, Any] | str] = queue.Queue()
        self.ended = False
        """Whether no more requests will come."""
        self._sending = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, content: dict[str, Any]) -> None:
        """Write a line. Where nobody reads any more, no more requests are awaited either."""
        line = memoryview((json.dumps(make_finite(content)) + "\n").encode())
        with self._sending:
            try:
                while line:
                    line = line[os.write(self._output, line) :]
            except OSError:
                self.ended = True

    def _read(self) -> None:
        for line in _split(self._input):
            if line is None:
                self.requests.put(f"A request is at most {LONGEST_LINE} bytes long; send a shorter line.")
            elif line.strip():
                self._take(line)
        self.ended = True

    def _take(self, line: bytes) -> None:
        try:
            request = parse_json(line)
        except ValueError:
            self.requests.put('A request is a line with a JSON object, such as {"id": 1, "command": "free"}.')
            return
        self.send({"id": make_id(request), "accepted": True})
        self.requests.put(request)


def make_id(request: dict[str, Any]) -> str | int | None:
    """The number or text by which a request's answers are known; None where it has none."""
    value = request.get("id")
    return value if isinstance(value, (str, int)) and not isinstance(value, bool) else None


def _split(descriptor: int) -> Iterator[bytes | None]:
    """The lines that arrive at a file descriptor; None in place of one that is too long."""
    rest, too_long = b"", False
    while True:
        piece = b""
        with contextlib.suppress(OSError):
            piece = os.read(descriptor, _PIECE)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield None if too_long or len(line) > LONGEST_LINE else line
            too_long = False
        if len(rest) > LONGEST_LINE:
            rest, too_long = b"", True
        if not piece:
            if rest or too_long:
                yield None if too_long else rest
            return
