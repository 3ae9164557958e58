"""The training loop: batches, steps, validations and checkpoints."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..network.devices import choose_precision
from ..network.networks import SupervoxelNet
from ..network.options import NetworkOptions
from ..progress import Progress, silent
from ..stages import TRAINING
from ..teaching.study import Study
from .checkpoint import load_checkpoint, save_checkpoint
from .distributed import Processes
from .history import History
from .loader import Loader
from .objective import Task
from .options import TrainingOptions
from .run import TrainingRun
from .samples import TrainingSet

VALIDATION_VOXELS = 20_000
"""Per scan, if the loss is taken at all voxels."""


def split(names: list[str], validation_scans: int) -> tuple[list[str], list[str]]:
    """(training, validation) names. Validation scans are spread evenly over ``names`` and at most a fifth of them."""
    count = min(validation_scans, len(names) // 5)
    held = {names[round((i + 0.5) * len(names) / count - 0.5)] for i in range(count)}
    return [n for n in names if n not in held], [n for n in names if n in held]


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What is trained, on which scans, and how."""

    study: Study
    network: NetworkOptions
    options: TrainingOptions
    start: SupervoxelNet | None = None
    """A trained network with the same options, whose weights are the first ones; None: random weights."""
    task: Task = field(default_factory=Task)
    """What is learned."""


def train(
    plan: TrainingPlan,
    checkpoint: Path,
    device: torch.device,
    resume: bool = False,
    progress: Progress = silent,
    watch: Callable[[SupervoxelNet, History], None] = lambda net, history: None,
    processes: Processes = Processes(),
) -> tuple[SupervoxelNet, History]:
    """Train a network; returns it in evaluation mode, and its learning curve.

    ``checkpoint`` is rewritten every `checkpoint_every` iterations and after `checkpoint_seconds`; ``resume`` continues
    from it. On a CPU, a run that was stopped and resumed ends with the same weights as one that was not. A finished run
    may be resumed with more iterations; where its learning rate decays, that rises to its value in the longer schedule.

    watch: called after each validation. processes: which of the processes that share each batch this one is.
    """
    study, options, task = plan.study, plan.options, plan.task
    torch.manual_seed(options.seed)
    names, held = split(study.scans, options.validation_scans)
    training = TrainingSet(study, names, options.augmentation, options.loss_voxels, task.targets, device)
    validation = training
    if held:
        voxels = options.loss_voxels or VALIDATION_VOXELS
        validation = TrainingSet(study, held, options.augmentation, voxels, task.targets, device)
    net = task.build(plan.network).to(device, memory_format=torch.channels_last_3d)
    precision = choose_precision(device, options.precision, training=True)
    run = TrainingRun(net, task.loss(net, precision), options, device, processes, [names, held])
    if plan.start:
        run.start_from(plan.start)
    if resume:
        load_checkpoint(checkpoint, run)
    share = processes.share(options.batch)
    batches = Loader(
        lambda step: training.draw(step, options.batch, options.seed, share),
        range(run.iteration, options.iterations),
        _choose_loaders(device) if options.loaders is None else options.loaders,
    )
    saved = time.monotonic()
    for batch in batches:
        run.step(batch)
        last = run.iteration == options.iterations
        run.waited = batches.waited
        if last or run.iteration % options.validation_every == 0:
            if processes.first:
                run.record(*task.validate(run.net, validation, device, options.seed, precision))
                watch(run.net, run.history)
            else:
                run.record(0.0, 0.0)
        due = run.iteration % options.checkpoint_every == 0 or time.monotonic() - saved > options.checkpoint_seconds
        if processes.first and (last or due):
            save_checkpoint(checkpoint, run)
            saved = time.monotonic()
        progress(TRAINING, run.iteration / options.iterations, run.describe())
    processes.wait()
    return run.net.eval(), run.history


def _choose_loaders(device: torch.device) -> int:
    """Threads that make batches; none on a CPU, where they would only compete with the network. A GPU makes the samples
    itself, so that few threads suffice; for a cohort of which it cannot keep all scans, give `loaders`."""
    return min(4, max(1, (os.cpu_count() or 1) - 1)) if device.type == "cuda" else 0
