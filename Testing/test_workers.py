"""Many items in processes of this computer: whatever happens to one of them, the others are done."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from pathlib import Path

import pytest

import deadly
from SlicRegLib.errors import OUT_OF_MEMORY, WriteError
from SlicRegLib.jobs.python import make_environment
from SlicRegLib.workers import DIED, run_each, run_together
from test_command_process import is_alive, posix

PROBLEMS = {
    5: OUT_OF_MEMORY,
    6: "An unexpected ZeroDivisionError: no idea; please report it.",
    7: "Seven is wrong.",
}


def outcomes(items, jobs, **more):
    return {done.item: (done.result, done.problem) for done in run_each(deadly.square, items, jobs, **more)}


def test_a_failure_stops_no_other():
    found = outcomes([1, 5, 6, 7, 8], 1)
    assert found == {1: (1, ""), 8: (64, ""), **{item: (None, text) for item, text in PROBLEMS.items()}}


@posix
def test_a_killed_process_costs_only_the_item_that_killed_it():
    deaths = []
    found = outcomes(range(9), 2, after_death=lambda: deaths.append(True))
    assert {item for item, (_, problem) in found.items() if problem == DIED} == {3}
    assert {item: text for item, (_, text) in found.items() if text and text != DIED} == PROBLEMS
    assert {item: result for item, (result, text) in found.items() if not text} == {n: n * n for n in (0, 1, 2, 4, 8)}
    assert len(deaths) == 2  # with others, and alone


@posix
def test_an_item_that_dies_once_is_tried_again(tmp_path):
    [done] = run_each(deadly.die_once, [tmp_path / "one"], isolate=True)
    assert done == (tmp_path / "one", "one", "")


def test_a_full_disk_concerns_all():
    with pytest.raises(WriteError, match="disk is full"):
        list(run_each(deadly.fill_disk, range(3), 1))


@posix
def test_isolated_items_share_one_other_process():
    pids = [done.result for item in range(2) for done in run_each(deadly.get_pid, [item], isolate=True)]
    assert pids[0] == pids[1] != os.getpid()


@posix
def test_a_killed_parent_takes_its_processes_along():
    program = """
        import time, deadly
        from SlicRegLib.workers import run_each
        print(*{done.result for done in run_each(deadly.sleep_and_get_pid, range(4), 2)}, flush=True)
        list(run_each(time.sleep, [0, 60], 2))
    """
    environment = make_environment(sys.executable)
    environment["PYTHONPATH"] += os.pathsep + str(Path(__file__).parent)
    words = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        pids = process.stdout.readline().split()
        process.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + 5
    while any(is_alive(int(pid)) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_tasks_run_two_at_a_time_and_all_of_them():
    meet, done, shares = threading.Barrier(2, timeout=20), [], []

    def task(number: int):
        if number < 2:
            meet.wait()  # passes only if both are there at the same time
        done.append((number, threading.get_ident()))

    run_together([lambda n=n: task(n) for n in range(5)], shares.append)
    assert sorted(number for number, _ in done) == [0, 1, 2, 3, 4]
    assert shares == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert threading.get_ident() not in {thread for _, thread in done}


def test_the_first_failure_of_a_task_ends_what_has_not_begun():
    begun = []

    def begin(number: int):
        begun.append(number)
        time.sleep(0.01)

    def fail():
        raise WriteError("The disk is full.")

    with pytest.raises(WriteError, match="full"):
        run_together([fail, *[partial(begin, n) for n in range(50)]], lambda share: None, threads=1)
    assert len(begun) < 50
