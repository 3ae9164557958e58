"""The demonstration; that it works is shown with the installed package in test_packaging."""

import json

import numpy as np
import pytest

from SlicRegLib.cli import demo
from SlicRegLib.cli.main import main
from SlicRegLib.images.volumes import load_labels, load_scan
from SlicRegLib.phantoms.phantom import ORGANS, make_phantom
from tiny import PHANTOM


@pytest.fixture
def coarse(monkeypatch):
    """Phantoms of 7 mm instead of those of the demonstration."""
    monkeypatch.setattr(demo, "make_phantom", lambda seed, options: make_phantom(seed, PHANTOM))


def test_no_subject_is_in_two_places():
    assert len({demo.TEMPLATE_SEED, *demo.COHORT_SEEDS, *demo.HELD_OUT_SEEDS}) == 1 + len(demo.COHORT_SEEDS) + len(
        demo.HELD_OUT_SEEDS
    )


def test_without_its_model_the_demo_says_how_to_make_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "PHANTOM_MODEL", tmp_path / "none.slicreg")
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert "demo --train" in capsys.readouterr().err and not (tmp_path / "demo").exists()


def test_the_demo_registers_the_held_out_phantoms_and_tells_the_means(tmp_path, monkeypatch, capsys, coarse):
    """With known results instead of registrations: organ n has Dice n/100 before, and 0.4 or 0.6 more after."""
    requests = []

    def register(request, progress):
        requests.append(request)
        request.out.mkdir(parents=True)
        (request.out / "report.json").touch()
        before = {str(label): label / 100 for label in ORGANS}
        after = {label: dice + (0.4, 0.6)[(len(requests) - 1) % 2] for label, dice in before.items()}
        return {
            **{
                when: {"dice": dice, "mean_dice": float(np.mean(list(dice.values())))}
                for when, dice in (("before", before), ("after", after))
            },
            "seconds": {"total": 10.0 * len(requests)},
            "folding_percent": 0.5,
            "verdict": {"word": ("good", "doubtful")[(len(requests) - 1) % 2], "sentence": "."},
        }

    monkeypatch.setattr(demo, "register_files", register)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    text = capsys.readouterr().out
    label, organ = next(iter(ORGANS.items()))
    assert f"{organ:28s}{label / 100:8.3f}{label / 100 + 0.5:8.3f}" in text
    mean = np.mean(list(ORGANS)) / 100
    assert f"mean of 13 organs           {mean:8.3f}{mean + 0.5:8.3f}   ({(mean + 0.5) / mean:.1f} times)" in text
    assert "15.0 s per registration, folding 0.50 %" in text and "1 good" in text and "1 doubtful" in text
    assert str(tmp_path / "demo" / f"phantom_{demo.HELD_OUT_SEEDS[0]}" / "overview.png") in text
    assert len(json.loads((tmp_path / "demo" / "summary.json").read_text())) == 2
    for request, seed in zip(requests, demo.HELD_OUT_SEEDS, strict=True):
        known = make_phantom(seed, PHANTOM)
        scan = load_scan(request.target)
        np.testing.assert_allclose(scan.data, np.round(known.image))
        np.testing.assert_array_equal(load_labels(request.target_label, scan).data, known.labels)
        assert request.template is request.template_label is None and request.model == demo.PHANTOM_MODEL
    main(["demo", "--out", str(tmp_path / "other"), "--model", "auto"])
    template = tmp_path / "other" / "template" / "img" / f"phantom_{demo.TEMPLATE_SEED}.nii.gz"
    assert requests[-1].template == template and template.is_file() and requests[-1].template_label.is_file()


def test_the_demo_trains_on_the_first_phantoms_of_the_cohort(tmp_path, monkeypatch, capsys, coarse):
    made = {}
    monkeypatch.setattr(demo, "prepare_study", lambda request, progress: made.update(prepare=request))
    monkeypatch.setattr(demo, "train_model", lambda request, progress: made.update(train=request))
    out = tmp_path / "demo"
    # nothing was trained, so that the demonstration ends with the missing model
    assert main(["demo", "--out", str(out), "--train", "--scans", "3", "--iterations", "7"]) == 2
    assert "phantom model" in capsys.readouterr().err
    names = sorted(path.name for path in made["prepare"].images.iterdir())
    assert names == [f"phantom_{seed}.nii.gz" for seed in (1, 2, 3)]
    assert made["prepare"].template == made["train"].include_template == out / "template" / "img" / "phantom_0.nii.gz"
    assert made["train"].study == made["prepare"].out and made["train"].iterations == 7
    assert made["train"].cohort == "3 synthetic trunks (phantoms 1-3)" and not made["train"].resume
    made["train"].out.with_suffix(".checkpoint").touch()
    before = (made["prepare"].images / names[0]).stat().st_mtime_ns
    main(["demo", "--out", str(out), "--train", "--scans", "3"])
    assert made["train"].resume and (made["prepare"].images / names[0]).stat().st_mtime_ns == before
