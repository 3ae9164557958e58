"""Starting, pausing, resuming and stopping a job and all its processes. Most jobs here are fake, to start fast."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fake_job import FAKE_JOB, STATE
from job_samples import learn_arguments, wait_for, write_job_cohort
from SlicRegLib.errors import UserError
from SlicRegLib.jobs import control
from SlicRegLib.jobs.lock import find_owner
from SlicRegLib.jobs.processes import find_tree
from SlicRegLib.jobs.python import make_environment
from SlicRegLib.jobs.status import read_state

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture
def folder(tmp_path):
    """A job folder in which nothing runs after the test."""
    yield tmp_path / "job"
    if find_owner(tmp_path / "job"):
        control.stop(tmp_path / "job")


def start(folder: Path, helpers: int = 0, **more) -> int:
    return control.start(folder, ["--helpers", helpers], command=FAKE_JOB, **more)


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_start_returns_the_process_that_owns_the_folder(folder):
    pid = start(folder)
    owner, state = find_owner(folder), read_state(folder)
    assert owner is not None and owner.pid == pid and pid != os.getpid()
    assert (state.state, state.stage, state.message) == ("running", STATE.stage, STATE.message)
    assert os.getsid(pid) == pid  # a session of its own


def test_a_window_handles_its_events_while_a_job_starts(folder):
    seen = []

    def wait(seconds: float) -> None:
        seen.append(seconds)
        time.sleep(seconds)

    start(folder, wait=wait)
    assert len(seen) > 1 and max(seen) < 0.1


def test_pause_and_resume_reach_every_process(folder):
    pid = start(folder, helpers=2)
    assert len(find_tree(pid)) == 3
    control.pause(folder)
    assert read_state(folder).state == "paused"
    assert {one.status() for one in find_tree(pid)} == {psutil.STATUS_STOPPED}
    control.resume(folder)
    assert read_state(folder).state == "running"
    wait_for(lambda: psutil.STATUS_STOPPED not in {one.status() for one in find_tree(pid)}, "the resumed processes")


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_stop_ends_every_process(folder, paused):
    family = find_tree(start(folder, helpers=2))
    if paused:
        control.pause(folder)
    began = time.monotonic()
    control.stop(folder)
    assert time.monotonic() - began < 2
    assert len(family) == 3 and not any(map(is_alive, family))
    state = read_state(folder)
    assert (state.state, state.stage, state.fraction, state.remaining) == ("stopped", STATE.stage, STATE.fraction, None)
    assert find_owner(folder) is None


def test_a_stopped_job_can_be_started_again(folder):
    first = start(folder)
    control.stop(folder)
    assert start(folder) != first and read_state(folder).state == "running"


def test_a_second_start_is_refused(folder):
    pid = start(folder)
    for action in (lambda: start(folder), lambda: control.start(folder)):
        with pytest.raises(UserError, match=rf"already running in .*job \(process {pid} of .*\); stop it first"):
            action()
    assert find_owner(folder).pid == pid


def test_a_job_that_was_killed_is_interrupted(folder):
    psutil.Process(start(folder)).kill()
    wait_for(lambda: find_owner(folder) is None, "the end")
    state = read_state(folder)
    assert (state.state, state.stage, state.remaining) == ("interrupted", STATE.stage, None)
    with pytest.raises(UserError, match=r"No training runs in"):
        control.stop(folder)


def test_a_job_outlives_the_process_that_started_it(folder):
    program = """
import sys
from SlicRegLib.jobs.control import start
print(start(sys.argv[1], command=sys.argv[2:]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), *FAKE_JOB], capture_output=True, text=True, check=True
    )
    assert find_owner(folder).pid == int(done.stdout) and psutil.pid_exists(int(done.stdout))


def test_python_may_be_a_launcher(folder, tmp_path):
    """As in Slicer: the process that is started starts the real Python and waits for it."""
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\n{sys.executable} "$@"\nexit $?\n')
    launcher.chmod(0o755)
    pid = start(folder, python=str(launcher))
    parent = psutil.Process(pid).parent()
    assert find_owner(folder).pid == pid and parent.cmdline()[:2] == ["/bin/sh", str(launcher)]
    control.stop(folder)
    assert not is_alive(parent) and not find_tree(pid)


def test_the_environment_is_passed_on(folder):
    pid = start(folder, environment={**make_environment(sys.executable), "SLICREG_TEST": "passed on"})
    assert psutil.Process(pid).environ()["SLICREG_TEST"] == "passed on"


@pytest.mark.parametrize("action", [control.stop, control.pause, control.resume], ids=["stop", "pause", "resume"])
def test_nothing_runs(tmp_path, action):
    with pytest.raises(UserError, match=r"No training runs in .*; start it first"):
        action(tmp_path)


# ---- with the real command ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arguments(tmp_path_factory) -> list[str]:
    return learn_arguments(write_job_cohort(tmp_path_factory.getbasetemp() / "job cohort"))


def test_a_start_that_fails_says_why_and_leaves_nothing(arguments, folder):
    with pytest.raises(UserError, match=r"^A model cannot be called 'a/b'"):
        control.start(folder, [*arguments, "--name", "a/b"])
    assert not folder.exists()


def test_a_failing_start_keeps_what_was_in_the_folder(folder):
    folder.mkdir()
    (folder / "mine.txt").touch()
    with pytest.raises(UserError, match=r"contains no training"):
        control.start(folder)
    assert (folder / "mine.txt").exists() and (folder / "job.log").exists()


def test_a_real_training_is_paused_and_stopped(arguments, folder):
    pid = control.start(folder, arguments)
    control.pause(folder)
    assert read_state(folder).state == "paused"
    control.resume(folder)
    wait_for(lambda: read_state(folder).stage != "starting", "the first stage")
    control.stop(folder)
    assert not find_tree(pid) and read_state(folder).state == "stopped"
    assert (folder / "job.log").read_text().splitlines()[-1].startswith("slicreg: interrupted")
