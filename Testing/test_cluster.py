"""The teacher on a Dask cluster: two real worker processes on this machine, one of which dies."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest

import deadly
from SlicRegLib import MODELS
from SlicRegLib.errors import UserError
from SlicRegLib.images.transforms import load_transform
from SlicRegLib.jobs import register_batch as register_batch_module
from SlicRegLib.jobs.options import BatchRequest
from SlicRegLib.teaching import cluster as cluster_module
from SlicRegLib.teaching.study import open_study
from SlicRegLib.teaching.teach import teach_scan
from slow_teacher import DeadlyTeacher, LoggingTeacher, UnknownTeacher
from study_samples import SCANS, assert_same_study, coarse_cohort, make_study

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return coarse_cohort(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster("127.0.0.1", n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def here(cohort, tmp_path_factory):
    """The study made without a cluster, with one thread as well, so that sums are taken in the same order."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "log").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.get_num_threads", lambda: 1)
        make_study(cohort, folder / "study", LoggingTeacher(log=str(folder / "log")))
    return folder / "study"


def interrupt(here, folder, *kept):
    """A copy of the study with the scans ``kept``, as if it had been interrupted; an empty log beside it."""
    shutil.copytree(here, folder / "study")
    for name in set(SCANS) - set(kept):
        (folder / "study" / "scans" / f"{name}.npz").unlink()
    (folder / "log").write_text("")
    return folder / "study"


def log_of(path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]


def test_a_killed_worker_changes_nothing(cohort, cluster, here, tmp_path):
    """pt_3 hangs at its first attempt; its worker is killed there, another one takes it over."""
    (tmp_path / "cluster.log").write_text("")
    log, killed, steps = tmp_path / "cluster.log", [], []

    def kill():
        while not killed:
            time.sleep(0.02)
            killed.extend(int(pid) for what, name, pid, _ in log_of(log) if (what, name) == ("started", "pt_3"))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    study = make_study(
        cohort,
        tmp_path / "cluster",
        LoggingTeacher(log=str(log), hangs="pt_3"),
        scheduler=cluster.scheduler_address,
        progress=lambda stage, share, details="": steps.append((stage, share, details)),
    )
    killer.join()
    assert study.scans == SCANS and study.failed == {}
    assert_same_study(here, tmp_path / "cluster")

    lines = log_of(log)
    assert Counter(name for what, name, *_ in lines if what == "finished") == Counter(SCANS)
    assert Counter(name for what, name, *_ in lines if what == "started") == Counter(SCANS) + Counter(["pt_3"])
    pids = {int(pid) for _, _, pid, _ in lines}
    assert os.getpid() not in pids and len(pids) >= 2
    assert not any(int(pid) == killed[0] for what, name, pid, _ in lines if (what, name) == ("finished", "pt_3"))
    assert {threads for *_, threads in lines} == {"1"}  # what the worker was given, not the machine's cores

    shares = [share for stage, share, _ in steps if stage == "teacher"]
    assert shares == pytest.approx([n / 4 for n in range(5)])
    assert {details.split(": ")[1] for stage, share, details in steps if stage == "teacher" and share} == set(SCANS)


def test_a_cluster_resumes_a_study(cohort, cluster, here, tmp_path):
    study = interrupt(here, tmp_path, "pt_1", "pt_3", "pt_4")
    make_study(cohort, study, LoggingTeacher(log=str(tmp_path / "log")), scheduler=cluster.scheduler_address)
    assert [name for what, name, *_ in log_of(tmp_path / "log") if what == "finished"] == ["pt_2"]
    assert_same_study(here, study)


def test_a_task_that_is_started_again_does_nothing(cohort, here, tmp_path):
    folder = interrupt(here, tmp_path, *SCANS)
    file = folder / "scans" / "pt_1.npz"
    written, study = file.stat().st_mtime_ns, open_study(folder)
    again = teach_scan(
        study, cohort / "img" / "pt_1.nii.gz", study.template(), LoggingTeacher(log=str(tmp_path / "log")), 1
    )
    assert again == ("pt_1", "")
    assert log_of(tmp_path / "log") == [] and file.stat().st_mtime_ns == written


def test_a_scan_on_which_workers_die_is_excluded(cohort, cluster, here, tmp_path, monkeypatch):
    """And only that one, though others may have waited on the workers that died."""
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    study = make_study(
        cohort, interrupt(here, tmp_path), DeadlyTeacher(deadly="pt_1"), scheduler=cluster.scheduler_address
    )
    assert study.scans == SCANS[1:] and "the workers that registered it died" in study.failed["pt_1"]


def test_workers_without_the_teacher(cohort, cluster, here, tmp_path):
    with pytest.raises(
        UserError, match=r"cannot register scans \(.*; every worker needs the same SlicReg, the teacher's package"
    ):
        make_study(cohort, interrupt(here, tmp_path, *SCANS[1:]), UnknownTeacher(), scheduler=cluster.scheduler_address)


def test_workers_that_write_elsewhere(cohort, cluster, here, tmp_path, monkeypatch):
    seen_from_here = SimpleNamespace(listdir=lambda folder: [])
    monkeypatch.setattr(cluster_module, "os", seen_from_here)
    with pytest.raises(UserError, match=r"put the study in a folder that all workers share"):
        make_study(cohort, interrupt(here, tmp_path, *SCANS[1:]), scheduler=cluster.scheduler_address)


def test_the_scheduler_goes_away(cohort, here, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 1.0)  # for which the client tries to come back
    command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(tmp_path / "address.json"),
    ]
    study = interrupt(here, tmp_path, *SCANS[1:])
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as scheduler:
        while not (tmp_path / "address.json").exists():
            assert scheduler.poll() is None
            time.sleep(0.05)
        address = json.loads((tmp_path / "address.json").read_text())["address"]

        def as_completed(*arguments, real=distributed.as_completed, **more):  # all tasks are submitted
            scheduler.kill()
            return real(*arguments, **more)

        monkeypatch.setattr(distributed, "as_completed", as_completed)
        with pytest.raises(UserError, match=r"has gone; run the same command again to resume"):
            make_study(cohort, study, scheduler=address)
    assert make_study(cohort, study).scans == SCANS


def test_no_scheduler_at_the_address(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
    with socket.socket() as silent:  # accepts and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            ports = [s.getsockname()[1] for s in (silent, closed)]
            for address in (f"tcp://127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", "nonsense://here"):
                with pytest.raises(UserError, match=f"No Dask scheduler answers at {address}"):
                    make_study(cohort, tmp_path / "study", scheduler=address)
    assert not (tmp_path / "study").exists()


def test_the_package_is_missing(cohort, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"pip install distributed"):
        make_study(cohort, tmp_path / "study", scheduler="127.0.0.1:8786")
    assert not (tmp_path / "study").exists()


# ---- a batch of registrations ------------------------------------------------------------------------------------


@pytest.fixture
def batch(cohort, cluster, tmp_path):
    return {
        "model": MODELS / "trunk-phantom.slicreg",
        "template": cohort / "template.nii.gz",
        "images": cohort / "img",
        "out": tmp_path / "out",
        "scheduler": cluster.scheduler_address,
    }


def test_a_killed_worker_costs_a_batch_nothing(batch, tmp_path, monkeypatch):
    monkeypatch.setattr(register_batch_module, "_register_on_worker", deadly.register_on_worker)
    steps = []
    done = register_batch_module.register_batch(
        BatchRequest(**batch), lambda stage, share, details="": steps.append(share)
    )
    rows = {row["name"]: row for row in done.rows()}
    states = {name: row["status"] for name, row in rows.items()}
    assert states == {"pt_1": "done", "pt_2": "done", "pt_3": "failed", "pt_4": "done"}
    assert rows["pt_3"]["error"] == "No body was found." and steps == sorted(steps) and steps[-1] == 1
    log = [line.split() for line in (tmp_path / "out" / "log").read_text().splitlines()]
    assert Counter(name for name, _ in log) == Counter(["pt_1", "pt_2", "pt_2", "pt_4"])
    assert os.getpid() not in {int(pid) for _, pid in log}
    assert list((tmp_path / "out").rglob(".slicreg-*")) == []
    (tmp_path / "out" / "log").unlink()
    register_batch_module.register_batch(BatchRequest(**batch))
    assert not (tmp_path / "out" / "log").exists()  # what is done is not done again


def test_a_batch_whose_results_are_elsewhere(batch, monkeypatch):
    monkeypatch.setattr(register_batch_module, "_register_on_worker", deadly.write_elsewhere)
    with pytest.raises(UserError, match=r"put the output folder where all workers share it"):
        register_batch_module.register_batch(BatchRequest(**batch))
    assert list(batch["out"].rglob("report.json")) == []


def test_a_batch_without_a_scheduler(batch, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
    with pytest.raises(UserError, match=r"No Dask scheduler answers at nonsense://here"):
        register_batch_module.register_batch(BatchRequest(**{**batch, "scheduler": "nonsense://here"}))


@pytest.mark.slow
def test_the_results_of_a_cluster_are_those_of_this_computer(batch, cluster, tmp_path):
    """Real registrations; one of the two workers is killed in mid-run."""
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        victim = next(iter(client.run(os.getpid).values()))

    def kill():
        while not list((tmp_path / "out").glob("*/.slicreg-*")):
            time.sleep(0.005)
        os.kill(victim, signal.SIGKILL)

    here = {**batch, "out": tmp_path / "here", "scheduler": "", "workers": 2}
    register_batch_module.register_batch(BatchRequest(**here))
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    done = register_batch_module.register_batch(BatchRequest(**batch))
    killer.join()
    assert {row["status"] for row in done.rows()} == {"done"}
    for scan in SCANS:
        one, other = (load_transform(tmp_path / folder / scan / "transform.h5") for folder in ("here", "out"))
        assert (one.vectors - other.vectors).abs().max() < 0.1
