"""The command line as a child process: progress, remaining time, one sentence for a failure, no process left after a cancel."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tiny import tiny_bundle, tiny_study, write_cohort

from SlicRegLib.registration.model import save_model
from SlicRegSlicer import job as job_module
from SlicRegSlicer.job import (
    Estimate,
    Job,
    LogLine,
    Progress,
    available_memory,
    environment,
    estimate_memory,
    python_executable,
    reason,
)

posix = pytest.mark.skipif(os.name == "nt", reason="signals and sessions")
MODELS = Path(__file__).resolve().parents[1] / "SlicRegExtension" / "Resources" / "Models"


def script(text: str) -> Job:
    return Job(command=[sys.executable, "-c", textwrap.dedent(text)])


def until(job: Job, condition, seconds: float = 10) -> None:
    """Poll until ``condition()`` holds, while the job runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline and job.state == "running", job.log
        job.poll()
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def step(stage: str, share: float, details: str = "") -> str:
    return json.dumps({"stage": stage, "share": share, "seconds": 0.0, "remaining_seconds": None, "details": details})


# ---- the real command line ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    study = tiny_study(tmp_path_factory.getbasetemp() / "tiny")
    path = study.folder.parent / "job.slicreg"
    save_model(path, tiny_bundle(study))
    return path


# the library's own main with coarse pictures and inverse fields, which would take most of the time
COARSE = """
import functools, sys
from SlicRegLib import commands, registration
from SlicRegLib.__main__ import main
commands.overview = functools.partial(commands.overview, spacing_mm=8.0)
registration.INVERSE_SPACING_MM = 12.0
sys.exit(main(sys.argv[1:]))
"""


def test_a_registration_from_start_to_end(model, tmp_path):
    cohort = write_cohort(model.parent)
    arguments = [
        "register",
        "--model",
        model,
        "--template",
        cohort / "template.nii.gz",
        "--target",
        cohort / "img/pt_1.nii.gz",
        "--out",
        tmp_path / "out",
        "--device",
        "cpu",
        "--key-points",
        "200",
        "--iterations",
        "20",
        "--no-refine",
    ]
    job = Job(arguments, command=[sys.executable, "-c", COARSE, *arguments, "--json"])
    assert job.state == "running"
    events = []
    while job.state == "running" and job.elapsed < 60:
        events += job.poll()
        time.sleep(0.02)
    events += job.poll()
    assert (job.state, job.error, job.returncode) == ("finished", "", 0), job.log
    steps = [e for e in events if isinstance(e, Progress)]
    assert list(dict.fromkeys(s.stage for s in steps)) == [
        "starting",
        "device",
        "preparation",
        "prediction",
        "alignment",
        "spline",
        "unfolding",
        "writing",
    ]
    fractions = [s.fraction for s in steps]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and steps[-1].remaining == 0.0
    assert all(s.remaining is None for s in steps if s.stage in ("starting", "device"))
    assert all(
        s.remaining is not None and 0 <= s.remaining < 120 for s in steps if s.stage not in ("starting", "device")
    )
    assert any("feature difference" in s.message for s in steps)
    assert any("Registered in" in e.text for e in events if isinstance(e, LogLine)) and "Registered in" in job.log
    assert (tmp_path / "out" / "report.json").is_file()


def test_info_prints_its_answer():
    job = Job(["info", MODELS / "trunk-phantom.slicreg"])
    assert job.wait(60) == "finished" and json.loads("\n".join(job.output))["version"] == 1
    assert "info" in job.log and "Python 3." in job.log


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["info", "none.slicreg"], "The model none.slicreg does not exist; check the file name."),
        (["register"], "the following arguments are required"),
    ],
    ids=["missing", "argparse"],
)
def test_a_mistake_is_one_sentence(arguments, words, tmp_path):
    job = Job(arguments, folder=tmp_path)
    assert job.wait(60) == "failed" and job.returncode == 2
    assert job.error.startswith(words) and "\n" not in job.error and job.error in job.log


@posix
def test_cancelling_leaves_no_half_written_results(tmp_path):
    """The library's own main, stopped while it writes."""
    job = script(f"""
        import sys, time
        from pathlib import Path
        from SlicRegLib import __main__ as program, commands

        def write(options, progress):
            with commands.all_or_nothing(Path({str(tmp_path / "out")!r})) as part:
                (part / "transform.h5").write_text("half")
                progress("writing", 0.4, "")
                time.sleep(60)

        program._COMMANDS["info"] = write
        sys.exit(program.main(["info", "x", "--json"]))
    """)
    until(job, lambda: job.progress and job.progress.stage == "writing", 60)
    assert len(list((tmp_path / "out").iterdir())) == 1
    began = time.monotonic()
    job.cancel()
    assert time.monotonic() - began < 2 and job.state == "cancelled" and not (tmp_path / "out").exists()


@posix
def test_cleaning_up_is_not_cut_short(tmp_path):
    """A busy machine takes long to remove what is half-written: a second signal must not end that."""
    job = script(f"""
        import sys, time
        from pathlib import Path
        from SlicRegLib import __main__ as program

        def write(options, progress):
            progress("writing", 0.4, "")
            try:
                time.sleep(60)
            finally:
                time.sleep(0.7)
                Path({str(tmp_path / "clean")!r}).touch()

        program._COMMANDS["info"] = write
        sys.exit(program.main(["info", "x", "--json"]))
    """)
    until(job, lambda: job.progress and job.progress.stage == "writing", 60)
    job.cancel()
    assert job.state == "cancelled" and (tmp_path / "clean").exists()


# ---- processes ------------------------------------------------------------------------------------------------

FAMILY = """
    import subprocess, sys, time, signal
    IGNORE = {ignore!r}
    for name in IGNORE:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    inner = "import sys, time; print('grandchild', __import__('os').getpid(), flush=True); time.sleep(60)"
    outer = ("import subprocess, sys, time; print('child', __import__('os').getpid(), flush=True); "
             f"subprocess.Popen([sys.executable, '-c', {{inner!r}}]{session}); time.sleep(60)")
    subprocess.Popen([sys.executable, "-c", outer])
    time.sleep(60)
"""


LATER = 60.0  # seconds: a test that waits for this has failed


@posix
@pytest.mark.parametrize(
    "ignore, session, harsher",
    [
        ([], "", ("KILL", "GIVE_UP")),
        (["SIGINT"], "", ("KILL", "GIVE_UP")),
        (["SIGINT", "SIGTERM"], "", ()),
        (["SIGINT", "SIGTERM"], ", start_new_session=True", ()),
    ],
    ids=["willing", "deaf to SIGINT", "stubborn", "own session"],
)
def test_cancel_ends_children_and_grandchildren(ignore, session, harsher, monkeypatch):
    """Without being killed, where they can: that is put off."""
    for name in harsher:
        monkeypatch.setattr(f"SlicRegLib.processes.{name}", LATER)
    job = script(FAMILY.format(ignore=ignore, session=session))
    until(job, lambda: len(job.output) == 2)
    family = [job._process.pid, *(int(line.split()[1]) for line in job.output)]
    assert len(family) == 3 and all(map(alive, family))
    began = time.monotonic()
    job.cancel()
    assert time.monotonic() - began < 2
    assert job.state == "cancelled" and not any(map(alive, family))
    assert job.wait(1) == "cancelled" and job.error == ""
    job.cancel()  # a second time does nothing


@posix
def test_a_child_that_outlives_the_command_does_not_hold_it_up():
    job = script("""
        import subprocess, sys
        print("before", subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid, flush=True)
    """)
    assert job.wait(10) == "finished" and job.elapsed < 4
    assert not alive(int(job.output[0].split()[1]))


@posix
def test_closing_the_application_ends_its_jobs(tmp_path):
    application = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
        import sys, time
        from SlicRegSlicer.job import Job
        job = Job(command=[sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"])
        while not job.output:
            job.poll()
            time.sleep(0.01)
        print(job.output[0])
    """),
        ],
        capture_output=True,
        text=True,
        env=environment(sys.executable),
        timeout=20,
    )
    assert application.returncode == 0 and not alive(int(application.stdout)), application.stderr


def test_much_output_does_not_block_and_odd_bytes_do_not_break():
    job = script(r"""
        import sys
        sys.stdout.buffer.write("Übergröße\n".encode() + b"\xff\xfe\n" + b"{not json\n" + b'{"stage": 3}\n')
        for i in range(20000):
            print("x" * 50)
        sys.stderr.write("y" * 200000 + "\n")
    """)
    assert job.wait(10) == "finished" and len(job.output) == 20004 and job.output[0] == "Übergröße"
    events = job.poll()
    assert sum(isinstance(e, LogLine) for e in events) == 20005 and job.poll() == []


def test_events_stay_until_they_are_polled():
    job = script(f"print('''{step('alignment', 0.5, 'half')}''')")
    assert job.wait(10) == "finished"
    stages = [e for e in job.poll() if isinstance(e, Progress) and e.stage != "starting"]
    assert (stages[0].stage, stages[0].message, stages[0].fraction) == ("alignment", "half", 0.5) and stages[
        -1
    ].fraction == 1.0


def test_a_silent_process_still_reports_time():
    job = script("import time; time.sleep(1.0)")
    job.wait(10)
    assert len([e for e in job.poll() if isinstance(e, Progress) and e.fraction < 1]) >= 2


def test_a_python_that_is_not_there():
    job = Job(["info", "x"], python="no/such/python")
    assert job.state == "failed" and "cannot be started" in job.error and job.poll() == []
    job.cancel()


# ---- why it failed --------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("name, words", [("SIGKILL", "memory"), ("SIGSEGV", "SIGSEGV")])
def test_killed_by_a_signal(name, words):
    job = script(f"import os, signal; print('x', flush=True); os.kill(os.getpid(), signal.{name})")
    assert job.wait(10) == "failed" and words in job.error and job.returncode == -getattr(signal, name)


@pytest.mark.parametrize(
    "code, lines, words",
    [
        (2, ["noise", "slicreg: The scan is empty."], "The scan is empty."),
        (
            2,
            ["usage: slicreg register", "slicreg register: error: unrecognized arguments: --x"],
            "unrecognized arguments: --x",
        ),
        (
            1,
            ["Traceback", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"],
            "The GPU ran out of memory",
        ),
        (
            1,
            ["RuntimeError: [enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"],
            "The computer ran out",
        ),
        (
            1,
            ["Traceback", "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 2 GiB"],
            "The computer ran out",
        ),
        (
            1,
            ["Traceback", "ModuleNotFoundError: No module named 'nibabel.nifti1'"],
            "The Python package nibabel is missing",
        ),
        (137, [], "most likely since memory ran out"),
        (1, ["Traceback", "ValueError: what"], "The process ended with code 1 (ValueError: what)"),
        (3, [], "The process ended with code 3; see the log."),
    ],
)
def test_reasons(code, lines, words):
    assert reason(code, lines).startswith(words) or words in reason(code, lines)


# ---- how long it takes ----------------------------------------------------------------------------------------


def test_remaining_time_counts_all_stages():
    estimate = Estimate({"starting": 1.0, "prediction": 2.0, "alignment": 3.0, "writing": 4.0})
    assert estimate.at(0.5) == (0.05, None)
    estimate.update("prediction", 0.0, 2.0)  # this computer takes twice as long as the typical one
    assert estimate.at(2.0) == (0.1, pytest.approx(18.0))
    assert estimate.at(4.0) == (pytest.approx(0.2), pytest.approx(16.0))  # silent, so judged by the clock
    assert estimate.at(100.0)[0] == pytest.approx(0.28)  # but never done before it says so
    estimate = Estimate({"starting": 1.0, "alignment": 3.0, "writing": 4.0})
    estimate.update("alignment", 0.0, 1.0)
    estimate.update("alignment", 0.5, 4.0)  # twice as long as expected: 3 s more of it
    fraction, remaining = estimate.at(4.0)
    assert fraction == pytest.approx(2.5 / 8) and remaining == pytest.approx(3.0 + 4.0 * 4.0 / 2.5)
    estimate.update("someone else's stage", 0.1, 4.0)
    assert estimate.at(4.0) == (fraction, remaining)


def test_the_fraction_never_falls_and_a_resumed_stage_is_not_taken_for_fast():
    estimate = Estimate({"starting": 5.0, "training": 3600.0})
    estimate.update("training", 0.5, 10.0)
    assert estimate.at(10.0) == (pytest.approx(1805 / 3605), None)
    estimate.update("training", 0.6, 110.0)
    assert estimate.at(110.0)[1] == pytest.approx(400.0)
    estimate.update("training", 0.3, 120.0)
    assert estimate.at(120.0)[0] == pytest.approx(2165 / 3605)


def test_a_command_with_stages_of_its_own():
    estimate = Estimate({})
    assert estimate.at(1.0) == (0.0, None)
    estimate.update("phantoms", 0.0, 1.0)
    estimate.update("phantoms", 0.25, 3.0)
    assert estimate.at(3.0) == (0.25, pytest.approx(6.0))


def test_every_stage_of_a_registration_has_a_weight():
    """The names in the table are those that the library announces."""
    library = "".join(p.read_text() for p in (MODELS.parents[1] / "SlicReg" / "SlicRegLib").glob("*.py"))
    for stages in job_module.STAGES.values():
        assert all(f'"{stage}"' in library for stage in stages if stage != "starting")


# ---- surroundings ---------------------------------------------------------------------------------------------


def test_pythonslicer_beside_the_application(tmp_path, monkeypatch):
    assert python_executable() == sys.executable
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    (tmp_path / name).write_text("")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "SlicerApp-real"))
    assert python_executable() == str(tmp_path / name)
    (tmp_path / name).unlink()
    with pytest.raises(job_module.UserError, match="PythonSlicer was not found"):
        python_executable()


def test_environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    monkeypatch.setenv("PYTHONHOME", "slicer")
    monkeypatch.setenv("MPLBACKEND", "module://inline")
    own = environment(sys.executable)
    assert own["PYTHONPATH"].split(os.pathsep)[1:] == ["somewhere"]
    assert own["PYTHONHOME"] == "slicer" and own["MPLBACKEND"] == "Agg"
    assert (Path(own["PYTHONPATH"].split(os.pathsep)[0]) / "SlicRegLib" / "__main__.py").is_file()
    other = environment("bin/PythonSlicer")
    assert "PYTHONHOME" not in other and other["PYTHONNOUSERSITE"] == "1"


def test_memory():
    assert 1 << 26 < available_memory() < 1 << 50
    small, large = estimate_memory(128**3, 128**3), estimate_memory(512 * 512 * 400, 512 * 512 * 400)
    assert 1 << 30 < small < 3 << 30 < large < 16 << 30


# ---- what Slicer has before anything is installed -------------------------------------------------------------


@pytest.mark.parametrize("module", ["job", "models", "installation", "batch"])
def test_imports_nothing_that_must_be_installed_first(module):
    code = f"""
        import sys
        BLOCKED = "torch numpy nibabel skimage scipy safetensors SimpleITK tqdm qt slicer vtk".split()
        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in BLOCKED:
                    raise ImportError(f"{{name}} is not installed")
        sys.meta_path.insert(0, Block())
        import SlicRegSlicer.{module}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment(sys.executable)
    )
    assert done.returncode == 0, done.stderr
