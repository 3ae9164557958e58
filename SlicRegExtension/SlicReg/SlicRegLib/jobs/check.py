"""A cohort looked at before a training: what is unusual in it, and what the training will cost."""

from __future__ import annotations

import numpy as np

from ..cohort.check import Cohort, check_cohort, save_cohort, summary
from ..cohort.cost import TrainingCost, estimate_cost
from ..images.options import FrameOptions
from ..images.preparation import fit_shape
from ..images.volumes import Volume, load_scan
from ..network.devices import choose_device
from ..progress import Progress, silent
from ..training.options import ScheduleOptions
from .options import CheckRequest


def check_files(request: CheckRequest, progress: Progress = silent) -> str:
    """`slicreg check`: the findings as text; in the folder ``request.out``, if given, also as JSON and as a picture."""
    choose_device(request.device)  # a wrong name is reported before the scans are read
    template = load_scan(request.template)
    cohort = check_cohort(request.template, request.images, max(1, request.workers), progress, template)
    if request.out:
        request.out.mkdir(parents=True, exist_ok=True)
        save_cohort(request.out, cohort)
    cost = training_cost(cohort, template, request, request, request.workers, request.device)
    return f"{summary(cohort)}\nIt will take {cost}."


def training_cost(
    cohort: Cohort, template: Volume, schedule: ScheduleOptions, frame: FrameOptions, workers: int, device: str
) -> TrainingCost:
    """What a training on ``cohort`` will cost on ``device`` with ``workers`` processes for the teacher."""
    voxels = int(np.prod(fit_shape(template, frame.preparation())))
    training, cuda = schedule.training(), choose_device(device)[0].type == "cuda"
    return estimate_cost(cohort, voxels, schedule.preset, training.iterations, training.batch, max(1, workers), cuda)
