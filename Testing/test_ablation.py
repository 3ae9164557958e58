"""The ablation: its table, and rows that are gathered over several runs."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tiny import NETWORK

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import ablation


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
    lines = ablation.format_table(
        {
            "unet-slic": {
                "training": budget,
                "plain": results_of(0.5, {"2": 0.4, "10": 0.6}),
                "refined": results_of(0.625, {"2": 0.6}),
            },
            "initial": {"training": None, "plain": results_of(0.25, {"2": 0.25})},
        }
    ).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == [
        "row",
        "mean Dice",
        "label 2",
        "label 10",
        "HD95 mm",
        "folding %",
        "s / scan",
        "cases",
        "iterations",
        "samples seen",
        "training s",
        "parameters",
    ]
    assert cells[2] == ["initial", "0.250", "0.250", "-", "-", "0.12", "1.50", "3", "-", "-", "-", "-"]
    assert cells[3][:4] == ["UNet + Slic + Adam", "0.500", "0.400", "0.600"]
    assert cells[3][8:] == ["1,000", "4,000", "61", "1,234,567"]
    assert cells[4][:4] == ["UNet + Slic + Adam, refined", "0.625", "0.600", "-"]
    assert len(cells) == 5


def test_rows_are_gathered_over_calls(study, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "PRESETS", {"unet": NETWORK, "compact": NETWORK})
    monkeypatch.setattr("pddnet.RADII", (1,))
    faster = replace(ablation.ROWS["unet-slic"], register=ablation.stay)
    monkeypatch.setitem(ablation.ROWS, "unet-slic", faster)
    cohort, one = study.folder.parent, tmp_path / "one"
    one.mkdir()
    (one / "pt_1.nii.gz").symlink_to(cohort / "img" / "pt_1.nii.gz")
    common = [
        "--study",
        str(study.folder),
        "--template",
        str(cohort / "template.nii.gz"),
        "--images",
        str(one),
        "--template-label",
        str(cohort / "template_label.nii.gz"),
        "--labels",
        str(cohort / "label"),
        "--out",
        str(tmp_path / "out"),
        "--iterations",
        "1",
        "--batch",
        "2",
    ]
    ablation.main([*common, "--rows", "initial", "unet-regression"])
    first = json.loads((tmp_path / "out" / "ablation.json").read_text())
    ablation.main([*common, "--rows", "unet-slic", "pddnet"])
    results = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert list(results) == ["initial", "unet-regression", "unet-slic", "pddnet"]
    assert all(results[name] == first[name] for name in first)
    initial, regression, slic, pairs = results.values()
    assert initial["training"] is None and "refined" not in initial
    assert initial["plain"]["mean"]["after_dice"] == pytest.approx(initial["plain"]["mean"]["before_dice"])
    expected = (
        (regression, ablation.POINTS, {"distance_mm", "within_10_mm"}),
        (slic, 2500, {"cross_entropy", "accuracy"}),
        (pairs, 1, {"features_apart", "share_of_before"}),
    )
    for row, voxels, validated in expected:
        assert row["training"]["samples"] == 2 and row["training"]["schedule"]["loss_voxels"] == voxels
        assert set(row["training"]["validation"]) == validated
        assert set(row["plain"]["cases"]) == {"pt_1"} and row["threads"] >= 1 and row["versions"]["torch"]
    assert (tmp_path / "out" / "ablation.md").read_text() == ablation.format_table(results)
    assert {path.stem for path in (tmp_path / "out").glob("*.checkpoint")} == {
        "unet-regression",
        "unet-slic",
        "pddnet",
    }
