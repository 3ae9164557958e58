"""The other benchmarks, each with tiny input: that they run, and measures with known answers."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid, translation
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegLib.phantoms.phantom import make_phantom
from SlicRegLib.registration.model import save_model
from SlicRegLib.registration.options import RegistrationOptions
from tiny import NETWORK, PHANTOM, phantom, tiny_model, write_cohort

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import confidence
import inverse
import kernels
import pairwise
import partial_views
import pose
import speed
import variants
import verdict
from cohort import load_labelled, mean_dice
from partial_views import air_share, bone_overlap
from variants import change_options

SHIFT = torch.tensor([9.0, -15.0, 5.0])  # mm, RAS: another length and sign along each axis


def test_only_scans_with_labels_are_read(tmp_path):
    scan, labels = phantom(3)
    for folder, names, volume in (("img", ("a", "b"), scan), ("label", ("b", "c"), labels)):
        (tmp_path / folder).mkdir()
        for name in names:
            save_volume(tmp_path / folder / f"{name}.nii.gz", volume)
    ((name, found, own),) = load_labelled(tmp_path / "img", tmp_path / "label")
    assert name == "b" and found.grid.matches(scan.grid) and np.array_equal(own.data, labels.data)
    (tmp_path / "label" / "b.nii.gz").unlink()
    with pytest.raises(UserError, match="matched to scans by name"):
        list(load_labelled(tmp_path / "img", tmp_path / "label"))


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
    options = change_options(RegistrationOptions(), "refinement.dilation=2,alignment.iterations=0,refine=False")
    assert (options.refinement.dilation, options.alignment.iterations, options.refine) == (2, 0, False)
    default = RegistrationOptions()
    assert replace(options, refinement=default.refinement, alignment=default.alignment, refine=True) == default


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, study):
    """The options of the command line for one scan with labels and an untrained model; "two" holds two scans."""
    folder = write_cohort(tmp_path_factory.mktemp("cohort"), 2)
    save_model(folder / "model.slicreg", tiny_model(study))
    (folder / "one").mkdir()
    (folder / "one" / "pt_1.nii.gz").symlink_to(folder / "img" / "pt_1.nii.gz")
    return {
        "model": folder / "model.slicreg",
        "template": folder / "template.nii.gz",
        "template-label": folder / "template_label.nii.gz",
        "images": folder / "one",
        "labels": folder / "label",
        "two": folder / "img",
    }


def words(options: dict, *names: str) -> list[str]:
    return [word for name in names for word in (f"--{name}", str(options[name]))]


ALL = ("model", "template", "template-label", "images", "labels")


def run(main, tmp_path, *arguments: str) -> dict:
    main([*arguments, "--json", str(tmp_path / "figures.json")])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["threads"] == torch.get_num_threads() and figures["versions"]["torch"] == torch.__version__
    return figures


def test_partial_views(cohort, tmp_path):
    scans = run(partial_views.main, tmp_path, *words(cohort, *ALL))["scans"]
    assert list(scans) == ["pt_1"] and all(0 < figure < 1 for figure in scans["pt_1"]["bone"])


def test_pose(cohort, tmp_path):
    figures = run(pose.main, tmp_path, *words(cohort, *ALL), "--rotation", "5", "--shift", "10")
    assert list(figures["cases"]) == ["pt_1"] and 0 < figures["moved"] < 1


def test_a_pose_is_about_the_centre():
    generator, centre = np.random.default_rng(0), np.array([100.0, -50, 30])
    matrix, _ = pose.draw_pose(generator, centre, 25.0, 0.0, (0.9, 0.9))
    np.testing.assert_allclose(matrix @ [*centre, 1], [*centre, 1])
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(0.9**3)


def test_variants(cohort, tmp_path):
    figures = run(variants.main, tmp_path, *words(cohort, *ALL), "refine=False")["variants"]
    assert list(figures) == ["default", "refine=False"]
    assert figures["refine=False"]["mean_dice"] != figures["default"]["mean_dice"]


def test_pairwise(cohort, tmp_path):
    pytest.importorskip("convexAdam")
    pairs = run(pairwise.main, tmp_path, *words({**cohort, "images": cohort["two"]}, "model", "images", "labels"))[
        "pairs"
    ]
    assert list(pairs) == ["pt_1 pt_2"] and 0 < pairs["pt_1 pt_2"]["SlicReg"] < 1


def test_confidence(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(confidence, "make_phantom", lambda seed: make_phantom(seed, PHANTOM))
    figures = run(
        confidence.main, tmp_path, "--phantom-model", str(cohort["model"]), "--phantoms", "1", *words(cohort, *ALL)
    )
    assert [row["seed"] for row in figures["phantoms"]] == [1001] and len(figures["scans"]) == 1
    assert -1 <= figures["rho"] <= 1


def test_inverse(cohort, capsys, monkeypatch):
    monkeypatch.setattr("SlicRegLib.registration.result.INVERSE_SPACING_MM", 8.0)
    inverse.main(words(cohort, "model", "template", "images"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[0].startswith("pt_1") and "ITK: mean" in lines[2]
    assert float(lines[0].partition("mean ")[2].split()[0]) < 1  # mm: field and inverse undo each other


def test_speed(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "PRESETS", {"paper": NETWORK})
    monkeypatch.setattr(speed, "SHAPES", ((32, 16, 32), (48, 32, 48)))
    monkeypatch.setattr(speed, "make_phantom", lambda seed: make_phantom(seed, PHANTOM))
    monkeypatch.setattr(speed, "time_matrix_product", lambda: 0.5)
    figures = run(speed.main, tmp_path)
    assert [size["shape"] for size in figures["sizes"]] == [[32, 16, 32], [48, 32, 48]]
    assert set(figures["sizes"][0]["stages"]) == set(speed.STAGES)


def test_kernels_print_every_speed_up(tmp_path, capsys):
    rows = run(kernels.main, tmp_path, "--small")["kernels"]
    assert len(rows) >= len(kernels.KERNELS) - 1  # the last needs Slicer's libraries
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_kernels_that_differ_are_an_error():
    zeros, ones = (kernels.clock(lambda value=value: torch.full((3,), value)) for value in (0.0, 1.0))
    with pytest.raises(SystemExit, match="ours and theirs differ by 1"):
        kernels.Race("ours", "theirs", zeros, ones, 0.5).measure()


def test_comments_that_claim_a_speed_up_have_their_kernel():
    """A file names the benchmark if and only if a kernel's docstring begins with the file."""
    folder = Path(__file__).resolve().parents[1] / "SlicRegExtension" / "SlicReg"
    naming = {path for path in folder.rglob("*.py") if "benchmarks/kernels.py" in path.read_text(encoding="utf-8")}
    claimed = {path.relative_to(folder).as_posix().removeprefix("SlicRegLib/") for path in naming}
    assert claimed == {kernel.__doc__.partition(":")[0] for kernel in kernels.KERNELS}


def test_the_claim_of_a_killed_process_ends_with_it(tmp_path):
    out, folder = tmp_path / "rows.jsonl", tmp_path / "rows.claims"
    folder.mkdir()
    code = "import filelock, sys\nwith filelock.FileLock(sys.argv[1]): print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(folder / "a_b")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with verdict.claim(out, "a/b") as ours, verdict.claim(out, "c") as free:
            assert not ours and free
        other.kill()
    with verdict.claim(out, "a/b") as ours:
        assert ours
        out.write_text('{"name": "a/b"}\n{"na')
    with verdict.claim(out, "a/b") as again, verdict.claim(out, "c") as free:
        assert not again and free
