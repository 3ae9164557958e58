"""How far a command of several stages is, and how long it will take."""

import pytest

from SlicRegLib.jobs.remaining_time import RemainingTime
from SlicRegLib.stages import BY_CLOCK, LEARN, REGISTER


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
    assert {*REGISTER, *LEARN} >= BY_CLOCK
