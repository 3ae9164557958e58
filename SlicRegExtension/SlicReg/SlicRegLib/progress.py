"""How long jobs tell where they are: one callable type, a bar for people and JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

# called with (stage, share of the stage done from 0 to 1, details for people)
Progress = Callable[[str, float, str], None]


def silent(stage: str, share: float, details: str = "") -> None:
    """Progress that nobody watches."""


class Bars:
    """One tqdm bar per stage on stderr, with the remaining time."""

    def __init__(self):
        self.stage, self.bar = None, None

    def __call__(self, stage: str, share: float, details: str = "") -> None:
        if stage == self.stage and self.bar is None and share >= 1:
            return  # said twice that it is done
        if stage != self.stage or self.bar is None:
            self.close()
            self.stage = stage
            self.bar = tqdm(
                total=100,
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
    """Says nothing: what a background job prints stands in its log."""

    def __call__(self, stage: str, share: float, details: str = "") -> None:
        pass

    def close(self) -> None:
        pass


class JsonLines:
    """One JSON object per step on stdout: stage, share (0..1), seconds, remaining_seconds, details."""

    def __init__(self):
        self.stage, self.started = None, 0.0

    def __call__(self, stage: str, share: float, details: str = "") -> None:
        if stage != self.stage:
            self.stage, self.started = stage, time.monotonic()
        seconds = time.monotonic() - self.started
        remaining = seconds * (1 - share) / share if share > 0 else None
        print(
            json.dumps(
                {
                    "stage": stage,
                    "share": round(share, 4),
                    "seconds": round(seconds, 2),
                    "remaining_seconds": None if remaining is None else round(remaining, 1),
                    "details": details,
                }
            ),
            flush=True,
        )

    def close(self) -> None:
        pass
