"""`slicreg register` and `evaluate` end to end on tiny data."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from command_line import *  # noqa: F403  its fixtures
from command_line import QUICK, is_one_sentence, json_lines, run
from SlicRegLib.cli.parser import make_request
from SlicRegLib.errors import UserError
from SlicRegLib.images.transforms import load_transform
from SlicRegLib.images.volumes import Volume, load_scan, save_volume
from SlicRegLib.progress import Bars, JsonLines
from SlicRegLib.registration.options import MODES
from SlicRegLib.registration.verdict import Verdict
from SlicRegLib.results import evaluate as evaluate_module
from SlicRegLib.results import register_files
from SlicRegLib.results.options import RegisterRequest
from SlicRegLib.stages import WARNING

FILES = {"transform.h5", "transform_inverse.h5", "warped_target.nii.gz", "report.json", "overview.png"}
OVERLAYS = {"confidence.nii.gz", "supervoxels_template.nii.gz", "supervoxels_target.nii.gz"}


@pytest.mark.parametrize("template", ["template", "img/pt_2"], ids=["own", "pairwise"])
def test_register_writes_everything(cohort, model, tmp_path, capsys, template):
    own = template == "template"
    label = "template_label" if own else template.replace("img", "label")
    out = tmp_path / "deep" / "out"
    code = run(
        "register",
        model=model,
        template=cohort / f"{template}.nii.gz",
        target=cohort / "img/pt_1.nii.gz",
        template_label=cohort / f"{label}.nii.gz",
        target_label=cohort / "label/pt_1.nii.gz",
        out=out,
        json=True,
        overlays=own,
        **QUICK,
    )
    captured = capsys.readouterr()
    assert code == 0
    *steps, last = json_lines(captured.out)
    assert all(set(s) == {"stage", "share", "seconds", "remaining_seconds", "details"} for s in steps)
    assert {"preparation", "prediction", "alignment", "spline", "writing"} <= {s["stage"] for s in steps}
    assert ("not the model's own" in captured.err) == (not own)
    assert {p.name for p in out.iterdir()} == FILES | {"warped_labels.nii.gz"} | (OVERLAYS if own else set())
    fixed, moving = nib.load(cohort / f"{template}.nii.gz"), nib.load(cohort / "img/pt_1.nii.gz")
    image, labels = nib.load(out / "warped_target.nii.gz"), nib.load(out / "warped_labels.nii.gz")
    assert image.shape == fixed.shape and np.allclose(image.affine, fixed.affine)
    assert labels.shape == moving.shape and np.allclose(labels.affine, moving.affine)
    assert set(np.unique(np.asarray(labels.dataobj))) <= set(range(14))

    report = json.loads((out / "report.json").read_text())
    assert report["own_template"] == own and report["template_label"] == str(cohort / f"{label}.nii.gz")
    assert {"preparation", "prediction", "alignment", "spline", "total"} <= set(report["seconds"])
    assert report["device"] == "cpu" and report["peak_memory_mb"]["process"] > 0
    assert 0 <= report["folding_percent"] <= 100
    verdict = report["verdict"]
    assert last["verdict"] == verdict and last["notes"] == report["notes"] and last["share"] == 1
    assert verdict["sentence"] in captured.err.splitlines()[0] and verdict["word"] in captured.err.lower()
    for when in ("before", "after"):
        assert set(report[when]["dice"]) == {str(k) for k in range(1, 14)}
        assert report[when]["mean_dice"] == pytest.approx(np.mean(list(report[when]["dice"].values())))
        assert report[when]["mean_hd95_mm"] > 0


def test_register_alone_writes_no_labels_and_no_warning(model, pair, tmp_path, capsys):
    assert run("register", model=model, **pair, out=tmp_path / "out", **QUICK) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES
    assert "not the model's own" not in capsys.readouterr().out  # the template is the model's own


def test_transforms_of_another_format_take_the_place_of_earlier_ones(model, pair, tmp_path):
    vectors = []
    for ending in ("h5", "nii.gz"):
        assert run("register", model=model, **pair, out=tmp_path, transform_format=ending, **QUICK) == 0
        assert {p.name for p in tmp_path.iterdir()} == {name.replace(".h5", f".{ending}") for name in FILES}
        vectors.append([load_transform(tmp_path / f"transform{name}.{ending}").vectors for name in ("", "_inverse")])
    assert all(torch.equal(a, b) for a, b in zip(*vectors, strict=True))


def test_an_unknown_format_of_transforms_is_refused(model, pair, tmp_path, capfd):
    with pytest.raises(SystemExit) as end:
        run("register", model=model, **pair, out=tmp_path / "out", transform_format="mha", **QUICK)
    assert end.value.code == 2
    assert is_one_sentence(capfd, "nii.gz") and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="transform format"):
        RegisterRequest(model=model, **pair, out=tmp_path / "out", transform_format="mha")


@pytest.mark.parametrize("word", ["good", "failed"])
def test_the_verdict_comes_first_and_changes_no_exit_code(model, pair, tmp_path, monkeypatch, capsys, word):
    """Bad news are in capitals."""
    verdict = Verdict(word, "Look at the liver.", 0.1, 0.2, 0.5, 0.4, ((1.0, 2.0, 3.0, 0.1),), 0.0)
    monkeypatch.setattr(register_files, "judge", lambda model, result, device: verdict)
    assert run("register", model=model, **pair, out=tmp_path / "out", **QUICK) == 0
    shown = "good" if word == "good" else word.upper()
    assert capsys.readouterr().out.startswith(f"Verdict: {shown}. Look at the liver.\n")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["verdict"]["word"] == word and report["verdict"]["least_sure"] == [[1.0, 2.0, 3.0, 0.1]]


def test_nothing_is_drawn_or_named_where_it_is_not_wanted(model, pair, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(register_files, "draw_overview", pytest.fail)
    (tmp_path / "overview.png").write_text("of an earlier run")
    assert run("register", model=model, **pair, out=tmp_path, picture=False, **QUICK) == 0
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"overview.png"}
    captured = capsys.readouterr()
    assert captured.out.endswith(f"Results are in {tmp_path}\n") and "picture" not in captured.out + captured.err


def test_a_warning_before_the_end_is_a_line_of_its_own(capsys):
    bars = Bars()
    bars("prediction", 0.5)
    bars(WARNING, 1.0, "The model was made for other anatomy.")
    bars("prediction", 1.0)
    bars.close()
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    assert "Warning: The model was made for other anatomy." in lines
    assert sum("100%" in line for line in lines) == 1  # the bar goes on
    JsonLines()(WARNING, 1.0, "The model was made for other anatomy.")
    assert json_lines(capsys.readouterr().out)[0]["details"] == "The model was made for other anatomy."


def test_out_of_gpu_memory_is_tried_smaller_then_on_the_cpu(model, pair, tmp_path, monkeypatch):
    tried, real = [], register_files.register

    def register(model, fixed, moving, options, device, progress, fixed_side, seen):
        tried.append((device.type, options.prediction.chunk))
        if device.type == "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(model, fixed, moving, options, device, progress, fixed_side, seen)

    gpu = (torch.device("cuda"), "A GPU, found automatically")
    monkeypatch.setattr(register_files, "register", register)
    monkeypatch.setattr(register_files, "choose_device", lambda name: gpu)
    assert run("register", model=model, **pair, out=tmp_path / "out", **QUICK) == 0
    assert tried == [("cuda", 2048), ("cuda", 256), ("cpu", 2048)]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["device"] == "cpu" and "memory of the GPU ran out" in report["device_reason"]


def test_earlier_results_stay_after_a_failure(model, pair, tmp_path, monkeypatch, capfd):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text("mine")

    def fail(*_, **options):
        raise UserError("The picture cannot be drawn.")

    monkeypatch.setattr(register_files, "draw_overview", fail)
    assert run("register", model=model, **pair, out=tmp_path / "out", json=True, **QUICK) == 2
    assert "picture" in capfd.readouterr().err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.json"]
    assert (tmp_path / "out/report.json").read_text() == "mine"


def test_one_bar_per_stage(model, pair, tmp_path, capfd):
    """A stage that ends is not begun again."""
    steps = {"key_points": 200, "iterations": 20, "refine": False}
    assert run("register", model=model, **pair, out=tmp_path / "out", **steps) == 0
    bars = capfd.readouterr().err.replace("\r", "\n").splitlines()
    begun = [line.split(":")[0] for line in bars if ":   0% |" in line]
    assert begun == list(dict.fromkeys(begun)) and "alignment" in begun


# ---- evaluate ---------------------------------------------------------------------------------------------------


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
    return {"images": tmp_path / "img", "labels": tmp_path / "label"}


@pytest.fixture
def evaluate(cohort, model, tmp_path):
    """Runs `slicreg evaluate` into results.json; returns its exit code."""
    template = {"template": cohort / "template.nii.gz", "template_label": cohort / "template_label.nii.gz"}
    return lambda **folders: run(
        "evaluate", model=model, **{**template, "out": tmp_path / "results.json", **folders}, **QUICK
    )


def test_evaluate_writes_the_agreed_json(evaluate, two_cases, tmp_path, capsys):
    assert evaluate(**two_cases) == 0
    text = capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["cases"]) == ["pt_1", "pt_2"]
    for name, case in results["cases"].items():
        assert set(case["before"]) >= {"dice", "mean_dice"}
        assert set(case["after"]) >= {"dice", "mean_dice", "hd95_mm", "folding_percent"}
        assert case["seconds"] > 0
        labels = {str(k) for k in range(1, 14)} - ({"4"} if name == "pt_2" else set())
        assert set(case["before"]["dice"]) == set(case["after"]["dice"]) == labels
        assert case["after"]["mean_dice"] == pytest.approx(np.mean(list(case["after"]["dice"].values())))
    assert results["cases"]["pt_1"]["left_out"] == [] and results["cases"]["pt_2"]["left_out"] == [4, 99]
    assert (
        "pt_2: left out, since only one of the scans has them: labels [4, 99]" in text and "pt_1: left out" not in text
    )
    for when in ("before", "after"):
        mean = np.mean([case[when]["mean_dice"] for case in results["cases"].values()])
        assert results["mean"][f"{when}_dice"] == pytest.approx(mean)
    assert results["mean"]["cases"] == 2 and results["own_template"]


def test_evaluate_names_the_cases_that_must_be_looked_at(evaluate, two_cases, tmp_path, monkeypatch, capsys):
    """Those whose verdict is not good; and what was noted on reading, of the template, too."""
    words, read = iter(["good", "failed"]), evaluate_module.load_scan

    def read_with_note(path, *more):
        return replace(read(path, *more), notes=(f"{path.name} was shifted.",))

    monkeypatch.setattr(evaluate_module, "load_scan", read_with_note)
    monkeypatch.setattr(
        evaluate_module,
        "judge",
        lambda model, result, device: Verdict(next(words), "Look at the liver.", 0.1, 0.2, 0.5, 0.4, (), 0.0),
    )
    assert evaluate(**two_cases) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Verdicts: 1 good, 1 failed." in lines and "  pt_2: Verdict: FAILED. Look at the liver." in lines
    assert [line for line in lines if "shifted" in line] == [
        "Note: template.nii.gz was shifted.",
        "  pt_1: Note: pt_1.nii.gz was shifted.",
        "  pt_2: Note: pt_2.nii.gz was shifted.",
    ]
    assert sum("pt_1" in line for line in lines) == 1
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["verdicts"] == {"good": 1, "doubtful": 0, "failed": 1}
    assert [case["verdict"]["word"] for case in results["cases"].values()] == ["good", "failed"]
    assert results["notes"] and all(case["notes"] for case in results["cases"].values())


def test_evaluate_continues_after_a_bad_case(cohort, evaluate, two_cases, tmp_path, capsys):
    (two_cases["images"] / "pt_1.nii.gz").write_bytes(b"no scan")
    (two_cases["images"] / "pt_3.nii.gz").write_bytes((cohort / "img/pt_3.nii.gz").read_bytes())  # has no labels
    assert evaluate(**two_cases) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["cases"]) == ["pt_2"] and "cannot be read" in results["failed"]["pt_1"]
    assert results["without_labels"] == ["pt_3"]
    assert "failed: " in capsys.readouterr().out


def test_labels_without_a_common_value(cohort, model, evaluate, two_cases, tmp_path, capsys):
    for path in two_cases["labels"].iterdir():
        image = nib.load(path)
        data = np.asarray(image.dataobj)
        nib.save(nib.Nifti1Image(np.where(data > 0, 77, 0).astype(np.uint8), image.affine), path)
    (two_cases["images"] / "pt_2.nii.gz").unlink()
    assert evaluate(**two_cases) == 2
    assert "no value in common" in capsys.readouterr().err
    code = run(
        "register",
        model=model,
        template=cohort / "template.nii.gz",
        target=two_cases["images"] / "pt_1.nii.gz",
        template_label=cohort / "template_label.nii.gz",
        target_label=two_cases["labels"] / "pt_1.nii.gz",
        out=tmp_path / "out",
        **QUICK,
    )
    assert code == 2 and not (tmp_path / "out").exists()


def test_evaluate_needs_a_folder_to_write_to(cohort, evaluate, two_cases, tmp_path, capfd):
    assert evaluate(**two_cases, out=tmp_path / "none" / "r.json") == 2
    assert is_one_sentence(capfd, "folder")


def test_a_target_with_an_offset_is_corrected_and_an_mr_refused(pair, model, tmp_path, capfd):
    target, shifted, magnetic = load_scan(pair["target"]), tmp_path / "shifted.nii.gz", tmp_path / "mr.nii.gz"
    save_volume(shifted, Volume(target.data + 1024, target.grid))
    out = tmp_path / "out"
    assert run("register", model=model, template=pair["template"], target=shifted, out=out, **QUICK) == 0
    (note,) = json.loads((out / "report.json").read_text())["notes"]
    assert note == f"{shifted} was stored with an offset of 1024; it was subtracted to get Hounsfield units."
    assert note in "".join(capfd.readouterr())
    warped = load_scan(out / "warped_target.nii.gz")
    assert warped.data.min() < -900 and -10 < np.median(warped.data[warped.data > -20]) < 100  # in HU, not 1024 higher

    tissue = np.abs(target.data + 1000) / 3 + np.random.default_rng(0).normal(0, 10, target.data.shape)
    save_volume(magnetic, Volume(np.abs(tissue).astype(np.float32), target.grid))
    for given in ({"template": magnetic, "target": pair["target"]}, {**pair, "target": magnetic}):
        assert run("register", model=model, out=tmp_path / "none", **given, **QUICK) == 2
        assert is_one_sentence(capfd, f"{magnetic} is not a CT in Hounsfield units: ")
        assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["register", "batch", "evaluate"])
def test_a_mode_gives_the_options_that_are_not_given(command):
    files = {
        "register": "--template t --target c --out o",
        "batch": "--template t --images i --out o",
        "evaluate": "--model m --template t --template-label l --images i --labels l --out o",
    }

    def read(words):
        return make_request(f"{command} {files[command]} {words}".split())[1].registration

    for mode, options in MODES.items():
        assert read(f"--mode {mode}") == read(f"--mode={mode}") == read(f"--mode fast --mode {mode}") == options
    published, fast = MODES["published"], MODES["fast"]
    own = replace(published, refine=True, alignment=replace(published.alignment, iterations=7))
    assert read("--refine --mode published --iterations=7") == own
    own = replace(fast, refinement=replace(fast.refinement, fine_iterations=3))
    assert read("--fine_iterations 3 --mode fast") == read("--mode fast --fine-iterations 3") == own
