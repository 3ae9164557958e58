"""What must not grow in a process that is used for long: measured again and again, with the slope and the growth."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

LIMITS = {  # growth over all measured runs that is taken for noise
    "resident memory, MB": 20.0,
    "memory of child processes, MB": 20.0,  # of the worker that stays
    "file descriptors": 0.0,
    "threads": 0.0,
    "child processes": 0.0,
    "files in temporary folders": 0.0,
    "Python objects": 2000.0,
    "MRML nodes": 0.0,
    "subject hierarchy items": 0.0,
    "MRML observations": 0.0,
}


class Growth:
    """Measurements after each run.

    helpers: child processes that do not count, by their number. more: further counts by name.
    """

    def __init__(self, temporary: Path, helpers: set[int], more: dict[str, Callable[[], float]] | None = None):
        self.temporary, self.helpers, self.more = temporary, helpers, more or {}
        self.rows: list[dict[str, float]] = []
        self._process = psutil.Process()

    def measure(self) -> None:
        """Take one row of measurements; every twentieth is also printed."""
        gc.collect()
        children = [c for c in self._process.children(recursive=True) if c.pid not in self.helpers]
        sizes = []
        for child in children:
            try:
                sizes.append(child.memory_info().rss)
            except psutil.Error:  # it has just ended
                continue
        self.rows.append(
            {
                "resident memory, MB": self._process.memory_info().rss / 2**20,
                "memory of child processes, MB": sum(sizes) / 2**20,
                "file descriptors": self._process.num_fds(),
                "threads": self._process.num_threads(),
                "child processes": len(children),
                "files in temporary folders": sum(len(d) + len(f) for _, d, f in os.walk(self.temporary)),
                "Python objects": len(gc.get_objects()),
                **{name: count() for name, count in self.more.items()},
            }
        )
        if len(self.rows) % 20 == 1:
            row = ", ".join(f"{name} {value:.0f}" for name, value in self.rows[-1].items())
            print(f"{len(self.rows)}: {row}", file=sys.stderr, flush=True)

    def table(self, warm_up: int) -> tuple[list[str], bool]:
        """Lines of a Markdown table of the rows after the first ``warm_up``, and whether growth is within `LIMITS`.

        Growth is the slope of a straight line through the measurements, times the number of runs.
        """
        rows, good = self.rows[warm_up:], True
        lines = [
            "| measured after each run | first | last | largest | growth over all | allowed |",
            "|---|---|---|---|---|---|",
        ]
        for name in self.rows[0]:
            values = np.array([row[name] for row in rows])
            growth = float(np.polyfit(np.arange(len(values)), values, 1)[0] * len(values)) if len(values) > 1 else 0.0
            growth = round(growth, 1) + 0.0  # no -0.0
            good = good and growth <= LIMITS[name] and (LIMITS[name] > 0 or values[-1] <= values[0])
            first, last, largest = (f"{value:,.0f}" for value in (values[0], values[-1], values.max()))
            lines.append(f"| {name} | {first} | {last} | {largest} | {growth:+,.1f} | {LIMITS[name]:,.0f} |")
        return lines, good
