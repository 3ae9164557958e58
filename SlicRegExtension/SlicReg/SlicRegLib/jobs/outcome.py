"""How a registration of a batch has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class EndedProcess(Protocol):
    """What `Batch.record` reads of a `Command`."""

    state: str
    error: str

    @property
    def elapsed(self) -> float: ...


@dataclass
class Outcome:
    """How one registration ended, as `Batch.record` takes it: "finished", "failed" or "cancelled", why, and seconds."""

    state: str
    error: str
    elapsed: float
