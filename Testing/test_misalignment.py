"""Dice against the misalignment: poses by level, rows that are kept, the table, and the chains on a phantom."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from average_samples import make_average_model
from SlicRegLib.cli.demo import write_phantom
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import affine_field
from SlicRegLib.geometry.grid import translation
from SlicRegLib.phantoms.phantom import make_phantom

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import misalignment
import phantom_cohort
from tiny import PHANTOM


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model that holds its average and labels; two phantoms with labels."""
    folder = tmp_path_factory.mktemp("misalignment")
    make_average_model(folder / "model.slicreg")
    for seed in (201, 202):
        write_phantom(folder, seed, PHANTOM)
    return [str(folder / name) for name in ("model.slicreg", "img", "label")]


class Centred:
    """In place of `Chains`: one chain lays the centres of the frames on each other, one 500 mm beside."""

    def __init__(self, model, template, others, deeds_folder):
        self.template, self.calls = template, []

    def __call__(self, target, chains):
        shift = self.template.grid.centre - target.grid.centre
        for chain, beside in (("affine, refined", 0.0), ("published", 500.0)):
            if chain in chains:
                self.calls.append(target)
                yield chain, affine_field(translation(shift + [beside, 0, 0]), target.grid.pooled(4))


def test_rows_go_on_and_are_averaged_by_level(files, tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(misalignment, "CHAINS", ("affine, refined", "published"))
    monkeypatch.setattr(misalignment, "Chains", lambda *a: made.append(Centred(*a)) or made[-1])
    words = ["--out", str(tmp_path), "--peers", "--levels", "0", "1"]
    misalignment.main(["--set", "trunk", *files, *words])
    written = json.loads((tmp_path / "misalignment.json").read_text())
    rows = written["sets"]["trunk"]["rows"]
    assert set(rows) == {f"phantom_{seed} {level}" for seed in (201, 202) for level in (0.0, 1.0)}
    assert all(row["published"] == 0 < row["affine, refined"] < 0.8 for row in rows.values())
    means = misalignment.average(rows, "affine, refined")
    assert means[0.0] == pytest.approx(np.mean([rows[f"phantom_{s} 0.0"]["affine, refined"] for s in (201, 202)]))
    assert f"| trunk | affine, refined | {means[0.0]:.3f} | {means[1.0]:.3f} |" in capsys.readouterr().out
    assert len(made[0].calls) == 8

    (tmp_path / "misalignment.png").unlink()
    misalignment.main(["--set", "trunk", *files, "--set", "again", *files, *words])
    assert len(made[1].calls) == 0 and len(made[2].calls) == 8
    assert json.loads((tmp_path / "misalignment.json").read_text())["sets"]["trunk"]["rows"] == rows
    assert image.imread(tmp_path / "misalignment.png").std() > 0.05

    misalignment.main(["--set", "trunk", *files, *words, "0.5"])  # a level more
    assert len(made[3].calls) == 4
    with pytest.raises(UserError, match="another set trunk, of another model, scans or --seed"):
        misalignment.main(["--set", "trunk", *files, *words, "--seed", "1"])


def test_levels_and_programs_may_differ_between_runs():
    rows = {"a 0.0": {"published": 0.25, "convexAdam": 0.75}, "b c 0.0": {"published": 0.75}, "a 1.0": {}}
    assert misalignment.average(rows, "published") == {0.0: 0.5} and misalignment.average(rows, "deeds") == {}
    lines = misalignment.format_table({"s": rows}).splitlines()
    assert lines[2:] == ["| s | published | 0.500 | - |", "| s | convexAdam | 0.750 | - |"]


@pytest.mark.slow
def test_the_supervoxels_save_a_target_in_a_strange_pose(files, tmp_path):
    misalignment.main(["--set", "trunk", *files, "--out", str(tmp_path), "--peers", "affine", "--levels", "0", "1"])
    rows = json.loads((tmp_path / "misalignment.json").read_text())["sets"]["trunk"]["rows"]
    mean = {chain: misalignment.average(rows, chain) for chain in next(iter(rows.values()))}
    assert set(mean) == {*misalignment.CHAINS, "SimpleITK affine, refined"}
    assert min(mean[chain][0.0] for chain in mean) > 0.5
    for chain in ("affine, refined", "whole chain, refined"):
        assert mean[chain][1.0] > mean["refinement alone"][1.0] + 0.1


def test_a_program_that_gives_up_leaves_the_scan_where_it_started(files, tmp_path, monkeypatch, capsys):
    def give_up(*_):
        raise RuntimeError("no overlap")

    monkeypatch.setattr(misalignment, "register_by_mutual_information", give_up)
    monkeypatch.setattr(misalignment, "CHAINS", ())
    monkeypatch.setattr(misalignment, "PUBLISHED", {})
    misalignment.main(["--set", "trunk", *files, "--out", str(tmp_path), "--peers", "affine", "--levels", "0"])
    rows = json.loads((tmp_path / "misalignment.json").read_text())["sets"]["trunk"]["rows"]
    assert all(0.05 < row["SimpleITK affine, refined"] < 0.8 for row in rows.values())
    assert "gave up: no overlap" in capsys.readouterr().out


def test_phantoms_differ_more_by_the_factor():
    usual, more = (phantom_cohort.exaggerate(factor) for factor in (1.0, 2.0))
    assert usual == type(usual)() and more.warp_mm == 2 * usual.warp_mm
    small = [replace(options, shape=PHANTOM.shape, spacing_mm=PHANTOM.spacing_mm) for options in (usual, more)]
    volumes = [[(make_phantom(seed, options).labels == 6).sum() for seed in range(4)] for options in small]
    assert np.std(volumes[1]) > 1.3 * np.std(volumes[0])  # of the liver


def test_the_model_must_hold_labels(files, tmp_path, monkeypatch):
    monkeypatch.setattr(misalignment, "find_own_template", lambda model, name: (model.own_template, None))
    with pytest.raises(UserError, match="holds no consensus of labels"):
        misalignment.main(["--set", "trunk", *files, "--out", str(tmp_path), "--peers"])
