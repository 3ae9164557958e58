"""A background training: whatever ends it, starting again goes on, and the model is the one of a run that nothing disturbed."""

import errno
import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from tiny import write_cohort

from SlicRegLib.__main__ import main
from SlicRegLib.errors import UserError
from SlicRegLib.images import files
from SlicRegLib.jobs import control, options, ownership, recorder, status
from SlicRegLib.jobs.options import JobOptions
from SlicRegLib.jobs.recorder import Recorder
from SlicRegLib.jobs.status import JobState

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
NAME = "tiny"
PATIENCE = 120.0  # seconds: a test that waits for this has failed


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), scans=3)


@pytest.fixture(scope="module")
def arguments(cohort) -> list[str]:
    return [
        "--template",
        str(cohort / "template.nii.gz"),
        "--images",
        str(cohort / "img"),
        "--name",
        NAME,
        "--iterations",
        "3",
        "--batch",
        "1",
        "--spacing",
        "8",
        "--shape",
        "48",
        "32",
        "48",
        "--jobs",
        "1",
        "--device",
        "cpu",
    ]


@pytest.fixture(scope="module")
def undisturbed(arguments, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "job"
    assert main(["learn", "--out", str(folder), "--quiet", *arguments]) == 0
    return folder


def until(condition, what="it"):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.05)


def same_job(one: Path, two: Path) -> bool:
    """Models and studies are equal but for the seconds that they took."""
    parts = []
    for folder in (one, two):
        with zipfile.ZipFile(folder / f"{NAME}.slicreg") as archive:
            part = {name: archive.read(name) for name in archive.namelist()}
        about = json.loads(part.pop("bundle.json"))
        about["provenance"].pop("seconds")
        about["provenance"]["validation"].pop("seconds")
        study = json.loads((folder / "study" / "study.json").read_text())
        scans = {path.name: dict(np.load(path)) for path in sorted((folder / "study" / "scans").glob("*.npz"))}
        parts.append((part, about, study, scans))
    (weights, about, study, scans), (weights2, about2, study2, scans2) = parts
    assert scans.keys() == scans2.keys() and len(scans) == 3
    for name in scans:
        for key in scans[name]:
            np.testing.assert_array_equal(scans[name][key], scans2[name][key])
    return weights == weights2 and about == about2 and study == study2


# ---- a run that nothing disturbs -------------------------------------------------------------------------------------


def test_a_job_leaves_all_that_it_promises(undisturbed):
    state = status.read_state(undisturbed)
    assert (state.state, state.fraction, state.remaining, state.error) == ("finished", 1.0, 0.0, "")
    assert set(state.seconds) == {"starting", "check", "supervoxels", "teacher", "training", "report"}
    for name in (
        "job.json",
        "cohort.json",
        "study/study.json",
        f"{NAME}.slicreg",
        f"{NAME}_curve.png",
        "validation.png",
        "report.html",
    ):
        assert (undisturbed / name).stat().st_size > 100, name
    ((iteration, _, training, validation, accuracy),) = status.read_curve(undisturbed)
    assert iteration == 3 and 4 < training < 6 and 4 < validation < 6 and 0 <= accuracy < 0.1  # ln 128 = 4.85 at chance
    log = (undisturbed / "job.log").read_text()
    assert [line.split(" ", 2)[2] for line in log.splitlines() if "begins" in line] == [
        f"{stage} begins" for stage in ("check", "supervoxels", "teacher", "training", "report")
    ]
    assert not list(undisturbed.rglob(f"*{files._PART}*"))


def test_a_finished_job_stays_as_it_is(undisturbed, capsys):
    before = (undisturbed / f"{NAME}.slicreg").stat().st_mtime_ns
    assert main(["learn", "--out", str(undisturbed)]) == 0
    assert "is finished" in capsys.readouterr().out
    assert (undisturbed / f"{NAME}.slicreg").stat().st_mtime_ns == before


def test_a_job_has_one_configuration(undisturbed, arguments, capsys):
    assert main(["learn", "--out", str(undisturbed), *arguments, "--seed", "7"]) == 2
    assert "another seed; choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"--name": "a/b"}, "no name for a model"),
        ({"--images": "nowhere"}, "nowhere does not exist"),
        ({"--labels": "."}, "give both, or neither"),
        ({"--name": None}, "also needs --name"),
    ],
)
def test_mistakes_are_said_before_anything_is_made(arguments, tmp_path, changes, words, capsys):
    given = dict(zip(arguments[0:6:2], arguments[1:6:2])) | changes
    words_given = [word for pair in given.items() if pair[1] is not None for word in pair]
    assert main(["learn", "--out", str(tmp_path / "job"), *words_given]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "job").exists()


def test_nothing_of_the_users_is_touched(arguments, tmp_path):
    """A check made before of other scans, and files whose names begin with a dot."""
    for name in (".profile", "study/scans/.hidden.npz", "deep/.env"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / f".old{files._PART}abc.npz").write_text("half")
    (tmp_path / "cohort.json").write_text("of other scans")
    with ownership.claim_folder(tmp_path):
        options.write_config(tmp_path, JobOptions(name=NAME, template=arguments[1], images=arguments[3]))
        ownership.remove_partial_job_files(tmp_path)
    assert all((tmp_path / name).read_text() == "mine" for name in (".profile", "study/scans/.hidden.npz", "deep/.env"))
    assert not (tmp_path / f".old{files._PART}abc.npz").exists() and not (tmp_path / "cohort.json").exists()


# ---- the lock --------------------------------------------------------------------------------------------------------


HOLDER = """
import sys, time
from pathlib import Path
from SlicRegLib.jobfolder import claimed
with claimed(Path(sys.argv[1])):
    print("holding", flush=True)
    time.sleep(600)
"""


def test_who_comes_second_learns_who_was_first(tmp_path, arguments, capsys):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "job")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "holding\n"
        assert ownership.owner_of(tmp_path / "job").pid == holder.pid
        assert main(["learn", "--out", str(tmp_path / "job"), *arguments]) == 2
        assert f"process {holder.pid} of " in capsys.readouterr().err
        with pytest.raises(UserError, match=f"runs in .*process {holder.pid} of "):
            control.start(tmp_path / "job", arguments)
    finally:
        holder.kill()  # the lock dies with its owner, however that ends
        holder.wait()
    assert ownership.owner_of(tmp_path / "job") is None
    with ownership.claim_folder(tmp_path / "job"):
        assert ownership.owner_of(tmp_path / "job").pid == os.getpid()


def test_states_of_folders_that_nobody_works_in(tmp_path):
    assert status.read_state(tmp_path / "nowhere").state == status.read_state(tmp_path).state == "absent"
    status.write_state(tmp_path, JobState("running", "teacher", 0.5, 0.2, 99.0))
    assert status.read_state(tmp_path) == JobState("interrupted", "teacher", 0.5, 0.2, None)
    (tmp_path / "state.json").write_text('{"state": "run')
    assert status.read_state(tmp_path).state == "absent"
    for action in (control.stop, control.pause, control.resume):
        with pytest.raises(UserError, match="No training runs in"):
            action(tmp_path)
    with pytest.raises(UserError, match="holds no training job"):
        options.read_config(tmp_path)


def test_progress_of_a_resumed_job_adds_up(tmp_path):
    status.write_state(tmp_path, JobState("stopped", "teacher", seconds={"teacher": 100.0}))
    shares = []
    recorder = Recorder(tmp_path, recorder.STAGES, lambda stage, share, details: shares.append(share))
    for stage, share in (("check", 1.0), ("teacher", 0.5), ("teacher", 1.0), ("training", 0.3)):
        recorder(stage, share, "")
    recorder.end("failed", "Because.")
    state = status.read_state(tmp_path)
    assert (state.state, state.stage, state.share, state.error) == ("failed", "training", 0.3, "Because.")
    assert state.seconds["teacher"] >= 100 and 0 < state.fraction < 1 and shares == [1.0, 0.5, 1.0, 0.3]


# ---- what a user does ------------------------------------------------------------------------------------------------


@posix
def test_pause_resume_and_stop_reach_every_process(arguments, tmp_path):
    folder = tmp_path / "job"
    many = [*arguments[: arguments.index("--jobs")], "--jobs", "2", "--device", "cpu"]
    pid = control.start(folder, many)
    until(lambda: status.read_state(folder).stage == "teacher", "the teacher")
    until(lambda: len(jobfolder.tree(pid)) > 2, "its processes")
    control.pause(folder)
    assert status.read_state(folder).state == "paused"
    assert {one.status() for one in jobfolder.tree(pid)} == {psutil.STATUS_STOPPED}
    with pytest.raises(UserError, match="runs in"):
        control.start(folder)
    control.resume(folder)
    assert status.read_state(folder).state == "running"
    family = jobfolder.tree(pid)
    began = time.monotonic()
    control.stop(folder)
    assert time.monotonic() - began < 2
    assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert status.read_state(folder).state == "stopped" and ownership.owner_of(folder) is None


@posix
def test_stop_ends_a_paused_job(arguments, tmp_path):
    pid = control.start(tmp_path / "job", arguments)
    control.pause(tmp_path / "job")
    control.stop(tmp_path / "job")
    assert not jobfolder.tree(pid) and status.read_state(tmp_path / "job").state == "stopped"


@posix
def test_a_job_outlives_who_started_it(arguments, tmp_path):
    starter = "import sys; from SlicRegLib.jobfolder import start; print(start(sys.argv[1], sys.argv[2:]))"
    pid = int(
        subprocess.run(
            [sys.executable, "-c", starter, str(tmp_path / "job"), *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert ownership.owner_of(tmp_path / "job").pid == pid
    control.stop(tmp_path / "job")


@posix
def test_python_may_be_a_launcher(arguments, tmp_path):
    """As in Slicer: what is started starts the real Python and waits for it."""
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\n{sys.executable} "$@"\nexit $?\n')
    launcher.chmod(0o755)
    pid = control.start(tmp_path / "job", arguments, str(launcher))
    assert ownership.owner_of(tmp_path / "job").pid == pid != os.getpid()
    assert psutil.Process(pid).parent().cmdline()[:2] == ["/bin/sh", str(launcher)]
    control.stop(tmp_path / "job")
    assert not jobfolder.tree(pid)


@posix
def test_what_a_killed_run_left_behind_is_ended(tmp_path):
    """Only the leader of the session is killed, as by the system when memory runs out: a child of it works on."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLDER.replace("print(", "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, ").replace(
                '"holding", ', ""
            ),
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    assert child.is_running()
    with ownership.claim_folder(tmp_path):
        child.wait(5)


def test_where_and_how_fast_may_change_from_run_to_run(arguments, tmp_path):
    options = JobOptions(name=NAME, template=arguments[1], images=arguments[3])
    options.write_config(tmp_path, options)
    options.write_config(tmp_path, replace(options, workers=7, device="cpu", scheduler="tcp://elsewhere:8786"))
    assert options.read_config(tmp_path)["workers"] == 7
    with pytest.raises(UserError, match="another preset, seed; choose"):
        options.write_config(tmp_path, replace(options, preset="paper", seed=1, workers=3))


def test_looking_never_disturbs_and_never_lies(tmp_path):
    """Many look at once at a folder in which nobody works: none sees an owner."""
    (tmp_path / "owner.json").write_text(
        json.dumps({"pid": 2**22 + 1, "created": 1.0, "host": platform.node(), "user": "u", "started": "then"})
    )
    (tmp_path / ".lock").touch()
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(lambda _: ownership.owner_of(tmp_path), range(400)))


def test_a_start_that_fails_says_why_and_leaves_nothing(arguments, tmp_path):
    with pytest.raises(UserError, match="no name for a model"):
        control.start(tmp_path / "job", [*arguments, "--name", "a/b"])
    assert not (tmp_path / "job").exists()


# ---- what happens ----------------------------------------------------------------------------------------------------


def killed_at_random_moments(arguments, undisturbed, tmp_path, kills: int, longest: float):
    """Jobs, one after the other, each killed after a random time until that is after its end."""
    moments, number, stages = random.Random(5), 0, []
    while kills:
        number += 1
        folder = tmp_path / f"job{number}"
        while status.read_state(folder).state != "finished":
            process = subprocess.Popen(
                [sys.executable, "-m", "SlicRegLib", "learn", "--out", str(folder), "--quiet", *arguments],
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                code = process.wait(moments.uniform(0.2, longest) if kills else PATIENCE)
                assert code == 0
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills -= 1
                stages.append(status.read_state(folder).stage)
        assert same_job(folder, undisturbed)
        assert not list(folder.rglob(f"*{files._PART}*"))
    return stages


@posix
def test_a_killed_job_goes_on(arguments, undisturbed, tmp_path):
    killed_at_random_moments(arguments, undisturbed, tmp_path, kills=3, longest=8.0)


@posix
@pytest.mark.slow
def test_a_job_killed_twenty_times_goes_on(arguments, undisturbed, tmp_path):
    stages = killed_at_random_moments(arguments, undisturbed, tmp_path, kills=20, longest=12.0)
    assert {"teacher", "training"} <= set(stages)


@posix
@pytest.mark.parametrize(
    "written",
    [
        f"{NAME}.checkpoint",
        pytest.param("study.json", marks=pytest.mark.slow),
        pytest.param("pt_2.npz", marks=pytest.mark.slow),
        pytest.param(f"{NAME}.slicreg", marks=pytest.mark.slow),
    ],
)
def test_killed_while_writing(arguments, undisturbed, tmp_path, written):
    """The file is half written when the process dies."""
    killer = f"""
import os, signal, sys
from SlicRegLib import files
from SlicRegLib.__main__ import main
flushed = files._flushed
def flush(path):
    if files.stem(os.path.basename(path)).startswith({"." + files.stem(written) + files._PART!r}):
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    flushed(path)
files._flushed = flush
main(sys.argv[1:])
"""
    job = ["learn", "--out", str(tmp_path / "job"), "--quiet", *arguments]
    assert subprocess.run([sys.executable, "-c", killer, *job]).returncode == -signal.SIGKILL
    assert status.read_state(tmp_path / "job").state == "interrupted"
    assert not list((tmp_path / "job").rglob(written)) or written == "study.json"
    assert main(job) == 0
    assert same_job(tmp_path / "job", undisturbed)


def test_a_full_disk_is_said_and_nothing_is_lost(arguments, undisturbed, tmp_path, monkeypatch, capsys):
    """The first writing of each file fails with half of it written; each time the job is started again. Only a picture of the
    validation is done without."""
    failed, flushed = set(), files._flushed

    def flush(path):
        name = Path(path).name
        kind = name.partition(files._PART)[0] if files._PART in name else ""
        if kind and kind not in failed:
            failed.add(kind)
            os.truncate(path, os.path.getsize(path) // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        flushed(path)

    monkeypatch.setattr(files, "_flushed", flush)
    job, runs = ["learn", "--out", str(tmp_path / "job"), "--quiet", *arguments], 0
    while (code := main(job)) != 0:
        runs += 1
        said = capsys.readouterr().err.strip()
        assert code == 2 and "No space left on device" in said and "\n" not in said and "Traceback" not in said
        assert runs < 40
    assert (
        ".validation.png" in failed
        and "no picture of the validation: OSError" in (tmp_path / "job" / "job.log").read_text()
    )
    assert (
        runs == len(failed) - 1 >= 12
        and {".job.json", ".state.json", ".pt_2.npz", f".{NAME}.checkpoint", f".{NAME}.slicreg", ".study.json"}
        <= failed
    )
    assert same_job(tmp_path / "job", undisturbed)
    assert not list((tmp_path / "job").rglob(f"*{files._PART}*"))


def test_options_are_what_the_file_says(arguments, cohort, tmp_path):
    options = JobOptions(
        name=NAME, template=str(cohort / "template.nii.gz"), images=str(cohort / "img"), shape=(48, 32, 48)
    )
    options.write_config(tmp_path, options)
    read = options.read_config(tmp_path)
    assert read.pop("version") == options.JOB_VERSION
    assert JobOptions(**{**read, "shape": tuple(read["shape"])}) == options
    options.write_config(tmp_path, options)  # the same again
