"""The rows of ``table1.py``: how each registers, how its network is trained, and for how many iterations."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import torch

from cohort import AFFINE_START
from from_start import Pair, register_from
from pddnet import register_by_pddnet, train_pddnet
from regression import NEAR_MM, POINTS, register_by_regression, train_regression
from SlicRegLib.geometry.field import DisplacementField, affine_field
from SlicRegLib.geometry.grid import bounding_grid, translation
from SlicRegLib.network.options import PRESETS
from SlicRegLib.network.prediction import describe, encode
from SlicRegLib.progress import Progress, silent
from SlicRegLib.registration.key_points import describe_key_points
from SlicRegLib.registration.model import Model
from SlicRegLib.registration.options import MODES, RegistrationOptions
from SlicRegLib.registration.register import register
from SlicRegLib.registration.result import Registration
from SlicRegLib.teaching.study import Study
from SlicRegLib.training.loop import TrainingPlan, train
from SlicRegLib.training.options import TrainingOptions

TRIAL = 5
"""Steps that are timed to learn how many fit into a budget; the first, which warms up, does not count."""
KINDS = {"plain": ("", MODES["published"]), "refined": (", refined", MODES["default"])}
"""How a row is measured: what is added to its title, and the options."""
SUPERVOXEL_KINDS = {
    "plain": ("", MODES["published"]),
    "affine": (", from the affine map", AFFINE_START),
    "refined": (", from the affine map, refined", MODES["default"]),
}


@dataclass(frozen=True)
class Row:
    """A row of the table: how it registers, and how its network, a preset, is trained; without one, nothing is."""

    title: str
    register: Callable[..., Registration]
    train: Callable[..., tuple[Any, Any]] | None = None
    preset: str = ""
    figures: tuple[str, str] = ("", "")
    """What a validation of the training returns."""
    loss_voxels: int | None = None
    """Of each scan, if not as many as the schedule says."""
    kinds: dict[str, tuple[str, RegistrationOptions]] = field(default_factory=lambda: KINDS)


def align_centres(pair: Pair) -> DisplacementField:
    """The centres of mass are laid on each other, as the paper begins; for `register_from`."""
    centres = translation(pair.moving.grid.centre - pair.fixed.grid.centre)
    return affine_field(centres, bounding_grid([pair.fixed.grid], pair.options.alignment.field_spacing_mm))


SUPERVOXELS = ("cross_entropy", "accuracy")
PLACES = ("distance_mm", f"within_{NEAR_MM:.0f}_mm")
ROWS = {
    "initial": Row("initial", partial(register_from, align_centres)),
    "pddnet": Row(
        "PDD-Net, two warps",
        register_by_pddnet,
        train_pddnet,
        "compact",
        ("features_apart", "share_of_before"),
        loss_voxels=1,
    ),
    "unet-regression": Row(
        "UNet + regression + random walk", register_by_regression, train_regression, "unet", PLACES, POINTS
    ),
    "deeplab-regression": Row(
        "DeepLab + regression + random walk", register_by_regression, train_regression, "paper", PLACES, POINTS
    ),
    "unet-slic": Row("UNet + Slic + Adam", register, train, "unet", SUPERVOXELS, kinds=SUPERVOXEL_KINDS),
    "deeplab-slic": Row("DeepLab + Slic + Adam", register, train, "paper", SUPERVOXELS, kinds=SUPERVOXEL_KINDS),
}


def time_step(row: Row, study: Study, schedule: TrainingOptions, device: torch.device) -> float:
    """Seconds per step of the row's training."""
    assert row.train is not None
    times = [time.perf_counter()]

    def note(*_: Any) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())

    trial = replace(schedule, iterations=TRIAL + 1, validation_scans=1)  # the last step also validates
    with TemporaryDirectory() as folder:
        row.train(TrainingPlan(study, PRESETS[row.preset], trial), Path(folder, "trial"), device, False, note)
    return fmean(after - before for before, after in pairwise(times[1:-1]))


def train_row(
    row: Row,
    study: Study,
    schedule: TrainingOptions,
    checkpoint: Path,
    device: torch.device,
    progress: Progress = silent,
) -> tuple[Model, dict[str, Any] | None]:
    """The row's model, its training resumed from ``checkpoint`` if that exists, and what the training took."""
    fixed = study.template()
    model = Model(None, study.preparation, study.layers(), fixed.grid, study.template_sha256)  # type: ignore[arg-type]
    if row.train is None:
        return model, None
    plan = TrainingPlan(study, PRESETS[row.preset], schedule)
    net, history = row.train(plan, checkpoint, device, checkpoint.is_file(), progress)
    net = net.cpu()
    key_points = None
    if row.train is train:
        key_points = describe_key_points(describe(net, encode(net, fixed)), fixed.body, fixed.grid)
    iteration, seconds, _, *validation = history.rows[-1]
    return replace(model, net=net, key_points=key_points), {
        "preset": row.preset,
        "schedule": asdict(replace(schedule, loss_voxels=row.loss_voxels or schedule.loss_voxels)),
        "iterations": iteration,
        "seconds": seconds,
        "samples": iteration * schedule.batch,
        "parameters": sum(p.numel() for p in net.parameters()),
        "validation": dict(zip(row.figures, validation, strict=True)),
    }
