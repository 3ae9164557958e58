"""The paper's table: its lines, rows that are gathered over several runs, budgets, and data that is not complete."""

import json
import shutil
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.training.options import training_preset
from tiny import NETWORK

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import table1
import table1_rows


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
    slic = {"plain": results_of(0.5, {"2": 0.4, "10": 0.6}), "refined": results_of(0.625, {"2": 0.6})}
    initial = {"training": None, "plain": results_of(0.25, {"2": 0.25}), "refined": results_of(0.375, {"2": 0.375})}
    peer = {"title": "syn", "version": "0.6", "cases": {"a": {}, "b": {}}}
    peer["mean"] = {"mean_dice": 0.75, "dice": {"10": 0.75}, "mean_hd95_mm": 2.0, "folding_percent": 0, "seconds": 8}
    results = {"unet-slic": {"training": budget, **slic}, "initial": initial}
    text = table1.format_table(table1.list_lines(results, {"ants-syn": peer}), [])
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert cells[0][:6] == ["row", "mean Dice", "label 2", "label 10", "HD95 mm", "folding %"]
    assert cells[0][6:] == ["s / scan", "scans", "iterations", "samples seen", "training s", "parameters"]
    assert cells[2] == ["initial", "0.250", "0.250", "-", "-", "0.12", "1.5", "3", "-", "-", "-", "-"]
    assert cells[3][:3] == ["initial, refined", "0.375", "0.375"]
    assert cells[4] == ["syn 0.6", "0.750", "-", "0.750", "2.0", "0.00", "8.0", "2", "-", "-", "-", "-"]
    assert cells[5][:4] == ["UNet + Slic + Adam", "0.500", "0.400", "0.600"]
    assert cells[5][8:] == ["1,000", "4,000", "61", "1,234,567"]
    assert cells[6][:4] == ["UNet + Slic + Adam, refined", "0.625", "0.600", "-"]
    assert len(cells) == 7
    assert "brainstem | cord" in table1.format_table(table1.list_lines(results, {}), ["brainstem", "cord"])


@pytest.fixture(scope="module")
def data(study, tmp_path_factory):
    """The tiny cohort in the layout of --data, with one scan to register."""
    folder, cohort = tmp_path_factory.mktemp("data"), study.folder.parent
    for part, source in (
        ("train/img", "img/pt_2"),
        ("train/img", "img/pt_3"),
        ("template/img", "template"),
        ("template/label", "template_label"),
        ("val/img", "img/pt_1"),
        ("val/label", "label/pt_1"),
    ):
        (folder / part).mkdir(parents=True, exist_ok=True)
        shutil.copy(cohort / f"{source}.nii.gz", folder / part)
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Small networks; supervoxels that two steps of training cannot tell apart are not registered."""
    monkeypatch.setattr(table1_rows, "PRESETS", {"unet": NETWORK, "compact": NETWORK, "paper": NETWORK})
    monkeypatch.setattr("pddnet.RADII", (1,))
    faster = replace(table1.ROWS["unet-slic"], register=table1.ROWS["initial"].register)
    monkeypatch.setitem(table1.ROWS, "unet-slic", faster)


def test_rows_are_gathered_over_calls(study, data, quick, tmp_path, capsys):
    out = tmp_path / "out"
    common = ["--data", str(data), "--study", str(study.folder), "--out", str(out), "--batch", "2", "--peers", "--rows"]
    table1.main([*common, "initial", "unet-regression", "--iterations", "1"])
    first = json.loads((out / "table1.json").read_text())
    table1.main([*common, "unet-slic", "pddnet", "unet-regression", "--iterations", "1"])
    results = json.loads((out / "table1.json").read_text())
    assert list(results) == ["initial", "unet-regression", "unet-slic", "pddnet"]
    assert all(results[name] == first[name] for name in first)  # not measured again
    initial, regression, slic, pairs = results.values()
    assert initial["training"] is None
    assert initial["plain"]["mean"]["after_dice"] == pytest.approx(initial["plain"]["mean"]["before_dice"])
    assert initial["refined"]["mean"]["after_dice"] > initial["plain"]["mean"]["after_dice"] + 0.1
    expected = (
        (regression, table1_rows.POINTS, {"distance_mm", "within_10_mm"}),
        (slic, 2500, {"cross_entropy", "accuracy"}),
        (pairs, 1, {"features_apart", "share_of_before"}),
    )
    for row, voxels, validated in expected:
        assert row["training"]["samples"] == 2 and row["training"]["schedule"]["loss_voxels"] == voxels
        assert set(row["training"]["validation"]) == validated
        assert set(row["plain"]["cases"]) == {"pt_1"} and row["threads"] >= 1 and row["versions"]["torch"]
    assert (out / "table1.md").read_text() == table1.format_table(table1.list_lines(results, {}), [])
    assert (out / "table1.md").read_text() in capsys.readouterr().out
    assert {path.stem for path in out.glob("*.checkpoint")} == {"unet-regression", "unet-slic", "pddnet"}


def test_a_budget_becomes_as_many_steps_as_fit_and_stays(study, data, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(table1, "time_step", lambda row, *_: {"unet": 2.0, "compact": 5.0}[row.preset])
    monkeypatch.setattr(table1, "evaluate", lambda *_: results_of(0.5, {"1": 0.5}))
    words = ["--data", str(data), "--study", str(study.folder), "--out", str(tmp_path), "--batch", "2", "--peers"]
    words += ["--budget", "0.1", "--rows", "unet-regression", "pddnet"]
    table1.main(words)
    trained = {name: row["training"] for name, row in json.loads((tmp_path / "table1.json").read_text()).items()}
    assert [trained[name]["iterations"] for name in ("unet-regression", "pddnet")] == [3, 1]  # of 6 seconds
    monkeypatch.setattr(table1, "time_step", lambda *_: pytest.fail("timed again"))
    table1.main(words)


def test_a_step_is_timed_by_training(study, quick):
    schedule = training_preset("unet", batch=2)
    seconds = table1.time_step(table1.ROWS["unet-regression"], study, schedule, torch.device("cpu"))
    assert 0 < seconds < 60
    assert not list(study.folder.glob("trial*"))


def test_what_the_data_lacks_is_said(data, tmp_path):
    shutil.copytree(data, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "val" / "label")
    with pytest.raises(UserError, match=r"lacks .*val/label\.$"):
        table1.find_data(tmp_path)
    shutil.copytree(data / "val" / "label", tmp_path / "val" / "label")
    shutil.copy(data / "val" / "img" / "pt_1.nii.gz", tmp_path / "template" / "img")
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
    lines = (out / "table1.md").read_text().splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == ["initial", "initial, refined", "initial"]
    assert abs(float(lines[2].split(" | ")[1]) - float(lines[4].split(" | ")[1])) < 0.0015  # both ways of measuring
    table1.main(words)
    assert (out / "study" / "study.json").stat().st_mtime == made
