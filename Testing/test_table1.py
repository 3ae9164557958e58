"""The paper's table: its lines, rows that are gathered over several runs, budgets, and data that is not complete."""

import json
import shutil
import sys
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.training.options import training_preset
from SlicRegLib.training.run import TrainingRun
from tiny import NETWORK

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import table1
import table1_rows
import table1_text


def results_of(dice: float, labels: dict) -> dict:
    return {
        "mean": {
            "after_dice": dice,
            "after_dice_per_label": labels,
            "after_hd95_mm": None,
            "folding_percent": 0.125,
            "seconds": 1.5,
            "cases": 3,
        }
    }


def test_table_has_a_line_per_measured_row_in_order():
    budget = {"iterations": 1000, "samples": 4000, "seconds": 61.4, "parameters": 1_234_567}
    slic = {
        "plain": results_of(0.5, {"2": 0.4, "10": 0.6}),
        "affine": results_of(0.55, {"2": 0.5}),
        "refined": results_of(0.625, {"2": 0.6}),
    }
    initial = {"training": None, "plain": results_of(0.25, {"2": 0.25}), "refined": results_of(0.375, {"2": 0.375})}
    peer = {"title": "syn", "version": "0.6", "cases": {"a": {}, "b": {}}}
    peer["mean"] = {"mean_dice": 0.75, "dice": {"10": 0.75}, "mean_hd95_mm": 2.0, "folding_percent": 0, "seconds": 8}
    results = {"unet-slic": {"training": budget, **slic}, "initial": initial}
    text = table1_text.format_table(table1_text.list_lines(results, {"ants-syn": peer}), [])
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert cells[0][:6] == ["row", "mean Dice", "label 2", "label 10", "HD95 mm", "folding %"]
    assert cells[0][6:] == ["s / scan", "scans", "iterations", "samples seen", "training s", "parameters"]
    assert cells[2] == ["initial", "0.250", "0.250", "-", "-", "0.12", "1.5", "3", "-", "-", "-", "-"]
    assert cells[3][:3] == ["initial, refined", "0.375", "0.375"]
    assert cells[4] == ["syn 0.6", "0.750", "-", "0.750", "2.0", "0.00", "8.0", "2", "-", "-", "-", "-"]
    assert cells[5][:4] == ["UNet + Slic + Adam", "0.500", "0.400", "0.600"]
    assert cells[5][8:] == ["1,000", "4,000", "61", "1,234,567"]
    assert cells[6][:3] == ["UNet + Slic + Adam, from the affine map", "0.550", "0.500"]
    assert cells[7][:4] == ["UNet + Slic + Adam, from the affine map, refined", "0.625", "0.600", "-"]
    assert len(cells) == 8
    named = table1_text.format_table(table1_text.list_lines(results, {}), ["brainstem", "cord"])
    assert "| mean Dice | brainstem | cord |" in named


def test_below_the_table_stands_how_it_was_made():
    setup = {"batch": 2, "schedule": "unet", "device": "cpu", "threads": 1}
    first = {"commits": ["a"], "budget": 40.0, "iterations": 9}
    results = {"initial": {"commit": "b"}, "pddnet": {"commit": "b", "plan": first}}
    text = table1_text.describe_setup(results, setup)
    assert "network: 40 minutes, batch 2" in text and "Trained at a, measured at b." in text
    second = {"commits": ["a", "c"], "budget": None, "iterations": 7}
    text = table1_text.describe_setup(results | {"unet-slic": {"commit": "b", "plan": second}}, setup)
    assert "network: 40 minutes or 7 steps, batch 2" in text and "Trained at a, c, measured at b." in text


@pytest.fixture(scope="module")
def data(study, tmp_path_factory):
    """The tiny cohort in the layout of --data, with one scan to register."""
    folder, cohort = tmp_path_factory.mktemp("data"), study.folder.parent
    for place, source in (
        ("train/img/pt_2", "img/pt_2"),
        ("train/img/pt_3", "img/pt_3"),
        ("template/img/template", "template"),
        ("template/label/template", "template_label"),
        ("val/img/new", "img/pt_1"),
        ("val/label/new", "label/pt_1"),
    ):
        target = folder / f"{place}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cohort / f"{source}.nii.gz", target)
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Small networks, and an evaluation that returns the options with which each row was registered."""
    small = {"unet": NETWORK, "compact": NETWORK, "paper": replace(NETWORK, kind="deeplab")}
    monkeypatch.setattr(table1_rows, "PRESETS", small)
    monkeypatch.setattr("pddnet.RADII", (1,))

    def pretend(register_target, labels, images, folder, progress):
        _, model, _, options, _ = register_target.args
        described = {"refine": options.refine, "affine_start": options.alignment.affine_start}
        return results_of(0.5, {"1": 0.5}) | {"options": described | {"key_points": model.key_points is not None}}

    monkeypatch.setattr(table1, "evaluate", pretend)


@pytest.fixture
def words(study, data, tmp_path):
    """A run's first words; its folder is the test's."""
    return ["--data", str(data), "--study", str(study.folder), "--out", str(tmp_path), "--batch", "2", "--peers"]


def test_every_row_is_trained_and_measured_in_its_ways(words, quick, tmp_path, capsys):
    table1.main([*words, "--iterations", "1"])
    results = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in table1.ROWS}
    assert results["initial"]["training"] is None
    validated = {
        "pddnet": {"features_apart", "share_of_before"},
        "unet-regression": {"distance_mm", "within_10_mm"},
        "unet-slic": {"cross_entropy", "accuracy"},
    }
    for name, row in results.items():
        assert row["plain"]["options"]["affine_start"] is False and row["plain"]["options"]["refine"] is False
        assert row["refined"]["options"]["refine"] is True
        assert row["threads"] >= 1 and row["versions"]["torch"] and row["commit"]
        if name == "initial":
            continue
        voxels = {"pddnet": 1, "slic": 2500, "regression": table1_rows.POINTS}[name.split("-")[-1]]
        assert row["training"]["samples"] == 2 and row["training"]["schedule"]["loss_voxels"] == voxels
        assert set(row["training"]["validation"]) == validated[name.replace("deeplab", "unet")]
        assert row["plan"]["iterations"] == 1 and row["plan"]["commits"]
        assert (tmp_path / f"{name}.checkpoint").is_file()
        assert ("affine" in row) == row["plain"]["options"]["key_points"] == name.endswith("slic")
    text = (tmp_path / "table1.md").read_text()
    assert text in capsys.readouterr().out and text.count("\n| ") == 1 + 4 * 2 + 2 * 3


def test_what_is_measured_is_not_measured_again(words, quick, tmp_path, monkeypatch):
    table1.main([*words, "--iterations", "1", "--rows", "initial", "unet-regression"])
    first = {name: (tmp_path / f"{name}.json").read_text() for name in ("initial", "unet-regression")}
    monkeypatch.setattr(table1, "evaluate", lambda *_: results_of(0.75, {"1": 0.75}))
    table1.main([*words, "--iterations", "1", "--rows", "initial", "unet-regression", "unet-slic"])
    assert all((tmp_path / f"{name}.json").read_text() == text for name, text in first.items())
    lines = (tmp_path / "table1.md").read_text().splitlines()
    assert [line.split(" | ")[1] for line in lines[2:9]] == ["0.500"] * 4 + ["0.750"] * 3
    monkeypatch.setattr(table1, "hash_code", lambda: "other code")
    table1.main([*words, "--iterations", "1", "--rows", "initial"])
    assert json.loads((tmp_path / "initial.json").read_text())["plain"]["mean"]["after_dice"] == 0.75


def test_a_run_goes_on_as_it_began(words, quick, tmp_path):
    table1.main([*words, "--iterations", "1", "--rows", "initial"])
    before = (tmp_path / "setup.json").read_text()
    for more, word in ((["--batch", "3"], "batch"), (["--batch", "3", "--schedule", "paper"], "batch, schedule")):
        with pytest.raises(UserError, match=f"was begun with other {word}; choose another --out"):
            table1.main([*words, *more, "--rows", "initial"])
    assert (tmp_path / "setup.json").read_text() == before
    earlier = {**json.loads(before), "budget": 40}
    (tmp_path / "setup.json").write_text(json.dumps(earlier))
    with pytest.raises(UserError, match="was begun with other budget; choose another --out"):
        table1.main([*words, "--rows", "initial"])


def test_a_budget_becomes_as_many_steps_as_fit_and_stays(words, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(table1, "time_step", lambda row, *_: {"unet": 2.0, "compact": 5.0}[row.preset])
    more = ["--budget", "0.1", "--rows", "unet-regression", "pddnet"]  # 6 seconds
    table1.main([*words, *more])
    plans = [json.loads((tmp_path / f"{name}.plan.json").read_text()) for name in ("unet-regression", "pddnet")]
    trained = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("unet-regression", "pddnet")]
    assert [plan["iterations"] for plan in plans] == [row["training"]["iterations"] for row in trained] == [3, 1]
    monkeypatch.setattr(table1, "time_step", lambda *_: pytest.fail("timed again"))
    monkeypatch.setattr(table1, "hash_code", lambda: "other code")
    table1.main([*words, *more])


def test_a_larger_budget_goes_on_and_a_smaller_one_is_refused(words, quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table1, "time_step", lambda *_: 2.0)
    path, read = tmp_path / "unet-slic.json", lambda: json.loads((tmp_path / "unet-slic.json").read_text())
    table1.main([*words, "--budget", "0.1", "--rows", "unet-slic"])
    assert read()["training"]["iterations"] == 3
    checkpoint, first = (tmp_path / "unet-slic.checkpoint").read_bytes(), path.read_text()
    table1.main([*words, "--budget", "0.1", "--rows", "unet-slic"])
    assert path.read_text() == first and (tmp_path / "unet-slic.checkpoint").read_bytes() == checkpoint
    steps = []
    monkeypatch.setattr("SlicRegLib.training.run.TrainingRun.step", counting(TrainingRun.step, steps))
    table1.main([*words, "--budget", "0.17", "--rows", "unet-slic"])  # 10 seconds
    assert steps == [3, 4]
    assert read()["training"]["iterations"] == 5 and read()["plan"]["budget"] == 0.17
    assert "Each network: 0.17 minutes," in (tmp_path / "table1.md").read_text()
    second = path.read_text()
    table1.main([*words, "--budget", "0.1", "--rows", "unet-slic"])
    assert "UNet + Slic + Adam: 5 steps were planned for it before; choose another --out." in capsys.readouterr().out
    assert path.read_text() == second


def counting(step, steps):
    """A training step that notes its number."""

    def count(run, batch):
        steps.append(run.iteration)
        step(run, batch)

    return count


def test_a_step_is_timed_without_the_first_and_the_last(study):
    def train(plan, checkpoint, device, resume, progress):
        for step in range(plan.options.iterations):
            time.sleep(0.5 if step in (0, plan.options.iterations - 1) else 0.05)
            progress("training", 0.0, "")

    row = replace(table1.ROWS["unet-regression"], train=train)
    seconds = table1.time_step(row, study, training_preset("unet", batch=2), torch.device("cpu"))
    assert 0.05 <= seconds < 0.2


def test_a_row_that_fails_does_not_end_the_others(words, quick, tmp_path, monkeypatch, capsys):
    def diverge(*_):
        raise UserError("The training diverged at iteration 7.")

    monkeypatch.setitem(table1.ROWS, "pddnet", replace(table1.ROWS["pddnet"], train=diverge))
    table1.main([*words, "--iterations", "1", "--rows", "pddnet", "initial"])
    assert "PDD-Net, two warps: The training diverged at iteration 7." in capsys.readouterr().out
    assert (tmp_path / "initial.json").is_file() and not (tmp_path / "pddnet.json").exists()


def test_rows_are_registered_for_real(words, monkeypatch, tmp_path):
    """What `quick` only pretends: the first row, refined, on a phantom."""
    table1.main([*words, "--rows", "initial"])
    row = json.loads((tmp_path / "initial.json").read_text())
    assert set(row["plain"]["cases"]) == {"new"}
    assert row["refined"]["mean"]["after_dice"] > row["plain"]["mean"]["after_dice"] + 0.1


def test_a_study_that_knows_the_scans_to_register_is_refused(study, data, tmp_path):
    other = shutil.copytree(data, tmp_path / "data")
    shutil.copy(study.folder.parent / "img" / "pt_2.nii.gz", other / "val" / "img")
    words = ["--data", str(other), "--study", str(study.folder), "--out", str(tmp_path / "out"), "--peers"]
    with pytest.raises(UserError, match=r"was made with scans of .*val/img: "):
        table1.main(words)


@pytest.mark.parametrize("wrong", [["--batch", "1"], ["--peers", "deeds"], ["--peers", "sin"]])
def test_wrong_words_are_refused_before_the_work(data, tmp_path, wrong):
    with pytest.raises(SystemExit):
        table1.main(["--data", str(data), "--out", str(tmp_path / "out"), *wrong])
    assert not (tmp_path / "out").exists()


def test_what_the_data_lacks_is_said(data, tmp_path):
    shutil.copytree(data, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "val" / "label")
    with pytest.raises(UserError, match=r"lacks .*val/label\.$"):
        table1.find_data(tmp_path)
    shutil.copytree(data / "val" / "label", tmp_path / "val" / "label")
    shutil.copy(data / "val" / "img" / "new.nii.gz", tmp_path / "template" / "img")
    with pytest.raises(UserError, match="must hold one file, the template's, but has 2"):
        table1.find_data(tmp_path)


def test_other_programs_run_on_the_same_scans(data, tmp_path, monkeypatch):
    rows = {"ants-syn": {"cases": {"a": {}}}, "convexadam": {"cases": {}, "failed": {"a": "not installed"}}}
    called = []

    def run(words):
        called.append(words)
        (tmp_path / "peers").mkdir()
        (tmp_path / "peers" / "results.json").write_text(json.dumps({"rows": rows}))

    monkeypatch.setattr(table1.peers, "main", run)
    options = Namespace(out=tmp_path, peers=["ants-syn", "convexadam"], deeds_folder=None)
    assert table1.run_peers(table1.find_data(data), options) == {"ants-syn": rows["ants-syn"]}
    (words,) = called
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert given["--tools"] == "ants-syn,convexadam" and given["--threads"] == str(torch.get_num_threads())
    assert given["--template"] == str(data / "template" / "img" / "template.nii.gz")
    assert given["--labels"] == str(data / "val" / "label")


@pytest.mark.slow
def test_the_study_is_made_first(data, tmp_path):
    out = tmp_path / "out"
    words = ["--data", str(data), "--out", str(out), "--peers", "initial", "--rows", "initial"]
    table1.main(words)
    made = (out / "study" / "study.json").stat().st_mtime
    lines = [line for line in (out / "table1.md").read_text().splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == ["initial", "initial, refined", "initial"]
    plain, refined, _ = (float(line.split(" | ")[1]) for line in lines)
    assert refined > plain + 0.1
    table1.main(words)
    assert (out / "study" / "study.json").stat().st_mtime == made
