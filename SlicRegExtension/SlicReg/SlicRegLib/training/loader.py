"""Makes batches in advance, in threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from .samples import SampleBatch


class Loader:
    """The batches of consecutive steps. ``waited``: seconds that the caller spent without one.

    Threads suffice, because reading, decompressing and resampling release Python's global lock; and unlike processes
    they do not survive if the program is killed.
    """

    def __init__(self, draw: Callable[[int], SampleBatch], steps: range, workers: int):
        """draw: step -> its batch. workers: threads; with 0, each batch is made when it is needed."""
        self._draw, self._steps, self._workers, self.waited = draw, steps, workers, 0.0

    def __iter__(self) -> Iterator[SampleBatch]:
        if not self._workers:
            for step in self._steps:
                yield self._time(lambda: self._draw(step))  # noqa: B023  called at once
            return
        pool, steps = ThreadPoolExecutor(self._workers), iter(self._steps)
        ahead: deque[Future[SampleBatch]] = deque()
        try:
            ahead.extend(pool.submit(self._draw, step) for step in islice(steps, 2 * self._workers))
            while ahead:
                batch = self._time(ahead.popleft().result)
                ahead.extend(pool.submit(self._draw, step) for step in islice(steps, 1))
                yield batch
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _time(self, get: Callable[[], SampleBatch]) -> SampleBatch:
        began = time.perf_counter()
        batch = get()
        self.waited += time.perf_counter() - began
        return batch
