"""Batches made ahead by threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from .samples import Batch


class Loader:
    """Batches of consecutive steps, made by threads while others are learned from; ``waited``: seconds spent without one.

    Threads suffice: reading, unpacking and resampling leave Python's lock alone, and no process outlives a kill.
    """

    def __init__(self, draw: Callable[[int], Batch], steps: range, workers: int):
        """draw: step -> its batch. workers: threads; with 0 each batch is made when it is asked for."""
        self._draw, self._steps, self._workers, self.waited = draw, steps, workers, 0.0

    def __iter__(self) -> Iterator[Batch]:
        if not self._workers:
            for step in self._steps:
                yield self._timed(lambda: self._draw(step))  # noqa: B023  called at once
            return
        pool, ahead, steps = ThreadPoolExecutor(self._workers), deque(), iter(self._steps)
        try:
            ahead.extend(pool.submit(self._draw, step) for step in islice(steps, 2 * self._workers))
            while ahead:
                batch = self._timed(ahead.popleft().result)
                ahead.extend(pool.submit(self._draw, step) for step in islice(steps, 1))
                yield batch
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _timed(self, get: Callable[[], Batch]) -> Batch:
        began = time.perf_counter()
        batch = get()
        self.waited += time.perf_counter() - began
        return batch
