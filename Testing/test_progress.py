"""The remaining time of a stage, as people and programs read it."""

import json

import pytest

from SlicRegLib import progress
from SlicRegLib.progress import Bars, JsonLines


@pytest.fixture
def clock(monkeypatch):
    """Hours that pass at will, for tqdm, too."""
    times = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: times[0])
    monkeypatch.setattr("tqdm.std.time", lambda: times[0])
    return times


def test_programs_read_the_remaining_time_by_the_speed_since_the_first_report(clock):
    sent: list[dict] = []
    lines = JsonLines(sent.append)
    for seconds, stage, share in (
        (0, "training", 0.5),
        (10, "training", 0.6),
        (10, "training", 0.75),
        (0, "writing", 1.0),
    ):
        clock[0] += seconds
        lines(stage, share)
    assert [step["remaining_seconds"] for step in sent] == [None, 40.0, 20.0, 0.0]
    assert [step["seconds"] for step in sent] == [0, 10, 20, 0]
    assert json.dumps(sent)


def test_a_stage_that_begins_again_has_a_speed_of_its_own(clock):
    """As the three evaluations of a recipe."""
    sent: list[dict] = []
    lines = JsonLines(sent.append)
    for seconds, share in ((0, 0.5), (5, 1.0), (100, 0.2), (3, 0.4), (0, 1.0), (0, 1.0)):
        clock[0] += seconds
        lines("evaluation", share)
    assert [step["remaining_seconds"] for step in sent] == [None, 0.0, None, 9.0, 0.0, 0.0]


def test_people_read_the_remaining_time_of_a_resumed_stage(clock, capsys):
    bars = Bars()
    bars("training", 0.5)
    for _ in range(3):
        clock[0] += 60
        bars("training", 0.5 + (clock[0] - 1000) / 600 / 10)  # a hundredth a minute
    bars.close()
    last = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1]
    assert "53%" in last and "03:00 < 47:00" in last
