"""Estimates how far a command of several stages is and how long it will take."""

from __future__ import annotations

from collections.abc import Mapping

from ..stages import BY_CLOCK, OPTIONAL, REFINEMENT, STARTING, UNFOLDING

CLOCK_SHARE = 0.9
"""Largest share of a stage that is assumed from the time alone, before the stage reports its end."""
TRUST = 0.5
"""How much measured seconds count against those of this run: as if so large a share of a run had gone as measured."""
SLOWER, SLOWER_SECONDS, PATIENCE = 1.5, 5.0, 5.0
"""The remaining time rises only where it does by this factor and so many seconds more, and stays there for so many
seconds: then the computer is slower now, and it was not only the first step of a stage."""


class RemainingTime:
    """Share of the whole command that is done, and seconds that remain, from reports about single stages."""

    def __init__(self, stages: Mapping[str, float], measured: bool = False):
        """stages: typical seconds of each, in order; empty if the stages of the command are unknown. measured: whether
        this computer took these seconds a short while ago."""
        self.stages = dict(stages)
        self.fraction = 0.0
        self._trusted = TRUST * sum(self.stages.values()) if measured else 0.0
        self._begins: dict[str, float] = {STARTING: 0.0}  # when each stage began
        self._stage, self._share = STARTING, 0.0
        self._first: tuple[float, float] | None = None  # time and share of the stage's first report
        self._told: float | None = None  # the last estimate
        self._slow_since: float | None = None  # since when a much longer time is estimated

    def expect(self, stages: Mapping[str, float]) -> None:
        """Replace the typical seconds of the stages by better ones."""
        self.stages, self._told = dict(stages), None

    def update(self, stage: str, share: float, elapsed: float) -> None:
        """A report: ``share`` of ``stage`` is done, ``elapsed`` seconds after the start of the command."""
        if self.stages and stage not in self.stages:
            return  # a stage within another one
        if stage == UNFOLDING and REFINEMENT in self.stages and REFINEMENT not in self._begins:
            return  # of the field that is to be refined: the stage itself comes later
        if stage != self._stage:
            self._stage, self._first = stage, (elapsed, share)
            self._begins[stage] = elapsed
        self._share = min(max(share, 0.0), 1.0)

    def measure(self, elapsed: float) -> dict[str, float]:
        """Stage -> its seconds, of a command that has ended ``elapsed`` seconds after the start."""
        names = sorted((name for name in self.stages if name in self._begins), key=lambda name: self._begins[name])
        ends = [*(self._begins[name] for name in names[1:]), elapsed]
        return {name: max(0.0, end - self._begins[name]) for name, end in zip(names, ends, strict=True)}

    def estimate(self, elapsed: float) -> tuple[float, float | None]:
        """(fraction, remaining seconds or None) ``elapsed`` seconds after the start. The fraction never falls, and the
        seconds never rise unless the computer has become much slower."""
        seconds = self._estimate(elapsed)
        if seconds is not None and self._told is not None and seconds > self._told:
            much = seconds > SLOWER * self._told + SLOWER_SECONDS
            self._slow_since = (elapsed if self._slow_since is None else self._slow_since) if much else None
            if self._slow_since is None or elapsed - self._slow_since < PATIENCE:
                return self.fraction, self._told
        self._told, self._slow_since = seconds, None
        return self.fraction, seconds

    def _estimate(self, elapsed: float) -> float | None:
        names = list(self.stages)
        if self._stage not in names:
            self.fraction = max(self.fraction, self._share)
            return self._extrapolate(elapsed)
        before = names[: names.index(self._stage)]
        left_out = sum(self.stages[name] for name in before if name in OPTIONAL and name not in self._begins)
        total = sum(self.stages.values()) - left_out
        done = sum(self.stages[name] for name in before) - left_out
        weight, began = self.stages[self._stage], self._begins[self._stage]
        share = self._share
        if self._stage in BY_CLOCK and share < 1:
            own = weight * self._pace(began, done)
            share = min(CLOCK_SHARE, (elapsed - began) / own) if own else CLOCK_SHARE
        self.fraction = max(self.fraction, min(1.0, (done + weight * share) / total))
        if self._stage == STARTING and not self._trusted:
            return None  # the speed of this computer is known after the first stage
        pace = self._pace(elapsed, done + weight * share)
        rest = weight * (1 - share) * pace
        if self._stage not in BY_CLOCK:
            extrapolated = self._extrapolate(elapsed)
            if extrapolated is None and self._first and self._first[1] > 0:
                return None  # a resumed stage: its first report says nothing about its speed
            rest = rest if extrapolated is None else extrapolated
        return rest + max(0.0, total - done - weight) * pace  # not -1e-16

    def _pace(self, elapsed: float, done: float) -> float:
        """Seconds per typical second, after ``done`` typical seconds."""
        return (elapsed + self._trusted) / (done + self._trusted) if done + self._trusted and elapsed else 1.0

    def _extrapolate(self, elapsed: float) -> float | None:
        """Seconds to the end of the stage by its reports since the first one, which need not be 0 if it was resumed."""
        if self._first is None or self._share <= self._first[1]:
            return None
        began, share = self._first
        return (elapsed - began) * (1 - self._share) / (self._share - share)
