"""The demonstration with the bundled model, on one of its held-out phantoms."""

import json

import pytest

from SlicRegLib.__main__ import main
from SlicRegLib.cli import demo
from SlicRegLib.phantoms.phantom import ORGANS
from SlicRegLib.registration.model import load_model

needs_model = pytest.mark.skipif(
    not demo.PHANTOM_MODEL.is_file(), reason="the phantoms' bundle is not made yet: slicreg demo --train"
)


def test_no_subject_is_in_two_places():
    assert len({demo.TEMPLATE_SEED, *demo.COHORT_SEEDS, *demo.HELD_OUT_SEEDS}) == 1 + len(demo.COHORT_SEEDS) + len(
        demo.HELD_OUT_SEEDS
    )


def test_without_its_model_the_demo_says_how_to_make_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "PHANTOM_MODEL", tmp_path / "none.slicreg")
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert "demo --train" in capsys.readouterr().err and not (tmp_path / "demo").exists()


@needs_model
def test_bundled_model_holds_no_more_than_its_phantoms():
    model = load_model(demo.PHANTOM_MODEL)
    assert "synthetic" in model.provenance["cohort"] and model.provenance["teacher"]
    assert model.layers.shape[0] == 16 and len(set(model.layers.ravel())) == 128


@needs_model
def test_demo_at_least_doubles_the_dice(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "HELD_OUT_SEEDS", demo.HELD_OUT_SEEDS[:1])
    assert main(["demo", "--out", str(tmp_path), "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    (report,) = json.loads((tmp_path / "summary.json").read_text())
    assert report["own_template"] and report["folding_percent"] < 1
    assert set(report["after"]["dice"]) == {str(label) for label in ORGANS}
    assert report["after"]["mean_dice"] >= 2 * report["before"]["mean_dice"] > 0
    assert all(organ in text for organ in ORGANS.values())
    for name in (
        "transform.h5",
        "transform_inverse.h5",
        "warped_target.nii.gz",
        "warped_labels.nii.gz",
        "report.json",
        "overview.png",
    ):
        path = tmp_path / f"phantom_{demo.HELD_OUT_SEEDS[0]}" / name
        assert path.stat().st_size > 0 and str(path) in text
