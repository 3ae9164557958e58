"""A folder of scans for tests of batches, and registrations that end as is wanted."""

import json
from pathlib import Path
from types import SimpleNamespace

from SlicRegLib import MODELS
from SlicRegLib.images.files import list_images
from SlicRegLib.jobs.batch import Batch, name_scans
from SlicRegLib.jobs.batch_rows import RESULTS

REPORT = {"seconds": {"total": 7.5}, "folding_percent": 0.02}
PHANTOM = MODELS / "trunk-phantom.slicreg"


def scans_in(folder):
    return name_scans(list_images(folder))


def write_scans(folder: Path) -> Path:
    """template.nii.gz, model.slicreg and scans/a.nii.gz, b.nrrd, c.mha; none is looked into."""
    (folder / "scans").mkdir()
    for name in (
        "template.nii.gz",
        "model.slicreg",
        "label.nii.gz",
        "scans/a.nii.gz",
        "scans/b.nrrd",
        "scans/c.mha",
        "scans/x",
    ):
        (folder / name).write_text(name)
    return folder


def make(cohort: Path, **changes) -> Batch:
    content = dict(
        targets=scans_in(cohort / "scans"),
        template=cohort / "template.nii.gz",
        model=cohort / "model.slicreg",
        out=cohort / "out",
        options=["--device", "cpu"],
    )
    return Batch(**{**content, **changes})


def finish(folder: Path, report=REPORT) -> SimpleNamespace:
    """Writes the files of a registration; returns its process."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:
        (folder / name).write_text(json.dumps(report))
    return SimpleNamespace(state="finished", error="", elapsed=9.0)


def out_of(arguments) -> Path:
    return Path(arguments[arguments.index("--out") + 1])
