"""Registration from a field that something else than this project's supervoxels found; the rest is as in `register`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.images.preparation import PreparedScan, prepare_scan
from SlicRegLib.images.volumes import Volume
from SlicRegLib.progress import Progress, silent
from SlicRegLib.registration.model import Model
from SlicRegLib.registration.options import RegistrationOptions
from SlicRegLib.registration.register import Stopwatch, refine_and_unfold
from SlicRegLib.registration.result import Registration


@dataclass(frozen=True, eq=False)
class Pair:
    """Two prepared scans, and what a function needs that finds a start for them."""

    model: Model
    fixed: PreparedScan
    moving: PreparedScan
    options: RegistrationOptions
    device: torch.device
    clock: Stopwatch


def register_from(
    find_start: Callable[[Pair], DisplacementField],
    model: Model,
    template: Volume,
    target: Volume,
    options: RegistrationOptions = RegistrationOptions(),
    device: torch.device = torch.device("cpu"),
    progress: Progress = silent,
) -> Registration:
    """As `register`, from ``find_start``'s field: dense, fixed to moving, RAS mm."""
    clock = Stopwatch(progress)
    with clock("preparation"):
        fixed, moving = (prepare_scan(scan, model.preparation) for scan in (template, target))
    start = find_start(Pair(model, fixed, moving, options, device, clock))
    dense, backward = refine_and_unfold([start], fixed, moving, clock, options, device)
    return Registration(template, target, dense, clock.seconds, True, backward=backward)
