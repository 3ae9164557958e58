"""`slicreg batch` on tiny data: every scan once, nothing twice, reasons for what failed."""

import csv
import json

import pytest

from command_line import *  # noqa: F403  its fixtures
from command_line import QUICK, is_one_sentence, run
from SlicRegLib.jobs import register_batch
from SlicRegLib.results import kept


@pytest.fixture
def inputs(cohort, model, tmp_path):
    (tmp_path / "img").mkdir()
    for name in ("pt_1", "pt_2"):
        (tmp_path / "img" / f"{name}.nii.gz").symlink_to(cohort / "img" / f"{name}.nii.gz")
    (tmp_path / "img" / "bad.nii.gz").write_bytes(b"no scan")
    return {
        "model": model,
        "template": cohort / "template.nii.gz",
        "images": tmp_path / "img",
        "out": tmp_path / "out",
        "template_label": cohort / "template_label.nii.gz",
        "labels": cohort / "label",
        **QUICK,
    }


def table(folder):
    with open(folder / "results.csv", newline="", encoding="utf-8-sig") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_every_scan_once_and_nothing_twice(inputs, tmp_path, monkeypatch, capsys):
    assert run("batch", **inputs) == 0
    text = capsys.readouterr().out
    assert "3 scans: 2 done, 1 failed" in text and "bad: " in text and "cannot be read" in text
    rows = table(tmp_path / "out")
    assert {name: row["status"] for name, row in rows.items()} == {"pt_1": "done", "pt_2": "done", "bad": "failed"}
    for name in ("pt_1", "pt_2"):
        report = json.loads((tmp_path / "out" / name / "report.json").read_text())
        assert float(rows[name]["dice_after"]) == pytest.approx(report["after"]["mean_dice"])
        assert rows[name]["verdict"] == report["verdict"]["word"] != ""
        assert rows[name]["verdict_reason"] == report["verdict"]["sentence"] in text
        assert (tmp_path / "out" / name / "warped_labels.nii.gz").is_file()
    assert not (tmp_path / "out" / "bad").exists()

    tried, real = [], register_batch.register_files
    monkeypatch.setattr(
        register_batch,
        "register_files",
        lambda request, **more: (tried.append(request.target.name), real(request, **more)),
    )
    assert run("batch", **inputs) == 0
    assert tried == ["bad.nii.gz"]  # what failed is tried again, what is done is not
    assert (tmp_path / "out" / "pt_1" / "overview.png").is_file()
    assert run("batch", **{**inputs, "alpha": 0.1, "overlays": True, "picture": False}) == 0
    assert sorted(tried) == ["bad.nii.gz", "bad.nii.gz", "pt_1.nii.gz", "pt_2.nii.gz"]
    assert (tmp_path / "out" / "pt_1" / "confidence.nii.gz").is_file()
    assert not (tmp_path / "out" / "pt_1" / "overview.png").exists()


def test_the_model_is_read_once(inputs, monkeypatch, capsys):
    read = []
    register_batch._keep.cache_clear()
    monkeypatch.setattr(kept, "load_model", lambda path, real=kept.load_model: (read.append(path), real(path))[1])
    assert run("batch", **inputs) == 0 and "2 done" in capsys.readouterr().out
    assert len(read) == 1


def test_an_interruption_is_resumed(inputs, tmp_path, monkeypatch, capsys):
    (inputs["images"] / "bad.nii.gz").unlink()
    real = register_batch.register_files

    def interrupted(request, **more):
        if request.target.name == "pt_2.nii.gz":
            raise KeyboardInterrupt
        return real(request, **more)

    monkeypatch.setattr(register_batch, "register_files", interrupted)
    assert run("batch", **inputs) == 130
    assert {name: row["status"] for name, row in table(tmp_path / "out").items()} == {
        "pt_1": "done",
        "pt_2": "cancelled",
    }
    monkeypatch.setattr(register_batch, "register_files", real)
    assert run("batch", **inputs) == 0
    assert "2 scans: 2 done" in capsys.readouterr().out


def test_a_batch_of_an_earlier_version_is_not_done_again(inputs, tmp_path, monkeypatch):
    """It wrote the panel's options, all with their default values; what matters is what differs from the defaults."""
    assert run("batch", **inputs) == 0
    path = tmp_path / "out" / "batch.json"
    state = json.loads(path.read_text())
    words = "--device auto --alpha 0.015 --neighbours 8 --iterations 5 --key-points 200 --seed 0 --no-refine"
    for case in state["cases"].values():
        case["options"] = words.split()
    path.write_text(json.dumps(state))
    tried = []
    monkeypatch.setattr(register_batch, "register_files", lambda request, **more: tried.append(request.target.name))
    assert run("batch", **inputs) == 0
    assert tried == ["bad.nii.gz"]
    run("batch", **{**inputs, "iterations": 6})
    assert len(tried) == 4  # other options: all of them


def test_a_defect_on_one_scan_does_not_end_the_batch(inputs, tmp_path, monkeypatch, capsys):
    def defective(request, **more):
        raise ZeroDivisionError("no idea")

    monkeypatch.setattr(register_batch, "register_files", defective)
    assert run("batch", **inputs) == 2
    assert "No scan could be registered" in capsys.readouterr().err
    rows = table(tmp_path / "out")
    assert {row["status"] for row in rows.values()} == {"failed"} and len(rows) == 3
    assert "ZeroDivisionError: no idea" in rows["pt_1"]["error"]


def test_mistakes(inputs, tmp_path, capfd):
    assert run("batch", **{**inputs, "images": tmp_path / "none"}) == 2 and is_one_sentence(capfd, "does not exist")
    without = {name: value for name, value in inputs.items() if name != "template_label"}
    assert run("batch", **without) == 2 and is_one_sentence(capfd, "--template-label")
    (tmp_path / "empty").mkdir()
    assert run("batch", **{**inputs, "labels": tmp_path / "empty"}) == 2 and is_one_sentence(capfd, "by name")
    assert run("batch", **{**inputs, "model": "nothing"}) == 2 and is_one_sentence(capfd, "headneck-openkbp")
