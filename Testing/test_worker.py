"""Registrations in workers: one after the other in one process, two at once, and whatever ends a worker."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from serving import HALF, STEPS, register_words, serve_words
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


def test_two_registrations_of_the_real_command_are_made_by_one_process(pools, tmp_path, tmp_path_factory):
    """That the second one gives what a cold command gives is in test_kept.py."""
    study = tiny_study(tmp_path_factory.getbasetemp() / "tiny")
    cohort = write_cohort(study.folder.parent)
    save_model(tmp_path / "tiny.slicreg", tiny_model(study))
    files = {"model": tmp_path / "tiny.slicreg", "template": cohort / "template.nii.gz"}
    options = "--no-picture --no-refine --device cpu --key-points 200 --iterations 5".split()
    words = [*(str(part) for name, value in files.items() for part in (f"--{name}", value)), *options]
    pool = WorkerPool(lambda: [sys.executable, "-c", COARSE, "serve"])
    pools.append(pool)
    pids = []
    for scan in ("pt_2", "pt_1"):
        target = cohort / "img" / f"{scan}.nii.gz"
        command = pool.register([*words, "--target", str(target), "--out", str(tmp_path / scan)])
        assert command.wait(LATER) == "finished", command.log
        pids.append(pool.pids())
        assert "Registered in" in command.log and "Verdict" in "".join(command.output)
    assert pids[0] == pids[1] and len(pids[0]) == 1
    stages = [e.stage for e in command.poll() if isinstance(e, ProgressEvent)]
    assert stages[0] in ("starting", "device") and stages[-1] == "verdict" and command.progress.remaining == 0.0
    assert pool.count_idle_memory() > 100_000_000


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


def test_after_the_close_no_older_worker_is_used_and_none_is_left_in_the_list_of_processes(make_pool, tmp_path):
    """As where packages are installed anew."""
    pool = make_pool(HALF)
    command = pool.register(register_words(tmp_path / "1"))
    old = find_pid(command)
    idle = pool.register(register_words(tmp_path / "2"))
    others = find_pid(idle)
    assert idle.wait(LATER) == "finished"
    pool.close(5.0)
    assert psutil.pid_exists(old) or command.state != "running"
    assert not psutil.pid_exists(others)  # not even as a zombie
    new = pool.register(register_words(tmp_path / "3"))
    assert command.wait(LATER) == "finished"
    assert find_pid(new) not in (old, others) and new.wait(LATER) == "finished"
    assert old not in pool.pids()
    wait_for_end(old)
    pool.pids()
    assert not psutil.pid_exists(old)


def test_relative_paths_start_where_the_request_is_made(make_pool, tmp_path, monkeypatch):
    pool = make_pool("""
        def act(request, progress, kept):
            progress("preparation", 1.0, f"{os.getpid()} {os.getcwd()}")
    """)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        command = pool.register(register_words(Path("out")))
        monkeypatch.chdir(tmp_path)
        assert command.wait(LATER) == "finished" and str(tmp_path / name) in command.log
    assert len(pool.pids()) == 1


@posix
def test_a_working_directory_that_was_removed(make_pool, tmp_path, monkeypatch):
    pool = make_pool(STEPS)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    command = pool.register(register_words(Path("out")))
    assert command.wait(LATER) == "failed" and "working directory has been removed" in command.error
    words = [str(tmp_path / word) if word.endswith(".gz") else word for word in register_words(tmp_path / "out")]
    assert pool.register(words).wait(LATER) == "finished"


def test_answers_to_an_earlier_request_are_no_output(make_pool, tmp_path):
    pool = make_pool("""
        from SlicRegLib.errors import UserError

        def load_model(self, path):
            raise UserError("The model is damaged.")

        Kept.load_model = load_model

        def act(request, progress, kept):
            pass
    """)
    pool.warm_up("model.slicreg")
    command = pool.register(register_words(tmp_path))
    assert command.wait(LATER) == "finished" and "damaged" not in command.log
    assert command.output and not any("{" in line for line in command.output)


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
    assert 0 < remaining[0] < 1 and remaining == sorted(remaining, reverse=True) and remaining[-1] == 0


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
    """As behind a launcher that does not pass its standard input on; the next one need not find that out."""
    deaf = "import time; print('{\"ready\": true}', flush=True); time.sleep(60)"
    monkeypatch.setattr(worker_module, "ACCEPT_SECONDS", 0.1)
    plain = [sys.executable, "-c", "import sys; sys.exit('slicreg: ' + sys.argv[-1])"]
    monkeypatch.setattr(
        worker_module, "CommandProcess", lambda words, folder: CommandProcess(command=[*plain, *words], folder=folder)
    )
    started = []
    pool = WorkerPool(lambda: started.append(1) or [sys.executable, "-c", deaf])
    for name in ("one", "other"):
        command = pool.register(register_words(tmp_path / name))
        assert command.wait(LATER) == "failed" and str(tmp_path / name) in command.error
    pool.warm_up()
    assert started == [1] and pool.pids() == set()
    pool.close()
    pool.warm_up()
    assert started == [1, 1]
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
