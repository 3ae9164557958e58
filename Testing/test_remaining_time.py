"""How far a command of several stages is, and how long it will take."""

from itertools import pairwise

import pytest

from SlicRegLib.jobs.remaining_time import RemainingTime
from SlicRegLib.stages import BY_CLOCK, FILM, LEARN, REGISTER


def test_all_stages_count():
    time = RemainingTime({"starting": 1.0, "prediction": 2.0, "alignment": 3.0, "writing": 4.0})
    assert time.estimate(0.5) == (0.05, None)
    time.update("prediction", 0.0, 2.0)  # this computer takes twice as long as the typical one
    assert time.estimate(2.0) == (0.1, pytest.approx(18.0))
    assert time.estimate(4.0) == (pytest.approx(0.2), pytest.approx(16.0))  # no report, so judged by the clock
    assert time.estimate(100.0)[0] == pytest.approx(0.28)  # but never done before it reports so


def test_the_pace_of_a_stage_comes_from_its_reports():
    time = RemainingTime({"starting": 1.0, "alignment": 3.0, "writing": 4.0})
    time.update("alignment", 0.0, 1.0)
    time.update("alignment", 0.5, 4.0)  # twice as long as expected: 3 s more of it
    fraction, remaining = time.estimate(4.0)
    assert fraction == pytest.approx(2.5 / 8) and remaining == pytest.approx(3.0 + 4.0 * 4.0 / 2.5)
    time.update("a stage within another", 0.1, 4.0)
    assert time.estimate(4.0) == (fraction, remaining)


def test_the_fraction_never_falls_and_a_resumed_stage_does_not_seem_fast():
    time = RemainingTime({"starting": 5.0, "training": 3600.0})
    time.update("training", 0.5, 10.0)
    assert time.estimate(10.0) == (pytest.approx(1805 / 3605), None)
    time.update("training", 0.6, 110.0)
    assert time.estimate(110.0)[1] == pytest.approx(400.0)
    time.update("training", 0.3, 120.0)
    assert time.estimate(120.0)[0] == pytest.approx(2165 / 3605)


def test_a_command_with_unknown_stages():
    time = RemainingTime({})
    assert time.estimate(1.0) == (0.0, None)
    time.update("phantoms", 0.0, 1.0)
    time.update("phantoms", 0.25, 3.0)
    assert time.estimate(3.0) == (0.25, pytest.approx(6.0))


def test_stages_that_are_judged_by_the_clock_are_stages():
    assert {*REGISTER, *LEARN, *FILM} >= BY_CLOCK


COLD = {"starting": 2.0, "preparation": 0.4, "prediction": 0.9, "alignment": 0.4, "spline": 0.3, "refinement": 1.2,
        "unfolding": 0.1, "judgement": 0.5, "writing": 1.5}  # fmt: skip
WARM = {**COLD, "starting": 0.2, "preparation": 0.2, "prediction": 0.5}
STEPS = {"alignment": 5, "refinement": 7, "writing": 3}
"""How often a stage reports before its end; the first refinement step is slow, since it sets everything up."""


def replay(estimate: RemainingTime, seconds: dict[str, float], tick: float = 0.1) -> list[tuple[float, float | None]]:
    """(time, remaining) at each tick and each report of a registration that takes ``seconds`` per stage."""
    reports, began = [], 0.0
    for stage, length in seconds.items():
        steps = STEPS.get(stage, 1) if stage != "starting" else 0
        for n in range(steps + 1) if steps else ():
            late = 0.3 * length * (1 - n / steps) if stage == "refinement" and n else 0.0
            reports.append((began + length * n / steps + late, stage, n / steps))
        began += length
    seen, now = [], 0.0
    for at, stage, share in sorted(reports, key=lambda report: report[0]):
        while now < at:
            seen.append((now, estimate.estimate(now)[1]))
            now += tick
        estimate.update(stage, share, at)
        seen.append((at, estimate.estimate(at)[1]))
    return seen


@pytest.mark.parametrize("real, measured", [(COLD, None), (WARM, COLD), (WARM, WARM), (COLD, WARM)])
@pytest.mark.parametrize("slower", [1.0, 3.0], ids=["as expected", "a slow computer"])
def test_the_remaining_time_never_rises_and_ends_near_zero(real, measured, slower):
    """Cold, warm after cold, warm after warm, and after a worker had to be started again."""
    real = {stage: seconds * slower for stage, seconds in real.items()}
    estimate = RemainingTime(measured or REGISTER, measured is not None)
    seen = replay(estimate, real)
    told = [seconds for _, seconds in seen if seconds is not None]
    assert len(told) > 20 and told[-1] < 0.1
    if slower == 1 or not measured:  # otherwise the computer has changed since it was measured
        assert all(b <= a + 1e-9 for a, b in pairwise(told))
    assert estimate.measure(sum(real.values())) == pytest.approx(real)
    total = sum(real.values())
    if not measured:  # from the typical seconds it is roughly right, on any computer
        assert all(abs(seconds - (total - now)) < 0.5 * total for now, seconds in seen if seconds is not None)
    if slower == 1 and measured is real:  # on the same computer it is right, not only falling
        assert all(abs(seconds - (total - now)) < 0.25 * total for now, seconds in seen if seconds is not None)


def test_a_computer_that_becomes_slower_is_told():
    time = RemainingTime({"starting": 1.0, "alignment": 10.0, "writing": 10.0})
    time.update("alignment", 0.0, 1.0)
    time.update("alignment", 0.5, 6.0)
    assert time.estimate(6.0)[1] == pytest.approx(5 + 10)
    time.update("alignment", 0.55, 60.0)
    assert time.estimate(60.0)[1] == pytest.approx(5 + 10)  # it may be a single long step
    time.update("alignment", 0.6, 110.0)
    assert time.estimate(110.0)[1] > 140
    time.expect({"starting": 1.0, "alignment": 10.0, "writing": 0.0})
    assert time.estimate(110.0)[1] < 80
