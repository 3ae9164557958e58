"""Registrations in workers: one after the other in one process, two at once, and whatever ends a worker."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from serving import HALF, STEPS, register_words, serve_words
from SlicRegLib.images.transforms import load_transform
from SlicRegLib.jobs import worker as worker_module
from SlicRegLib.jobs.command import ProgressEvent
from SlicRegLib.jobs.command_process import CommandProcess
from SlicRegLib.jobs.python import make_environment
from SlicRegLib.jobs.worker_pool import WorkerPool
from SlicRegLib.registration.model import save_model
from test_command_process import COARSE, LATER, is_alive, posix
from tiny import tiny_model, tiny_study, write_cohort


def pool_of(act: str, *words: object) -> WorkerPool:
    return WorkerPool(lambda: serve_words(act, *words))


@pytest.fixture
def pools():
    """Pools that are to be ended with the test."""
    made: list[WorkerPool] = []
    yield made
    for pool in made:
        pool._end()


@pytest.fixture
def make_pool(pools):
    def make(act: str, *words: object) -> WorkerPool:
        pools.append(pool_of(act, *words))
        return pools[-1]

    return make


def find_pid(command) -> int:
    """Of the worker, which the functions of `serving` report as their progress."""
    deadline = time.monotonic() + LATER
    while not (found := re.search(r"s (?:preparation|writing) \d+% (\d+)", command.log)):
        assert time.monotonic() < deadline and command.state != "failed", command.log
        command.poll()
        time.sleep(0.01)
    return int(found[1])


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 2
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ---- the real command line ------------------------------------------------------------------------------------


def test_the_second_registration_starts_no_process_and_is_that_of_a_cold_command(pools, tmp_path, tmp_path_factory):
    study = tiny_study(tmp_path_factory.getbasetemp() / "tiny")
    cohort = write_cohort(study.folder.parent)
    save_model(tmp_path / "tiny.slicreg", tiny_model(study))

    def words(scan: str, out: Path) -> list[str]:
        files = {
            "model": tmp_path / "tiny.slicreg",
            "template": cohort / "template.nii.gz",
            "template-label": cohort / "template_label.nii.gz",
            "target": cohort / "img" / f"{scan}.nii.gz",
            "target-label": cohort / "label" / f"{scan}.nii.gz",
            "out": out,
        }
        options = (
            "--overlays --device cpu --key-points 200 --iterations 5 --coarse-iterations 4 --fine-iterations 4".split()
        )
        return [*(str(part) for name, value in files.items() for part in (f"--{name}", value)), *options]

    pool = WorkerPool(lambda: [sys.executable, "-c", COARSE, "serve"])
    pools.append(pool)
    pids = []
    for scan in ("pt_2", "pt_1"):
        command = pool.register(words(scan, tmp_path / scan))
        assert command.wait(LATER) == "finished", command.log
        pids.append(pool.pids())
        assert "Registered in" in command.log and "Verdict" in "".join(command.output)
    assert pids[0] == pids[1] and len(pids[0]) == 1
    stages = [e.stage for e in command.poll() if isinstance(e, ProgressEvent)]
    assert stages[0] == "starting" and stages[-1] == "verdict" and command.progress.remaining == 0.0
    assert pool.count_idle_memory() > 100_000_000
    pool.close()

    arguments = ["register", *words("pt_1", tmp_path / "cold")]
    cold = CommandProcess(arguments, command=[sys.executable, "-c", COARSE, *arguments, "--json"])
    assert cold.wait(LATER) == "finished", cold.log
    names = sorted(file.name for file in (tmp_path / "cold").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "pt_1").iterdir()) and len(names) > 6
    for name in names:
        one, other = (tmp_path / folder / name for folder in ("cold", "pt_1"))
        if name.startswith("transform"):
            one, other = load_transform(one), load_transform(other)
            assert (one.vectors == other.vectors).all() and np.allclose(one.grid.affine, other.grid.affine, 1e-12, 1e-9)
        elif name != "report.json":  # which holds seconds
            assert one.read_bytes() == other.read_bytes(), name


# ---- the pool -------------------------------------------------------------------------------------------------


def test_two_at_once_have_a_process_each_and_one_stays(make_pool, tmp_path):
    pool = make_pool(HALF)
    first, second = (pool.register(register_words(tmp_path / str(n))) for n in (1, 2))
    workers = [find_pid(one) for one in (first, second)]
    assert workers[0] != workers[1]
    assert [one.wait(LATER) for one in (first, second)] == ["finished"] * 2
    [stays] = pool.pids()
    wait_for_end(next(pid for pid in workers if pid != stays))
    third = pool.register(register_words(tmp_path / "3"))
    assert find_pid(third) == stays and third.wait(LATER) == "finished"
    pool.close()
    wait_for_end(stays)


def test_a_closed_pool_ends_its_workers_after_their_work_and_can_be_used_again(make_pool, tmp_path):
    pool = make_pool(HALF)
    command = pool.register(register_words(tmp_path / "1"))
    pid = find_pid(command)
    pool.close()
    assert command.wait(LATER) == "finished"
    wait_for_end(pid)
    again = pool.register(register_words(tmp_path / "2"))
    assert find_pid(again) != pid and again.wait(LATER) == "finished"


def test_a_warm_worker_is_there_before_it_is_needed(make_pool, tmp_path):
    pool = make_pool(STEPS)
    pool.warm_up("model.slicreg")
    pool.warm_up()
    [pid] = pool.pids()
    command = pool.register(register_words(tmp_path))
    assert find_pid(command) == pid
    pool.warm_up()  # while it works
    assert command.wait(LATER) == "finished" and pool.pids() == {pid}
    pool.free_memory()
    assert pool.register(register_words(tmp_path)).wait(LATER) == "finished"


def test_the_remaining_time_of_the_next_one_is_known_from_the_start(make_pool, tmp_path):
    pool = make_pool("""
        def act(request, progress, kept):
            for stage in ("preparation", "prediction", "refinement", "unfolding", "judgement", "writing"):
                progress(stage, 0.0, "")
                time.sleep(0.03)
                progress(stage, 1.0, "")
    """)
    first = pool.register(register_words(tmp_path))
    assert first.wait(LATER) == "finished"
    second = pool.register(register_words(tmp_path))
    second.wait(LATER)
    remaining = [event.remaining for event in second.poll() if isinstance(event, ProgressEvent)]
    assert 0.2 < remaining[0] < 1 and remaining == sorted(remaining, reverse=True) and remaining[-1] == 0


# ---- the end of a worker --------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("number, words", [(signal.SIGKILL, "memory"), (signal.SIGSEGV, "SIGSEGV")])
def test_a_killed_worker_loses_one_registration(make_pool, tmp_path, number, words):
    pool = make_pool(HALF)
    command = pool.register(register_words(tmp_path / "1", "slow"))
    pid = find_pid(command)
    os.kill(pid, number)
    assert command.wait(2) == "failed" and words in command.error and "\n" not in command.error
    again = pool.register(register_words(tmp_path / "2"))
    assert find_pid(again) != pid and again.wait(LATER) == "finished"


@posix
def test_a_worker_that_was_killed_while_it_waited_is_replaced(make_pool, tmp_path):
    pool = make_pool(STEPS)
    assert pool.register(register_words(tmp_path)).wait(LATER) == "finished"
    [pid] = pool.pids()
    os.kill(pid, signal.SIGKILL)
    assert pool.register(register_words(tmp_path)).wait(LATER) == "finished"


def test_a_worker_that_ends_for_idleness_as_the_request_comes_is_replaced(make_pool, tmp_path, monkeypatch):
    pool = make_pool(STEPS, "--idle-minutes", 0.005)
    assert pool.register(register_words(tmp_path)).wait(LATER) == "finished"
    [pid] = pool.pids()
    idle = pool._workers[0]
    wait_for_end(pid)
    monkeypatch.setattr(pool, "_list", lambda real=pool._list: [idle] if idle in pool._workers else real())
    command = pool.register(register_words(tmp_path))
    assert command._worker is idle
    pool._workers.clear()
    assert find_pid(command) != pid and command.wait(LATER) == "finished"


@posix
def test_cancel(make_pool, tmp_path):
    pool = make_pool(HALF)
    command = pool.register(register_words(tmp_path / "1", "slow"))
    pid = find_pid(command)
    assert (tmp_path / "1").is_dir()
    began = time.monotonic()
    command.cancel()
    assert time.monotonic() - began < 2 and command.state == "cancelled" and command.error == ""
    assert not is_alive(pid) and not (tmp_path / "1").exists()
    command.cancel()
    assert command.poll() is not None and command.state == "cancelled" and pool.pids() == set()
    assert pool.register(register_words(tmp_path / "2")).wait(LATER) == "finished"


def test_a_mistake_keeps_the_worker_and_a_defect_does_not(make_pool, tmp_path):
    pool = make_pool("""
        from SlicRegLib.errors import UserError

        def act(request, progress, kept):
            progress("preparation", 1.0, str(os.getpid()))
            raise UserError("It is wrong.") if request.target.name == "user" else KeyError("x")
    """)
    command = pool.register(register_words(tmp_path, "user"))
    assert command.wait(LATER) == "failed" and command.error == "It is wrong."
    [pid] = pool.pids()
    command = pool.register(register_words(tmp_path, "defect"))
    assert find_pid(command) == pid
    assert command.wait(LATER) == "failed" and "unexpected KeyError" in command.error
    wait_for_end(pid)
    assert pool.pids() == set()
    command = pool.register([*register_words(tmp_path), "--nothing"])
    assert command.wait(LATER) == "failed" and "--nothing" in command.error
    assert "Traceback" not in command.log


def test_packages_that_are_missing(make_pool, tmp_path):
    command = make_pool("import no_such_package").register(register_words(tmp_path))
    assert command.wait(LATER) == "failed" and "Python package no_such_package is missing" in command.error


def test_a_program_that_does_not_exist(tmp_path):
    pool = WorkerPool(lambda: ["no/such/python"])
    pool.warm_up("model")
    command = pool.register(register_words(tmp_path))
    assert command.state == "failed" and "no/such/python cannot be started" in command.error
    command.cancel()
    assert command.state == "failed" and command.wait() == "failed"


def test_where_no_request_arrives_a_plain_process_registers(tmp_path, monkeypatch):
    """As behind a launcher that does not pass its standard input on."""
    deaf = "import time; print('{\"ready\": true}', flush=True); time.sleep(60)"
    monkeypatch.setattr(worker_module, "ACCEPT_SECONDS", 0.1)
    pool = WorkerPool(lambda: [sys.executable, "-c", deaf])
    command = pool.register(register_words(tmp_path / "out"))
    assert command.wait(LATER) == "failed" and "model.slicreg" in command.error
    pool._end()


def test_the_end_of_the_application_ends_its_workers():
    program = """
        import sys, time
        from SlicRegLib.jobs.worker_pool import WorkerPool
        from serving import HALF, register_words, serve_words
        from pathlib import Path
        pool = WorkerPool(lambda: serve_words(HALF))
        commands = [pool.register(register_words(pool.folder / str(n), name)) for n, name in enumerate(("slow", "x"))]
        commands[1].wait()
        while not (commands[0].progress and commands[0].progress.message):
            commands[0].poll()
            time.sleep(0.01)
        print(commands[0].progress.message, commands[1]._worker.pid, pool.folder)
    """
    environment = make_environment(sys.executable)
    environment["PYTHONPATH"] += os.pathsep + str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=LATER,
        check=False,
    )
    *pids, folder = done.stdout.split()
    assert done.returncode == 0 and len(pids) == 2, done.stderr
    assert not any(is_alive(int(pid)) for pid in pids) and not Path(folder).exists()
