"""The choice of a model: the one that knows both scans is taken and named, and none where no model knows them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from SlicRegLib import MODELS
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegLib.network.prediction import locate_layers
from SlicRegLib.registration.choose_model import UnknownAnatomyError, choose_model, known_share
from SlicRegLib.registration.fixed_side import FixedSide
from SlicRegLib.registration.installed_models import list_installed_models
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.register import register
from SlicRegLib.results.kept import Kept
from SlicRegLib.stages import CHOICE, MODEL, NEAREST
from test_register import QUICK
from tiny import phantom

TRUNK = "trunk-phantom"


def legs() -> Volume:
    """Two cylinders of fat, muscle and bone."""
    x, y, _ = (7.0 * n for n in np.indices((50, 30, 65)))
    hu = np.full(x.shape, -1000.0)
    for centre in (85, 255):
        distance = np.hypot(x - centre, y - 105)
        for radius, value in ((65, -100), (53, 55), (14, 1000)):
            hu[distance < radius] = value
    return Volume(hu.astype(np.float32), Grid(hu.shape, np.diag([7.0, 7.0, 7.0, 1.0])))


@pytest.fixture(scope="module")
def scans():
    return phantom(0)[0], phantom(1)[0]


@pytest.fixture(scope="module")
def installed():
    return list_installed_models()


@pytest.fixture(scope="module")
def choice(scans, installed):
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        # no target is turned upright for the choice: that takes as long as all the rest, for models that are not taken
        patch.setattr("SlicRegLib.registration.choose_model.turn_upright", None)
        choice = choose_model(installed, *scans, QUICK, progress=lambda *step: steps.append(step))
    return choice, steps


def test_the_model_that_knows_both_scans_is_taken_and_named(choice):
    choice, steps = choice
    assert choice.taken.header.name == TRUNK and list(choice.shares) == [TRUNK, "headneck-openkbp"]
    assert choice.shares[TRUNK] > 0.8 and choice.shares["headneck-openkbp"] < 0.3
    assert choice.sentence.startswith(f"{TRUNK}, since it finds 9") and "(headneck-openkbp: " in choice.sentence
    assert choice.report()["model_choice"]["reason"] == choice.sentence
    assert {stage for stage, _, _ in steps} == {CHOICE, MODEL} and steps[-1] == (MODEL, 1.0, choice.sentence)


def test_what_the_choice_has_made_is_used_by_the_registration(choice, scans, monkeypatch):
    """The field is the same, and no scan is prepared or described again but the mirror image."""
    taken = choice[0].taken
    usual = register(taken.model, *scans, QUICK)
    for module, name in (("register", "prepare_target"), ("register", "see_target"), ("fixed_side", "prepare_scan")):
        monkeypatch.setattr(f"SlicRegLib.registration.{module}.{name}", None)
    result = register(taken.model, *scans, QUICK, fixed=taken.fixed, moving=taken.moving)
    assert torch.equal(result.dense.vectors, usual.dense.vectors)


def test_no_model_knows_legs(scans, installed):
    steps = []
    with pytest.raises(UnknownAnatomyError, match=r"^No installed model knows .*; check .*[.]$") as raised:
        choose_model(installed, legs(), scans[1], progress=lambda *step: steps.append(step))
    nearest = raised.value.nearest
    assert nearest in (TRUNK, "headneck-openkbp") and nearest in str(raised.value)
    assert (NEAREST, 1.0, nearest) in steps and isinstance(raised.value, UserError)


def test_an_untrained_model_is_never_taken(choice, scans, installed, tmp_path):
    def load(path):
        model = load_model(path)
        torch.manual_seed(0)
        for weights in model.net.state_dict().values():
            if weights.is_floating_point():
                weights.normal_(0, 0.05)
        return model

    trunk = [header for header in installed if header.name == TRUNK]
    with pytest.raises(UnknownAnatomyError, match=" 0 % of its"):
        choose_model(trunk, *scans, load=load)


def test_files_that_cannot_be_read_are_passed_over(installed, scans, tmp_path, monkeypatch):
    (tmp_path / "broken.slicreg").write_bytes(b"PK")
    shutil.copy(MODELS / f"{TRUNK}.slicreg", tmp_path)  # under the same name
    monkeypatch.setattr("SlicRegLib.registration.choose_model.view_target", lambda *_: None)
    monkeypatch.setattr("SlicRegLib.registration.choose_model.known_share", lambda *_: 0.9)
    broken, copy = list_installed_models(tmp_path)[len(installed) :]
    choice = choose_model([broken, copy, copy], *scans)
    assert list(choice.shares) == [TRUNK, str(copy.path)] and choice.taken.header.name == TRUNK
    with pytest.raises(UserError, match="No usable model"):
        choose_model([broken], *scans)
    with pytest.raises(UserError, match="There is no folder"):
        list_installed_models(tmp_path / "none")


def test_the_share_of_models_that_store_no_key_points(choice):
    """By the layers of the template itself it is about the same as by its prediction."""
    taken = choice[0].taken
    stored = taken.model.key_points.centroids
    own = locate_layers(taken.model.layers, taken.model.template_grid, 128, torch.device("cpu"))
    assert own.shape == stored.shape
    old = replace(taken.model, key_points=None)
    fixed = FixedSide(old, taken.fixed.template)
    fixed.__dict__["centroids"] = taken.fixed.centroids
    assert abs(known_share(fixed, taken.view) - taken.share) < 0.1


def test_a_second_choice_reads_and_describes_the_taken_model_no_more(scans, installed, monkeypatch):
    kept, options, cpu = Kept(), QUICK, torch.device("cpu")
    read = []
    monkeypatch.setattr("SlicRegLib.registration.choose_model.view_target", lambda *_: None)
    monkeypatch.setattr(
        "SlicRegLib.registration.choose_model.known_share",
        lambda fixed, _: 0.9 if fixed.model.atlas.scans == 30 else 0.1,  # only the trunks' model is one of 30 scans
    )
    monkeypatch.setattr("SlicRegLib.results.kept.load_model", lambda path: read.append(path.stem) or load_model(path))
    first = kept.choose_model(installed, *scans, options, cpu, lambda *_: None)
    again = kept.choose_model(installed, scans[0], phantom(2)[0], options, cpu, lambda *_: None)
    assert read == ["headneck-openkbp", TRUNK, "headneck-openkbp"]
    assert again.taken.model is first.taken.model and again.taken.fixed is first.taken.fixed
    assert kept.load_model(TRUNK) is first.taken.model


# ---- command line


def write_scans(folder, names):
    (folder / "img").mkdir(parents=True)
    for name, volume in names.items():
        save_volume(folder / "img" / f"{name}.nii.gz", volume)
    return folder / "img"


def test_register_chooses_by_itself(tmp_path, capfd, monkeypatch):
    from command_line import QUICK as WORDS
    from command_line import json_lines, run

    images = write_scans(tmp_path, {"a": phantom(0)[0], "b": phantom(1)[0]})
    files = {"template": images / "a.nii.gz", "target": images / "b.nii.gz"}
    assert run("register", **files, out=tmp_path / "out", json=True, picture=False, **WORDS) == 0
    captured = capfd.readouterr()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"] == str(MODELS / f"{TRUNK}.slicreg") and report["seconds"][CHOICE] > 0
    assert report["model_choice"]["taken"] == TRUNK and len(report["model_choice"]["shares"]) == 2
    messages = [step["details"] for step in json_lines(captured.out) if step["stage"] == MODEL]
    assert messages == [report["model_choice"]["reason"]] and f"Model: {messages[0]}" in captured.err
    monkeypatch.setattr("SlicRegLib.registration.choose_model.known_share", lambda *_: 0.2)
    assert run("register", **files, out=tmp_path / "none", **WORDS) == 2
    assert "No installed model knows" in capfd.readouterr().err and not (tmp_path / "none").exists()
    assert run("register", **files, out=tmp_path / "none", models=tmp_path / "models", **WORDS) == 2
    assert "There is no folder" in capfd.readouterr().err


@pytest.mark.slow
def test_a_batch_takes_the_model_of_its_first_scan_for_all(tmp_path, capfd, monkeypatch):
    from command_line import QUICK as WORDS
    from command_line import make_small, run

    make_small(monkeypatch)
    images = write_scans(tmp_path, {"a": phantom(0)[0], "b": phantom(1)[0], "c": phantom(2)[0]})
    (images / "aa.nii.gz").write_bytes(b"no scan")  # the first one, which cannot be read
    batch = dict(template=images / "a.nii.gz", images=images, out=tmp_path / "out", picture=False, **WORDS)
    assert run("batch", **batch) == 0
    printed = capfd.readouterr().out
    assert f"Model: {TRUNK}, chosen automatically for all scans." in printed and "1 failed" in printed
    reports = {name: json.loads((tmp_path / "out" / name / "report.json").read_text()) for name in "bc"}
    assert "model_choice" in reports["b"] and "model_choice" not in reports["c"]
    assert reports["c"]["model"] == reports["b"]["model"] == str(MODELS / f"{TRUNK}.slicreg")

    def forbidden(*_):
        raise AssertionError("chosen again")

    monkeypatch.setattr("SlicRegLib.results.register_files._choose", forbidden)
    assert run("batch", **batch) == 0 and "2 done" in capfd.readouterr().out
    save_volume(images / "d.nii.gz", phantom(3)[0])  # a later scan has the same model
    assert run("batch", **batch) == 0 and "3 done" in capfd.readouterr().out
    assert run("batch", **batch, model=TRUNK) == 0 and "3 done" in capfd.readouterr().out


@pytest.mark.slow
def test_an_evaluation_chooses_once(tmp_path, capfd, monkeypatch):
    from command_line import QUICK as WORDS
    from command_line import make_small, run

    make_small(monkeypatch)
    images = write_scans(tmp_path, {"a": phantom(0)[0], "b": phantom(1)[0]})
    (tmp_path / "label").mkdir()
    for seed, name in enumerate("ab"):
        save_volume(tmp_path / "label" / f"{name}.nii.gz", phantom(seed)[1])
    files = dict(template=images / "a.nii.gz", template_label=tmp_path / "label" / "a.nii.gz", images=images)
    assert run("evaluate", model="auto", **files, labels=tmp_path / "label", out=tmp_path / "r.json", **WORDS) == 0
    results = json.loads((tmp_path / "r.json").read_text())
    assert results["model_choice"]["taken"] == TRUNK and results["model"].endswith(f"{TRUNK}.slicreg")
    assert f"Model: {TRUNK}, since" in capfd.readouterr().out


@pytest.mark.parametrize("model", [TRUNK, "auto"])
@pytest.mark.parametrize("wrong", ["template", "target"])
def test_a_scan_without_a_body_is_named(tmp_path, capfd, model, wrong):
    """By a chosen model and by the choice, whichever of the two it is."""
    from command_line import run

    scan = phantom(0)[0]
    noise = np.random.default_rng(0).uniform(-1000, 1000, scan.data.shape).astype(np.float32)
    images = write_scans(tmp_path, {"scan": scan, "noise": replace(scan, data=noise)})
    files = {name: images / f"{'noise' if name == wrong else 'scan'}.nii.gz" for name in ("template", "target")}
    assert run("register", **files, model=model, out=tmp_path / "out") == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1].startswith(f"slicreg: The {wrong} holds no ") and not (tmp_path / "out").exists()
