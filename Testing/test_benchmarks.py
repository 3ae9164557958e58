"""The comparison with other tools: the frame of every adapter, what is measured again and what is not, table and figure.

Adapters of tools that are not installed are skipped.
"""

import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny import FRAME, phantom, write_cohort

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField, identity_field
from SlicRegLib.geometry.grid import Grid, translation
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.itk import LPS
from SlicRegLib.images.volumes import Volume, load_labels, load_scan, save_volume, to_itk
from SlicRegLib.registration.options import RegistrationOptions
from SlicRegLib.registration.result import Registration
from SlicRegLib.results.evaluate import compare

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import peers
from cohort import labelled, mean_dice
from partial_views import air_share, bone_overlap
from variants import changed

SHIFT = torch.tensor([9.0, -15.0, 5.0])  # mm, RAS: another length and sign along each axis


# --- frames ---


def test_an_itk_displacement_image_becomes_the_same_field(odd_grid):
    """Known answer by ITK itself: where its transform takes a voxel's centre, in LPS."""
    lps = np.random.default_rng(0).normal(0, 5, (*odd_grid.shape[::-1], 3))
    image = sitk.GetImageFromArray(lps, isVector=True)
    image.CopyInformation(to_itk(Volume(np.zeros(odd_grid.shape, np.float32), odd_grid)))
    field = peers.from_itk(lps, odd_grid)
    np.testing.assert_allclose(field.vectors[:, 1, 2, 3], lps[3, 2, 1] * (-1, -1, 1), atol=1e-5)
    transform = sitk.DisplacementFieldTransform(image)
    points = odd_grid.to_world(np.array([[1.0, 2, 3], [4, 4, 4], [5.5, 3, 2.5]]))
    known = [transform.TransformPoint((LPS[:3, :3] @ point).tolist()) for point in points]
    np.testing.assert_allclose(field(torch.tensor(points)).numpy() @ LPS[:3, :3], known, atol=1e-3)


def moved(scan: Volume) -> Volume:
    """The scan's content moved by SHIFT, on a grid that lies elsewhere."""
    grid = Grid.centred(scan.grid.centre + (4, 3, -6), scan.grid.shape, scan.grid.spacing)
    back = DisplacementField(-SHIFT.view(3, 1, 1, 1).expand(3, 2, 2, 2), Grid((2, 2, 2), np.eye(4)))
    return Volume(resample(scan.tensor, scan.grid, grid, back, fill=-1000.0)[0].numpy(), grid)


ADAPTERS = {  # the module that it needs, the adapter; two stages of elastix stand for any
    "affine": ("SimpleITK", peers.affine),
    "elastix": ("itk", partial(peers.elastix, stages=("translation", "affine"))),
    "ants": ("ants", peers.ants_syn),
    "convexadam": ("convexAdam", peers.convexadam),
    "refinement": ("torch", peers.refinement_alone),
}


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.filterwarnings("ignore")
def test_adapters_recover_a_translation(name):
    module, adapter = ADAPTERS[name]
    pytest.importorskip(module)
    scan, _ = phantom(3)
    peers.clock.seconds.clear()
    field = adapter(scan, moved(scan), torch.get_num_threads())
    found = field.at(scan.grid.points())[torch.from_numpy(scan.data > -300)]
    np.testing.assert_allclose(found.median(0).values, SHIFT, atol=2.5)
    assert peers.clock.seconds["refinement" if name == "refinement" else "registration"] > 0


LINEAR = """import os, pathlib, sys
assert os.environ["OMP_NUM_THREADS"] == "3"
pathlib.Path(sys.argv[sys.argv.index("-O") + 1] + "_matrix.txt").write_text("1 0 0 0\\n0 1 0 0\\n0 0 1 0\\n1 2 3 1\\n")
"""
DEEDS = """import array, sys
assert sys.argv[-2:] == ["-G", "2x1"] and sys.argv[-4] == "-A"
array.array("f", [0.0] * (3 * 4 * 6 * 8)).tofile(open(sys.argv[sys.argv.index("-O") + 1] + "_displacements.dat", "wb"))
"""


@pytest.mark.parametrize("deeds_program", [DEEDS, "import sys; sys.exit('no')"])
def test_deeds(tmp_path, deeds_program):
    for name, body in (("linearBCV", LINEAR), ("deedsBCV", deeds_program)):
        (tmp_path / name).write_text(f"#!{sys.executable}\n{body}")
        (tmp_path / name).chmod(0o755)
    grids = Grid((12, 18, 24), np.diag([2.0, 3, 4, 1])), Grid((12, 18, 24), np.diag([-2.0, 3, 4, 1]))
    scans = [Volume(np.zeros(grid.shape, np.float32), grid) for grid in grids]
    adapter = partial(peers.deeds, folder=tmp_path, arguments=("-G", "2x1"))
    if deeds_program is not DEEDS:
        with pytest.raises(RuntimeError, match="deedsBCV ended with exit code 1: no"):
            adapter(*scans, 3)
    else:  # voxel (3, 6, 9), at (6, 18, 36) mm, goes to voxel (4, 8, 12), at (-8, 24, 48)
        np.testing.assert_allclose(adapter(*scans, 3).at(torch.tensor([6.0, 18, 36])), (-14, 6, 12), atol=1e-3)


# --- the run ---


class FakeTool:
    """Finds the identity, or fails, and counts its calls."""

    def __init__(self, problem: str = ""):
        self.problem, self.calls = problem, 0

    def __call__(self, fixed, moving, threads):
        self.calls += 1
        if self.problem:
            raise ValueError(self.problem)
        peers.clock.seconds = {"registration": 2.0}
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
        monkeypatch.setattr(peers, "all_tools", lambda models, folder: tools)
        monkeypatch.setattr(
            sys,
            "argv",
            [
                "peers.py",
                "--template",
                str(cohort / "template.nii.gz"),
                "--template-label",
                str(cohort / "template_label.nii.gz"),
                "--images",
                str(cohort / "img"),
                "--labels",
                str(cohort / "label"),
                "--out",
                str(tmp_path),
                "--threads",
                str(torch.get_num_threads()),
                *words,
            ],
        )
        peers.main()
        return json.loads((tmp_path / "results.json").read_text())

    monkeypatch.setattr(peers, "in_own_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(peers, "PreparationOptions", lambda: FRAME)
    monkeypatch.setattr(peers, "ORDER", ("initial", "fake", "failing", "missing"))
    return run


def test_what_is_done_is_not_done_again(benchmark, tmp_path):
    fake, failing = FakeTool(), FakeTool("no overlap")
    tools = {
        "fake": peers.Tool("fake", fake, "1"),
        "failing": peers.Tool("failing", failing, "1"),
        "missing": peers.Tool("missing", fake, None),
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
    benchmark({"fake": peers.Tool("fake", fake, "2")})
    assert fake.calls == 2  # another version
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert (
        lines[3].startswith("| failing (0 of 1 scans: no overlap) | - |")
        and "(0 of 1 scans: not installed)" in lines[4]
    )
    assert (tmp_path / "dice_against_seconds.png").stat().st_size > 5000
    with pytest.raises(SystemExit):
        benchmark(tools, "--threads", "7")


def test_figures_are_those_of_the_evaluation(benchmark, cohort):
    row = benchmark({"fake": peers.Tool("fake", FakeTool(), "1")})["rows"]["fake"]
    template, target = load_scan(cohort / "template.nii.gz"), load_scan(cohort / "img" / "pt_1.nii.gz")
    labels = load_labels(cohort / "template_label.nii.gz"), load_labels(cohort / "label" / "pt_1.nii.gz")
    known = compare(Registration(template, target, identity_field(template.grid), {}, False), *labels)["before"]
    case = row["cases"]["pt_1"]
    assert case["dice"] == pytest.approx(known["dice"]) and case["mean_hd95_mm"] == pytest.approx(known["mean_hd95_mm"])
    assert case["seconds"] == 2 and case["peak_memory_mb"] > 50 and case["folding_percent"] == 0


def test_a_crash_is_a_row_with_a_reason(cohort):
    scan, label = cohort / "template.nii.gz", cohort / "template_label.nii.gz"
    pair, results = peers.Pair(scan, label, scan, label, scan, scan), {}
    peers.run({"fake": peers.Tool("fake", die, "1")}, {"a": pair}, 1, results, lambda _: None)
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
            "mean": peers.means(cases),
        }

    rows = {"x": row("X", 0.7), "y": row("Y", 0.6, {"b": "no overlap"})}
    results = {"rows": rows, "setup": {"threads": 2, "device": "CPU"}, "commit": "c"}
    lines = peers.table(results, ["liver", "spleen"]).splitlines()
    assert lines[0] == "| tool | mean Dice | liver | spleen | HD95 mm | folding % | s / pair | peak MB |"
    assert lines[2] == "| X | 0.700 | 0.700 | 0.500 | 3.0 | 0.25 | 1.3 | 400 |"
    assert lines[3].startswith("| Y (1 of 2 scans: no overlap) | 0.600 |")
    assert "X 1.0; Y 1.0" in lines[-1] and "label 1 | label 2" in peers.table(results, [])


def test_rows_of_this_project_follow_the_code_and_the_model(tmp_path):
    model = tmp_path / "m.slicreg"
    model.write_bytes(b"one")
    before = peers.all_tools([model], tmp_path)
    assert tuple(key.partition(":")[0] for key in before) == peers.ORDER
    assert before["deeds"].version is None  # no programs there
    model.write_bytes(b"two")
    after = peers.all_tools([model], None)
    assert {key for key in after if after[key].version != before[key].version} == {
        "slicreg:m",
        "slicreg-no-refinement:m",
    }


def test_only_scans_with_labels_are_read(tmp_path):
    scan, labels = phantom(3)
    for folder, names, volume in (("img", ("a", "b"), scan), ("label", ("b", "c"), labels)):
        (tmp_path / folder).mkdir()
        for name in names:
            save_volume(tmp_path / folder / f"{name}.nii.gz", volume)
    ((name, found, own),) = labelled(tmp_path / "img", tmp_path / "label")
    assert name == "b" and found.grid.matches(scan.grid) and np.array_equal(own.data, labels.data)
    (tmp_path / "label" / "b.nii.gz").unlink()
    with pytest.raises(UserError, match="matched to scans by name"):
        list(labelled(tmp_path / "img", tmp_path / "label"))


def test_overlaps_tell_whether_a_scan_lies_in_its_place():
    scan, labels = phantom(3)
    target, own = (
        Volume(v.data, Grid(v.grid.shape, translation(SHIFT.numpy()) @ v.grid.affine)) for v in (scan, labels)
    )
    field = DisplacementField(SHIFT.view(3, 1, 1, 1).expand(3, *scan.grid.shape).contiguous(), scan.grid)
    for overlap, pair in ((mean_dice, (labels, own)), (bone_overlap, (scan, target))):
        assert overlap(*pair, field) > 0.999 and overlap(*pair) < 0.9
    hollow = [value for value in range(4, 14) if value != 6]  # all but spleen, kidneys and liver
    assert air_share(target, own, hollow) == 0
    elsewhere = Volume(np.roll(own.data, own.data.shape[2] // 2, axis=2), own.grid)  # drawn on another image
    assert air_share(target, elsewhere, hollow) > 0.2


def test_variants_change_what_they_name():
    options = changed(RegistrationOptions(), "refinement.dilation=2,alignment.iterations=0,least_stretch=0.0")
    assert (options.refinement.dilation, options.alignment.iterations, options.least_stretch) == (2, 0, 0.0)
    assert (
        replace(
            options,
            refinement=RegistrationOptions().refinement,
            alignment=RegistrationOptions().alignment,
            least_stretch=RegistrationOptions().least_stretch,
        )
        == RegistrationOptions()
    )
