"""Files are written whole or not at all, and what prevents it is one sentence: full disks, names, devices, pipes."""

import errno
import json
import os
import stat
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.figure import Figure

from command_line import *  # noqa: F403  its fixtures
from disks import can_mount, file_size_limit, small_disk
from SlicRegLib.errors import UserError, WriteError, one_sentence, write_error
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images import files, itk_writing
from SlicRegLib.images.figures import save_figure
from SlicRegLib.images.files import atomic, check_output, check_space, make_folder, new_folder, write_json
from SlicRegLib.images.transforms import load_transform, save_transform
from SlicRegLib.images.volumes import Volume, load_scan, save_volume
from SlicRegLib.jobs.report.content import ReportContent
from SlicRegLib.jobs.report.page import write_report
from SlicRegLib.registration.model import save_model
from SlicRegLib.teaching.packing import save_arrays
from SlicRegLib.training.history import History
from tiny import random, tiny_model

posix = pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
GRID = Grid((20, 18, 16), np.diag([3.0, 3.0, 3.0, 1.0]))
NOISE = Volume(random(*GRID.shape).numpy() * 300, GRID)
FIELD = DisplacementField(random(3, *GRID.shape), GRID)
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
    "transform.h5": partial(save_transform, field=FIELD),
    "transform.nrrd": partial(save_transform, field=FIELD),
    "transform.nii.gz": partial(save_transform, field=FIELD),
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
    save_transform(tmp_path / "other.nrrd", DisplacementField(random(3, *GRID.shape, seed=2), GRID))
    other = (tmp_path / "other.nrrd").read_bytes()
    monkeypatch.setattr(sitk, "WriteImage", lambda _, path, compress: Path(path).write_bytes(other))
    with pytest.raises(WriteError, match="cannot be read back"):
        WRITERS["transform.nrrd"](tmp_path / "transform.nrrd")
    assert [path.name for path in tmp_path.iterdir()] == ["other.nrrd"]


@posix
@pytest.mark.parametrize("ending", ["h5", "nrrd", "nii.gz"])
def test_a_real_disk_that_is_full_leaves_no_transform(ending, tmp_path):
    """And nothing of HDF5 that would complain later."""
    if not can_mount(tmp_path / "try"):
        pytest.skip("no disk can be mounted here")
    with small_disk(tmp_path / "disk", 64 << 10) as disk:
        with pytest.raises(WriteError, match="the disk is full") as found:
            save_transform(disk / f"transform.{ending}", DisplacementField(random(3, 40, 40, 40), NOISE.grid))
        assert str(disk / f"transform.{ending}") in str(found.value) and list(disk.iterdir()) == []
        save_transform(disk / f"transform.{ending}", DisplacementField(random(3, 6, 6, 6), NOISE.grid))
        assert len(list(disk.iterdir())) == 1


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
    (tmp_path / "ct.raw").touch()
    (tmp_path / "slice").write_bytes(bytes(128) + b"DICM" + bytes(40))
    for name, inputs in {"ct.raw": [tmp_path / "ct.mhd"], "slice": [tmp_path]}.items():
        with pytest.raises(UserError, match=f"{name} is one of the inputs and would be overwritten"):
            check_output(tmp_path / name, inputs=inputs)


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


def test_names_are_shown_in_one_line():
    error = write_error("a\nb\udce9", OSError(errno.ENOSPC, "full"))
    assert str(error).startswith("a\\nb\\udce9 cannot be written: the disk is full (full)")
