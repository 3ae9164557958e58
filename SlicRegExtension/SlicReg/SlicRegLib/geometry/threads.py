"""How many threads torch uses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside, _before = 0, 1


@contextmanager
def one_thread() -> Iterator[None]:
    """For many small operations: after each one several threads wait for each other, and on a busy computer that takes
    ten times as long as the work.

    The number of threads belongs to the process: the last of those who are inside at a time restores it.
    """
    global _inside, _before
    with _lock:
        if not _inside:
            _before = torch.get_num_threads()
            torch.set_num_threads(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                torch.set_num_threads(_before)
