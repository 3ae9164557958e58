"""`slicreg segment`, and register and evaluate against a model's own template, from files to files."""

import csv
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from atlas_samples import atlas_model, count_tiny_labels, zero_field
from command_line import *  # noqa: F403  its fixtures
from command_line import QUICK, is_one_sentence, run
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.transforms import load_transform
from SlicRegLib.images.volumes import Volume, load_labels, load_scan, save_volume
from SlicRegLib.registration.consensus import Consensus
from SlicRegLib.registration.fixed_side import FixedSide
from SlicRegLib.registration.model import load_model, save_model
from SlicRegLib.registration.model_header import read_model
from SlicRegLib.registration.organs import PERCENTILES, Organ
from SlicRegLib.registration.register import register
from SlicRegLib.results import evaluate as evaluate_module
from SlicRegLib.results import kept as kept_module
from SlicRegLib.results import register_files, segment_files
from SlicRegLib.results.kept import Kept
from SlicRegLib.results.options import RegisterRequest
from SlicRegLib.results.result_folder import SEGMENT_FILES
from tiny import tiny_model

VOLUMES = tuple(float(50 + 10 * n) for n in range(len(PERCENTILES)))
FILES = {
    "transform.h5",
    "transform_inverse.h5",
    "labels.nii.gz",
    "volumes.csv",
    "report.json",
    "overview.png",
    "confidence.nii.gz",
}


def ball(grid: Grid, centre, radius_mm: float) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Shares that fall over 8 mm and are half at the radius, cut out of the grid, and where."""
    distance = np.linalg.norm(grid.points().numpy() - centre, axis=-1)
    shares = np.round(255 * np.clip((radius_mm + 4 - distance) / 8, 0, 1)).astype(np.uint8)
    box = [(w.min(), w.max() + 1) for w in np.nonzero(shares)]
    return shares[tuple(slice(*ends) for ends in box)], tuple(int(low) for low, _ in box)


def make_organ(grid: Grid, value: int, name: str, centre, radius_mm: float, **changes) -> Organ:
    shares, first = ball(grid, centre, radius_mm)
    content = dict(value=value, name=name, shares=shares, first=first, threshold=0.5, raters=5, agreement=0.9)
    return Organ(**{**content, **changes})


@pytest.fixture(scope="module")
def target(cohort):
    """A phantom in voxels of 3.5 mm."""
    coarse, path = load_scan(cohort / "img" / "pt_1.nii.gz"), cohort / "fine.nii.gz"
    save_volume(path, Volume(coarse.data.repeat(2, 0).repeat(2, 1).repeat(2, 2), coarse.grid.halved()))
    return path


@pytest.fixture(scope="module")
def known(study, target):
    """Model of an average on which four balls lie: within the target, beyond its border, elsewhere, and one more with
    a value above 255. In the target's middle; the average's frame is larger."""
    grid, scan = study.template().grid.halved(), load_scan(target).grid
    corners = scan.corners()
    middle = corners.mean(0) + [1.3, -0.8, 0.4]
    edge = middle.copy()
    edge[0] = corners[:, 0].max()
    organs = (
        make_organ(grid, 1, "Within", middle, 30.0, volumes_ml=VOLUMES, colour=(255, 0, 7)),
        make_organ(grid, 2, "At the border", edge - [10, 0, 0], 15.0, volumes_ml=VOLUMES),
        make_organ(grid, 300, 'Ösophagus; 食道, "left"', middle + [0, 60, 0], 20.0),
        make_organ(grid, 4, "Nowhere", middle, 15.0, threshold=0.999, volumes_ml=VOLUMES),
    )
    path = study.folder.parent / "known.slicreg"
    save_model(path, atlas_model(study, consensus=Consensus(grid, organs)))
    return path


@pytest.fixture(scope="module")
def counted(study):
    """Model of an average with the cohort's own labels."""
    path = study.folder.parent / "counted.slicreg"
    save_model(path, atlas_model(study, consensus=count_tiny_labels(study).consensus()))
    return path


@pytest.fixture
def still(monkeypatch):
    """A registration that moves nothing."""

    def register_nothing(model, template, target, options, device, progress=None, fixed=None, moving=None):
        quick = replace(options, refine=False, least_stretch=options.least_stretch)
        with pytest.MonkeyPatch.context() as patch:
            module = "SlicRegLib.registration.register"
            patch.setattr(f"{module}.align_key_points", lambda *_: zero_field(fixed.scan.grid.pooled(4)))
            patch.setattr(f"{module}.unfold", lambda field, _: field)
            result = register(model, template, target, quick, device, fixed=fixed)
        field = zero_field(Grid.centred(target.grid.centre, (8, 8, 8), 100.0))
        return replace(result, backward=field)

    monkeypatch.setattr(register_files, "register", register_nothing)
    monkeypatch.setattr(evaluate_module, "register", register_nothing)


def read_table(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---- a known answer


def test_volumes_percentiles_and_labels_are_the_known_ones(known, target, tmp_path, still, capsys):
    assert run("segment", model=known, target=target, out=tmp_path / "out", **QUICK) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    rows = {row["name"]: row for row in read_table(tmp_path / "out" / "volumes.csv")}
    assert list(rows) == ["Within", "At the border", 'Ösophagus; 食道, "left"', "Nowhere"]
    volume = float(rows["Within"]["volume_ml"])
    assert volume == pytest.approx(4 / 3 * np.pi * 3.0**3, rel=0.03)
    assert float(rows["Within"]["percentile"]) == pytest.approx(np.interp(volume, VOLUMES, PERCENTILES), abs=0.1)
    assert rows["Within"]["complete"] == "True"
    assert rows["At the border"]["complete"] == "False" and rows["At the border"]["percentile"] == ""
    assert 0 < float(rows["At the border"]["volume_ml"]) < 4 / 3 * np.pi * 1.5**3
    third = rows['Ösophagus; 食道, "left"']
    assert float(third["volume_ml"]) == pytest.approx(4 / 3 * np.pi * 2.0**3, rel=0.05) and third["percentile"] == ""
    assert rows["Nowhere"] == {
        "value": "4", "name": "Nowhere", "volume_ml": "0.0", "percentile": "", "complete": "False"
    }  # fmt: skip
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [organ["volume_ml"] for organ in report["organs"]] == [float(row["volume_ml"]) for row in rows.values()]
    assert report["template"] == "the model's own" and report["own_template"] and report["verdict"]["word"]

    labels, scan = nib.load(tmp_path / "out" / "labels.nii.gz"), nib.load(target)
    assert labels.shape == scan.shape and np.allclose(labels.affine, scan.affine)
    data = np.asarray(labels.dataobj)
    assert data.dtype == np.uint16 and set(np.unique(data)) == {0, 1, 2, 300}
    voxel_ml = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    assert (data == 1).sum() * voxel_ml == pytest.approx(volume, abs=1e-3)
    centre = labels.affine[:3, :3] @ np.argwhere(data == 1).mean(0) + labels.affine[:3, 3]
    np.testing.assert_allclose(centre, load_scan(target).grid.corners().mean(0) + [1.3, -0.8, 0.4], atol=0.5)

    printed = capsys.readouterr().out
    assert f"  Within: {volume:.1f} ml, percentile {float(rows['Within']['percentile']):.0f} of the cohort" in printed
    assert "  At the border: " in printed and "cut off by the scan's border" in printed
    assert "Nowhere" not in printed and "other template" not in printed.lower() and "Warning" not in printed


def test_a_segmentation_of_slicer_has_the_same_voxels_names_and_colours(known, target, tmp_path, still):
    for ending in ("nii.gz", "seg.nrrd"):
        out = tmp_path / ending
        assert run("segment", model=known, target=target, out=out, format=ending, picture=False, **QUICK) == 0
    assert {path.name for path in out.iterdir()} == {*FILES, "labels.seg.nrrd"} - {"overview.png", "labels.nii.gz"}
    a, b = load_labels(tmp_path / "nii.gz" / "labels.nii.gz"), load_labels(tmp_path / "seg.nrrd" / "labels.seg.nrrd")
    np.testing.assert_array_equal(a.data, b.data)
    assert a.grid.matches(b.grid, 1e-3)
    header = sitk.ReadImage(str(tmp_path / "seg.nrrd" / "labels.seg.nrrd"))
    assert [header.GetMetaData(f"Segment{n}_LabelValue") for n in range(4)] == ["1", "2", "300", "4"]
    assert header.GetMetaData("Segment2_Name") == 'Ösophagus; 食道, "left"'
    assert header.GetMetaData("Segment0_Color").split()[0] == "1"
    assert header.GetMetaData("Segment3_Extent") == "0 -1 0 -1 0 -1"


def test_both_transforms_lead_between_scan_and_average(known, target, tmp_path, still):
    options = dict(transform_format="nrrd", picture=False, **QUICK)
    assert run("segment", model=known, target=target, out=tmp_path, **options) == 0
    for name in ("transform", "transform_inverse"):
        assert float(load_transform(tmp_path / f"{name}.nrrd").vectors.abs().max()) < 0.01


# ---- what is already there


def test_results_of_an_earlier_run_are_replaced_and_other_files_kept(known, target, tmp_path, still):
    for name in (*SEGMENT_FILES, "notes.txt"):
        (tmp_path / name).write_bytes(b"old")
    assert run("segment", model=known, target=target, out=tmp_path, picture=False, **QUICK) == 0
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"overview.png"} | {"notes.txt"}
    assert all(path.read_bytes() != b"old" for path in tmp_path.iterdir() if path.name != "notes.txt")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_run_leaves_nothing(known, target, tmp_path, still, monkeypatch, capfd, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(segment_files, "_save_volumes", fail)
    old = tmp_path / "old"
    old.mkdir()
    (old / "report.json").write_text("old")
    for out in (tmp_path / "new" / "deep", old):
        assert run("segment", model=known, target=target, out=out, picture=False, **QUICK) == (
            130 if error is KeyboardInterrupt else 2
        )
        assert "Traceback" not in capfd.readouterr().err
    assert not (tmp_path / "new").exists() and [path.name for path in old.iterdir()] == ["report.json"]
    assert (old / "report.json").read_text() == "old"


def test_the_target_and_its_labels_are_not_overwritten(known, target, tmp_path, capfd):
    scan = tmp_path / "labels.nii.gz"  # a name among the results
    scan.write_bytes(target.read_bytes())
    before = scan.read_bytes()
    assert run("segment", model=known, target=scan, out=tmp_path, **QUICK) == 2
    assert is_one_sentence(capfd, "labels.nii.gz") and scan.read_bytes() == before
    assert run("segment", model=known, target=target, target_label=scan, out=tmp_path, **QUICK) == 2
    assert is_one_sentence(capfd, "labels.nii.gz") and scan.read_bytes() == before


# ---- models without


@pytest.fixture(scope="module")
def others(study, counted, cohort):
    """Models that lack something: without a template, with an average but no labels, with labels but no template."""
    consensus, folder = load_model(counted).consensus, study.folder.parent
    models = {
        "nothing": tiny_model(study),
        "average": atlas_model(study),
        "organs": tiny_model(study, consensus=consensus),
    }
    for name, model in models.items():
        save_model(folder / f"{name}.slicreg", model)
    return {name: folder / f"{name}.slicreg" for name in models}


@pytest.mark.parametrize(
    "name, words",
    [
        ("nothing", "holds no template of its own; choose another one, or make one with `slicreg learn --labels`"),
        ("average", "holds no labels of a cohort; choose another one, or make one"),
        ("organs", "holds no template of its own; choose another one"),
    ],
)
def test_segment_with_a_model_that_lacks_something_is_refused_before_the_work(
    others, target, tmp_path, capfd, monkeypatch, name, words
):
    monkeypatch.setattr(register_files, "register", None)
    assert run("segment", model=others[name], target=target, out=tmp_path / "out", **QUICK) == 2
    assert is_one_sentence(capfd, words) and not list(tmp_path.iterdir())


def test_a_map_of_growth_needs_a_cohorts_growth_before_the_work(known, target, tmp_path, capfd, monkeypatch):
    """Also where the model is chosen."""
    monkeypatch.setattr(register_files, "register", None)
    monkeypatch.setattr(register_files, "list_installed_models", lambda folder: headers(known))
    monkeypatch.setattr("SlicRegLib.registration.choose_model.KNOWN", -1.0)
    for model in ({"model": known}, {}):
        assert run("segment", **model, target=target, out=tmp_path / "out", normative=True, **QUICK) == 2
        error = capfd.readouterr().err.splitlines()[-1]
        assert f"The model {known} does not know how patients grow usually" in error and "--normative" in error
    assert not list(tmp_path.iterdir())


def test_register_with_a_model_without_a_template(others, target, tmp_path, capfd):
    for name in ("nothing", "organs"):
        assert run("register", model=others[name], target=target, out=tmp_path / "out", **QUICK) == 2
        assert is_one_sentence(capfd, "holds no template of its own; give a template scan")
    assert not list(tmp_path.iterdir())


def test_labels_of_a_template_need_the_template(counted, cohort, target, tmp_path, capfd):
    label = cohort / "template_label.nii.gz"
    assert run("register", model=counted, target=target, template_label=label, out=tmp_path / "out", **QUICK) == 2
    assert is_one_sentence(capfd, "Labels of a template need the template; give --template too.")
    folders = {"images": cohort / "img", "labels": cohort / "label", "out": tmp_path / "out.json"}
    for given in ({"template_label": label}, {"template": cohort / "template.nii.gz"}):
        assert run("evaluate", model=counted, **given, **folders, **QUICK) == 2
        assert is_one_sentence(capfd, "give both, or neither for the model's own")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, words", [("nothing", "no template of its own"), ("average", "holds no labels")])
def test_evaluate_with_a_model_that_lacks_something(others, cohort, tmp_path, capfd, name, words):
    folders = {"images": cohort / "img", "labels": cohort / "label", "out": tmp_path / "out.json"}
    assert run("evaluate", model=others[name], **folders, **QUICK) == 2
    assert is_one_sentence(capfd, words) and not list(tmp_path.iterdir())


def test_a_process_that_stays_reads_model_and_average_once(counted, target, tmp_path, still, monkeypatch):
    """As `slicreg serve` registers without a template."""
    made, kept = [], Kept()
    monkeypatch.setattr(kept_module, "FixedSide", lambda *given: made.append(given[1]) or FixedSide(*given))
    request = RegisterRequest(model=counted, target=target, out=tmp_path, device="cpu", picture=False)
    for _ in range(2):
        assert register_files.register_files(request, kept=kept)["own_template"]
    assert len(made) == 1 and made[0] is kept.load_model(counted).atlas.image


# ---- auto


def headers(*paths):
    return [read_model(path) for path in paths]


def test_auto_segments_with_a_model_that_holds_labels(others, known, target, tmp_path, still, monkeypatch, capsys):
    installed = headers(others["nothing"], others["average"], others["organs"], known)
    monkeypatch.setattr(register_files, "list_installed_models", lambda folder: installed)
    monkeypatch.setattr("SlicRegLib.registration.choose_model.KNOWN", -1.0)  # none of them was trained
    assert run("segment", target=target, out=tmp_path / "out", picture=False, **QUICK) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"] == str(known) and list(report["model_choice"]["shares"]) == ["known"]
    assert "in the scan" in report["model_choice"]["reason"]


def test_auto_without_such_a_model_is_one_sentence(others, target, tmp_path, capfd, monkeypatch):
    for path, words in (("average", "No installed model holds labels of a cohort"), ("organs", "No installed model")):
        monkeypatch.setattr(register_files, "list_installed_models", lambda folder, p=path: headers(others[p]))
        assert run("segment", target=target, out=tmp_path / "out", **QUICK) == 2
        assert is_one_sentence(capfd, words)
    monkeypatch.setattr(register_files, "list_installed_models", lambda folder: headers(others["nothing"]))
    assert run("register", target=target, out=tmp_path / "out", **QUICK) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert "slicreg: No usable model with a template of its own is installed" in error
    assert not list(tmp_path.iterdir())


# ---- register, evaluate and info


def test_register_carries_the_consensus_and_keeps_to_the_average(counted, cohort, tmp_path, still):
    target, label = (cohort / kind / "pt_1.nii.gz" for kind in ("img", "label"))
    assert run("register", model=counted, target=target, target_label=label, out=tmp_path, picture=False, **QUICK) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["own_template"] and report["template"] == "the model's own"
    assert {"before", "after", "on_target"} <= set(report)
    assert (tmp_path / "warped_labels.nii.gz").exists()
    warped = nib.load(tmp_path / "warped_target.nii.gz")
    assert warped.shape == (48, 32, 48)  # of the average


def test_evaluate_compares_on_the_average_and_on_the_scans(known, cohort, target, tmp_path, still, capsys):
    """The scan's labels are those that segment wrote: nothing moves, so they agree on its own grid exactly."""
    assert run("segment", model=known, target=target, out=tmp_path / "seg", picture=False, **QUICK) == 0
    for kind, path in (("img", target), ("label", tmp_path / "seg" / "labels.nii.gz")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "a.nii.gz").write_bytes(path.read_bytes())
    folders = {"images": tmp_path / "img", "labels": tmp_path / "label", "out": tmp_path / "out.json"}
    assert run("evaluate", model=known, **folders, **QUICK) == 0
    results = json.loads((tmp_path / "out.json").read_text())
    case = results["cases"]["a"]
    assert case["on_target"]["dice"] == {"1": 1.0, "2": 1.0, "300": 1.0}
    assert results["mean"]["on_target_dice"] == 1.0 and results["own_template"]
    assert case["after"]["dice"]["1"] > 0.9
    assert "On the scans' own grids: mean Dice 1.000." in capsys.readouterr().out


def test_info_shows_the_average_and_its_organs(known, others, capsys):
    assert run("info", known) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["version"] == 2 and about["atlas"] == {"scans": 5} and about["template_included"]
    assert [organ["name"] for organ in about["organs"]][:2] == ["Within", "At the border"]
    assert about["warnings"] == []
    assert about["organs"][0]["raters"] == 5 and about["organs"][0]["colour"] == [255, 0, 7]
    assert run("info", others["nothing"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["version"] == 1 and about["atlas"] is None and about["organs"] == []


def test_info_warns_of_organs_that_few_scans_have(known, tmp_path, capsys):
    model = load_model(known)
    organs = (replace(model.consensus.organs[0], raters=2), replace(model.consensus.organs[1], raters=1))
    save_model(tmp_path / "m.slicreg", replace(model, consensus=replace(model.consensus, organs=organs)))
    assert run("info", tmp_path / "m.slicreg") == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert [warning.partition(" scan")[0] for warning in warnings] == [
        "At the border: drawn in one", "Within: drawn in 2"
    ]  # fmt: skip
