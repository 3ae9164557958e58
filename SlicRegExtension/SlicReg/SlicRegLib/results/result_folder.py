"""The folder of a registration's results: all of them or none."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from ..errors import UserError, write_error
from ..images.files import new_folder, remove_folders
from ..images.options import TransformFormat

REPORT_FILE = "report.json"
OWN_TEMPLATE = "the model's own"
"""What report.json says of the template where none was given."""
RESULT_FILES = (
    *(f"{name}.{ending}" for ending in get_args(TransformFormat) for name in ("transform", "transform_inverse")),
    "warped_target.nii.gz",
    "warped_labels.nii.gz",
    REPORT_FILE,
    "overview.png",
    "confidence.nii.gz",
    "supervoxels_template.nii.gz",
    "supervoxels_target.nii.gz",
)
SEGMENT_FILES = (
    *(f"{name}.{ending}" for ending in get_args(TransformFormat) for name in ("transform", "transform_inverse")),
    "labels.nii.gz",
    "labels.seg.nrrd",
    "volumes.csv",
    REPORT_FILE,
    "overview.png",
    "confidence.nii.gz",
    "growth.nii.gz",
    "growth.png",
)
"""What `slicreg segment` writes."""
_PART = ".slicreg-"


@contextmanager
def all_or_nothing(out: Path, written: Sequence[str] = RESULT_FILES) -> Iterator[Path]:
    """Yields a hidden folder inside ``out`` whose files move into ``out`` if the block succeeds; they replace those of
    an earlier run there, all that may be ``written``. Raises UserError where ``out`` cannot be written.

    The report leaves first and comes last: whatever ends the process, a report is never beside another run's files.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for the results.")
    with new_folder(out):
        try:
            part = Path(tempfile.mkdtemp(prefix=_PART, dir=out))
        except OSError as error:
            raise write_error(out, error) from error
        try:
            yield part
            names = sorted((file.name for file in part.iterdir()), key=lambda name: name == REPORT_FILE)
            (out / REPORT_FILE).unlink(missing_ok=True)
            for name in names:
                (part / name).replace(out / name)
            for name in set(written) - set(names):  # of an earlier run
                (out / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def remove_unfinished_results(out: Path) -> None:
    """Remove what a killed registration left in ``out``, and ``out`` if nothing else is there. None may be running."""
    for part in out.glob(f"{_PART}*"):
        shutil.rmtree(part, ignore_errors=True)
    remove_folders([out])
