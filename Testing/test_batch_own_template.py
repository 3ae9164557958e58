"""Batches by the model's own template, and the volumes of organs that they measure."""

import csv
from pathlib import Path

import pytest

from average_samples import copy_without_template
from batch_samples import PHANTOM, REPORT, finish, make, out_of, write_scans
from SlicRegLib.cli.parser import parse
from SlicRegLib.errors import UserError

ORGANS = [
    {"value": 1, "name": "liver", "volume_ml": 1500.5, "percentile": 40.0, "complete": True},
    {"value": 2, "name": "spleen", "volume_ml": 90.25, "percentile": None, "complete": False},
]


@pytest.fixture
def cohort(tmp_path) -> Path:
    return write_scans(tmp_path)


def test_the_models_own_template_needs_no_words(cohort):
    labels = {"a": cohort / "label.nii.gz"}
    batch = make(cohort, template=None, model=PHANTOM, labels=labels)
    _command, request, _ = parse(batch.next())
    assert (request.template, request.template_label, request.target_label) == (None, None, labels["a"])
    assert request.model == PHANTOM and request.target == cohort / "scans" / "a.nii.gz"


def test_volumes_of_organs_are_a_table(cohort):
    """A row for each scan; what a scan does not show completely is empty. A repeated batch keeps them."""
    batch = make(cohort, template=None, model=PHANTOM)
    reports = [{**REPORT, "organs": ORGANS}, REPORT, {**REPORT, "organs": [{**ORGANS[1], "complete": True}]}]
    for report in reports:
        batch.record(finish(out_of(batch.next()), report))
    header = ["name", "verdict", "liver (ml)", "spleen (ml)", "liver (percentile)", "spleen (percentile)"]
    expected = [header, ["a", "", "1500.5", "", "40.0", ""], ["c", "", "", "90.25", "", ""]]
    assert read_volumes(cohort / "out") == expected and "volumes.csv" in batch.summary()
    (cohort / "out" / "volumes.csv").unlink()
    again = make(cohort, template=None, model=PHANTOM)
    assert again.pending() == [] and read_volumes(cohort / "out") == expected
    assert len(make(cohort, model=PHANTOM).pending()) == 3  # to another template


def test_a_damaged_report_has_no_volumes(cohort):
    batch = make(cohort, template=None, model=PHANTOM)
    for organs in ({"liver": 3}, [7], [{"name": "liver"}]):
        batch.record(finish(out_of(batch.next()), {**REPORT, "organs": organs}))
    assert not (cohort / "out" / "volumes.csv").exists() and [row["status"] for row in batch.rows()] == ["done"] * 3


def test_the_choice_of_a_model_is_kept_without_a_template_too(cohort):
    batch = make(cohort, template=None, model="auto")
    words = batch.next()
    assert words[words.index("--model") + 1] == "auto"
    batch.record(finish(out_of(words), {**REPORT, "model": str(PHANTOM)}))
    assert make(cohort, template=None, model="auto").model == PHANTOM
    assert str(make(cohort, model="auto").model) == "auto"  # with a template another one may be better


def test_a_model_without_a_template_is_refused_at_once(cohort):
    bare = copy_without_template(PHANTOM, cohort / "bare.slicreg")
    with pytest.raises(UserError, match=r"The model bare holds no template of its own; choose a template scan\."):
        make(cohort, template=None, model=bare)
    with pytest.raises(UserError, match=r"model\.slicreg cannot be used"):
        make(cohort, template=None)
    assert not (cohort / "out").exists()


def read_volumes(folder: Path) -> list[list[str]]:
    with (folder / "volumes.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))
