"""Progress of long functions: one type of callback, with bars for people, JSON lines for programs, or silence."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from .stages import NEAREST, WARNING

Progress = Callable[[str, float, str], None]
"""Called with the stage, the share of the stage that is done (0 to 1), and details for people."""


def silent(stage: str, share: float, details: str = "") -> None:
    """The default `Progress`: reports nothing."""


class Bars:
    """One tqdm bar per stage on stderr, with the remaining time; a warning is a line of its own.

    The speed is that since the stage's first report, which says more than 0 where a stage is resumed.
    """

    def __init__(self) -> None:
        self.stage = ""
        self.bar: tqdm | None = None

    def __call__(self, stage: str, share: float, details: str = "") -> None:
        if stage == WARNING:
            tqdm.write(f"Warning: {details}", file=sys.stderr)
            return
        if stage == NEAREST:
            return  # the error names it
        if stage == self.stage and self.bar is None and share >= 1:
            return  # its end was reported before
        if stage != self.stage or self.bar is None:
            self.close()
            self.stage = stage
            self.bar = tqdm(
                total=100,
                initial=100 * share,
                desc=stage,
                file=sys.stderr,
                dynamic_ncols=True,
                bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed} < {remaining}{postfix}",
            )
        if details:
            self.bar.set_postfix_str(details, refresh=False)
        self.bar.update(100 * share - self.bar.n)
        if share >= 1:
            self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.bar = None


class Quiet:
    """Shows nothing; the progress of a background job is in its folder."""

    def __call__(self, stage: str, share: float, details: str = "") -> None:
        pass

    def close(self) -> None:
        pass


def print_json(content: dict[str, Any]) -> None:
    """A JSON object as a line on stdout."""
    print(json.dumps(content), flush=True)


class JsonLines:
    """One JSON object per step, by default on stdout: stage, share (0 to 1), seconds, remaining_seconds, details.

    remaining_seconds: by the speed since the stage's first report, as in `Bars`; null before the second. A stage that
    has ended and reports again begins anew.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None] = print_json) -> None:
        self.send = send
        self.stage, self.started, self.first, self.last = "", 0.0, 0.0, 1.0

    def __call__(self, stage: str, share: float, details: str = "") -> None:
        if stage != self.stage or (self.last >= 1 and share < 1):
            self.stage, self.started, self.first = stage, time.monotonic(), share
        self.last = share
        seconds = time.monotonic() - self.started
        known = share > self.first or share >= 1
        remaining = round(seconds * (1 - share) / max(share - self.first, 1e-9), 1) if known else None
        step = {
            "stage": stage,
            "share": round(share, 4),
            "seconds": round(seconds, 2),
            "remaining_seconds": remaining,
            "details": details,
        }
        self.send(step)

    def close(self) -> None:
        pass
