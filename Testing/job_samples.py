"""A training that takes seconds: phantoms, results of a teacher, and the words of `slicreg learn`."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from SlicRegLib.images.preparation import soft_tissue_centre
from SlicRegLib.images.volumes import load_scan
from study_samples import FRAME
from tiny import write_cohort

NAME = "tiny"
PATIENCE = 120.0
"""Seconds: a test that waits longer has failed."""


def write_job_cohort(folder: Path, scans: int = 2) -> Path:
    """A cohort of phantoms, and in deeds/ results that the teacher deeds imports: the centres of the bodies aligned."""
    cohort = write_cohort(folder, scans)
    (cohort / "deeds").mkdir(exist_ok=True)
    template = load_scan(cohort / "template.nii.gz")
    for path in (cohort / "img").iterdir():
        scan = load_scan(path)
        ends = [one.grid.to_voxel(soft_tissue_centre(one)) for one in (scan, template)]
        along_i, along_j, along_k = ends[1] - ends[0]
        control = np.prod([n // 8 for n in scan.data.shape])
        values = np.repeat(np.array([along_j, along_i, along_k], np.float32), control)  # in the order of deeds
        values.tofile(cohort / "deeds" / path.name.replace(".nii.gz", "_displacements.dat"))
    return cohort


def learn_arguments(cohort: Path) -> list[str]:
    """Of `slicreg learn`, without the folder."""
    return [
        *("--template", str(cohort / "template.nii.gz"), "--images", str(cohort / "img"), "--name", NAME),
        *("--teacher", "deeds", "--deeds-dir", str(cohort / "deeds"), "--jobs", "1", "--device", "cpu"),
        *("--iterations", "2", "--batch", "1", "--spacing", str(FRAME.spacing_mm), "--shape", *map(str, FRAME.shape)),
    ]


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.02)


def assert_same_job(one: Path, two: Path) -> None:
    """Models and studies are equal but for the seconds that they took."""
    (model, about, study, scans), (model2, about2, study2, scans2) = (_read_job(folder) for folder in (one, two))
    assert about == about2 and study == study2
    assert model.keys() == model2.keys() and [name for name in model if model[name] != model2[name]] == []
    assert scans.keys() == scans2.keys() and len(scans) == 2
    for name in scans:
        assert scans[name].keys() == scans2[name].keys()
        for key in scans[name]:
            np.testing.assert_array_equal(scans[name][key], scans2[name][key])


def _read_job(folder: Path) -> tuple[dict, dict, dict, dict]:
    with zipfile.ZipFile(folder / f"{NAME}.slicreg") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(parts.pop("bundle.json"))
    about["sha256"].pop("bundle.json")  # of all that follows
    about["provenance"].pop("seconds")
    about["provenance"]["validation"].pop("seconds")
    study = json.loads((folder / "study" / "study.json").read_text())
    scans = {path.name: dict(np.load(path)) for path in sorted((folder / "study" / "scans").glob("*.npz"))}
    return parts, about, study, scans
