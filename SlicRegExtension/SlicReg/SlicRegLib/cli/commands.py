"""The command line's commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..cohort.check import Cohort, check_cohort, save_cohort, summary
from ..cohort.cost import TrainingCost, estimate_cost
from ..images.options import PreparationOptions
from ..images.preparation import fit_shape
from ..images.volumes import load_scan
from ..network.devices import choose_device
from ..progress import Progress
from ..training.options import TrainingOptions


def run_check(
    template: Path,
    images: Path,
    preset: str,
    options: TrainingOptions,
    device: str,
    jobs: int,
    preparation: PreparationOptions,
    out: Path | None,
    progress: Progress,
) -> str:
    """`slicreg check`: what is unusual in a cohort and what training on it will cost, as text; more in the folder ``out``."""
    processor, _ = choose_device(device)
    cohort = check_cohort(template, images, jobs, progress)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        save_cohort(out, cohort)
    return (
        f"{summary(cohort)}\nIt will take {expected(cohort, template, preset, options, processor, jobs, preparation)}."
    )


def expected(
    cohort: Cohort,
    template: Path,
    preset: str,
    options: TrainingOptions,
    device: torch.device,
    jobs: int,
    preparation: PreparationOptions,
) -> TrainingCost:
    """What training on ``cohort`` will cost."""
    voxels = int(np.prod(fit_shape(load_scan(template), preparation)))
    return estimate_cost(cohort, voxels, preset, options.iterations, options.batch, jobs, device.type == "cuda")
