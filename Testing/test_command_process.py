"""The command line as a child process: its progress and output, and no process left after it was cancelled."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from SlicRegLib import MODELS
from SlicRegLib.jobs.command import LogLine, ProgressEvent
from SlicRegLib.jobs.command_process import CommandProcess
from SlicRegLib.jobs.python import make_environment
from SlicRegLib.registration.model import save_model
from SlicRegLib.stages import REGISTER
from tiny import tiny_model, tiny_study, write_cohort

posix = pytest.mark.skipif(os.name == "nt", reason="signals and sessions")
LATER = 60.0
"""Seconds: a test that waits longer has failed."""


def run(program: str, *arguments) -> CommandProcess:
    """A Python program in place of the command line."""
    return CommandProcess(command=[sys.executable, "-c", textwrap.dedent(program), *arguments])


def poll_until(process: CommandProcess, condition, seconds: float = LATER) -> None:
    """Poll until ``condition()`` holds, while the process runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline and process.state == "running", process.log
        process.poll()
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def step(stage: str, share: float, details: str = "") -> str:
    """A line of the command line's progress."""
    return json.dumps({"stage": stage, "share": share, "seconds": 0.0, "remaining_seconds": None, "details": details})


# ---- the real command line ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    study = tiny_study(tmp_path_factory.getbasetemp() / "tiny")
    path = study.folder.parent / "process.slicreg"
    save_model(path, tiny_model(study))
    return path


# the library's own main with coarse pictures and inverse fields, which would take most of the time
COARSE = """
import functools, sys
from SlicRegLib.cli.main import main
from SlicRegLib.registration import result
from SlicRegLib.results import register_files
register_files.draw_overview = functools.partial(register_files.draw_overview, spacing_mm=8.0)
result.INVERSE_SPACING_MM = 12.0
sys.exit(main(sys.argv[1:]))
"""


def test_a_registration_from_start_to_end(model, tmp_path):
    cohort = write_cohort(model.parent)
    files = {"model": model, "template": cohort / "template.nii.gz", "target": cohort / "img/pt_1.nii.gz"}
    arguments = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    options = "--device cpu --key-points 200 --iterations 20".split()
    arguments = ["register", *arguments, "--out", str(tmp_path / "out"), *options]
    process = CommandProcess(arguments, command=[sys.executable, "-c", COARSE, *arguments, "--json"])
    assert process.state == "running"
    events = []
    while process.state == "running" and process.elapsed < LATER:
        events += process.poll()
        time.sleep(0.02)
    events += process.poll()
    assert (process.state, process.error, process.returncode) == ("finished", "", 0), process.log
    steps = [e for e in events if isinstance(e, ProgressEvent)]
    stages = list(dict.fromkeys(s.stage for s in steps))
    messages = ("warning", "verdict")  # a model so small warns of the anatomy
    assert [stage for stage in stages if stage not in messages] == ["starting", "device", *list(REGISTER)[1:]]
    assert stages[-1] == "verdict"
    fractions = [s.fraction for s in steps]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and steps[-1].remaining == 0.0
    assert all(s.remaining is None for s in steps if s.stage in ("starting", "device"))
    remaining = [s.remaining for s in steps if s.stage not in ("starting", "device")]
    assert all(seconds is not None and 0 <= seconds < 120 for seconds in remaining)
    assert any("feature difference" in s.message for s in steps)
    assert any("Registered in" in e.text for e in events if isinstance(e, LogLine)) and "Registered in" in process.log
    assert (tmp_path / "out" / "report.json").is_file()


def test_info_prints_its_answer():
    process = CommandProcess(["info", MODELS / "trunk-phantom.slicreg"])
    assert process.wait(LATER) == "finished" and json.loads("\n".join(process.output))["version"] == 2
    assert "info" in process.log and "Python 3." in process.log


@pytest.mark.parametrize(
    "arguments, words",
    [(["info", "none.slicreg"], "none.slicreg does not exist"), (["register"], "--target")],
    ids=["missing file", "missing option"],
)
def test_a_mistake_is_one_sentence(arguments, words, tmp_path):
    process = CommandProcess(arguments, folder=tmp_path)
    assert process.wait(LATER) == "failed" and process.returncode == 2
    assert words in process.error and "\n" not in process.error and process.error in process.log
    assert not process.error.startswith("slicreg")


# the library's own main with another command `info`, which calls `act(out, progress)`
ACTING = """
import sys, time
from pathlib import Path
from SlicRegLib.cli import commands
from SlicRegLib.cli.main import main
{act}
commands.info = lambda request, output, progress: act(Path({out!r}), progress)
sys.exit(main(["info", "x", "--json"]))
"""
WRITE = """
from SlicRegLib.results.register_files import all_or_nothing
def act(out, progress):
    with all_or_nothing(out) as part:
        (part / "transform.h5").write_text("half")
        progress("writing", 0.4, "")
        time.sleep(60)
"""
CLEAN_UP_SLOWLY = """
def act(out, progress):
    progress("writing", 0.4, "")
    try:
        time.sleep(60)
    finally:
        time.sleep(0.7)
        out.touch()
"""


@posix
def test_a_cancelled_command_leaves_no_partial_results(tmp_path):
    process = run(ACTING.format(act=WRITE, out=str(tmp_path / "out")))
    poll_until(process, lambda: process.progress and process.progress.stage == "writing")
    assert len(list((tmp_path / "out").iterdir())) == 1
    began = time.monotonic()
    process.cancel()
    assert time.monotonic() - began < 2 and process.state == "cancelled" and not (tmp_path / "out").exists()


@posix
def test_cleaning_up_is_not_cut_short(tmp_path):
    """A busy computer takes long to remove partial results: a second signal must not interrupt that."""
    process = run(ACTING.format(act=CLEAN_UP_SLOWLY, out=str(tmp_path / "clean")))
    poll_until(process, lambda: process.progress and process.progress.stage == "writing")
    process.cancel()
    assert process.state == "cancelled" and (tmp_path / "clean").exists()


# ---- children -------------------------------------------------------------------------------------------------

FAMILY = """
    import subprocess, sys, time, signal
    for name in {ignore!r}:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    inner = "import sys, time; print('grandchild', __import__('os').getpid(), flush=True); time.sleep(60)"
    outer = ("import subprocess, sys, time; print('child', __import__('os').getpid(), flush=True); "
             f"subprocess.Popen([sys.executable, '-c', {{inner!r}}]{session}); time.sleep(60)")
    subprocess.Popen([sys.executable, "-c", outer])
    time.sleep(60)
"""


@posix
@pytest.mark.parametrize(
    "ignore, session, postponed",
    [
        ([], "", ("KILL", "GIVE_UP")),
        (["SIGINT"], "", ("KILL", "GIVE_UP")),
        (["SIGINT", "SIGTERM"], "", ()),
        (["SIGINT", "SIGTERM"], ", start_new_session=True", ()),
    ],
    ids=["obedient", "ignores SIGINT", "ignores both", "in a session of its own"],
)
def test_cancel_ends_children_and_grandchildren(ignore, session, postponed, monkeypatch):
    """Those that react to a milder signal need not be killed: the kill is postponed."""
    for name in postponed:
        monkeypatch.setattr(f"SlicRegLib.jobs.processes.{name}", LATER)
    process = run(FAMILY.format(ignore=ignore, session=session))
    poll_until(process, lambda: len(process.output) == 2)
    family = [process._process.pid, *(int(line.split()[1]) for line in process.output)]
    assert len(family) == 3 and all(map(is_alive, family))
    began = time.monotonic()
    process.cancel()
    assert time.monotonic() - began < 2
    assert process.state == "cancelled" and not any(map(is_alive, family))
    assert process.wait(1) == "cancelled" and process.error == ""
    process.cancel()  # a second time does nothing
    assert process.state == "cancelled"


@posix
def test_a_child_that_outlives_the_command_does_not_hold_it_up():
    process = run("""
        import subprocess, sys
        print("before", subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid, flush=True)
    """)
    assert process.wait(10) == "finished" and process.elapsed < 4
    assert not is_alive(int(process.output[0].split()[1]))


@posix
def test_the_end_of_the_application_ends_its_commands():
    program = """
        import sys, time
        from SlicRegLib.jobs.command_process import CommandProcess
        sleep = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
        process = CommandProcess(command=[sys.executable, "-c", sleep])
        while not process.output:
            process.poll()
            time.sleep(0.01)
        print(process.output[0])
    """
    application = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env=make_environment(sys.executable),
        timeout=LATER,
        check=False,
    )
    assert application.returncode == 0 and not is_alive(int(application.stdout)), application.stderr


# ---- events and output ----------------------------------------------------------------------------------------


def test_much_output_does_not_block_and_odd_bytes_do_no_harm():
    process = run(r"""
        import sys
        sys.stdout.buffer.write("Übergröße\n".encode() + b"\xff\xfe\n" + b"{not json\n" + b'{"stage": 3}\n')
        for i in range(20000):
            print("x" * 50)
        sys.stderr.write("y" * 200000 + "\n")
    """)
    assert process.wait(LATER) == "finished" and len(process.output) == 20004 and process.output[0] == "Übergröße"
    events = process.poll()
    assert sum(isinstance(e, LogLine) for e in events) == 20005 and process.poll() == []


def test_events_are_kept_until_they_are_polled():
    process = run(f"print('''{step('alignment', 0.5, 'half')}''')")
    assert process.wait(10) == "finished"
    steps = [e for e in process.poll() if isinstance(e, ProgressEvent) and e.stage != "starting"]
    assert (steps[0].stage, steps[0].message, steps[0].fraction) == ("alignment", "half", 0.5)
    assert steps[-1].fraction == 1.0


def test_a_silent_process_still_reports_time():
    process = run("import time; time.sleep(1.1)")
    process.wait(10)
    assert len([e for e in process.poll() if isinstance(e, ProgressEvent) and e.fraction < 1]) >= 2


def test_a_python_that_does_not_exist():
    process = CommandProcess(["info", "x"], python="no/such/python")
    assert process.state == "failed" and "no/such/python cannot be started" in process.error
    assert process.poll() == [] and process.wait() == "failed"
    process.cancel()
    assert process.state == "failed"


@posix
@pytest.mark.parametrize("name, words", [("SIGKILL", "memory"), ("SIGSEGV", "SIGSEGV")])
def test_killed_by_a_signal(name, words):
    process = run(f"import os, signal; print('x', flush=True); os.kill(os.getpid(), signal.{name})")
    assert process.wait(10) == "failed" and words in process.error and process.returncode < 0
