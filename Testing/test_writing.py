"""Files are written whole or not at all, and what prevents it is one sentence: full disks, names, devices, pipes."""

import errno
import io
import json
import os
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.figure import Figure

import deadly
from command_line import *  # noqa: F403  its fixtures
from command_line import QUICK, SHAPE, is_one_sentence, run
from disks import broken_files, can_mount, file_size_limit, small_disk
from SlicRegLib.cli.main import main
from SlicRegLib.errors import UserError, WriteError, one_sentence, write_error
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images import files, itk_writing
from SlicRegLib.images.figures import save_figure
from SlicRegLib.images.files import atomic, check_output, check_space, make_folder, new_folder, write_json
from SlicRegLib.images.transforms import load_transform, save_transform
from SlicRegLib.images.volumes import Volume, load_scan, save_volume
from SlicRegLib.jobs import register_batch
from SlicRegLib.jobs.report.content import ReportContent
from SlicRegLib.jobs.report.page import write_report
from SlicRegLib.registration.model import save_model
from SlicRegLib.results import evaluate as evaluate_module
from SlicRegLib.teaching.packing import save_arrays
from SlicRegLib.training.history import History
from tiny import random, tiny_model

posix = pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
GRID = Grid((20, 18, 16), np.diag([3.0, 3.0, 3.0, 1.0]))
NOISE = Volume(random(*GRID.shape).numpy() * 300, GRID)
LATIN = b"caf\xe9".decode("utf-8", "surrogateescape")


def draw(path):
    figure = Figure()
    figure.add_subplot().imshow(NOISE.data[0])
    save_figure(path, figure, 100)


def save_history(path):
    History([(float(n), 1.0, 2.0, 3.0, 0.5) for n in range(9)]).save(path.with_suffix(""))


WRITERS = {
    "scan.nii": partial(save_volume, volume=NOISE),
    "scan.nii.gz": partial(save_volume, volume=NOISE),
    "scan.nrrd": partial(save_volume, volume=NOISE),
    "scan.mha": partial(save_volume, volume=NOISE),
    "transform.h5": partial(save_transform, field=DisplacementField(random(3, *GRID.shape), GRID)),
    "picture.png": draw,
    "content.json": partial(write_json, content=list(range(5000))),
    "arrays.npz": partial(save_arrays, content={"noise": NOISE.data}),
    "curve.png": save_history,
    "report.html": partial(write_report, content=ReportContent(name="model")),
}
"""Every kind of file that is written -> its writer."""


@posix
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_full_disk_leaves_no_part_of_a_file(name, share, tmp_path):
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    for earlier in ("", "mine"):
        for file in tmp_path.iterdir():
            file.unlink()
        if earlier:
            path.write_text(earlier)
        with file_size_limit(int(share * len(whole))), pytest.raises(WriteError, match="cannot be written") as found:
            WRITERS[name](path)
        assert str(tmp_path) in str(found.value) and "File too large" in str(found.value)
        left = [p for p in tmp_path.iterdir() if name != "curve.png" or p.suffix != ".csv"]
        assert left == ([path] if earlier else [])
        assert not earlier or path.read_text() == "mine"


@posix
def test_a_full_disk_while_a_model_is_written(study, tmp_path):
    path = tmp_path / "model.slicreg"
    save_model(path, tiny_model(study))
    size = path.stat().st_size
    path.unlink()
    with file_size_limit(size - 9), pytest.raises(WriteError, match="File too large"):
        save_model(path, tiny_model(study))
    assert list(tmp_path.iterdir()) == []


@posix
def test_what_simpleitk_does_not_notice_is_noticed(tmp_path, monkeypatch):
    """It writes a NIfTI file short without a word."""
    monkeypatch.setattr(itk_writing, "_reserve", lambda *_: None)
    with file_size_limit(2000), pytest.raises(WriteError, match=r"scan\.nii"):
        itk_writing.write_image(tmp_path / "scan.nii", sitk.GetImageFromArray(NOISE.data))
    with file_size_limit(2000), pytest.raises(WriteError, match=r"scan\.nrrd.*SimpleITK"):
        save_volume(tmp_path / "scan.nrrd", NOISE)
    assert list(tmp_path.iterdir()) == []


def test_a_transform_that_cannot_be_read_back_is_refused(tmp_path, monkeypatch):
    save_transform(tmp_path / "other.h5", DisplacementField(random(3, *GRID.shape, seed=2), GRID))
    other = (tmp_path / "other.h5").read_bytes()
    monkeypatch.setattr(sitk, "WriteTransform", lambda _, path: Path(path).write_bytes(other))
    with pytest.raises(WriteError, match="cannot be read back"):
        WRITERS["transform.h5"](tmp_path / "transform.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["other.h5"]


def test_formats_of_two_files_and_of_none(tmp_path):
    for name in ("scan.mhd", "scan.nhdr", "scan.png"):
        with pytest.raises(UserError, match=r"use \.nii\.gz, \.nrrd or \.mha"):
            save_volume(tmp_path / name, NOISE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "number, part",
    [
        (errno.ENOSPC, "the disk is full (No space left on device); free some space"),
        (errno.EDQUOT, "your share of the disk is used up"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "you have no permission"),
        (errno.EIO, "the disk reports an error"),
        (errno.ENXIO, os.strerror(errno.ENXIO)),
    ],
)
def test_the_reason_is_said(number, part, tmp_path, monkeypatch):
    def fail(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(files, "_flush", fail)
    with pytest.raises(WriteError) as found:
        WRITERS["scan.nii.gz"](tmp_path / "scan.nii.gz")
    assert str(found.value).startswith(f"{tmp_path / 'scan.nii.gz'} cannot be written: {part}")
    assert isinstance(found.value, OSError) and found.value.errno == number and list(tmp_path.iterdir()) == []


def test_an_error_about_another_file_names_that_file(tmp_path):
    with pytest.raises(FileNotFoundError) as found, atomic(tmp_path / "copy"):
        (tmp_path / "none").read_bytes()
    assert one_sentence(found.value).startswith(f"{tmp_path / 'none'} cannot be read or written: its folder does not")
    assert list(tmp_path.iterdir()) == []


# ---- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.mha", "transform.h5"])
def test_the_longest_names_are_written(name, tmp_path):
    suffix = name.partition(".")[2]
    longest = tmp_path / f"{'ü' * ((254 - len(suffix)) // 2)}.{suffix}"
    WRITERS[name](longest)
    assert [p.name for p in tmp_path.iterdir()] == [longest.name] and len(os.fsencode(longest.name)) >= 254
    with pytest.raises(WriteError, match="the name is too long"):
        WRITERS[name](longest.with_name(f"xx{longest.name}"))
    assert len(list(tmp_path.iterdir())) == 1
    if name != "transform.h5":
        assert load_scan(longest).grid.matches(GRID)
    else:
        assert load_transform(longest).grid.matches(GRID)


@pytest.mark.parametrize("name", [LATIN, "a\nb", "a\0b", "a\x1b[31m"])
@pytest.mark.parametrize("writer", ["scan.nrrd", "transform.h5", "scan.nii.gz"])
def test_names_that_simpleitk_cannot_take_are_refused(name, writer, tmp_path):
    with pytest.raises(UserError, match=r"is not valid UTF-8|contains a control character") as found:
        WRITERS[writer](tmp_path / f"{name}.{writer.partition('.')[2]}")
    assert str(found.value).isprintable() and list(tmp_path.iterdir()) == []


@posix
def test_places_that_are_no_files(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    faults = {
        "folder": "is a folder",
        "pipe": "a device or a pipe",
        "file/scan.nrrd": "a part of its path is a file",
        "none/scan.nrrd": "its folder does not exist",
        "circle/scan.nrrd": "circle",
    }
    before = sorted(tmp_path.iterdir())
    for name, part in faults.items():
        with pytest.raises(UserError, match=part):
            write_json(tmp_path / name, [])
        with pytest.raises(UserError):
            check_output(tmp_path / name, make_parents=False)
    with pytest.raises(UserError, match="a device or a pipe"):
        write_json("/dev/null", [])
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "file").read_text() == "mine"


@posix
def test_links_stay_and_lead_to_the_new_file(tmp_path):
    (tmp_path / "real").mkdir()
    for link, there in (("link", True), ("dangling", False)):
        target = tmp_path / "real" / f"{link}.json"
        if there:
            target.write_text("old")
        (tmp_path / link).symlink_to(target)
        write_json(tmp_path / link, [1])
        assert (tmp_path / link).is_symlink() and json.loads(target.read_text()) == [1]


# ---- checked before the work ----------------------------------------------------------------------------------------


def test_a_check_leaves_nothing(tmp_path):
    check_output(tmp_path / "a" / "b", folder=True, names=["c/d.nii.gz"])
    check_output(tmp_path / "a" / "b.json")
    assert list(tmp_path.iterdir()) == []
    check_output(tmp_path, folder=True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="create it first"):
        check_output(tmp_path / "a" / "b.json", make_parents=False)
    with pytest.raises(WriteError, match="too long"):
        check_output(tmp_path / "a", folder=True, names=["x" * 256])
    assert list(tmp_path.iterdir()) == []


def test_inputs_are_not_overwritten(tmp_path):
    scan = tmp_path / "warped_target.nii.gz"
    WRITERS["scan.nii.gz"](scan)
    for check in (
        lambda: check_output(scan, inputs=[None, scan]),
        lambda: check_output(tmp_path, folder=True, names=[scan.name], inputs=[tmp_path / "." / scan.name]),
    ):
        with pytest.raises(UserError, match="is one of the inputs and would be overwritten"):
            check()
    check_output(tmp_path / "other.json", inputs=[scan])


def test_a_disk_with_clearly_too_little_space(tmp_path):
    check_space(tmp_path / "none" / "yet", 1000)
    with pytest.raises(UserError, match=r"MB left, and at least 1000000000000\.0 MB are needed"):
        check_space(tmp_path / "none" / "yet", 10**18)


def test_folders_that_were_made_are_removed_after_a_failure(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    assert make_folder(tmp_path / "a" / "b") == [tmp_path / "a" / "b", tmp_path / "a"]
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="a part of its path is a file"):
        make_folder(tmp_path / "file" / "c")


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


@pytest.mark.parametrize("command", ["prepare", "learn"])
def test_long_names_of_scans_are_prepared_or_refused_before_the_work(command, commands, cohort, tmp_path, capfd):
    scan = tmp_path / "img" / f"{'x' * 248}.nii.gz"
    scan.parent.mkdir()
    scan.symlink_to(cohort / "img" / "pt_1.nii.gz")
    options = {**commands[command], "images": scan.parent}
    assert run(command, out=tmp_path / "study", **options) == 0
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


@pytest.mark.parametrize("command", ["register", "evaluate"])
def test_a_real_disk_that_fills_up(command, commands, tmp_path, capfd):
    if not can_mount(tmp_path / "disk"):
        pytest.skip("only root can mount a small disk")
    # of an evaluation, the cases that were finished may be left, as whole JSON
    for size in (4096, 200_000):
        with small_disk(tmp_path / "disk", size) as disk:
            code = run(command, out=disk / "out", json=True, **commands[command])
            lines = capfd.readouterr().err.splitlines()
            assert code == 2 or (command == "evaluate" and size > 4096 and code == 0), lines
            assert code == 0 or (len(lines) == 1 and "disk" in lines[0]), lines
            assert broken_files(disk) == []
            if code and (command == "register" or size == 4096):
                assert list(disk.iterdir()) == []


# ---- one case stops no cohort ----------------------------------------------------------------------------------------


def test_finished_cases_of_an_evaluation_are_kept(commands, cohort, tmp_path, monkeypatch, capfd):
    real, results, called = evaluate_module.register, tmp_path / "results.json", []

    def register(*arguments):
        called.append(True)
        if len(called) == 2:
            raise MemoryError
        if len(called) == 4:
            assert json.loads(results.read_text())["complete"] is False
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(evaluate_module, "register", register)
    assert run("evaluate", out=results, **commands["evaluate"]) == 130
    written = json.loads(results.read_text())
    assert list(written["cases"]) == ["pt_1", "pt_3"] and written["mean"]["cases"] == 2
    assert "ran out of memory" in written["failed"]["pt_2"] and written["complete"] is False
    assert run("evaluate", out=results, **commands["evaluate"]) == 0
    written = json.loads(results.read_text())
    assert len(written["cases"]) == 5 and written["complete"] is True


@posix
def test_a_killed_registration_does_not_end_the_batch(commands, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("SlicRegLib.workers.IN_THIS_PROCESS", False)
    monkeypatch.setattr(register_batch, "_register", deadly.register)
    assert run("batch", out=tmp_path / "out", **commands["batch"]) == 0
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


def test_names_are_shown_in_one_line():
    error = write_error("a\nb\udce9", OSError(errno.ENOSPC, "full"))
    assert str(error).startswith("a\\nb\\udce9 cannot be written: the disk is full (full)")
