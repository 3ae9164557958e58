"""Progress of a job, recorded in its folder."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path

from ..stages import STARTING
from .remaining_time import RemainingTime
from .status import JobState, read_last_state, write_state

STATE_SECONDS = 0.5  # between two writings of the state


class Recorder:
    """The progress of a job as state.json and lines in job.log; passes it on to ``onward`` for people who look on."""

    def __init__(self, folder: Path, stages: dict[str, float], onward=None):
        """stages: typical seconds of each, in order."""
        self.folder, self.onward = folder, onward
        self.state = JobState("running", STARTING)
        self.seconds = dict(read_last_state(folder).seconds)  # of the runs before
        self._estimate = RemainingTime(stages)
        self._began = self._last = time.monotonic()
        self._written = -1e9
        self._write()

    def expect(self, stages: dict[str, float]) -> None:
        """Better typical seconds than before."""
        self._estimate.stages = stages

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
            fraction, remaining = self._estimate.at(elapsed)
            self.state = JobState("running", stage, share, fraction, remaining, details)
            if new or share >= 1 or now - self._written > STATE_SECONDS:
                self._write()
        if self.onward:
            self.onward(stage, share, details)

    def end(self, state: str, error: str = "") -> None:
        """ "finished", "failed" or "stopped"."""
        done = {"fraction": 1.0, "remaining": 0.0} if state == "finished" else {"remaining": None}
        self.state = replace(self.state, state=state, error=error, **done)
        self.log(f"{state}{': ' if error else ''}{error}")
        with contextlib.suppress(OSError):  # the disk may be full: that is what is being said
            self._write()

    def log(self, text: str) -> None:
        with (
            contextlib.suppress(OSError),
            open(self.folder / "job.log", "a", encoding="utf-8") as file,
        ):  # never ends a job
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def _write(self) -> None:
        self._written = time.monotonic()
        write_state(
            self.folder,
            replace(
                self.state,
                updated=round(time.time(), 1),
                seconds={stage: round(spent, 1) for stage, spent in self.seconds.items()},
            ),
        )
