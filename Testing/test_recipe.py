"""`slicreg recipe abdomen` from the data to the table, on phantoms laid out as the paper's data set."""

import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest

from abdomen_samples import FINE, TRAINING, write_abdomen
from command_line import make_small, run
from SlicRegLib.cli import recipe
from SlicRegLib.cli.abdomen import PUBLISHED, find_abdomen
from SlicRegLib.cli.recipe import format_table, percent
from SlicRegLib.network.options import PRESETS
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.options import AlignmentOptions, RegistrationOptions
from SlicRegLib.results.metrics import dice
from SlicRegLib.teaching.study import open_study
from tiny import NETWORK

TEST = [f"img{number:04d}" for number in (1, 4, 7, 10, 23, 26, 29, 32, 35)]
QUICK = {"iterations": 2, "batch": 2, "shape": (32, 32, 32), "spacing": 12, "jobs": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_abdomen(tmp_path_factory.mktemp("abdomen"))


@pytest.fixture
def small(monkeypatch):
    """A cheap teacher, two layers, a tiny network, key points that hardly move."""
    make_small(monkeypatch)
    monkeypatch.setitem(PRESETS, "paper", NETWORK)
    quick = RegistrationOptions(refine=False, alignment=AlignmentOptions(key_points=100, iterations=2))
    monkeypatch.setattr(recipe, "CHAINS", dict.fromkeys(recipe.CHAINS, quick))


def cells(table: str) -> dict[str, list[str]]:
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return {title.strip(): [cell.strip() for cell in rest] for title, *rest in lines}


def test_from_the_data_to_the_table_with_interruptions(data, small, tmp_path, monkeypatch, capfd):
    out = tmp_path / "out"
    for place in ("train_model", "evaluate_files"):
        with monkeypatch.context() as patch:
            patch.setattr(recipe, place, interrupt)
            assert run("recipe", "abdomen", data, out=out, **QUICK) == 130
        assert not (out / "table.md").exists()
    stamps = {path: path.stat().st_mtime_ns for path in [*out.rglob("*.npz"), out / "abdomen.slicreg"]}
    assert len(stamps) == 20 + 2 + 1
    capfd.readouterr()
    assert run("recipe", "abdomen", data, out=out, **QUICK) == 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    printed, table = capfd.readouterr().out, (out / "table.md").read_text()
    assert table in printed
    study, model = open_study(out / "study"), load_model(out / "abdomen.slicreg")
    assert study.scans == [f"img{number:04d}" for number in TRAINING] and study.template_name == "img0038"
    assert study.preparation.shape == (32, 32, 32) and study.preparation.spacing_mm == 12
    assert model.provenance["preset"] == "paper" and model.provenance["validation"]["iteration"] == 2
    check_table(out, table)
    made = f"Network paper, 2 steps of 2, trained on 20 of 20 training scans, taught by {study.teacher}, on cpu, "
    assert made in table
    assert "has 40 x 34 x 44 voxels of 10 x 10 x 10 mm and not 192 x 160 x 256 of 2 mm" in table
    monkeypatch.setattr(recipe, "evaluate_files", interrupt)  # all is finished: nothing runs
    assert run("recipe", "abdomen", data, out=out, **QUICK) == 0 and (out / "table.md").read_text() == table
    capfd.readouterr()
    assert run("recipe", "abdomen", data, out=out, **{**QUICK, "iterations": 3}) == 2
    assert "was begun with other iterations; give the same again" in capfd.readouterr().err
    (out / "abdomen.slicreg").unlink()  # another model gets figures of its own
    assert run("recipe", "abdomen", data, out=out, **QUICK) == 130
    assert not (out / "published.json").exists() and not (out / "default.json").exists()


def test_other_files_of_the_same_names_are_other_data(data, small, tmp_path, monkeypatch, capfd):
    folder, out = shutil.copytree(data, tmp_path / "data"), tmp_path / "out"
    monkeypatch.setattr(recipe, "prepare_study", interrupt)
    assert run("recipe", "abdomen", folder, out=out, **QUICK) == 130
    change_labels(folder / "AbdomenIsoCrop/Training/label/label0004.nii.gz", 13, 12)
    capfd.readouterr()
    assert run("recipe", "abdomen", folder, out=out, **QUICK) == 2
    assert "was begun with other scans or labels; give the same again" in capfd.readouterr().err


def interrupt(*_, **__):
    raise KeyboardInterrupt


def check_table(out, text: str) -> None:
    """Published figures and those of the results in ``out``, in their rows and columns."""
    results = {name: json.loads((out / f"{name}.json").read_text()) for name in ("initial", "published", "default")}
    assert all(sorted(result["cases"]) == TEST and not result["failed"] for result in results.values())
    table = cells(text)
    assert len(table) == 2 + 13 + 2
    assert table["liver (6)"][:5] == ["26.2", "71.1", "57.7", "71.8", "74.1"]
    assert table["pancreas (11)"][:5] == ["-"] * 5
    for column, name in enumerate(("initial", "published", "default"), start=5):
        liver = np.mean([case["after"]["dice"]["6"] for case in results[name]["cases"].values()])
        assert table["liver (6)"][column] == f"{100 * liver:.1f}"
    assert "9 of 9 (initial, here)" in text


def test_the_initial_overlap_is_that_of_the_files_laid_on_each_other(data, tmp_path):
    """Voxel by voxel, as their arrays lie, wherever their headers say that they are."""
    folder = shutil.copytree(data, tmp_path / "data")
    paths = [folder / f"AbdomenIsoCrop/Training/{kind}/{kind}0001.nii.gz" for kind in ("img", "label")]
    for path in paths:
        image = nib.load(path)
        moved = image.affine.copy()
        moved[:3, 3] += (100, -50, 700)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), path)
    found = find_abdomen(folder)
    (tmp_path / "test.csv").write_text(f"path\n{found.test[0]}\n")
    result = recipe._measure_initial(found, tmp_path, recipe_progress)["cases"]["img0001"]["after"]["dice"]
    fixed, moving = (np.asarray(nib.load(path).dataobj) for path in (found.template_label, paths[1]))
    for organ in (1, 2, 6):
        assert result[str(organ)] == pytest.approx(dice(fixed == organ, moving == organ), abs=1e-4)
    assert result["6"] > 0.2


def recipe_progress(stage: str, share: float, details: str = "") -> None:
    pass


def damage(training, problem: str) -> None:
    img, label = training / "img", training / "label"
    match problem:
        case "no layout":
            shutil.move(training, training.parent / "Train")
        case "no labels":
            shutil.rmtree(label)
        case "scans missing":
            for number in (2, 38):
                (img / f"img{number:04d}.nii.gz").unlink()
        case "a label missing":
            (label / "label0023.nii.gz").unlink()
        case "a scan cut off":
            whole = (img / "img0040.nii.gz").read_bytes()
            (img / "img0040.nii.gz").write_bytes(whole[: len(whole) * 3 // 4])
        case "no image":
            (img / "img0002.nii.gz").write_bytes(b"hello")
        case "labels of another scan":
            nib.save(nib.Nifti1Image(np.ones((9, 9, 9), np.uint8), np.eye(4)), label / "label0001.nii.gz")
        case "other values":
            change_labels(label / "label0004.nii.gz", 13, 14)
        case "template lacks an organ":
            change_labels(label / "label0038.nii.gz", 9, 0)
        case "two problems":
            damage(training, "a label missing")
            damage(training, "no image")


def change_labels(path, old: int, new: int) -> None:
    image = nib.load(path)
    data = np.asarray(image.dataobj).copy()
    data[data == old] = new
    nib.save(nib.Nifti1Image(data, image.affine), path)


WRONG = {
    "no layout": ["holds no AbdomenIsoCrop/Training; the data set is offered at https://"],
    "no labels": ["label does not exist; it should hold label0001.nii.gz and the others; the data set is offered"],
    "scans missing": ["lacks 2 of 30 files (img0002.nii.gz, img0038.nii.gz); the data set is offered"],
    "a label missing": ["lacks 1 of 10 files (label0023.nii.gz)"],
    "a scan cut off": ["img0040.nii.gz"],
    "no image": ["img0002.nii.gz"],
    "labels of another scan": ["label0001.nii.gz"],
    "other values": ["label0004.nii.gz holds the value 14, but the organs are 1 to 13"],
    "template lacks an organ": ["label0038.nii.gz lacks inferior vena cava"],
    "two problems": ["lacks 1 of 10 files (label0023.nii.gz)", "img0002.nii.gz"],
}


@pytest.mark.parametrize("problem", WRONG)
def test_a_wrong_layout_gets_one_sentence_per_problem(data, tmp_path, capfd, problem):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    damage(folder / "AbdomenIsoCrop" / "Training", problem)
    for options in ({}, {"check_only": True}):
        assert run("recipe", "abdomen", folder, out=tmp_path / "out", **options) == 2
        captured = capfd.readouterr()
        lines = [line for line in captured.err.splitlines() if line and not line.startswith("check: ")]  # no bar
        assert captured.out == "" and len(lines) == len(WRONG[problem]) and lines[0].startswith("slicreg: ")
        for line, words in zip(lines, WRONG[problem], strict=True):
            assert words in line and line.endswith(".") and "Traceback" not in line
        assert not (tmp_path / "out").exists()


IMPOSSIBLE = {
    "no deeds folder": ({"teacher": "deeds"}, "needs --deeds-dir"),
    "an empty deeds folder": ({"teacher": "deeds", "deeds_dir": "."}, "contains neither the programs"),
    "no such supervoxels": ({"supervoxels": "nope.pth"}, "nope.pth"),
    "a frame beside supervoxels": ({"supervoxels": "nope.pth", "spacing": 12}, "leave out --shape and --spacing"),
    "a GPU that is not there": ({"device": "cuda:77"}, "CUDA"),
    "a frame that cannot be": ({"spacing": -1}, "spacing"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_cannot_be_done_is_told_before_anything_is_written(data, tmp_path, monkeypatch, capfd, what):
    monkeypatch.chdir(tmp_path)
    options, words = IMPOSSIBLE[what]
    for more in ({}, {"check_only": True}):
        assert run("recipe", "abdomen", data, out=tmp_path / "out", **options, **more) == 2
        captured = capfd.readouterr()
        assert captured.out == "" and words in captured.err and "Traceback" not in captured.err
        assert not (tmp_path / "out").exists()


def test_missing_results_of_deeds_are_named_before_the_work(data, tmp_path, capfd):
    folder = tmp_path / "baseline"
    folder.mkdir()
    for number in TRAINING:
        for end in ("matrix.txt", "displacements.dat"):
            (folder / f"F{number:02d}_38_{end}").touch()
    (folder / "F40_38_displacements.dat").unlink()
    (folder / "F02_38_matrix.txt").unlink()
    assert run("recipe", "abdomen", data, out=tmp_path / "out", teacher="deeds", deeds_dir=folder) == 2
    assert "lacks 2 files (F02_38_matrix.txt, F40_38_displacements.dat)" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
    (folder / "F40_38_displacements.dat").touch()
    for path in folder.glob("*_matrix.txt"):  # deedsBCV alone makes none
        path.unlink()
    options = {"teacher": "deeds", "deeds_dir": folder, "check_only": True}
    assert run("recipe", "abdomen", data, out=tmp_path / "out", **options) == 0


def test_a_file_is_no_folder_of_the_data(data, tmp_path, capfd):
    path = data / "AbdomenIsoCrop/Training/img/img0001.nii.gz"
    assert run("recipe", "abdomen", path, out=tmp_path / "out") == 2
    assert "img0001.nii.gz is a file; give the folder that holds AbdomenIsoCrop." in capfd.readouterr().err


def test_a_good_layout_is_told(data, tmp_path, capfd):
    for folder in (data, data / "AbdomenIsoCrop"):
        assert run("recipe", "abdomen", folder, out=tmp_path / "out", check_only=True) == 0
        captured = capfd.readouterr()
        assert "holds all that the experiment needs" in captured.out and not (tmp_path / "out").exists()
        assert captured.err.count("figures cannot be compared with the published ones") == 1


def test_published_means_are_those_of_the_published_organs():
    for name, values in PUBLISHED.items():
        if name != "regression":
            assert values["avg 4"] == pytest.approx(np.mean([values[organ] for organ in (1, 2, 3, 6)]), abs=2.8), name


def test_means_need_all_organs():
    dice = {str(organ): organ / 100 for organ in range(1, 14)}
    assert percent(dice)["avg 4"] == pytest.approx(3.0) and percent(dice)["avg 13"] == pytest.approx(7.0)
    assert "avg 13" not in percent({**dice, "9": None}) and "avg 4" in percent({**dice, "9": None})
    results = {"initial": {"mean": {"after_dice_per_label": dice, "cases": 8}}}
    table = cells(format_table(results, 9))
    assert table["mean of 13"][-1] == "7.0" and table["mean of 1, 2, 3, 6"][-1] == "3.0"
    assert re.search(r"8 of 9 \(initial, here\)", format_table(results, 9))


@pytest.mark.slow
def test_the_experiment_on_thirty_trunks(tmp_path, monkeypatch, capfd):
    """With its own teacher, supervoxels and refinement, and a small network that is trained for a while."""
    data = write_abdomen(tmp_path / "data", trunks=29, options=FINE)
    monkeypatch.setattr("SlicRegLib.workers.IN_THIS_PROCESS", True)
    options = {"preset": "compact", "iterations": 150, "shape": (48, 48, 48), "spacing": 8, "jobs": 1, "device": "cpu"}
    assert run("recipe", "abdomen", data, out=tmp_path / "out", **options) == 0
    table = cells(capfd.readouterr().out)
    initial, published, refined = (float(cell) for cell in table["mean of 4".replace("4", "1, 2, 3, 6")][5:])
    assert refined > initial + 10 and published > initial
