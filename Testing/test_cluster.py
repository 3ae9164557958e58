"""The teacher on a Dask cluster: two real worker processes on this machine, one of which dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from SlicRegLib import study as module
from SlicRegLib.errors import UserError
from slow_teacher import DeadlyTeacher, LoggingTeacher, UnknownTeacher
from test_study import SCANS, assert_same, make
from tiny import write_cohort

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.getbasetemp() / "tiny")


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster("127.0.0.1", n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def one_core(monkeypatch):
    """One thread per registration without a cluster too, so that sums are taken in the same order."""
    monkeypatch.setattr(module.joblib, "cpu_count", lambda: 1)


def log_of(path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]


def test_a_killed_worker_changes_nothing(cohort, cluster, one_core, tmp_path):
    """pt_3 hangs at its first attempt; its worker is killed there, another one takes it over."""
    for name in ("here", "cluster"):
        (tmp_path / f"{name}.log").write_text("")
    make(cohort, tmp_path / "here", LoggingTeacher(log=str(tmp_path / "here.log")))
    log, killed, steps = tmp_path / "cluster.log", [], []

    def kill():
        while not killed:
            time.sleep(0.02)
            killed.extend(int(pid) for what, name, pid, _ in log_of(log) if (what, name) == ("started", "pt_3"))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    study = make(cohort, tmp_path / "cluster", LoggingTeacher(log=str(log), hangs="pt_3"), scheduler=cluster.scheduler_address,
                 progress=lambda stage, share, details="": steps.append((stage, share, details)))
    killer.join()
    assert study.scans == SCANS and study.failed == {}
    assert_same(tmp_path / "here", tmp_path / "cluster")

    lines = log_of(log)
    assert Counter(name for what, name, *_ in lines if what == "finished") == Counter(SCANS)
    assert Counter(name for what, name, *_ in lines if what == "started") == Counter(SCANS) + Counter(["pt_3"])
    pids = {int(pid) for _, _, pid, _ in lines}
    assert os.getpid() not in pids and len(pids) >= 2
    assert not any(int(pid) == killed[0] for what, name, pid, _ in lines if (what, name) == ("finished", "pt_3"))
    assert {threads for *_, threads in lines} == {"1"}  # what the worker was given, not the machine's cores

    shares = [share for stage, share, _ in steps if stage == "teacher"]
    assert shares == pytest.approx([n / 5 for n in range(6)])
    assert {details.split(": ")[1] for stage, share, details in steps if stage == "teacher" and share} == set(SCANS)


def test_a_cluster_goes_on_with_what_is_there(cohort, cluster, one_core, tmp_path):
    (tmp_path / "log").write_text("")
    teacher = LoggingTeacher(log=str(tmp_path / "log"))
    make(cohort, tmp_path / "here", teacher)
    make(cohort, tmp_path / "study", teacher)
    (tmp_path / "study" / "scans" / "pt_2.npz").unlink()
    (tmp_path / "log").write_text("")
    make(cohort, tmp_path / "study", teacher, scheduler=cluster.scheduler_address)
    assert [name for what, name, *_ in log_of(tmp_path / "log") if what == "finished"] == ["pt_2"]
    assert_same(tmp_path / "here", tmp_path / "study")


def test_a_task_that_is_started_again_does_nothing(cohort, tmp_path):
    (tmp_path / "log").write_text("")
    teacher = LoggingTeacher(log=str(tmp_path / "log"))
    study = make(cohort, tmp_path / "study", teacher)
    before = (tmp_path / "log").read_text()
    file = tmp_path / "study" / "scans" / "pt_1.npz"
    written = file.stat().st_mtime_ns
    assert module._teach(study, cohort / "img" / "pt_1.nii.gz", study.template(), teacher, 1) == ("pt_1", "")
    assert (tmp_path / "log").read_text() == before and file.stat().st_mtime_ns == written


def test_a_scan_on_which_workers_die_is_left_out(cohort, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    study = make(cohort, tmp_path / "study", DeadlyTeacher(deadly="pt_5"), scheduler=cluster.scheduler_address)
    assert study.scans == SCANS[:4] and "the workers that registered it died" in study.failed["pt_5"]


def test_workers_without_the_teacher(cohort, cluster, tmp_path):
    with pytest.raises(UserError, match=r"cannot register \(.*; every worker needs the same SlicReg, the teacher's package"):
        make(cohort, tmp_path / "study", UnknownTeacher(), scheduler=cluster.scheduler_address)


def test_workers_that_write_elsewhere(cohort, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "os", SimpleNamespace(listdir=lambda folder: []))  # what this side sees of the folder
    with pytest.raises(UserError, match="must lie where all workers see the same folder"):
        make(cohort, tmp_path / "study", scheduler=cluster.scheduler_address)


def test_the_scheduler_goes_away(cohort, tmp_path, monkeypatch):
    """What was registered stays, and the same call goes on without it."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1.0)  # for which the client tries to come back
    (tmp_path / "log").write_text("")
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
               "--scheduler-file", str(tmp_path / "address.json")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as scheduler:
        while not (tmp_path / "address.json").exists():
            assert scheduler.poll() is None
            time.sleep(0.05)
        address = json.loads((tmp_path / "address.json").read_text())["address"]

        def kill(stage, share, details=""):
            if stage == "teacher":
                scheduler.kill()

        with pytest.raises(UserError, match="is gone; run the same command again"):
            make(cohort, tmp_path / "study", progress=kill, scheduler=address)


def test_no_scheduler_at_the_address(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)
    with socket.socket() as silent:  # accepts and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            for address in (f"tcp://127.0.0.1:{silent.getsockname()[1]}", f"127.0.0.1:{closed.getsockname()[1]}", "nonsense://here"):
                with pytest.raises(UserError, match=f"No Dask scheduler answers at {address}"):
                    make(cohort, tmp_path / "study", scheduler=address)
    assert not (tmp_path / "study").exists()


def test_the_package_is_missing(cohort, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match="pip install distributed"):
        make(cohort, tmp_path / "study", scheduler="127.0.0.1:8786")
    assert not (tmp_path / "study").exists()
