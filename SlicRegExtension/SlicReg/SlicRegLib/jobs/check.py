"""The check of a cohort before a training: unusual scans, and the cost of the training."""

from __future__ import annotations

import numpy as np

from ..cohort.check import PICTURE, REPORT, check_cohort, save_cohort
from ..cohort.cost import TrainingCost, estimate_cost
from ..cohort.facts import Cohort
from ..cohort.listing import list_cohort, list_cohort_inputs
from ..cohort.summary import summarise
from ..images.dicom_series import choose_series
from ..images.files import check_output, new_folder
from ..images.options import FrameOptions
from ..images.preparation import fit_shape
from ..images.volumes import Volume, load_scan
from ..network.devices import choose_device
from ..progress import Progress, silent
from ..teaching.groupwise import MOST_ROUNDS
from ..teaching.options import TeacherOptions
from ..teaching.start_scan import choose_start
from ..training.options import ScheduleOptions
from .options import CheckRequest


def check_files(request: CheckRequest, progress: Progress = silent) -> str:
    """`slicreg check`: the findings as text; with ``request.out``, also written to that folder, with a picture."""
    request.training(), request.preparation()  # wrong options are reported before the scans are read
    choose_device(request.device)  # a wrong name is reported before the scans are read
    if request.out:
        inputs = list_cohort_inputs(request.images, request.series)
        inputs += [request.template] if request.template else []
        check_output(request.out, folder=True, names=(REPORT, PICTURE), inputs=inputs)
    begin, rounds = request.template, 1
    if begin is None:  # the cohort's average will be the template
        paths = list_cohort(request.images, request.series)
        begin, rounds = choose_start(paths, max(1, request.workers), progress), MOST_ROUNDS
    path = choose_series(begin, request.template_series)
    template = load_scan(path)
    cohort = check_cohort(path, request.images, max(1, request.workers), progress, template, request.series)
    if request.out:
        with new_folder(request.out):
            save_cohort(request.out, cohort)
    cost = estimate_training_cost(cohort, template, request, request, request.workers, request.device, rounds=rounds)
    return f"{summarise(cohort)}\nThe training will take {cost}."


def estimate_training_cost(
    cohort: Cohort,
    template: Volume,
    schedule: ScheduleOptions,
    frame: FrameOptions,
    workers: int,
    device: str,
    teacher: str = TeacherOptions.teacher,
    rounds: int = 1,
) -> TrainingCost:
    """Time, memory and disk of a training on ``device`` with ``workers`` processes for the teacher.

    rounds: how often the teacher registers each scan; more than once for an average.
    """
    voxels = int(np.prod(fit_shape(template, frame.preparation())))
    options, cuda = schedule.training(), choose_device(device)[0].type == "cuda"
    scans = len(cohort.usable)
    return estimate_cost(
        scans,
        voxels,
        schedule.preset,
        options.iterations,
        options.batch,
        max(1, workers),
        cuda,
        teacher,
        all_voxels=options.loss_voxels is None,
        rounds=rounds,
    )
