"""The comparison with other tools: what is measured again and what is not, the table and the figure."""

import json
import os
import sys
from pathlib import Path

import matplotlib.colors
import pytest
import torch
from matplotlib import image

from SlicRegLib.geometry.field import identity_field
from SlicRegLib.images.volumes import load_labels, load_scan
from SlicRegLib.registration.result import Registration
from SlicRegLib.results.evaluate import compare
from tiny import FRAME, write_cohort

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import peer_results
import peer_tools
import peers


class FakeTool:
    """Finds the identity, or fails, and counts its calls."""

    def __init__(self, problem: str = ""):
        self.problem, self.calls = problem, 0

    def __call__(self, fixed, moving, threads):
        self.calls += 1
        if self.problem:
            raise ValueError(self.problem)
        peer_tools.clock.seconds = {"registration": 2.0}
        return identity_field(fixed.grid)


def die(fixed, moving, threads):
    os._exit(3)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), 1)


@pytest.fixture
def benchmark(cohort, tmp_path, monkeypatch):
    """Runs the command with these tools in this process; returns results.json."""

    def run(tools, *words):
        monkeypatch.setattr(peers, "list_tools", lambda models, folder: tools)
        options = {
            "template": cohort / "template.nii.gz",
            "template-label": cohort / "template_label.nii.gz",
            "images": cohort / "img",
            "labels": cohort / "label",
            "out": tmp_path,
            "threads": torch.get_num_threads(),
        }
        peers.main([*(word for name, value in options.items() for word in (f"--{name}", str(value))), *words])
        return json.loads((tmp_path / "results.json").read_text())

    monkeypatch.setattr(peers, "run_in_own_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(peers, "PreparationOptions", lambda: FRAME)
    monkeypatch.setattr(peer_tools, "ORDER", ("initial", "fake", "failing", "missing"))
    return run


def test_what_is_done_is_not_done_again(benchmark, tmp_path):
    fake, failing = FakeTool(), FakeTool("no overlap")
    tools = {
        "fake": peer_tools.Tool("fake", fake, "1"),
        "failing": peer_tools.Tool("failing", failing, "1"),
        "missing": peer_tools.Tool("missing", fake, None),
    }
    first = benchmark(tools, "--tools", "fake,failing")
    assert set(first["rows"]) == {"fake", "failing"} and fake.calls == failing.calls == 1
    grid = tmp_path / "grids" / "targets" / "pt_1.nii.gz"
    written = grid.stat().st_mtime_ns
    second = benchmark(tools)
    assert fake.calls == 1 and failing.calls == 2  # a failure is tried again
    assert grid.stat().st_mtime_ns == written
    assert second["rows"]["fake"] == first["rows"]["fake"]
    assert second["rows"]["missing"]["failed"] == {"pt_1": "not installed"}
    benchmark({"fake": peer_tools.Tool("fake", fake, "2")})
    assert fake.calls == 2  # another version
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert (
        lines[3].startswith("| failing (0 of 1 scans: no overlap) | - |")
        and "(0 of 1 scans: not installed)" in lines[4]
    )
    picture = image.imread(tmp_path / "dice_against_seconds.png")[..., :3]
    points = abs(picture - matplotlib.colors.to_rgb("0.35")).max(-1) < 0.01
    assert points.sum() > 50 and picture.mean() > 0.9  # the tool's point and name on white
    with pytest.raises(SystemExit):
        benchmark(tools, "--threads", "7")


def test_figures_are_those_of_the_evaluation(benchmark, cohort):
    row = benchmark({"fake": peer_tools.Tool("fake", FakeTool(), "1")})["rows"]["fake"]
    template, target = load_scan(cohort / "template.nii.gz"), load_scan(cohort / "img" / "pt_1.nii.gz")
    labels = load_labels(cohort / "template_label.nii.gz"), load_labels(cohort / "label" / "pt_1.nii.gz")
    known = compare(Registration(template, target, identity_field(template.grid), {}, False), *labels)["before"]
    case = row["cases"]["pt_1"]
    assert case["dice"] == pytest.approx(known["dice"]) and case["mean_hd95_mm"] == pytest.approx(known["mean_hd95_mm"])
    assert case["seconds"] == 2 and case["peak_memory_mb"] > 50 and case["folding_percent"] == 0


def test_a_crash_is_a_row_with_a_reason(cohort):
    scan, label = cohort / "template.nii.gz", cohort / "template_label.nii.gz"
    pair, results = peers.Pair(scan, label, scan, label, scan, scan), {}
    peers.run({"fake": peer_tools.Tool("fake", die, "1")}, {"a": pair}, 1, results, lambda _: None)
    assert "terminated" in results["rows"]["fake"]["failed"]["a"]


def test_table():
    def row(title, dice, failed=()):
        cases = {
            "a": {
                "dice": {"1": dice, "2": 0.5},
                "hd95_mm": {"1": 3.0, "2": None},
                "mean_dice": dice,
                "mean_hd95_mm": 3.0,
                "folding_percent": 0.25,
                "seconds": 1.26,
                "peak_memory_mb": 400,
            }
        }
        return {
            "title": title,
            "version": "1.0",
            "cases": cases,
            "failed": dict(failed),
            "of": 2,
            "mean": peer_results.average(cases),
        }

    rows = {"x": row("X", 0.7), "y": row("Y", 0.6, {"b": "no overlap"})}
    results = {"rows": rows, "setup": {"threads": 2, "device": "CPU"}, "commit": "c"}
    lines = peer_results.format_table(results, ["liver", "spleen"]).splitlines()
    assert lines[0] == "| tool | mean Dice | liver | spleen | HD95 mm | folding % | s / pair | peak MB |"
    assert lines[2] == "| X | 0.700 | 0.700 | 0.500 | 3.0 | 0.25 | 1.3 | 400 |"
    assert lines[3].startswith("| Y (1 of 2 scans: no overlap) | 0.600 |")
    assert "X 1.0; Y 1.0" in lines[-1] and "label 1 | label 2" in peer_results.format_table(results, [])
