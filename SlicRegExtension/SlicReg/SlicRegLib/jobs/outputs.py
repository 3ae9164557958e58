"""The folder of a new training job, checked before the work and removed again if nothing came of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..cohort.listing import list_cohort
from ..errors import UserError
from ..images.files import MODEL_SUFFIX, check_output, make_folder, remove_folders
from .options import JobOptions

FILES = (
    "job.json",
    "state.json",
    "job.log",
    "owner.json",
    "cohort.json",
    "cohort_unusual.png",
    "study/study.json",
    "study/template.npz",
    "study/supervoxels.npz",
    "validation.png",
    "report.html",
)
"""What a training writes into its folder beside the files that are called after the model."""


def check_job_outputs(folder: Path, options: JobOptions) -> None:
    """Raise UserError if the files of a training cannot be written to its folder, or would replace what it reads."""
    model = f"{options.name}{MODEL_SUFFIX}"
    names = [*FILES, model, *(f"{options.name}{end}" for end in (".checkpoint", "_curve.csv", "_curve.png"))]
    inputs: list[str | Path] = [options.start, options.template, options.template_label, options.images]
    with suppress(UserError):  # what is wrong with the scans is told when they are read
        inputs += list_cohort(Path(options.images), options.series)
    check_output(folder, folder=True, names=names, inputs=inputs)
    if options.models:
        check_output(options.models, folder=True, names=(model,))


@contextmanager
def new_job_folder(folder: Path) -> Iterator[None]:
    """Makes the job's folder. If it is new and the block fails before there is a job in it, it is removed again."""
    made = make_folder(folder)
    try:
        yield
    except BaseException:
        if folder in made and not (folder / "job.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            remove_folders(made)
        raise
