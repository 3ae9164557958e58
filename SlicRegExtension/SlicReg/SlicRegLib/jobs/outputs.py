"""The folder of a new training job, checked before the work and removed again if nothing came of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..images.files import MODEL_SUFFIX, check_output, make_folder, remove_folders
from .options import JobOptions


def check_job_outputs(folder: Path, options: JobOptions) -> None:
    """Raise UserError if the files of a training cannot be written to its folder, or would replace what it reads."""
    names = ("job.json", "cohort_unusual.png", "study/supervoxels.npz", "report.html", f"{options.name}_curve.csv")
    check_output(folder, folder=True, names=names)
    inputs = (options.start, options.template, options.template_label)
    model = f"{options.name}{MODEL_SUFFIX}"
    check_output(folder, folder=True, names=(model, f"{options.name}.checkpoint"), inputs=inputs)
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
