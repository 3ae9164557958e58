"""Records a job's progress in its folder: the state in state.json, the stages and their times in job.log."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..stages import STARTING
from .remaining_time import RemainingTime
from .status import JobState, read_last_state, write_state

if TYPE_CHECKING:
    from ..progress import Progress  # imports tqdm

STATE_SECONDS = 0.5
"""Between two writings of the state."""


class Recorder:
    """A `Progress` that records what it is called with and passes it on."""

    def __init__(self, folder: Path, stages: dict[str, float], progress: Progress | None = None):
        """stages: typical seconds of each, in order. progress: called with the same."""
        self.folder, self.progress = folder, progress
        self.state = JobState("running", STARTING)
        self.seconds = dict(read_last_state(folder).seconds)
        """Stage -> its time in all runs."""
        self._estimate = RemainingTime(stages)
        self._began = self._last = time.monotonic()
        self._written = -1e9
        self._write()

    def expect(self, stages: dict[str, float]) -> None:
        """Replace the typical seconds of the stages by better ones."""
        self._estimate.expect(stages)

    def __call__(self, stage: str, share: float, details: str = "") -> None:
        now = time.monotonic()
        elapsed = now - self._began
        self.seconds[self.state.stage] = self.seconds.get(self.state.stage, 0.0) + now - self._last
        self._last = now
        if stage in self._estimate.stages:
            new = stage != self.state.stage
            if new:
                self.log(f"{stage} begins")
            self._estimate.update(stage, share, elapsed)
            fraction, remaining = self._estimate.estimate(elapsed)
            self.state = JobState("running", stage, share, fraction, remaining, details)
            if new or share >= 1 or now - self._written > STATE_SECONDS:
                self._write()
        if self.progress:
            self.progress(stage, share, details)

    def end(self, state: str, error: str = "") -> None:
        """Record how the run ended: "finished", "failed" or "stopped"."""
        self.state = replace(self.state, state=state, error=error, remaining=None)
        if state == "finished":
            self.state = replace(self.state, fraction=1.0, remaining=0.0)
        self.log(f"{state}: {error}" if error else state)
        with contextlib.suppress(OSError):  # the disk may be full, and that may be the error
            self._write()

    def log(self, text: str) -> None:
        """Add a line to job.log, unless that is impossible: no reason to end a job."""
        with contextlib.suppress(OSError), open(self.folder / "job.log", "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def _write(self) -> None:
        self._written = time.monotonic()
        seconds = {stage: round(spent, 1) for stage, spent in self.seconds.items()}
        write_state(self.folder, replace(self.state, updated=round(time.time(), 1), seconds=seconds))
