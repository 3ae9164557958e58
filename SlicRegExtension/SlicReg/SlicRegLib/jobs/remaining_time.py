"""Estimates how far a command of several stages is and how long it will take."""

from __future__ import annotations

from ..stages import BY_CLOCK, STARTING

CLOCK_SHARE = 0.9
"""Largest share of a stage that is assumed from the time alone, before the stage reports its end."""


class RemainingTime:
    """Share of the whole command that is done, and seconds that remain, from reports about single stages."""

    def __init__(self, stages: dict[str, float]):
        """stages: typical seconds of each, in order; empty if the stages of the command are unknown."""
        self.stages = stages
        self.fraction = 0.0
        self._stage, self._share, self._began = STARTING, 0.0, 0.0
        self._first: tuple[float, float] | None = None  # time and share of the stage's first report

    def update(self, stage: str, share: float, elapsed: float) -> None:
        """A report: ``share`` of ``stage`` is done, ``elapsed`` seconds after the start of the command."""
        if self.stages and stage not in self.stages:
            return  # a stage within another one
        if stage != self._stage:
            self._stage, self._began, self._first = stage, elapsed, (elapsed, share)
        self._share = min(max(share, 0.0), 1.0)

    def estimate(self, elapsed: float) -> tuple[float, float | None]:
        """(fraction, remaining seconds or None) ``elapsed`` seconds after the start. The fraction never falls."""
        names = list(self.stages)
        if self._stage not in names:
            self.fraction = max(self.fraction, self._share)
            return self.fraction, self._extrapolate(elapsed)
        total = sum(self.stages.values())
        done = sum(self.stages[name] for name in names[: names.index(self._stage)])
        weight = self.stages[self._stage]
        pace = self._began / done if done and self._began else 1.0  # seconds per typical second, so far
        share = self._share
        if self._stage in BY_CLOCK and share < 1:
            share = min(CLOCK_SHARE, (elapsed - self._began) / (weight * pace))
        self.fraction = max(self.fraction, min(1.0, (done + weight * share) / total))
        if self._stage == STARTING:
            return self.fraction, None  # the speed of this computer is known after the first stage
        pace = elapsed / (done + weight * share)
        rest = weight * (1 - share) * pace
        if self._stage not in BY_CLOCK:
            own = self._extrapolate(elapsed)
            if own is None and self._first and self._first[1] > 0:
                return self.fraction, None  # a resumed stage: its first report says nothing about its speed
            rest = rest if own is None else own
        return self.fraction, rest + max(0.0, total - done - weight) * pace  # not -1e-16

    def _extrapolate(self, elapsed: float) -> float | None:
        """Seconds to the end of the stage by its reports since the first one, which need not be 0 if it was resumed."""
        if self._first is None or self._share <= self._first[1]:
            return None
        began, share = self._first
        return (elapsed - began) * (1 - self._share) / (self._share - share)
