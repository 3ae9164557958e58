"""A training in a job folder, from scans to report. However it is interrupted, the resumed job gives the same model."""

import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from job_samples import NAME, PATIENCE, assert_same_job, learn_arguments, write_job_cohort
from SlicRegLib.cli.main import main
from SlicRegLib.images import files
from SlicRegLib.jobs import learn, snapshot, status
from SlicRegLib.jobs.learn import copy_model
from SlicRegLib.stages import LEARN

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory) -> list[str]:
    return learn_arguments(write_job_cohort(tmp_path_factory.getbasetemp() / "job cohort"))


@pytest.fixture(scope="module")
def undisturbed(arguments, tmp_path_factory) -> Path:
    """The folder of a job that ran without interruption."""
    folder = tmp_path_factory.mktemp("undisturbed") / "job"
    assert main(["learn", "--out", str(folder), "--quiet", *arguments]) == 0
    return folder


def partial_files(folder: Path) -> list[Path]:
    return list(folder.rglob(f"*{files._PART}*"))


def test_the_files_of_a_job(undisturbed):
    state = status.read_state(undisturbed)
    assert (state.state, state.fraction, state.remaining, state.error) == ("finished", 1.0, 0.0, "")
    assert set(state.seconds) == set(LEARN)
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
    chance = np.log(128)
    assert iteration == 2 and abs(training - chance) < 1 and abs(validation - chance) < 1 and 0 <= accuracy < 0.1
    log = (undisturbed / "job.log").read_text()
    assert [line.split(" ", 2)[2] for line in log.splitlines() if "begins" in line] == [
        f"{stage} begins" for stage in list(LEARN)[1:]
    ]
    assert "2 of 2 scans; about 1 min for the teacher" in log
    assert partial_files(undisturbed) == []


def test_a_finished_job_is_left_as_it_is(undisturbed, capsys):
    before = (undisturbed / f"{NAME}.slicreg").stat().st_mtime_ns
    assert main(["learn", "--out", str(undisturbed)]) == 0
    assert "is finished" in capsys.readouterr().out
    assert (undisturbed / f"{NAME}.slicreg").stat().st_mtime_ns == before


def test_another_configuration_is_refused(undisturbed, arguments, capsys):
    assert main(["learn", "--out", str(undisturbed), *arguments, "--seed", "7"]) == 2
    assert "different options (seed); choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"--name": "a/b"}, "A model cannot be called 'a/b'"),
        ({"--images": "nowhere"}, "nowhere does not exist"),
        ({"--labels": "."}, "give both or neither"),
        ({"--name": None}, "also needs --name"),
    ],
    ids=str,
)
def test_mistakes_are_reported_before_anything_is_written(arguments, tmp_path, changes, words, capsys):
    given = dict(zip(arguments[0:6:2], arguments[1:6:2], strict=True)) | changes
    flags = [word for pair in given.items() if pair[1] is not None for word in pair]
    assert main(["learn", "--out", str(tmp_path / "job"), *flags]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "job").exists()


def test_a_model_is_copied_beside_others_of_its_name(tmp_path):
    model, models = tmp_path / "mine.slicreg", tmp_path / "models"
    for content in (b"first", b"second", b"second"):
        model.write_bytes(content)
        copy_model(model, models)
    assert {path.name: path.read_bytes() for path in models.iterdir()} == {
        "mine.slicreg": b"first",
        "mine-2.slicreg": b"second",
    }


# ---- interruptions --------------------------------------------------------------------------------------------


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
def test_a_job_that_was_killed_while_writing_is_resumed(arguments, undisturbed, tmp_path, written, monkeypatch):
    """The process kills itself when half of the file is written. Pictures and report, which take longest and are not
    compared, are left out."""
    program = f"""
import os, signal, sys
from SlicRegLib.cli.main import main
from SlicRegLib.images import files
from SlicRegLib.jobs import snapshot
snapshot.register = None
flush = files._flush
def kill(path):
    if files.stem(os.path.basename(path)).startswith({"." + files.stem(written) + files._PART!r}):
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    flush(path)
files._flush = kill
main(sys.argv[1:])
"""
    job = ["learn", "--out", str(tmp_path / "job"), "--quiet", *arguments]
    killed = subprocess.run([sys.executable, "-c", program, *job], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert status.read_state(tmp_path / "job").state == "interrupted"
    assert len(partial_files(tmp_path / "job")) == 1
    assert not list((tmp_path / "job").rglob(written)) or written == "study.json"
    monkeypatch.setattr(snapshot, "register", None)
    monkeypatch.setattr(learn, "collect_report", lambda *_: None)
    monkeypatch.setattr(learn, "write_report", lambda path, content: path.touch())
    assert main(job) == 0
    assert_same_job(tmp_path / "job", undisturbed)
    assert partial_files(tmp_path / "job") == []


@pytest.mark.slow
def test_a_full_disk_is_reported_and_costs_nothing(arguments, undisturbed, tmp_path, monkeypatch, capsys):
    """The first writing of each file fails half-way, and the job is started again. Only pictures may be
    missing."""
    failed, flush = set(), files._flush

    def fail_once(path):
        name = Path(path).name
        kind = name.partition(files._PART)[0] if files._PART in name else ""
        if kind and kind not in failed:
            failed.add(kind)
            os.truncate(path, os.path.getsize(path) // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        flush(path)

    monkeypatch.setattr(files, "_flush", fail_once)
    folder, runs = tmp_path / "job", 0
    while (code := main(["learn", "--out", str(folder), "--quiet", *arguments])) != 0:
        runs += 1
        error = capsys.readouterr().err.strip()
        assert code == 2 and "No space left on device" in error and "\n" not in error and "Traceback" not in error
        assert runs < 40
    assert {".job.json", ".state.json", ".pt_2.npz", f".{NAME}.checkpoint", f".{NAME}.slicreg", ".study.json"} <= failed
    log = (folder / "job.log").read_text()
    assert ".validation.png" in failed and "no picture of the validation: WriteError" in log
    assert ".overview.png" in failed and "is not measured in the report: " in log
    assert runs == len(failed) - 2 >= 12
    assert_same_job(folder, undisturbed)
    assert partial_files(folder) == []


# ---- with the default teacher, whose registrations take long enough to be killed in them ----------------------


def start_training(folder: Path, arguments: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "SlicRegLib", "learn", "--out", str(folder), "--quiet", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


def kill_at_random_moments(arguments, reference, folder, kills: int, longest: float) -> list[str]:
    """Jobs one after another, each killed after random times until one is after its end. Returns the killed stages."""
    moments, number, stages = random.Random(5), 0, []
    while kills:
        number += 1
        job = folder / f"job{number}"
        while status.read_state(job).state != "finished":
            process = start_training(job, arguments)
            try:
                assert process.wait(moments.uniform(0.2, longest) if kills else PATIENCE) == 0
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills -= 1
                stages.append(status.read_state(job).stage)
        assert_same_job(job, reference)
        assert partial_files(job) == []
    return stages


@posix
@pytest.mark.slow
def test_a_job_that_was_killed_twenty_times(arguments, tmp_path):
    position = arguments.index("--teacher")
    arguments = [*arguments[:position], *arguments[position + 4 :]]  # without --teacher deeds --deeds-dir
    assert start_training(tmp_path / "undisturbed", arguments).wait(PATIENCE) == 0
    stages = kill_at_random_moments(arguments, tmp_path / "undisturbed", tmp_path, kills=20, longest=12.0)
    assert {"teacher", "training"} <= set(stages)
