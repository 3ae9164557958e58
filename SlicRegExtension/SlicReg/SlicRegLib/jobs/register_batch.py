"""A batch of registrations in processes that stay, here or on a cluster; one is started anew only when it dies."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ..cohort.label_files import find_labels
from ..cohort.listing import list_cohort
from ..errors import UserError, WriteError, one_sentence
from ..images.dicom_series import choose_series
from ..images.files import stem
from ..progress import Progress, silent
from ..registration.installed_models import find_model, list_installed_models
from ..registration.model_header import AUTO
from ..results.kept import Kept
from ..results.options import RegisterRequest
from ..results.register_files import register_files
from ..results.result_folder import REPORT_FILE, remove_unfinished_results
from ..workers import run_each
from .arguments import write_arguments
from .batch import Batch, name_scans
from .batch_folder import hold_batch_folder
from .batch_rows import CANCELLED, DONE
from .options import BatchRequest
from .outcome import Outcome


def register_batch(request: BatchRequest, progress: Progress = silent) -> Batch:
    """`slicreg batch`: the batch with all its scans tried once. A scan that fails does not stop the others.

    Raises UserError where none could be registered, and where a cluster fails as a whole.
    """
    batch = make_batch(request)
    with hold_batch_folder(batch.out):
        _run_batch(batch, request, progress)
    progress("batch", 1.0, f"{len(batch.targets)} scans")
    if not any(row["status"] == DONE for row in batch.rows()):
        raise UserError(f"No scan could be registered. {batch.summary()}")
    return batch


def _run_batch(batch: Batch, request: BatchRequest, progress: Progress) -> None:
    """Try all scans once: one by one until there is a model, if it is to be chosen, then all that are left."""
    while names := batch.pending():
        _run_scans(batch, request, names[:1] if batch.model == AUTO else names, progress)


def _run_scans(batch: Batch, request: BatchRequest, pending: list[str], progress: Progress) -> None:
    requests = {name: _make_single(batch, request, name) for name in pending}
    names = {single.out: name for name, single in requests.items()}

    def begin(single: RegisterRequest) -> None:
        batch.begin(names[single.out])
        progress("batch", batch.fraction, names[single.out])

    last, run = time.monotonic(), _run_on_cluster if request.scheduler else _run_here
    try:
        for single, problem in run(request, list(requests.values()), begin):
            name = names[single.out]
            batch.record(Outcome("failed" if problem else "finished", problem, time.monotonic() - last), name)
            progress("batch", batch.fraction, name)
            last = time.monotonic()
    except BaseException:
        for name in batch.running():
            batch.record(Outcome(CANCELLED, "", time.monotonic() - last), name)
        raise


def _make_single(batch: Batch, request: BatchRequest, name: str) -> RegisterRequest:
    """The registration of one scan."""
    return RegisterRequest(
        model=batch.model,
        models=request.models if batch.model == AUTO else None,
        template=batch.template,
        target=batch.targets[name],
        out=batch.out / name,
        template_label=batch.template_label,
        target_label=batch.labels.get(name),
        overlays=request.overlays,
        picture=request.picture,
        transform_format=request.transform_format,
        device=request.device,
        registration=request.registration,
    )


def _run_here(
    request: BatchRequest, singles: list[RegisterRequest], begin: Callable[[RegisterRequest], None]
) -> Iterator[tuple[RegisterRequest, str]]:
    """(registration, why it failed or "") as they end, in processes of this computer. begin: called before each."""

    def remove_unfinished() -> None:
        for single in singles:
            remove_unfinished_results(single.out)

    for done in run_each(_register, singles, request.workers, True, remove_unfinished, begin):
        yield done.item, done.problem


def _run_on_cluster(
    request: BatchRequest, singles: list[RegisterRequest], begin: Callable[[RegisterRequest], None]
) -> Iterator[tuple[RegisterRequest, str]]:
    """As `_run_here`, by the workers of a Dask cluster."""
    from ..teaching.cluster import DIED_ON_CLUSTER, read_result, run_on_cluster

    needs = "the same SlicReg, and the model, the scans and the output folder under the same paths"

    def prepare(client: Any) -> Callable[[RegisterRequest], Any]:
        for single in singles:
            begin(single)
        return lambda single: client.submit(_register_on_worker, single, pure=False)

    for single, future in run_on_cluster(request.scheduler, prepare, singles):
        problem = DIED_ON_CLUSTER.capitalize() if future is None else read_result(future, request.scheduler, needs)
        if not problem and REPORT_FILE not in os.listdir(single.out):  # which asks a network file system anew
            raise UserError(
                f"A worker of {request.scheduler} has registered {single.out.name}, but {single.out} does not contain "
                "the results; put the output folder where all workers share it."
            )
        yield single, problem


def _register_on_worker(request: RegisterRequest) -> str:
    """Why a registration failed; "" if it did not."""
    import torch

    from ..teaching.cluster import limit_threads

    torch.set_num_threads(limit_threads())
    try:
        _register(request)
    except Exception as error:
        return one_sentence(error)
    return ""


def _register(request: RegisterRequest) -> None:
    try:
        register_files(request, kept=_keep())
    except WriteError as error:  # concerns this scan alone as far as is known
        raise UserError(str(error)) from error


@cache
def _keep() -> Kept:
    """What the registrations of this process leave for each other."""
    return Kept()


def make_batch(request: BatchRequest) -> Batch:
    """The batch of all scans of the request, with labels of the same file names where there are some."""
    if request.template_label and not request.template:
        raise UserError("Labels of a template need the template; give --template too.")
    if request.labels and request.template and not request.template_label:
        raise UserError("Labels of the scans are compared with those of the template; give --template-label as well.")
    scans = name_scans(list_cohort(request.images, request.series))
    labels: dict[str, Path] = {}
    if request.labels:
        labels = {name: path for name, scan in scans if (path := find_labels(request.labels, stem(scan)))}
        if not labels:
            raise UserError(f"No file of {request.labels} has the name of a scan; labels are matched to scans by name.")
    options = ["--device", request.device, "--transform-format", request.transform_format]
    options += ["--overlays"] if request.overlays else []
    options += [] if request.picture else ["--no-picture"]
    return Batch(
        scans,
        choose_series(request.template, request.template_series) if request.template else None,
        _find_model(request),
        request.out,
        [*options, *write_arguments(request.registration)],
        request.template_label,
        labels,
        others=[request.images],
        models=request.models,
    )


def _find_model(request: BatchRequest) -> Path:
    """The model's file, or `AUTO`. Raises UserError where there is none."""
    if request.model != AUTO:
        return find_model(request.model)
    list_installed_models(request.models)
    return AUTO
