"""The demonstration; that it works is shown with the installed package in test_packaging."""

from SlicRegLib.cli import demo
from SlicRegLib.cli.main import main


def test_no_subject_is_in_two_places():
    assert len({demo.TEMPLATE_SEED, *demo.COHORT_SEEDS, *demo.HELD_OUT_SEEDS}) == 1 + len(demo.COHORT_SEEDS) + len(
        demo.HELD_OUT_SEEDS
    )


def test_without_its_model_the_demo_says_how_to_make_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "PHANTOM_MODEL", tmp_path / "none.slicreg")
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert "demo --train" in capsys.readouterr().err and not (tmp_path / "demo").exists()
