"""Training: the network learns to name the template's supervoxels in every scan of a study. No labels are used."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from .dataset import AugmentationOptions, Batch, Loader, TrainingSet, sample_layers
from .errors import UserError, refuse
from .files import atomic
from .networks import NetworkOptions, SupervoxelNet, build
from .prediction import autocast
from .progress import Progress, silent
from .ranks import Ranks
from .study import Study


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained; `training_preset` has the values that go with each network preset."""

    iterations: int = 1500
    batch: int = 2
    learning_rate: float = 0.002  # of Adam
    decay: bool = True  # cosine from learning_rate to a hundredth of it; False: constant
    loss_voxels: int | None = 2500  # body voxels per scan in the loss; None: every voxel of the output grid
    validation_scans: int = 4  # kept apart from training, spread over the cohort; at most a fifth of it
    validation_every: int = 100  # iterations
    checkpoint_every: int = 50  # iterations
    checkpoint_seconds: float = 60.0  # where that many iterations take longer
    loaders: int | None = None  # threads that make batches; None: as many as help on the device
    precision: str = "auto"  # "fp32", "bf16", "fp16" or "auto": fp16 on CUDA, fp32 on CPUs
    seed: int = 0
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)

    def __post_init__(self):
        refuse("Training", [
            (self.iterations < 1, "iterations must be at least 1"),
            (self.batch < 1, "batch must be at least 1"),
            (not 0 < self.learning_rate < 1, "the learning rate must lie between 0 and 1"),
            (self.loss_voxels is not None and self.loss_voxels < 1, "loss voxels must be at least 1"),
            (self.validation_every < 1, "validation every must be at least 1 iteration"),
            (self.checkpoint_every < 1, "checkpoint every must be at least 1 iteration"),
            (self.loaders is not None and self.loaders < 0, "loaders must not be negative"),
            (self.precision not in ("auto", "fp32", "bf16", "fp16"), f"unknown precision {self.precision!r}"),
        ])


def training_preset(preset: str, **changes) -> TrainingOptions:
    """Options for a network preset; "paper": the published schedule, the others what suits a small dense UNet."""
    if preset == "paper":
        base = dict(iterations=3000, batch=4, learning_rate=0.004, decay=False, loss_voxels=None)
    else:
        base = dict(augmentation=AugmentationOptions(shift_noise=0.12, gain_noise=0.05, hu_noise=15.0, rotation=28.0, scaling=0.16,
                                                     crop_share=0.35))
    return TrainingOptions(**{**base, **changes})


@dataclass
class History:
    """The learning curve: rows of (iteration, seconds, training loss, validation loss, validation accuracy)."""

    rows: list[tuple] = field(default_factory=list)
    waiting_share: float = 0.0  # of the time, spent without a batch to learn from
    COLUMNS = ("iteration", "seconds", "training_loss", "validation_loss", "validation_accuracy")

    def save_table(self, path: Path) -> None:
        with atomic(path) as part, open(part, "w", newline="") as file:
            csv.writer(file).writerows([self.COLUMNS, *self.rows])

    def save(self, path: Path) -> None:
        """Write ``path``.csv and a picture ``path``.png."""
        self.save_table(Path(f"{path}.csv"))
        import matplotlib
        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        iteration, _, training, validation, accuracy = zip(*self.rows)
        figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
        axes.plot(iteration, training, label="training")
        axes.plot(iteration, validation, label="validation, background left out")
        axes.set(xlabel="iteration", ylabel="cross entropy", title=f"validation accuracy {accuracy[-1]:.1%} of 128 classes")
        axes.legend()
        with atomic(Path(f"{path}.png")) as part:
            figure.savefig(part, dpi=110, format="png")
        plt.close(figure)


def split(names: list[str], validation_scans: int) -> tuple[list[str], list[str]]:
    """(training, validation) names; validation scans are spread evenly over the sorted cohort."""
    count = min(validation_scans, len(names) // 5)
    held = {names[round((i + 0.5) * len(names) / count - 0.5)] for i in range(count)}
    return [n for n in names if n not in held], [n for n in names if n in held]


def train(study: Study, network: NetworkOptions, options: TrainingOptions, checkpoint: Path, device: torch.device,
          resume: bool = False, progress: Progress = silent, start: SupervoxelNet | None = None,
          watch: Callable[[SupervoxelNet, History], None] = lambda net, history: None, ranks: Ranks = Ranks(),
          task: Task | None = None) -> tuple[SupervoxelNet, History]:
    """Train on ``study``; returns the network in evaluation mode and its learning curve.

    start: a trained network of the same options whose weights the training begins with; None: fresh weights.
    watch: called after each validation. ranks: which of the processes that share each batch this one is.
    task: what is learned instead of supervoxels (see ``benchmarks/ablation.py``).

    ``checkpoint`` is rewritten every `checkpoint_every` iterations and after `checkpoint_seconds`, with everything that is
    needed to go on: on CPU a run that was stopped and resumed gives the same weights as one that was not. ``resume`` goes
    on from it.
    """
    torch.manual_seed(options.seed)
    task = task or Task()
    names, held = split(study.scans, options.validation_scans)
    training = TrainingSet(study, names, options.augmentation, options.loss_voxels, task.targets)
    validation = TrainingSet(study, held, options.augmentation, options.loss_voxels or 20_000, task.targets) if held else training
    net = task.build(network).to(device, memory_format=torch.channels_last_3d)
    run = _Run(net, task.loss(net, _precision(device, options.precision)), options, device, ranks, [names, held])
    if start:
        run.begin_with(start)
    if resume:
        run.load(checkpoint)
    share = ranks.share(options.batch)
    batches = Loader(lambda step: training.drawn(step, options.batch, options.seed, share), range(run.iteration, options.iterations),
                     options.loaders if options.loaders is not None else _loaders(device))
    saved = time.monotonic()
    for batch in batches:
        run.step(batch)
        last = run.iteration == options.iterations
        run.waited = batches.waited
        if last or run.iteration % options.validation_every == 0:
            run.record(*(task.validate(run.net, validation, device, options) if ranks.first else (0.0, 0.0)))
            if ranks.first:
                watch(run.net, run.history)
        if ranks.first and (last or run.iteration % options.checkpoint_every == 0 or time.monotonic() - saved > options.checkpoint_seconds):
            run.save(checkpoint)
            saved = time.monotonic()
        progress("training", run.iteration / options.iterations, run.summary())
    ranks.wait()
    return run.net.eval(), run.history


def _precision(device: torch.device, wanted: str) -> str:
    """Not bfloat16 on CPUs: on some frames its convolutions give gradients that are not numbers (seen with torch 2.13)."""
    return "fp32" if wanted == "auto" and device.type == "cpu" else wanted


def _loaders(device: torch.device) -> int:
    """Threads that make batches: on the CPU they would only take cores from the network."""
    return min(8, max(1, (os.cpu_count() or 1) - 1)) if device.type == "cuda" else 0


class SupervoxelLoss(nn.Module):
    """Mean cross entropy over a batch's voxels and all layers: a module, so that processes can share its gradients."""

    def __init__(self, net: SupervoxelNet, precision: str):
        super().__init__()
        self.net, self.precision = net, precision

    def forward(self, image: torch.Tensor, voxels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """As in `Batch`, on the network's device."""
        with autocast(image.device, self.precision):
            features = self.net.features(image).flatten(2)  # (B, C, voxels)
            logits = self.net.logits(torch.cat([f[:, v].T for f, v in zip(features, voxels)]))
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(0, 1).T.flatten())  # (layers, voxels) each


@torch.no_grad()
def validate(net: SupervoxelNet, scans: TrainingSet, device: torch.device, options: TrainingOptions) -> tuple[float, float]:
    """Cross entropy and accuracy on scans without augmentation, background targets left out, on the same voxels each time."""
    net.eval()
    generator = torch.Generator().manual_seed(options.seed)
    loss, right, count = 0.0, 0, 0
    for index in range(len(scans.names)):
        batch = scans.batch([index], generator, augment=False)
        with autocast(device, options.precision):
            features = net.features(batch.image.to(device, memory_format=torch.channels_last_3d))[0].flatten(1)
            logits = net.logits(features[:, batch.voxels[0].to(device)].T).float().flatten(0, 1)
        targets = batch.targets[0].to(device).T.flatten()
        foreground = targets > 0
        loss += F.cross_entropy(logits[foreground], targets[foreground], reduction="sum").item()
        right += (logits[foreground].argmax(1) == targets[foreground]).sum().item()
        count += int(foreground.sum())
    return loss / max(1, count), right / max(1, count)


@dataclass(frozen=True)
class Task:
    """What is learned: the network, its loss (a module made of network and precision, called with a batch's image, voxels and
    targets), its validation, and the targets at points of the template."""

    build: Callable[[NetworkOptions], nn.Module] = build
    loss: Callable[[nn.Module, str], nn.Module] = SupervoxelLoss
    validate: Callable[..., tuple[float, float]] = validate
    targets: Callable[..., torch.Tensor] = sample_layers


class _Run:
    """The state of a training run: what a step changes and a checkpoint holds."""

    def __init__(self, net: SupervoxelNet, loss: nn.Module, options: TrainingOptions, device: torch.device, ranks: Ranks,
                 scans: list[list[str]]):
        self.net, self.options, self.device, self.ranks, self.scans = net, options, device, ranks, scans
        self.loss = ranks.parallel(loss, device)
        self.optimiser = torch.optim.Adam(net.parameters(), lr=options.learning_rate)
        self.scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda" and options.precision in ("auto", "fp16"))
        self.iteration, self.losses, self.history = 0, [], History()
        self.start = ""  # hash of the weights it began with; empty: fresh ones
        self.earlier_seconds, self.started = 0.0, time.monotonic()
        self.earlier_waited, self.waited = 0.0, 0.0  # seconds without a batch

    def begin_with(self, start: SupervoxelNet) -> None:
        self.net.load_state_dict(start.state_dict())
        weights = b"".join(weight.detach().cpu().numpy().tobytes() for weight in start.state_dict().values())
        self.start = hashlib.sha256(weights).hexdigest()

    @property
    def seconds(self) -> float:
        return self.earlier_seconds + time.monotonic() - self.started

    def step(self, batch: Batch) -> None:
        self.net.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(batch.image.to(self.device, memory_format=torch.channels_last_3d), batch.voxels.to(self.device),
                         batch.targets.to(self.device))
        mean = self.ranks.mean(loss)
        if not math.isfinite(mean):
            raise UserError(f"Training diverged at iteration {self.iteration + 1}; lower the learning rate.")
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.losses.append(mean)
        self.iteration += 1

    def _learning_rate(self) -> float:
        if not self.options.decay:
            return self.options.learning_rate
        share = self.iteration / self.options.iterations
        warm_up = min(1.0, (self.iteration + 1) / 50)
        return self.options.learning_rate * warm_up * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))

    def record(self, loss: float, accuracy: float) -> None:
        mean = sum(self.losses) / len(self.losses)
        self.history.rows.append((self.iteration, round(self.seconds, 1), mean, loss, accuracy))
        self.history.waiting_share = (self.earlier_waited + self.waited) / max(self.seconds, 1e-9)
        self.losses = []

    def summary(self) -> str:
        recent = self.losses[-20:] or [self.history.rows[-1][2]]
        text = f"iteration {self.iteration}, loss {sum(recent) / len(recent):.3f}"
        return text + f", validation {self.history.rows[-1][3]:.3f}" if self.history.rows else text

    def save(self, path: Path) -> None:
        content = {"options": json.dumps([asdict(self.net.options), asdict(self.options)]), "net": self.net.state_dict(),
                   "start": self.start, "scans": self.scans,
                   "optimiser": self.optimiser.state_dict(), "scaler": self.scaler.state_dict(),
                   "torch": torch.get_rng_state(), "iteration": self.iteration,
                   "losses": self.losses, "history": self.history.rows, "seconds": self.seconds,
                   "waited": self.earlier_waited + self.waited}
        if self.device.type == "cuda":
            content["cuda"] = torch.cuda.get_rng_state(self.device)
        packed = io.BytesIO()  # torch hides why it cannot write a file
        torch.save(content, packed)
        with atomic(path) as part:
            part.write_bytes(packed.getbuffer())

    def load(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"There is no checkpoint {path} to resume from; start without --resume.")
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
            options = json.loads(content["options"])
        except Exception as error:
            raise UserError(f"The checkpoint {path} is damaged; delete it and start again (train: without --resume).") from error
        if [list(part) for part in options] != [list(asdict(part)) for part in (self.net.options, self.options)]:
            raise UserError(f"The checkpoint {path} was made by another version of SlicReg; start again without --resume.")
        if content.get("scans", self.scans) != self.scans:
            raise UserError(f"The checkpoint {path} was made with other scans; start again without it.")
        if content.get("start", "") != self.start or options != json.loads(json.dumps([asdict(self.net.options), asdict(self.options)])):
            raise UserError(f"The checkpoint {path} was made with other options; resume with the options of the first run (and --from).")
        self.net.load_state_dict(content["net"])
        self.optimiser.load_state_dict(content["optimiser"])
        if content["scaler"]:  # empty where the run began on a CPU
            self.scaler.load_state_dict(content["scaler"])
        torch.set_rng_state(content["torch"].cpu())
        if "cuda" in content:
            torch.cuda.set_rng_state(content["cuda"].cpu(), self.device)
        self.iteration, self.losses = content["iteration"], content["losses"]
        self.history = History([tuple(row) for row in content["history"]])
        self.history.waiting_share = content["waited"] / max(content["seconds"], 1e-9)
        self.earlier_seconds, self.earlier_waited = content["seconds"], content["waited"]
