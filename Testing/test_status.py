"""The state of a job, as the recorder writes it and as others read it."""

import csv
import json

import pytest

from SlicRegLib.jobs.options import JobOptions, write_config
from SlicRegLib.jobs.recorder import Recorder
from SlicRegLib.jobs.status import JobState, read_curve, read_state, write_state
from SlicRegLib.stages import LEARN


def test_folders_in_which_nothing_runs(tmp_path):
    assert read_state(tmp_path / "nowhere").state == read_state(tmp_path).state == "absent"
    write_state(tmp_path, JobState("running", "teacher", 0.5, 0.2, 99.0))
    assert read_state(tmp_path) == JobState("interrupted", "teacher", 0.5, 0.2, None)
    (tmp_path / "state.json").write_text('{"state": "run')
    assert read_state(tmp_path).state == "absent"
    (tmp_path / "job.json").touch()
    assert read_state(tmp_path).state == "interrupted"


def test_the_times_of_a_resumed_job_add_up(tmp_path):
    write_state(tmp_path, JobState("stopped", "teacher", seconds={"teacher": 100.0}))
    shares = []
    recorder = Recorder(tmp_path, LEARN, lambda stage, share, details: shares.append(share))
    for stage, share in (("check", 1.0), ("teacher", 0.5), ("teacher", 1.0), ("training", 0.3)):
        recorder(stage, share, "")
    recorder.end("failed", "Because.")
    state = read_state(tmp_path)
    assert (state.state, state.stage, state.share, state.error) == ("failed", "training", 0.3, "Because.")
    assert state.seconds["teacher"] >= 100 and 0 < state.fraction < 1 and shares == [1.0, 0.5, 1.0, 0.3]


def test_the_state_of_a_finished_job(tmp_path):
    recorder = Recorder(tmp_path, LEARN)
    recorder("report", 0.5, "half")
    assert json.loads((tmp_path / "state.json").read_text())["message"] == "half"
    recorder.end("finished")
    state = read_state(tmp_path)
    assert (state.state, state.fraction, state.remaining, state.error) == ("finished", 1.0, 0.0, "")
    log = [line.split(" ", 2)[2] for line in (tmp_path / "job.log").read_text().splitlines()]
    assert log == ["report begins", "finished"]


def test_better_typical_times_change_the_fraction(tmp_path):
    recorder = Recorder(tmp_path, {"starting": 1.0, "teacher": 9.0, "training": 90.0})
    recorder("teacher", 1.0)
    assert recorder.state.fraction == pytest.approx(0.1)
    recorder.expect({"starting": 1.0, "teacher": 9.0, "training": 10.0})
    recorder("training", 0.0)
    assert recorder.state.fraction == pytest.approx(0.5)


def test_other_stages_are_passed_on_but_not_recorded(tmp_path):
    heard = []
    recorder = Recorder(tmp_path, LEARN, lambda *call: heard.append(call))
    recorder("teacher", 0.5, "1 of 2")
    recorder("alignment", 0.9, "of the validation")
    assert read_state(tmp_path).stage == recorder.state.stage == "teacher"
    assert heard == [("teacher", 0.5, "1 of 2"), ("alignment", 0.9, "of the validation")]


def test_the_learning_curve_so_far(tmp_path):
    assert read_curve(tmp_path) == []
    write_config(tmp_path, JobOptions(name="mine", template="t", images="i"))
    assert read_curve(tmp_path) == []
    with open(tmp_path / "mine_curve.csv", "w", newline="") as file:
        csv.writer(file).writerows([["iteration", "seconds", "a", "b", "c"], [10, 1.5, 4.5, 4.6, 0.25]])
    assert read_curve(tmp_path) == [(10.0, 1.5, 4.5, 4.6, 0.25)]


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "sleeping"},
        {"state": 3},
        {"share": "half"},
        {"share": float("nan")},
        {"updated": [1]},
        {"seconds": 7},
        {"seconds": {"teacher": "x"}},
        {"remaining": {}},
        {"error": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_state_that_cannot_be_is_none(tmp_path, changes):
    write_state(tmp_path, JobState("stopped", "teacher", 0.5))
    content = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**content, **changes}))
    (tmp_path / "job.json").touch()
    assert read_state(tmp_path) == JobState("interrupted")


@pytest.mark.parametrize(
    "text", ["[" * 10**5, "[]", '{"share": 1e999}', "\0", '{"state": "stopped", "share": ' + "9" * 5000]
)
def test_a_state_that_is_no_json_is_none(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    assert read_state(tmp_path).state == "absent"
