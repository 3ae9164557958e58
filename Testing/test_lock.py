"""One process at a time in a job's folder."""

import contextlib
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from SlicRegLib.cli.main import main
from SlicRegLib.errors import UserError
from SlicRegLib.images import files
from SlicRegLib.jobs.lock import claim_folder, find_owner, read_last_owner, remove_partial_job_files
from SlicRegLib.jobs.options import JobOptions, write_config

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from SlicRegLib.jobs.lock import claim_folder
with claim_folder(Path(sys.argv[1])):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that owns tmp_path/job, and its child."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "job")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    child = psutil.Process(int(process.stdout.readline()))
    yield process, child
    process.kill()
    process.wait()
    with contextlib.suppress(psutil.NoSuchProcess):
        child.kill()


def test_the_second_process_learns_who_was_first(holder, tmp_path, capsys):
    folder, (process, _) = tmp_path / "job", holder
    assert find_owner(folder).pid == process.pid
    with (
        pytest.raises(UserError, match=rf"already running in {folder} \(process {process.pid} of"),
        claim_folder(folder),
    ):
        pass
    (tmp_path / "scan.nii.gz").touch()
    options = ["--template", tmp_path / "scan.nii.gz", "--images", tmp_path, "--name", "a"]
    assert main(["learn", "--out", str(folder), *map(str, options)]) == 2
    assert f"process {process.pid} of " in capsys.readouterr().err


def test_the_claim_ends_with_its_owner(holder, tmp_path):
    folder, (process, _) = tmp_path / "job", holder
    process.kill()
    process.wait()
    assert find_owner(folder) is None
    with claim_folder(folder):
        assert find_owner(folder).pid == os.getpid()
    assert find_owner(folder) is None


@pytest.mark.skipif(os.name == "nt", reason="sessions of POSIX")
def test_the_children_of_a_killed_owner_are_ended(holder, tmp_path):
    """Only the leader of the session was killed, as by the system if memory runs out."""
    process, child = holder
    process.kill()
    process.wait()
    assert child.is_running()
    with claim_folder(tmp_path / "job"):
        child.wait(5)


def test_readers_do_not_disturb_each_other(tmp_path):
    """Many look at once at a folder in which nobody works: none finds an owner."""
    (tmp_path / "owner.json").write_text(
        json.dumps({"pid": 2**22 + 1, "created": 1.0, "host": platform.node(), "user": "u", "started": "then"})
    )
    (tmp_path / ".lock").touch()
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(lambda _: find_owner(tmp_path), range(400)))


def test_the_files_of_the_user_are_not_touched(tmp_path):
    """Only unfinished files are removed, and the check of other scans; not other files whose names begin with a dot."""
    mine = [tmp_path / name for name in (".profile", "study/scans/.hidden.npz", "deep/.env")]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    partial = [tmp_path / f"{folder}.old{files._PART}abc.npz" for folder in ("", "study/", "study/scans/")]
    for path in partial:
        path.write_text("half")
    (tmp_path / "cohort.json").write_text("of other scans")
    with claim_folder(tmp_path):
        write_config(tmp_path, JobOptions(name="a", template="t", images="i"))
        remove_partial_job_files(tmp_path)
    assert all(path.read_text() == "mine" for path in mine)
    assert not any(path.exists() for path in partial) and not (tmp_path / "cohort.json").exists()


@pytest.mark.parametrize(
    "changes",
    [{"pid": "1"}, {"pid": -1}, {"pid": 2**40}, {"pid": None}, {"created": "now"}, {"host": 3}, {"more": 1}],
    ids=str,
)
def test_an_owner_that_cannot_be_is_none(tmp_path, changes):
    owner = {"pid": 1, "created": 1.0, "host": "h", "user": "u", "started": "s"}
    (tmp_path / "owner.json").write_text(json.dumps(owner))
    assert read_last_owner(tmp_path) is not None
    (tmp_path / "owner.json").write_text(json.dumps({**owner, **changes}))
    assert read_last_owner(tmp_path) is None
