"""The command line: the main job end to end on tiny data, and one sentence for every mistake."""

import json
import subprocess
import sys
from functools import partial

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import FRAME, NETWORK, CentreTeacher, phantom, tiny_bundle, tiny_study, write_cohort

from SlicRegLib.__main__ import main
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid, translation
from SlicRegLib.network.options import PRESETS
from SlicRegLib.registration.model import load_model, save_model
from SlicRegLib.teaching.create import create_study
from SlicRegLib.teaching.options import SupervoxelOptions
from SlicRegLib.teaching.study import open_study

SHAPE = ["--spacing", "8", "--shape", *map(str, FRAME.shape)]
QUICK = ["--key-points", "200", "--iterations", "5", "--no-refine"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.getbasetemp() / "tiny")


@pytest.fixture(scope="module")
def study(cohort):
    return tiny_study(cohort)


@pytest.fixture(scope="module")
def model(study):
    path = study.folder.parent / "tiny.slicreg"
    save_model(path, tiny_bundle(study))
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A cheap teacher, two layers, a tiny network as the compact preset, coarse pictures and inverse fields."""
    monkeypatch.setattr(commands, "make_teacher", lambda *_: CentreTeacher())
    monkeypatch.setattr(
        commands, "create_study", partial(create_study, supervoxels=SupervoxelOptions(layers=NETWORK.layers))
    )
    monkeypatch.setitem(PRESETS, "compact", NETWORK)
    monkeypatch.setattr(commands, "overview", partial(commands.overview, spacing_mm=8.0))
    monkeypatch.setattr("SlicRegLib.registration.result.INVERSE_SPACING_MM", 12.0)


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_model_lends_its_frame_and_supervoxels(cohort, study, tmp_path, capfd):
    """A training can begin with a model whose supervoxels another version would cut otherwise, and on a grid a little off."""
    template, out = cohort / "template.nii.gz", tmp_path / "study"
    grid = study.template().grid
    before = tiny_bundle(
        study,
        layers=study.layers()[::-1].copy(),
        template_grid=Grid(grid.shape, translation([0.6, 0, -0.4]) @ grid.affine),
    )
    save_model(tmp_path / "before.slicreg", before)
    assert (
        run(
            "prepare",
            "--template",
            template,
            "--images",
            cohort / "img",
            "--out",
            out,
            "--jobs",
            1,
            "--from",
            tmp_path / "before.slicreg",
        )
        == 0
    )
    made = open_study(out)
    assert np.array_equal(made.layers(), before.layers) and np.array_equal(
        made.template().grid.affine, before.template_grid.affine
    )
    train = [
        "train",
        "--study",
        out,
        "--out",
        tmp_path / "m.slicreg",
        "--iterations",
        1,
        "--batch",
        1,
        "--device",
        "cpu",
    ]
    assert run(*train, "--from", tmp_path / "before.slicreg") == 0
    capfd.readouterr()
    assert (
        run(
            "prepare",
            "--template",
            cohort / "img" / "pt_1.nii.gz",
            "--images",
            cohort / "img",
            "--out",
            tmp_path / "other",
            "--jobs",
            1,
            "--from",
            tmp_path / "before.slicreg",
        )
        == 2
    )
    assert said_once(capfd, "another template") and not (tmp_path / "other").exists()


# ---- the main job ---------------------------------------------------------------------------------------------


def test_prepare_train_info_register(cohort, tmp_path, capsys):
    template, study, model = cohort / "template.nii.gz", tmp_path / "study", tmp_path / "models" / "tiny.slicreg"
    assert run("prepare", "--template", template, "--images", cohort / "img", "--out", study, "--jobs", 1, *SHAPE) == 0
    assert "5 scans prepared" in capsys.readouterr().out
    assert open_study(study).layers().shape == (2, *FRAME.shape)

    arguments = [
        "train",
        "--study",
        study,
        "--out",
        model,
        "--iterations",
        2,
        "--batch",
        1,
        "--device",
        "cpu",
        "--cohort",
        "five phantoms",
    ]
    assert run(*arguments) == 0
    assert {p.name for p in model.parent.iterdir()} == {
        "tiny.slicreg",
        "tiny.checkpoint",
        "tiny_curve.csv",
        "tiny_curve.png",
    }
    first = model.read_bytes()
    assert run(*arguments, "--resume") == 0
    later = [
        "train",
        "--study",
        study,
        "--out",
        tmp_path / "later.slicreg",
        "--iterations",
        1,
        "--batch",
        1,
        "--device",
        "cpu",
    ]
    assert run(*later, "--from", model) == 0
    begun = load_model(tmp_path / "later.slicreg")
    assert begun.provenance["begun_with"]["cohort"] == "five phantoms"
    assert (begun.net.trunk.down[0][0][0].weight - load_model(model).net.trunk.down[0][0][0].weight).abs().max() < 0.01
    assert load_model(model).net.state_dict().keys() and len(model.read_bytes()) > 0.9 * len(first)
    capsys.readouterr()

    assert run("info", model) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["provenance"]["cohort"] == "five phantoms" and about["provenance"]["teacher"] == "centre"
    assert about["provenance"]["training"]["iterations"] == 2 and about["provenance"]["versions"]["torch"]
    assert not about["template_included"]

    assert (
        run(
            "register",
            "--model",
            model,
            "--template",
            template,
            "--target",
            cohort / "img" / "pt_1.nii.gz",
            "--out",
            tmp_path / "plain",
            *QUICK,
        )
        == 0
    )
    assert {p.name for p in (tmp_path / "plain").iterdir()} == {
        "transform.h5",
        "transform_inverse.h5",
        "warped_target.nii.gz",
        "report.json",
        "overview.png",
    }
    assert "Warning" not in capsys.readouterr().out  # the template is the model's own


@pytest.mark.parametrize("template", ["template", "img/pt_2"], ids=["own", "pairwise"])
def test_register_writes_everything(cohort, model, tmp_path, capsys, template):
    label = template.replace("img", "label") if "img" in template else "template_label"
    out = tmp_path / "deep" / "out"
    assert (
        run(
            "register",
            "--model",
            model,
            "--template",
            cohort / f"{template}.nii.gz",
            "--target",
            cohort / "img/pt_1.nii.gz",
            "--template-label",
            cohort / f"{label}.nii.gz",
            "--target-label",
            cohort / "label/pt_1.nii.gz",
            "--out",
            out,
            "--json",
            *(["--overlays"] if template == "template" else []),
            *QUICK,
        )
        == 0
    )
    captured = capsys.readouterr()
    steps = json_lines(captured.out)
    assert all(set(s) == {"stage", "share", "seconds", "remaining_seconds", "details"} for s in steps)
    assert {"preparation", "prediction", "alignment", "spline", "writing"} <= {s["stage"] for s in steps}
    assert ("Warning" in captured.err) == (template != "template")
    overlays = (
        {"confidence.nii.gz", "supervoxels_template.nii.gz", "supervoxels_target.nii.gz"}
        if template == "template"
        else set()
    )
    assert {p.name for p in out.iterdir()} == overlays | {
        "transform.h5",
        "transform_inverse.h5",
        "warped_target.nii.gz",
        "warped_labels.nii.gz",
        "report.json",
        "overview.png",
    }
    fixed, moving, image, labels = (
        nib.load(p)
        for p in (
            cohort / f"{template}.nii.gz",
            cohort / "img/pt_1.nii.gz",
            out / "warped_target.nii.gz",
            out / "warped_labels.nii.gz",
        )
    )
    assert image.shape == fixed.shape and np.allclose(image.affine, fixed.affine)
    assert labels.shape == moving.shape and np.allclose(labels.affine, moving.affine)
    assert set(np.unique(np.asarray(labels.dataobj))) <= set(range(14))

    report = json.loads((out / "report.json").read_text())
    assert report["own_template"] == (template == "template")
    assert {"preparation", "prediction", "alignment", "spline", "total"} <= set(report["seconds"])
    assert (
        report["device"] == "cpu" and report["peak_memory_mb"]["process"] > 0 and 0 <= report["folding_percent"] <= 100
    )
    for when in ("before", "after"):
        assert set(report[when]["dice"]) == {str(k) for k in range(1, 14)}
        assert report[when]["mean_dice"] == pytest.approx(np.mean(list(report[when]["dice"].values())))
        assert report[when]["mean_hd95_mm"] > 0
    assert (out / "overview.png").read_bytes().startswith(b"\x89PNG")


def test_out_of_gpu_memory_is_tried_smaller_then_on_the_cpu(cohort, model, tmp_path, monkeypatch, capsys):
    tried, real = [], commands.register

    def register(bundle, fixed, moving, options, device, progress):
        tried.append((device.type, options.prediction.chunk))
        if device.type == "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(bundle, fixed, moving, options, device, progress)

    monkeypatch.setattr(commands, "register", register)
    monkeypatch.setattr(commands, "choose_device", lambda name: (torch.device("cuda"), "A GPU, found automatically"))
    assert (
        run(
            "register",
            "--model",
            model,
            "--template",
            cohort / "template.nii.gz",
            "--target",
            cohort / "img/pt_1.nii.gz",
            "--out",
            tmp_path / "out",
            *QUICK,
        )
        == 0
    )
    assert tried == [("cuda", 2048), ("cuda", 256), ("cpu", 2048)]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["device"] == "cpu" and "memory of the GPU ran out" in report["device_reason"]


@pytest.fixture
def two_cases(cohort, tmp_path):
    """(images, labels) with two scans; the second's labels lack 4 and have a 99."""
    for kind in ("img", "label"):
        (tmp_path / kind).mkdir()
        for name in ("pt_1", "pt_2"):
            (tmp_path / kind / f"{name}.nii.gz").write_bytes((cohort / kind / f"{name}.nii.gz").read_bytes())
    path = tmp_path / "label" / "pt_2.nii.gz"
    image = nib.load(path)
    data = np.asarray(image.dataobj).copy()
    data[data == 4] = 0
    data[:3, :3, :3] = 99
    nib.save(nib.Nifti1Image(data, image.affine), path)
    return tmp_path / "img", tmp_path / "label"


def evaluate(cohort, model, images, labels, out, *more) -> int:
    return run(
        "evaluate",
        "--model",
        model,
        "--template",
        cohort / "template.nii.gz",
        "--template-label",
        cohort / "template_label.nii.gz",
        "--images",
        images,
        "--labels",
        labels,
        "--out",
        out,
        *QUICK,
        *more,
    )


def test_evaluate_writes_the_agreed_json(cohort, model, two_cases, tmp_path, capsys):
    assert evaluate(cohort, model, *two_cases, tmp_path / "results.json") == 0
    text = capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["cases"]) == ["pt_1", "pt_2"]
    for name, case in results["cases"].items():
        assert set(case["before"]) >= {"dice", "mean_dice"} and set(case["after"]) >= {
            "dice",
            "mean_dice",
            "hd95_mm",
            "folding_percent",
        }
        assert case["seconds"] > 0
        wanted = {str(k) for k in range(1, 14)} - ({"4"} if name == "pt_2" else set())
        assert set(case["before"]["dice"]) == set(case["after"]["dice"]) == wanted
        assert case["after"]["mean_dice"] == pytest.approx(np.mean(list(case["after"]["dice"].values())))
    assert results["cases"]["pt_1"]["left_out"] == [] and results["cases"]["pt_2"]["left_out"] == [4, 99]
    assert "pt_2: labels missing on one side, left out: [4, 99]" in text and "pt_1" not in text
    for when in ("before", "after"):
        mean = np.mean([case[when]["mean_dice"] for case in results["cases"].values()])
        assert results["mean"][f"{when}_dice"] == pytest.approx(mean)
    assert results["mean"]["cases"] == 2


def test_evaluate_goes_on_after_a_bad_case(cohort, model, two_cases, tmp_path, capsys):
    (two_cases[0] / "pt_1.nii.gz").write_bytes(b"no scan")
    (two_cases[0] / "pt_3.nii.gz").write_bytes((cohort / "img/pt_3.nii.gz").read_bytes())  # has no labels
    assert evaluate(cohort, model, *two_cases, tmp_path / "results.json") == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["cases"]) == ["pt_2"] and "cannot be read" in results["failed"]["pt_1"]
    assert results["without_labels"] == ["pt_3"]
    assert "failed: " in capsys.readouterr().out


def test_labels_without_a_common_value_are_said(cohort, model, two_cases, tmp_path, capsys):
    for path in two_cases[1].iterdir():
        image = nib.load(path)
        data = np.asarray(image.dataobj)
        nib.save(nib.Nifti1Image(np.where(data > 0, 77, 0).astype(np.uint8), image.affine), path)
    (two_cases[0] / "pt_2.nii.gz").unlink()
    code = evaluate(cohort, model, *two_cases, tmp_path / "results.json")
    captured = capsys.readouterr()
    assert code == 2 and "no value in common" in captured.err
    assert (
        run(
            "register",
            "--model",
            model,
            "--template",
            cohort / "template.nii.gz",
            "--target",
            two_cases[0] / "pt_1.nii.gz",
            "--template-label",
            cohort / "template_label.nii.gz",
            "--target-label",
            two_cases[1] / "pt_1.nii.gz",
            "--out",
            tmp_path / "out",
            *QUICK,
        )
        == 2
    )
    assert not (tmp_path / "out").exists()


def test_interrupted_prepare_goes_on(cohort, tmp_path, monkeypatch, capsys):
    registered = []

    class Slow(CentreTeacher):
        def register(self, scan, template):
            if len(registered) == 2:
                raise KeyboardInterrupt
            registered.append(scan.name)
            return super().register(scan, template)

    monkeypatch.setattr(commands, "make_teacher", lambda *_: Slow())
    arguments = [
        "prepare",
        "--template",
        cohort / "template.nii.gz",
        "--images",
        cohort / "img",
        "--out",
        tmp_path / "study",
        "--jobs",
        1,
        *SHAPE,
    ]
    assert run(*arguments) == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("slicreg: interrupted")
    written = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "study" / "scans").iterdir()}
    assert sorted(written) == ["pt_1.npz", "pt_2.npz"]
    with pytest.raises(UserError, match="not finished"):
        open_study(tmp_path / "study")

    class Steady(CentreTeacher):
        def register(self, scan, template):
            registered.append(scan.name)
            return super().register(scan, template)

    monkeypatch.setattr(commands, "make_teacher", lambda *_: Steady())
    assert run(*arguments) == 0
    assert registered == ["pt_1", "pt_2", "pt_3", "pt_4", "pt_5"]
    assert all((tmp_path / "study" / "scans" / n).stat().st_mtime_ns == t for n, t in written.items())
    assert open_study(tmp_path / "study").scans == registered
    assert run(*arguments[:-6], "--jobs", 1, "--spacing", "9", *SHAPE[2:]) == 2  # another study in the same folder
    assert "another preparation" in capsys.readouterr().err


# ---- mistakes -------------------------------------------------------------------------------------------------


def bad_image(kind: str, path):
    """A file of this kind of wrongness; its path."""
    scan = phantom(1)[0]
    data, affine = scan.data, scan.grid.affine.copy()
    match kind:
        case "missing":
            return path
        case "not an image":
            path.write_bytes(b"hello")
            return path
        case "2-D":
            data = data[:, :, 20]
        case "4-D":
            data = np.stack([data, data], -1)
        case "NaN":
            data = np.where(data > 300, np.nan, data)
        case "constant":
            data = np.zeros_like(data)
        case "few slices":
            data = data[:, :, :7]
        case "sheared":
            affine[0, 2] += 2
        case "no body":
            data = np.clip(data, -1000, -900)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


KINDS = {
    "missing": "does not exist",
    "not an image": "cannot be read",
    "2-D": "2-D",
    "4-D": "4-D",
    "NaN": "NaN",
    "constant": "constant",
    "few slices": "fewer than 8 slices",
    "sheared": "sheared",
    "no body": "soft tissue",
}


def said_once(capfd, words: str) -> bool:
    """Nothing on stdout, one line on stderr."""
    captured = capfd.readouterr()
    lines = captured.err.splitlines()
    return (
        len(lines) == 1 and lines[0].startswith("slicreg: ") and words in lines[0] and "Traceback" not in captured.err
    )


@pytest.mark.parametrize("kind", KINDS)
def test_bad_target(cohort, model, tmp_path, capfd, kind):
    target = bad_image(kind, tmp_path / "scan.nii.gz")
    code = run(
        "register",
        "--model",
        model,
        "--template",
        cohort / "template.nii.gz",
        "--target",
        target,
        "--out",
        tmp_path / "out",
        *(["--json"] if kind == "no body" else []),
    )  # found after the progress bars have begun
    assert code == 2 and said_once(capfd, KINDS[kind])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_bad_template(cohort, model, tmp_path, capfd, kind):
    template, out = bad_image(kind, tmp_path / "scan.nii.gz"), tmp_path / "out"
    assert run("prepare", "--template", template, "--images", cohort / "img", "--out", out) == 2
    assert said_once(capfd, KINDS[kind]) and not out.exists()
    if kind != "no body":
        assert (
            evaluate(cohort, model, cohort / "img", cohort / "label", tmp_path / "r.json", "--template", template) == 2
        )
        assert said_once(capfd, KINDS[kind]) and not (tmp_path / "r.json").exists()


def test_labels_of_another_shape(cohort, model, tmp_path, capfd):
    label = nib.load(cohort / "label/pt_1.nii.gz")
    nib.save(label.slicer[:, :, :-2], tmp_path / "label.nii.gz")
    arguments = [
        "register",
        "--model",
        model,
        "--template",
        cohort / "template.nii.gz",
        "--target",
        cohort / "img/pt_1.nii.gz",
    ]
    for option in ("--template-label", "--target-label"):
        assert run(*arguments, "--out", tmp_path / "out", option, tmp_path / "label.nii.gz") == 2
        assert said_once(capfd, "shape") and not (tmp_path / "out").exists()
    assert run(*arguments, "--out", tmp_path / "out", "--target-label", cohort / "img/pt_1.nii.gz") == 2
    assert said_once(capfd, "not a label map") and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content, words", [(None, "does not exist"), (b"", "corrupt"), ("half", "corrupt"), ("newer", "newer")]
)
def test_bad_model(cohort, model, tmp_path, capfd, monkeypatch, content, words):
    path, out = tmp_path / "bad.slicreg", tmp_path / "out"
    if content == "newer":
        monkeypatch.setattr("SlicRegLib.bundle.MODEL_VERSION", 0)
    if content is not None:
        path.write_bytes(
            content if isinstance(content, bytes) else model.read_bytes()[: None if content == "newer" else 9000]
        )
    scans = ["--template", cohort / "template.nii.gz", "--target", cohort / "img/pt_1.nii.gz"]
    for arguments in (["info", path], ["register", "--model", path, *scans, "--out", out]):
        assert run(*arguments) == 2 and said_once(capfd, words)
    assert not out.exists()


def test_no_cuda_though_asked_for(cohort, study, model, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    scans = ["--template", cohort / "template.nii.gz", "--target", cohort / "img/pt_1.nii.gz"]
    for device, words in (("cuda", "CUDA was asked for"), ("gpu", "Unknown device")):
        for arguments in (
            ["register", "--model", model, *scans, "--out", tmp_path / "out"],
            ["train", "--study", study.folder, "--out", tmp_path / "new" / "m.slicreg"],
        ):
            assert run(*arguments, "--device", device) == 2 and said_once(capfd, words)
    assert list(tmp_path.iterdir()) == []


def test_empty_cohort(cohort, model, tmp_path, capfd):
    (tmp_path / "none").mkdir()
    template, out = cohort / "template.nii.gz", tmp_path / "out"
    for images, words in (
        (tmp_path / "none", "no scan"),
        (tmp_path / "missing", "does not exist"),
        (template, "a folder of scans or a CSV file"),
    ):
        assert run("prepare", "--template", template, "--images", images, "--out", out) == 2 and said_once(capfd, words)
    (tmp_path / "none" / "template.nii.gz").symlink_to(template)
    assert run("prepare", "--template", template, "--images", tmp_path / "none", "--out", out) == 2
    assert said_once(capfd, "besides the template") and not out.exists()
    assert evaluate(cohort, model, cohort / "img", tmp_path / "none", tmp_path / "r.json") == 2
    assert said_once(capfd, "by name") and not (tmp_path / "r.json").exists()


def test_a_cohort_of_bad_scans_leaves_nothing(cohort, tmp_path, capfd):
    (tmp_path / "img").mkdir()
    bad_image("NaN", tmp_path / "img" / "scan.nii.gz")
    assert (
        run(
            "prepare",
            "--template",
            cohort / "template.nii.gz",
            "--images",
            tmp_path / "img",
            "--out",
            tmp_path / "study",
            "--json",
            "--jobs",
            1,
            *SHAPE,
        )
        == 2
    )
    assert said_once(capfd, "NaN") and not (tmp_path / "study").exists()


def test_one_bad_scan_is_left_out_and_said(cohort, tmp_path, capsys):
    (tmp_path / "img").mkdir()
    bad_image("constant", tmp_path / "img" / "a.nii.gz")
    (tmp_path / "img" / "b.nii.gz").write_bytes((cohort / "img/pt_1.nii.gz").read_bytes())
    assert (
        run(
            "prepare",
            "--template",
            cohort / "template.nii.gz",
            "--images",
            tmp_path / "img",
            "--out",
            tmp_path / "study",
            "--jobs",
            1,
            *SHAPE,
        )
        == 0
    )
    assert "1 scans prepared" in (text := capsys.readouterr().out) and "left out" in text and "constant" in text
    assert open_study(tmp_path / "study").scans == ["b"]


def test_bad_training(cohort, study, tmp_path, capfd):
    out = tmp_path / "new" / "m.slicreg"
    for arguments, words in (
        (["--study", tmp_path / "none"], "not a study"),
        (["--study", study.folder, "--resume"], "no checkpoint"),
        (["--study", study.folder, "--iterations", 0, "--batch", 0], "iterations must be at least 1; batch"),
        (["--study", study.folder, "--include-template", cohort / "none.nii"], "does not exist"),
        (
            [
                "--study",
                study.folder,
                "--iterations",
                1,
                "--batch",
                1,
                "--json",
                "--include-template",
                cohort / "img/pt_1.nii.gz",
            ],
            "not the template",
        ),
    ):
        assert run("train", *arguments, "--out", out, "--device", "cpu") == 2 and said_once(capfd, words)
        assert not out.parent.exists(), words
    assert run("train", "--study", study.folder, "--out", tmp_path / "model.pt") == 2 and said_once(capfd, ".slicreg")


@pytest.mark.parametrize(
    "option, value",
    [("--key-points", 0), ("--key-points", 3), ("--neighbours", 0), ("--iterations", -1), ("--alpha", -1)],
)
def test_bad_alignment_options(cohort, model, tmp_path, capfd, option, value):
    code = run(
        "register",
        "--model",
        model,
        "--template",
        cohort / "template.nii.gz",
        "--target",
        cohort / "img/pt_1.nii.gz",
        "--out",
        tmp_path / "out",
        option,
        value,
    )
    assert code == 2 and said_once(capfd, "") and not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [["--spacing", 0], ["--spacing", -4], ["--shape", 0, 32, 32]], ids=str)
def test_bad_frame(cohort, tmp_path, capfd, options):
    assert (
        run(
            "prepare",
            "--template",
            cohort / "template.nii.gz",
            "--images",
            cohort / "img",
            "--out",
            tmp_path / "out",
            *options,
        )
        == 2
    )
    assert said_once(capfd, "") and not (tmp_path / "out").exists()


def test_an_output_that_is_a_file(cohort, model, tmp_path, capfd):
    (tmp_path / "file").write_text("mine")
    template = cohort / "template.nii.gz"
    assert run(
        "register",
        "--model",
        model,
        "--template",
        template,
        "--target",
        cohort / "img/pt_1.nii.gz",
        "--out",
        tmp_path / "file",
        "--json",
        *QUICK,
    ) == 2 and said_once(capfd, "is a file")
    assert run("prepare", "--template", template, "--images", cohort / "img", "--out", tmp_path / "file", *SHAPE) == 2
    assert said_once(capfd, "file") and (tmp_path / "file").read_text() == "mine"
    assert evaluate(cohort, model, cohort / "img", cohort / "label", tmp_path / "none" / "r.json") == 2
    assert said_once(capfd, "folder")


def test_one_bar_per_stage(cohort, model, tmp_path, capfd):
    """A stage that ends is not begun again."""
    assert (
        run(
            "register",
            "--model",
            model,
            "--template",
            cohort / "template.nii.gz",
            "--target",
            cohort / "img/pt_1.nii.gz",
            "--out",
            tmp_path / "out",
            "--key-points",
            200,
            "--iterations",
            20,
            "--no-refine",
        )
        == 0
    )
    bars = capfd.readouterr().err.replace("\r", "\n").splitlines()
    begun = [line.split(":")[0] for line in bars if ":   0% |" in line]
    assert begun == list(dict.fromkeys(begun)) and "alignment" in begun


def test_results_that_stood_there_stay_after_a_failure(cohort, model, tmp_path, monkeypatch, capfd):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text("mine")

    def fail(*_):
        raise UserError("The picture cannot be drawn.")

    monkeypatch.setattr(commands, "overview", fail)
    assert run(
        "register",
        "--model",
        model,
        "--template",
        cohort / "template.nii.gz",
        "--target",
        cohort / "img/pt_1.nii.gz",
        "--out",
        tmp_path / "out",
        "--json",
        *QUICK,
    ) == 2 and said_once(capfd, "picture")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.json"] and (
        tmp_path / "out/report.json"
    ).read_text() == "mine"


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        run("info", tmp_path / "none.slicreg", "--debug")


# ---- as a program ---------------------------------------------------------------------------------------------


def test_runs_as_a_module(model, tmp_path):
    def program(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "SlicRegLib", *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path
        )

    done = program("info", model)
    assert done.returncode == 0 and json.loads(done.stdout)["network"]["layers"] == NETWORK.layers
    failed = program("info", "none.slicreg")
    assert (
        (failed.returncode, failed.stdout) == (2, "")
        and failed.stderr.startswith("slicreg: ")
        and failed.stderr.count("\n") == 1
    )


@pytest.mark.parametrize("command", ["prepare", "train", "register", "evaluate", "info", "demo"])
def test_help_names_options_units_and_defaults(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and "--json" in text and "--debug" in text
    if command != "info":
        assert "default" in text and "--out" in text
