"""Commands on disks that fill up and places that cannot be written, cases that fail, streams that take nothing."""

import errno
import io
import json
import os
import subprocess
import sys

import pytest

import deadly
from command_line import *  # noqa: F403  its fixtures
from command_line import QUICK, SHAPE, is_one_sentence, run
from disks import can_mount, file_size_limit, small_disk
from SlicRegLib.cli.main import main
from SlicRegLib.geometry.field import identity_field
from SlicRegLib.jobs import register_batch
from SlicRegLib.registration.result import Registration
from SlicRegLib.registration.verdict import Verdict
from SlicRegLib.results import evaluate as evaluate_module

posix = pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
LATIN = b"caf\xe9".decode("utf-8", "surrogateescape")


@pytest.fixture
def commands(cohort, study, model, pair):
    """Command -> its options without --out."""
    scans = {"template": pair["template"], "images": cohort / "img"}
    label = cohort / "template_label.nii.gz"
    return {
        "register": {"model": model, **pair, **QUICK},
        "batch": {"model": model, **scans, **QUICK},
        "evaluate": {"model": model, **scans, "template_label": label, "labels": cohort / "label", **QUICK},
        "check": {**scans, "jobs": 1},
        "prepare": {**scans, "jobs": 1, **SHAPE},
        "train": {"study": study.folder, "iterations": 1},
        "learn": {**scans, "name": "tiny", "jobs": 1, "iterations": 1, **SHAPE},
        "demo": {},
    }


COMMANDS = ["register", "batch", "evaluate", "check", "prepare", "train", "learn", "demo"]
SUFFIX = {"evaluate": ".json", "train": ".slicreg"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_its_output_before_the_work(command, commands, tmp_path, capfd):
    """A bar on stderr would show that work had begun."""
    (tmp_path / "file").write_text("mine")
    long, suffix = "x" * 250, SUFFIX.get(command, "")
    outputs = {
        "file/out": "file" if command in ("demo", "evaluate") else "a part of its path is a file",
        f"{LATIN}": "is not valid UTF-8",
        f"{long}{'y' * 6}": "the name is too long",
    }
    for name, part in outputs.items():
        assert run(command, out=tmp_path / f"{name}{suffix}", **commands[command]) == 2
        assert is_one_sentence(capfd, part)
        assert [p.name for p in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "mine"


def test_register_does_not_overwrite_its_target(pair, model, tmp_path, capfd):
    target = tmp_path / "warped_target.nii.gz"
    target.write_bytes(pair["target"].read_bytes())
    assert run("register", model=model, template=pair["template"], target=target, out=tmp_path, **QUICK) == 2
    assert is_one_sentence(capfd, "would be overwritten") and target.read_bytes() == pair["target"].read_bytes()


TABLES = {
    "batch": "results.csv",
    "check": "cohort.json",
    "prepare": "study.json",
    "learn": "tiny_curve.csv",
    "evaluate": "cohort.csv",
}


@pytest.mark.parametrize("command", TABLES)
def test_the_table_of_a_cohort_is_not_overwritten(command, commands, cohort, tmp_path, capfd):
    table = tmp_path / TABLES[command]
    table.write_text(text := "\n".join(str(path) for path in sorted((cohort / "img").iterdir())))
    out = table if command == "evaluate" else tmp_path
    assert run(command, out=out, **{**commands[command], "images": table}) == 2
    assert is_one_sentence(capfd, f"{table.name} is one of the inputs and would be overwritten")
    assert table.read_text() == text and list(tmp_path.iterdir()) == [table]


@pytest.mark.parametrize("file", ["img/pt_1.nii.gz", "label/pt_2.nii.gz"])
def test_an_evaluation_does_not_overwrite_its_cohort(file, commands, cohort, capfd):
    before = (cohort / file).read_bytes()
    assert run("evaluate", out=cohort / file, **commands["evaluate"]) == 2
    assert is_one_sentence(capfd, "is one of the inputs and would be overwritten")
    assert (cohort / file).read_bytes() == before


def test_long_names_of_scans_are_prepared(commands, cohort, tmp_path):
    scan = tmp_path / "img" / f"{'x' * 248}.nii.gz"
    scan.parent.mkdir()
    scan.symlink_to(cohort / "img" / "pt_1.nii.gz")
    options = {**commands["prepare"], "images": scan.parent}
    assert run("prepare", out=tmp_path / "study", **options) == 0
    assert next((tmp_path / "study").rglob(f"{'x' * 248}.npz"))


# ---- disks that fill up (Testing/reliability/full_disk.py tries many more) -----------------------------------------


@posix
@pytest.mark.parametrize("limit", [3000, 30_000, 100_000])
def test_register_on_a_disk_that_fills_up(limit, pair, model, tmp_path, capfd):
    words = [f"--{name}={path}" for name, path in {**pair, "model": model}.items()]
    with file_size_limit(limit):
        code = main(["register", *words, "--out", str(tmp_path / "a" / "out"), "--key-points=200", "--iterations=5",
                     "--no-refine", "--json"])  # fmt: skip
    lines = capfd.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1 and "File too large" in lines[0], lines
    assert list(tmp_path.iterdir()) == []


def test_a_real_disk_that_fills_up(commands, tmp_path, capfd):
    if not can_mount(tmp_path / "disk"):
        pytest.skip("only root can mount a small disk")
    for size in (4096, 200_000):
        with small_disk(tmp_path / "disk", size) as disk:
            assert run("register", out=disk / "a" / "out", json=True, **commands["register"]) == 2
            lines = capfd.readouterr().err.splitlines()
            assert len(lines) == 1 and "disk" in lines[0], lines
            assert list(disk.iterdir()) == []


# ---- one case stops no cohort ----------------------------------------------------------------------------------------


def test_finished_cases_of_an_evaluation_are_kept(commands, cohort, tmp_path, monkeypatch, capfd):
    results, called = tmp_path / "results.json", []

    def register(model, template, target, *_, **__):
        called.append(True)
        if len(called) == 2:
            raise MemoryError
        if len(called) == 4:
            assert json.loads(results.read_text())["complete"] is False
            raise KeyboardInterrupt
        return Registration(template, target, identity_field(template.grid), {"prediction": 1.0}, True)

    monkeypatch.setattr(evaluate_module, "register", register)
    monkeypatch.setattr(evaluate_module, "judge", lambda *_: Verdict("good", "", 0.1, 0.2, 0.5, 0.4, (), 0.0))
    assert run("evaluate", out=results, **commands["evaluate"]) == 130
    written = json.loads(results.read_text())
    assert list(written["cases"]) == ["pt_1", "pt_3"] and written["mean"]["cases"] == 2
    assert "ran out of memory" in written["failed"]["pt_2"] and written["complete"] is False
    assert run("evaluate", out=results, **commands["evaluate"]) == 0
    written = json.loads(results.read_text())
    assert len(written["cases"]) == 5 and written["complete"] is True


@posix
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_registration_does_not_end_the_batch(commands, tmp_path, monkeypatch, capsys, jobs):
    monkeypatch.setattr("SlicRegLib.workers.IN_THIS_PROCESS", False)
    monkeypatch.setattr(register_batch, "_register", deadly.register)
    assert run("batch", out=tmp_path / "out", jobs=jobs, **commands["batch"]) == 0
    text = capsys.readouterr().out
    assert "5 scans: 4 done, 1 failed" in text and "pt_2: The system ended the process" in text
    assert not (tmp_path / "out" / "pt_2").exists()


def test_scans_with_names_that_are_no_text_are_listed(commands, cohort, tmp_path, capfd):
    (tmp_path / "img").mkdir()
    for name in ("pt_1", LATIN):
        (tmp_path / "img" / f"{name}.nii.gz").symlink_to(cohort / "img" / "pt_1.nii.gz")
    assert run("prepare", out=tmp_path / "study", **{**commands["prepare"], "images": tmp_path / "img"}) == 0
    captured = capfd.readouterr()
    assert "1 scans prepared" in captured.out and "is not valid UTF-8; rename" in captured.out
    assert len(list((tmp_path / "study" / "scans").iterdir())) == 1


# ---- what is printed -------------------------------------------------------------------------------------------------


def test_arguments_that_are_no_text(capfd):
    for word in (f"--model={LATIN}", "a\nb", "a\0b"):
        assert main(["register", word]) == 2
        assert is_one_sentence(capfd, "rename the file or folder")


class Stream(io.StringIO):
    """A stream on which nothing can be printed."""

    def __init__(self, error: OSError):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


@pytest.mark.parametrize("number, code", [(errno.EPIPE, 0), (errno.ENOSPC, 2)])
def test_stdout_that_takes_nothing(number, code, model, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdout", Stream(OSError(number, os.strerror(number))))
    assert run("info", model) == code
    error = capfd.readouterr().err
    assert error == ("" if code == 0 else f"slicreg: The output cannot be written ({os.strerror(number)}).\n")


@pytest.mark.parametrize("json_lines", [True, False])
def test_progress_that_nobody_reads_does_not_end_the_work(json_lines, model, pair, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout" if json_lines else "stderr", Stream(BrokenPipeError(errno.EPIPE, "")))
    assert run("register", model=model, **pair, out=tmp_path / "out", json=json_lines, **QUICK) == 0
    assert (tmp_path / "out" / "report.json").is_file()


def test_running_out_of_memory_is_one_sentence(model, monkeypatch, capfd):
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")):
        monkeypatch.setattr(
            "SlicRegLib.registration.model.load_model", lambda _, error=error: (_ for _ in ()).throw(error)
        )
        assert run("info", model) == 2 and is_one_sentence(capfd, "ran out of memory; close")


@posix
def test_a_pipe_that_is_closed_and_letters_that_cannot_be_printed(model, tmp_path):
    program = f"{sys.executable} -m SlicRegLib info"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    shell = f"set -o pipefail; {program} '{model}' | head -1; {program} ümlaut >&-"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "{\n" and done.returncode == 2
    assert done.stderr.startswith("slicreg: The model \\xfcmlaut does not exist") and done.stderr.count("\n") == 1
