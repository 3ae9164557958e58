"""`slicreg serve`: what it answers, that nothing disturbs its lines, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager, suppress

import pytest

from command_line import is_one_sentence
from serving import HALF, STEPS, register_words, serve_words
from SlicRegLib.cli.main import main
from SlicRegLib.jobs.python import make_environment
from SlicRegLib.jobs.worker_pool import FOLDER_PREFIX
from test_command_process import is_alive, posix

ENVIRONMENT = make_environment(sys.executable)
LATER = 30.0


class Client:
    def __init__(self, act: str, *words: object):
        self.process = subprocess.Popen(
            serve_words(act, *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        self.ready = self.read()

    def read(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def ask(self, content: object) -> list[dict]:
        """The lines up to the last one about this request; content: an object, or the line itself."""
        self.send(content)
        lines = [self.read()]
        while "exit_code" not in lines[-1]:
            lines.append(self.read())
        return lines

    def send(self, content: object) -> None:
        line = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def register(self, out, **more) -> list[dict]:
        return self.ask({"id": 7, "command": "register", "arguments": register_words(out, **more)})


@contextmanager
def client(act: str = STEPS, *words: object):
    one = Client(act, *words)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        for stream in (one.process.stdin, one.process.stdout, one.process.stderr):
            with suppress(OSError):
                stream.close()


def test_one_registration_after_the_other_and_mistakes_in_between(tmp_path):
    with client() as server:
        assert server.ready == {"ready": True, "pid": server.process.pid}
        for number, (content, part) in enumerate(
            [
                (b"garbage", "a line with a JSON object"),
                (b"\xff\xfe{", "a line with a JSON object"),
                (b"[1, 2]", "a line with a JSON object"),
                (b"[" * 10_000, "a line with a JSON object"),
                (b'{"id": 1, "x": "' + b"y" * (1 << 20) + b'"}', "at most 1048576 bytes"),
                ({"id": 7}, "no command 'None' here; choose one of register, load, free"),
                ({"id": 7, "command": ["register"]}, "no command"),
                ({"id": 7, "command": "register", "arguments": "--out x"}, "a list of texts"),
                ({"id": 7, "command": "register", "arguments": [3]}, "a list of texts"),
                ({"id": 7, "command": "register", "arguments": ["--ot", "x"]}, "`slicreg register --help`"),
                ({"id": 7, "command": "register", "arguments": ["a\x00b"]}, "control character"),
                ({"id": 7, "command": "load", "arguments": []}, "one model"),
                ({"id": 7, "command": "free", "folder": str(tmp_path / "gone")}, "gone cannot be used"),
                ({"id": 7, "command": "free", "folder": 3}, "is a text"),
            ]
        ):
            answer = server.ask(content)[-1]
            assert answer["id"] == (7 if isinstance(content, dict) else None) and answer["exit_code"] == 2, number
            assert part in answer["error"] and "\n" not in answer["error"]
        answer = server.ask({"id": 7, "command": "register", "arguments": ["--help"]})[-1]
        assert answer["exit_code"] == 0 and "--template" in answer["text"]
        accepted, *steps, verdict, last = server.register(tmp_path / "out")
        assert accepted == {"id": 7, "accepted": True}
        assert [(step["id"], step["stage"], step["share"]) for step in steps] == [
            (7, "preparation", 0.0),
            (7, "preparation", 1.0),
        ]
        assert verdict["stage"] == "verdict" and verdict["verdict"]["word"] == "good"
        assert last["exit_code"] == 0 and last["report"]["seconds"] == {"total": 1.5} and "Verdict" in last["text"]
        own = ["--model", "m.slicreg", "--target", str(tmp_path / "ct.nii.gz"), "--out", str(tmp_path / "own")]
        for folder in ({}, {"folder": str(tmp_path)}):  # without a template: the model's own
            last = server.ask({"id": 7, "command": "register", "arguments": own, **folder})[-1]
            assert last["exit_code"] == 0 and last["report"]
        assert server.ask({"id": "b", "command": "load", "arguments": ["m"]})[-1] == {"id": "b", "exit_code": 0}
        server.process.stdin.close()
        assert server.process.wait(LATER) == 0 and server.process.stdout.read() == b""


LOUD = """
import ctypes
from SlicRegLib.errors import UserError

def act(request, progress, kept):
    print("from Python")
    os.write(1, b"from a system call\\n")
    ctypes.CDLL(None).puts(b"from C")
    ctypes.CDLL(None).fflush(None)
    os.system("echo from a child; cat")
    progress("writing", 1.0, f"read {sys.stdin.read()!r}")
    error = {"user": UserError("A mistake."), "memory": MemoryError(), "defect": KeyError("x")}
    if request.target.name in error:
        raise error[request.target.name]
"""


@posix
def test_nothing_that_is_printed_gets_between_the_lines(tmp_path):
    with client(LOUD) as server:
        assert [line.get("details") for line in server.register(tmp_path)][1] == "read ''"
        codes = {"user": (2, "A mistake."), "memory": (2, "ran out of memory"), "defect": (1, "unexpected KeyError")}
        for target, (code, words) in codes.items():
            answer = server.register(tmp_path, target=target)[-1]
            assert answer["exit_code"] == code and words in answer["error"], answer
        server.process.stdin.close()
        errors = server.process.stderr.read()
        for text in (b"from Python", b"from a system call", b"from C", b"from a child"):
            assert errors.count(text + b"\n") == 4
        assert errors.count(b"Traceback") == 1  # of the defect


PRINTING = """
import warnings

def act(request, progress, kept):
    print("from Python")
    warnings.warn("something")
    sys.stderr.write("error")
    sys.stderr.flush()
    if request.target.name == "defect":
        raise KeyError("x")
"""


@posix
def test_that_nobody_reads_what_is_printed_is_no_error(tmp_path):
    with client(PRINTING) as server:
        server.process.stderr.close()
        for _ in range(2):
            assert server.register(tmp_path)[-1]["exit_code"] == 0
        answer = server.register(tmp_path, target="defect")[-1]
        assert answer["exit_code"] == 1 and "unexpected KeyError" in answer["error"]
        assert server.register(tmp_path)[-1]["exit_code"] == 0
        server.process.stdin.close()
        assert server.process.wait(LATER) == 0


def test_it_finishes_what_was_asked_for_before_its_input_ended(tmp_path):
    """As in ``slicreg serve < requests``."""
    lines = [{"id": n, "command": "register", "arguments": register_words(tmp_path / str(n))} for n in (1, 2)]
    text = "\n".join(map(json.dumps, lines))
    done = subprocess.run(
        serve_words(HALF), input=text, capture_output=True, text=True, env=ENVIRONMENT, timeout=LATER, check=False
    )
    answers = [line for line in map(json.loads, done.stdout.splitlines()) if "exit_code" in line]
    assert [(line["id"], line["exit_code"]) for line in answers] == [(1, 0), (2, 0)] and done.returncode == 0
    assert (tmp_path / "2" / "transform.h5").is_file()


def test_it_ends_after_idle_minutes():
    with client(STEPS, "--idle-minutes", 0.01) as server:
        assert server.process.wait(LATER) == 0


MEMORY = """
from SlicRegLib.cli import serve
serve.MEMORY_SECONDS = 0.0
free = [5_000_000_000]
serve.available_memory = lambda: free[0] if not Kept.cleared else free[-1]

def act(request, progress, kept):
    free[:] = [100, int(request.target.name)]
    progress("cleared", 1.0, str(Kept.cleared))
"""


def test_it_gives_its_memory_back(tmp_path):
    with client(MEMORY) as server:
        for n in (0, 1):
            assert server.register(tmp_path, target="5000000000")[1]["details"] == str(n)
            assert server.ask({"command": "free"})[-1] == {"id": None, "exit_code": 0}
        assert server.process.poll() is None
    with client(MEMORY) as server:  # by itself; and it ends where that is not enough
        server.register(tmp_path, target="5000000000")
        time.sleep(0.6)
        assert server.register(tmp_path, target="200")[1]["details"] == "1"
        assert server.process.wait(LATER) == 0


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path, number):
    with client(HALF) as server:
        server.send({"id": 1, "command": "register", "arguments": register_words(tmp_path / "out", "slow")})
        assert server.read()["accepted"] and server.read()["stage"] == "writing"
        assert (tmp_path / "out").is_dir()
        server.process.send_signal(number)
        assert server.process.wait(LATER) == 130 and not (tmp_path / "out").exists()
        assert server.read() == {"id": 1, "exit_code": 130, "error": "The registration was interrupted."}


STUBBORN = """
def act(request, progress, kept):
    (request.out / ".slicreg-part").mkdir(parents=True)
    progress("writing", 0.4, str(os.getpid()))
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""


@posix
@pytest.mark.parametrize("act", [HALF, STUBBORN], ids=["cleans up", "does not react"])
def test_a_killed_parent_takes_it_along(tmp_path, act):
    """With its pipes open, as when another process has inherited them."""
    temporary = tmp_path / f"{FOLDER_PREFIX}x"
    parent = """
        import json, os, subprocess, sys, time
        command, words = map(json.loads, sys.argv[1:])
        os.mkdir(words[-1])
        held = os.dup(1)
        server = subprocess.Popen(command + words + ["--parent", str(os.getpid())], stdin=subprocess.PIPE)
        request = {"id": 1, "command": "register", "arguments": json.loads(sys.stdin.readline())}
        server.stdin.write(json.dumps(request).encode() + b"\\n")
        server.stdin.flush()
        time.sleep(60)
    """
    words = ["--temporary", str(temporary)]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(parent), json.dumps(serve_words(act)), json.dumps(words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**ENVIRONMENT, "TMPDIR": str(tmp_path)},
        text=True,
    )
    process.stdin.write(json.dumps(register_words(temporary / "run" / "result", "slow")) + "\n")
    process.stdin.flush()
    step: dict = {}
    while step.get("stage") != "writing":
        step = json.loads(process.stdout.readline())
    server = int(step["details"])
    assert is_alive(server) and list((temporary / "run" / "result").iterdir())
    process.kill()
    process.wait()
    began = time.monotonic()
    while is_alive(server):
        assert time.monotonic() - began < 2
        time.sleep(0.02)
    assert list(tmp_path.iterdir()) == []
    process.communicate()


@pytest.mark.parametrize(
    "words, part",
    [
        (["--idle-minutes", "-1"], "idle minutes must lie between"),
        (["--parent", "2147483646"], "There is no process 2147483646"),
        (["--temporary", "."], f"give a folder {FOLDER_PREFIX}... in "),
        (["--temporary", f"deep/{FOLDER_PREFIX}x"], f"give a folder {FOLDER_PREFIX}... in "),
    ],
)
def test_wrong_options_are_one_sentence(words, part, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep" / f"{FOLDER_PREFIX}x").mkdir(parents=True)
    descriptors = [os.dup(n) for n in range(3)]
    try:
        code = main(["serve", *words])
    finally:
        for number, one in enumerate(descriptors):
            os.dup2(one, number)
            os.close(one)
    assert code == 2 and is_one_sentence(capfd, part) and (tmp_path / "deep" / f"{FOLDER_PREFIX}x").is_dir()
