"""Consensus labels by the fields of other programs: directions, votes, thresholds and the table, with known answers."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import Volume, load_scan, save_volume
from SlicRegLib.registration.consensus import Consensus
from SlicRegLib.registration.result import Registration
from tiny import FRAME, write_cohort

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import consensus_of_peers
import votes
import wall
from programs import Cost
from wall_tools import Program

SHIFT = (12.0, -16.0, 8.0)  # mm, RAS: another length and sign along each axis
TEMPLATE = Grid.centred((0.0, 0, 0), (40, 40, 40), 4.0)
TARGET = Grid.centred((4.0, 0, -8), (44, 42, 40), 4.0)


def shift_by(vector, grid=TEMPLATE):
    field = torch.tensor(vector, dtype=torch.float32).view(3, 1, 1, 1).expand(3, *grid.shape)
    return DisplacementField(field.contiguous(), grid)


def box_at(centre, grid, value=1, half=24.0):
    """A cube around a world point."""
    inside = (abs(grid.to_world(np.stack(np.indices(grid.shape), -1)) - centre) < half).all(-1)
    return Volume((inside * value).astype(np.uint8), grid)


def centre_of(scan, value):
    index = np.stack(np.unravel_index(scan.places[value], TEMPLATE.shape), -1)
    return TEMPLATE.to_world(index).mean(0)


def share_at(organ, voxel):
    shares = np.zeros(TEMPLATE.shape, np.uint8)
    shares[tuple(slice(n, n + size) for n, size in zip(organ.first, organ.shares.shape, strict=True))] = organ.shares
    return shares[voxel]


def test_labels_are_carried_to_the_template_and_the_consensus_back():
    """The field leads from the template to the scan, so the organ lies at the other side of SHIFT there."""
    place = np.array([6.0, 10, -5])
    labels = box_at(place + SHIFT, TARGET)
    carried = votes.carry(labels, shift_by(SHIFT), TEMPLATE)
    np.testing.assert_allclose(centre_of(carried, 1), place, atol=2)
    organ = votes.count_votes([carried, carried], 1, TEMPLATE)
    assert organ.raters == 2 and organ.agreement == 1
    template, target = (Volume(np.zeros(grid.shape, np.float32), grid) for grid in (TEMPLATE, TARGET))
    result = Registration(template, target, shift_by(SHIFT), {}, False)
    consensus = votes.with_threshold(Consensus(TEMPLATE, (organ,)), 0.5)
    for known in (consensus, box_at(place, TEMPLATE)):
        dice = consensus_of_peers.measure(result, known, labels)
        assert dice["on_target"]["1"] > 0.99 and dice["on_template"]["1"] > 0.99
    back = Registration(template, target, shift_by(np.negative(SHIFT)), {}, False)
    wrong = consensus_of_peers.measure(back, consensus, labels)
    assert wrong["on_target"]["1"] < 0.3 and wrong["on_template"]["1"] < 0.3


def test_an_organ_that_is_not_carried_counts_as_missed():
    two = box_at((0, 0, 0), TARGET)
    two.data[2:4, 2:4, 2:4] = 2
    empty = Volume(np.zeros(TEMPLATE.shape, np.float32), TEMPLATE)
    result = Registration(empty, Volume(two.data.astype(np.float32), TARGET), shift_by((0, 0, 0)), {}, False)
    dice = consensus_of_peers.measure(result, box_at((0, 0, 0), TEMPLATE), two)
    assert dice["on_target"]["2"] == dice["on_template"]["2"] == 0 and dice["on_target"]["1"] > 0.9


def test_who_votes():
    """Scans without the organ, and scans that end before the voxel, do not count."""
    stay = shift_by((0, 0, 0))
    whole = votes.carry(box_at((0, 0, 0), TEMPLATE), stay, TEMPLATE)
    without = votes.carry(box_at((0, 0, 0), TEMPLATE, value=2), stay, TEMPLATE)
    half = TEMPLATE.cropped((0, 0, 20), (40, 40, 20))
    upper = votes.carry(box_at((0, 0, 0), half), stay, TEMPLATE)
    upper_none = votes.carry(box_at((0, 0, 50), half), stay, TEMPLATE)  # has it, elsewhere
    assert without.places.keys() == {2}
    organ = votes.count_votes([whole, upper, upper_none, without], 1, TEMPLATE)
    assert organ.raters == 3
    assert share_at(organ, (20, 20, 18)) == 0  # one scan shows it, three are needed
    assert share_at(organ, (20, 20, 22)) == round(255 * 2 / 3)
    organ = votes.count_votes([*[upper] * 2, *[whole] * 5], 1, TEMPLATE)
    assert share_at(organ, (20, 20, 18)) == 255  # five show it, and all five have it


def test_the_threshold_is_that_of_the_others():
    """Two of five scans have a larger organ: the others' share there is 1/4 for them and 2/4 for the rest."""
    own, seen = np.zeros((5, 40), bool), np.ones((5, 40), bool)
    own[:, :20] = own[:2] = True
    threshold, agreement = votes.choose_threshold(own, seen)
    assert 0.5 <= threshold < 1 and agreement == pytest.approx((3 * 1 + 2 * 2 * 20 / 60) / 5)
    own[2] = True  # three of five: 2/4 for them, 3/4 for the others
    threshold, agreement = votes.choose_threshold(own, seen)
    assert threshold < 0.5 and agreement == pytest.approx((3 * 1 + 2 * 2 * 20 / 60) / 5)
    assert votes.choose_threshold(own[:1], seen[:1]) == (votes.THRESHOLD, 0)


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """Runs the command with a program that finds the identity and fails for pt_2; returns results and calls."""
    cohort, calls = write_cohort(tmp_path / "cohort", 2), []
    for module in (wall, consensus_of_peers):
        monkeypatch.setattr(module, "PreparationOptions", lambda: FRAME)
    version = ["1"]

    def list_fakes(inputs, *_):
        def run(out):
            calls.append(inputs.target.name)
            if "pt_2" in inputs.target.name:
                raise RuntimeError("no overlap")
            return Cost(1.0, 1.0, 1.0)

        def read(out):
            return shift_by((0, 0, 0), load_scan(inputs.fixed).grid)

        return {"greedy": Program("fake", version[0], run, read)}

    monkeypatch.setattr(consensus_of_peers, "list_programs", list_fakes)
    monkeypatch.setattr(consensus_of_peers, "find_model", Path)

    def run():
        options = {
            "template": cohort / "template.nii.gz",
            "template-label": cohort / "template_label.nii.gz",
            "train-images": cohort / "img",
            "train-labels": cohort / "label",
            "images": cohort / "img",
            "labels": cohort / "label",
            "model": "none",
            "tools": "greedy",
            "out": tmp_path / "out",
            "threads": str(torch.get_num_threads()),
        }
        consensus_of_peers.main([word for name, value in options.items() for word in (f"--{name}", str(value))])
        return json.loads((tmp_path / "out" / "results.json").read_text())["tools"]["greedy"]

    return run, calls, version


def test_from_files_to_table(benchmark, tmp_path):
    run, calls, version = benchmark
    first = run()
    assert first["training_scans"] == 1 and set(first["failed"]) == {"pt_2"}
    assert [set(patients) for patients in first["patients"].values()] == [{"pt_1"}] * 3
    done = len(calls)
    assert run() == first and calls[done:] == ["pt_2.nii.gz"] * 2  # as patient and as training scan
    header, _, *rows = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert header.startswith("| program | labels carried | mean | label 1 |") and len(rows) == 3
    own = first["patients"]["the template's own"]
    mean = np.mean([np.mean(list(patient["on_target"].values())) for patient in own.values()])
    assert rows[0].startswith(f"| fake (1 of 2 patients, 1 of 2 scans) | the template's own | {mean:.3f} |")
    version[0] = "2"
    with pytest.raises(SystemExit, match="another --out"):
        run()


def test_labels_without_scans_are_left_out(tmp_path):
    for folder, names in (("img", "ab"), ("label", "bc")):
        (tmp_path / folder).mkdir()
        for name in names:
            save_volume(tmp_path / folder / f"{name}.nii.gz", box_at((0, 0, 0), TEMPLATE))
    assert [case.name for case in consensus_of_peers.list_cases(tmp_path / "img", tmp_path / "label")] == ["b"]
