"""A batch of registrations, one scan after the other, in a process that is started anew only when it dies."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..cohort.listing import list_cohort
from ..errors import UserError, WriteError
from ..images.dicom_series import choose_series
from ..images.files import stem
from ..progress import Progress, silent
from ..registration.model_header import find_model
from ..results.evaluate import find_labels
from ..results.options import RegisterRequest
from ..results.register_files import register_files
from ..results.result_folder import remove_unfinished_results
from ..workers import run_each
from .arguments import write_arguments
from .batch import CANCELLED, DONE, Batch, name_scans
from .options import BatchRequest


@dataclass
class Outcome:
    """How one registration ended, as `Batch.record` takes it: "finished", "failed" or "cancelled", why, and seconds."""

    state: str
    error: str
    elapsed: float


def register_batch(request: BatchRequest, progress: Progress = silent) -> Batch:
    """`slicreg batch`: the batch with all its scans tried once. A scan that fails does not stop the others.

    Raises UserError where none could be registered.
    """
    batch = make_batch(request)
    while batch.next() is not None:
        name, started = batch.current, time.monotonic()
        progress("batch", batch.fraction, name)
        single = RegisterRequest(
            model=batch.model,
            template=batch.template,
            target=batch.targets[name],
            out=batch.out / name,
            template_label=batch.template_label,
            target_label=batch.labels.get(name),
            overlays=request.overlays,
            transform_format=request.transform_format,
            device=request.device,
            registration=request.registration,
        )
        remove_unfinished = partial(remove_unfinished_results, single.out)
        try:
            [done] = run_each(_register, [single], isolate=True, after_death=remove_unfinished)
            state = "failed" if done.problem else "finished"
            outcome = Outcome(state, done.problem, time.monotonic() - started)
        except BaseException:
            remove_unfinished()  # of the process that was ended, too
            batch.record(Outcome(CANCELLED, "", time.monotonic() - started))
            raise
        batch.record(outcome)
    progress("batch", 1.0, f"{len(batch.targets)} scans")
    if not any(row["status"] == DONE for row in batch.rows()):
        raise UserError(f"No scan could be registered. {batch.summary()}")
    return batch


def _register(request: RegisterRequest) -> None:
    try:
        register_files(request)
    except WriteError as error:  # concerns this scan alone as far as is known
        raise UserError(str(error)) from error


def make_batch(request: BatchRequest) -> Batch:
    """The batch of all scans of the request, with labels of the same file names where there are some."""
    if request.labels and not request.template_label:
        raise UserError("Labels of the scans are compared with those of the template; give --template-label as well.")
    scans = name_scans(list_cohort(request.images, request.series))
    labels: dict[str, Path] = {}
    if request.labels:
        labels = {name: path for name, scan in scans if (path := find_labels(request.labels, stem(scan)))}
        if not labels:
            raise UserError(f"No file of {request.labels} has the name of a scan; labels are matched to scans by name.")
    options = ["--device", request.device, "--transform-format", request.transform_format]
    options += ["--overlays"] if request.overlays else []
    return Batch(
        scans,
        choose_series(request.template, request.template_series),
        find_model(request.model),
        request.out,
        [*options, *write_arguments(request.registration)],
        request.template_label,
        labels,
        others=[request.images],
    )
