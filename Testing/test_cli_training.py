"""`slicreg prepare`, `train` and `info` end to end on tiny data."""

import hashlib
import json

import numpy as np
import pytest
import torch

from command_line import *  # noqa: F403  its fixtures
from command_line import SHAPE, bad_image, is_one_sentence, json_lines, run
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid, translation
from SlicRegLib.registration.model import load_model, save_model
from SlicRegLib.teaching import create
from SlicRegLib.teaching.study import open_study
from SlicRegLib.training import train as training
from SlicRegLib.training.loop import train
from tiny import FRAME, CentreTeacher, same_weights, tiny_model

SHORT = {"iterations": 2, "batch": 1, "device": "cpu"}


def test_prepare_train_info(cohort, tmp_path, capsys):
    study, model = tmp_path / "study", tmp_path / "models" / "tiny.slicreg"
    template, images = cohort / "template.nii.gz", cohort / "img"
    assert run("prepare", template=template, images=images, out=study, jobs=1, **SHAPE) == 0
    assert "5 scans prepared" in capsys.readouterr().out
    assert open_study(study).layers().shape == (2, *FRAME.shape)

    assert run("train", study=study, out=model, cohort="five phantoms", **SHORT) == 0
    beside = {"tiny.slicreg", "tiny.checkpoint", "tiny_curve.csv", "tiny_curve.png"}
    assert {p.name for p in model.parent.iterdir()} == beside
    first = load_model(model)
    assert run("train", study=study, out=model, cohort="five phantoms", resume=True, **SHORT) == 0
    resumed = load_model(model)  # nothing was left to do
    assert same_weights(first.net, resumed.net) and np.array_equal(first.layers, resumed.layers)
    assert first.key_points.features.equal(resumed.key_points.features)

    later = tmp_path / "later.slicreg"
    assert run("train", study=study, out=later, from_=model, **{**SHORT, "iterations": 1}) == 0
    assert load_model(later).provenance["begun_with"]["cohort"] == "five phantoms"
    before, after = (m.net.trunk.down[0][0][0].weight for m in (first, load_model(later)))
    assert 0 < (before - after).abs().max() < 0.01

    capsys.readouterr()
    assert run("info", model) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["provenance"]["cohort"] == "five phantoms" and about["provenance"]["teacher"] == "centre"
    assert about["provenance"]["training"]["iterations"] == 2 and about["provenance"]["versions"]["torch"]
    assert not about["template_included"]
    assert about["file_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()


@pytest.mark.parametrize("saved", [False, True], ids=["before a checkpoint", "after one"])
def test_the_cpu_goes_on_where_apples_gpu_fails(cohort, study, tmp_path, monkeypatch, capfd, saved):
    """Whether or not a checkpoint was written before the failure, and whatever lies there of another training."""
    words = {"study": study.folder, **SHORT, "json": True}
    assert run("train", out=tmp_path / "cpu.slicreg", **words) == 0
    assert run("train", out=tmp_path / "apple.slicreg", seed=5, **words) == 0
    tried = []

    def fail_on_apple(plan, checkpoint, device, resume, progress, *others):
        tried.append((device.type, resume))
        if device.type == "cpu":
            return train(plan, checkpoint, device, resume, progress, *others)

        def fail(stage, share, details):  # a checkpoint is written after the last step
            if not saved:
                raise NotImplementedError("aten::x is not implemented\nfor the MPS device")
            if share == 1:
                raise RuntimeError("MPS backend out of memory")

        return train(plan, checkpoint, torch.device("cpu"), resume, fail, *others)

    monkeypatch.setattr(training, "choose_device", lambda name: (torch.device("mps"), "Apple GPU"))
    monkeypatch.setattr(training, "train", fail_on_apple)
    assert run("train", out=tmp_path / "apple.slicreg", **{**words, "device": "auto"}) == 0
    assert tried == [("mps", False), ("cpu", saved)]
    assert any("since the Apple GPU failed" in step["details"] for step in json_lines(capfd.readouterr().out))
    model, expected = (load_model(tmp_path / f"{name}.slicreg") for name in ("apple", "cpu"))
    assert same_weights(model.net, expected.net) and model.provenance["device"] == "cpu"


def test_a_model_lends_its_frame_and_supervoxels(cohort, study, tmp_path, capfd):
    """A training can start from a model whose supervoxels another version would cut differently, on another grid."""
    template, out, lender = cohort / "template.nii.gz", tmp_path / "study", tmp_path / "before.slicreg"
    grid = study.template().grid
    moved = Grid(grid.shape, translation([0.6, 0, -0.4]) @ grid.affine)
    before = tiny_model(study, layers=study.layers()[::-1].copy(), template_grid=moved)
    save_model(lender, before)
    assert run("prepare", template=template, images=cohort / "img", out=out, jobs=1, from_=lender) == 0
    made = open_study(out)
    assert np.array_equal(made.layers(), before.layers)
    assert np.array_equal(made.template().grid.affine, before.template_grid.affine)
    assert run("train", study=out, out=tmp_path / "m.slicreg", from_=lender, **{**SHORT, "iterations": 1}) == 0
    capfd.readouterr()
    other = {"template": cohort / "img" / "pt_1.nii.gz", "images": cohort / "img", "out": tmp_path / "other"}
    assert run("prepare", **other, jobs=1, from_=lender) == 2
    assert is_one_sentence(capfd, "another template") and not (tmp_path / "other").exists()


def test_interrupted_prepare_is_resumed(cohort, tmp_path, monkeypatch, capsys):
    registered = []

    class Slow(CentreTeacher):
        def register(self, scan, template):
            if len(registered) == 2:
                raise KeyboardInterrupt
            registered.append(scan.name)
            return super().register(scan, template)

    class Steady(CentreTeacher):
        def register(self, scan, template):
            registered.append(scan.name)
            return super().register(scan, template)

    inputs = {"template": cohort / "template.nii.gz", "images": cohort / "img", "out": tmp_path / "study", "jobs": 1}
    monkeypatch.setattr(create, "make_teacher", lambda *_: Slow())
    assert run("prepare", **inputs, **SHAPE) == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("slicreg: interrupted")
    written = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "study" / "scans").iterdir()}
    assert sorted(written) == ["pt_1.npz", "pt_2.npz"]
    with pytest.raises(UserError, match="not finished"):
        open_study(tmp_path / "study")

    monkeypatch.setattr(create, "make_teacher", lambda *_: Steady())
    assert run("prepare", **inputs, **SHAPE) == 0
    assert registered == ["pt_1", "pt_2", "pt_3", "pt_4", "pt_5"]
    assert all((tmp_path / "study" / "scans" / n).stat().st_mtime_ns == t for n, t in written.items())
    assert open_study(tmp_path / "study").scans == registered
    capsys.readouterr()
    assert run("prepare", **inputs, **{**SHAPE, "spacing": 9}) == 2  # another study in the same folder
    assert "preparation" in capsys.readouterr().err


# ---- mistakes -----------------------------------------------------------------------------------------------------


def test_a_cohort_of_bad_scans_leaves_nothing(cohort, tmp_path, capfd):
    (tmp_path / "img").mkdir()
    bad_image("NaN", tmp_path / "img" / "scan.nii.gz")
    inputs = {"template": cohort / "template.nii.gz", "images": tmp_path / "img", "out": tmp_path / "study", "jobs": 1}
    assert run("prepare", **inputs, json=True, **SHAPE) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "NaN" in error and not (tmp_path / "study").exists()


def test_one_bad_scan_is_left_out_and_named(cohort, tmp_path, capsys):
    (tmp_path / "img").mkdir()
    bad_image("constant", tmp_path / "img" / "a.nii.gz")
    (tmp_path / "img" / "b.nii.gz").write_bytes((cohort / "img/pt_1.nii.gz").read_bytes())
    inputs = {"template": cohort / "template.nii.gz", "images": tmp_path / "img", "out": tmp_path / "study", "jobs": 1}
    assert run("prepare", **inputs, **SHAPE) == 0
    text = capsys.readouterr().out
    assert "1 scans prepared" in text and "left out" in text and "constant" in text
    assert open_study(tmp_path / "study").scans == ["b"]


def test_empty_cohort(cohort, tmp_path, capfd):
    (tmp_path / "none").mkdir()
    template, out = cohort / "template.nii.gz", tmp_path / "out"
    for images, part in (
        (tmp_path / "none", "no scan"),
        (tmp_path / "missing", "does not exist"),
        (template, "a folder of scans or a CSV file"),
    ):
        assert run("prepare", template=template, images=images, out=out) == 2 and is_one_sentence(capfd, part)
    (tmp_path / "none" / "template.nii.gz").symlink_to(template)
    assert run("prepare", template=template, images=tmp_path / "none", out=out) == 2
    assert is_one_sentence(capfd, "besides the template") and not out.exists()


def test_bad_training(cohort, study, tmp_path, capfd):
    out, folder = tmp_path / "new" / "m.slicreg", study.folder
    for options, part in (
        ({"study": tmp_path / "none"}, "not a study"),
        ({"study": folder, "resume": True}, "no checkpoint"),
        ({"study": folder, "iterations": 0, "batch": 0}, "iterations must lie between 1 and 10,000,000 (got 0); batch"),
        ({"study": folder, "include_template": cohort / "none.nii"}, "does not exist"),
        ({"study": folder, "include_labels": cohort / "none.nii"}, "together with the template"),
        ({"study": folder, **SHORT, "include_template": cohort / "img/pt_1.nii.gz"}, "not the template"),
    ):
        assert run("train", out=out, **{"device": "cpu", **options}) == 2 and is_one_sentence(capfd, part)
        assert not out.parent.exists(), part
    assert run("train", study=folder, out=tmp_path / "model.pt") == 2
    assert is_one_sentence(capfd, "must end in .slicreg (got model.pt)")


@pytest.mark.parametrize("options", [{"spacing": 0}, {"spacing": -4}, {"shape": (0, 32, 32)}], ids=str)
def test_bad_frame(cohort, tmp_path, capfd, options):
    template, out = cohort / "template.nii.gz", tmp_path / "out"
    assert run("prepare", template=template, images=cohort / "img", out=out, **options) == 2
    assert is_one_sentence(capfd, "Preparation cannot start") and not out.exists()
