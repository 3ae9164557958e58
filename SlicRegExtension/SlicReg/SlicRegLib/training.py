"""Training: the network learns to name the template's supervoxels in every scan of a study. No labels are used."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F

from .dataset import AugmentationOptions, Batch, TrainingSet
from .errors import UserError, refuse
from .files import atomic
from .networks import NetworkOptions, SupervoxelNet, build
from .prediction import autocast
from .progress import Progress, silent
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
    precision: str = "auto"  # "fp32", "bf16", "fp16" or "auto": fp16 on CUDA, bf16 on CPUs that compute in it
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
    COLUMNS = ("iteration", "seconds", "training_loss", "validation_loss", "validation_accuracy")

    def save(self, path: Path) -> None:
        """Write ``path``.csv and a picture ``path``.png."""
        with atomic(Path(f"{path}.csv")) as part, open(part, "w", newline="") as file:
            csv.writer(file).writerows([self.COLUMNS, *self.rows])
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
          resume: bool = False, progress: Progress = silent, start: SupervoxelNet | None = None) -> tuple[SupervoxelNet, History]:
    """Train on ``study``; returns the network in evaluation mode and its learning curve.

    start: a trained network of the same options whose weights the training begins with; None: fresh weights.

    ``checkpoint`` is rewritten every `checkpoint_every` iterations, with everything that is needed to go on: on CPU a
    run that was stopped and resumed gives the same weights as one that was not. ``resume`` goes on from it.
    """
    torch.manual_seed(options.seed)
    names, held = split(study.scans, options.validation_scans)
    training = TrainingSet(study, names, options.augmentation, options.loss_voxels)
    validation = TrainingSet(study, held, options.augmentation, options.loss_voxels or 20_000) if held else training
    run = _Run(build(network).to(device, memory_format=torch.channels_last_3d), options, device)
    if start:
        run.begin_with(start)
    if resume:
        run.load(checkpoint)
    while run.iteration < options.iterations:
        chosen = torch.randint(len(names), (options.batch,), generator=run.generator).tolist()
        run.step(training.batch(chosen, run.generator))
        last = run.iteration == options.iterations
        if last or run.iteration % options.validation_every == 0:
            run.record(*validate(run.net, validation, device, options))
        if last or run.iteration % options.checkpoint_every == 0:
            run.save(checkpoint)
        progress("training", run.iteration / options.iterations, run.summary())
    return run.net.eval(), run.history


def supervoxel_loss(net: SupervoxelNet, batch: Batch, device: torch.device, precision: str) -> torch.Tensor:
    """Mean cross entropy over the batch's voxels and all layers."""
    image = batch.image.to(device, memory_format=torch.channels_last_3d)
    with autocast(device, precision):
        features = net.features(image).flatten(2)  # (B, C, voxels)
        picked = torch.cat([f[:, v].T for f, v in zip(features, batch.voxels.to(device))])
        logits = net.logits(picked)
    targets = batch.targets.to(device).flatten(0, 1).T  # (layers, voxels), as the logits
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


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


class _Run:
    """The state of a training run: what a step changes and a checkpoint holds."""

    def __init__(self, net: SupervoxelNet, options: TrainingOptions, device: torch.device):
        self.net, self.options, self.device = net, options, device
        self.optimiser = torch.optim.Adam(net.parameters(), lr=options.learning_rate)
        self.scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda" and options.precision in ("auto", "fp16"))
        self.generator = torch.Generator().manual_seed(options.seed)
        self.iteration, self.losses, self.history = 0, [], History()
        self.start = ""  # hash of the weights it began with; empty: fresh ones
        self.earlier_seconds, self.started = 0.0, time.monotonic()

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
        loss = supervoxel_loss(self.net, batch, self.device, self.options.precision)
        if not math.isfinite(loss.item()):
            raise UserError(f"Training diverged at iteration {self.iteration + 1}; lower the learning rate.")
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.losses.append(loss.item())
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
        self.losses = []

    def summary(self) -> str:
        recent = self.losses[-20:] or [self.history.rows[-1][2]]
        text = f"iteration {self.iteration}, loss {sum(recent) / len(recent):.3f}"
        return text + f", validation {self.history.rows[-1][3]:.3f}" if self.history.rows else text

    def save(self, path: Path) -> None:
        content = {"options": json.dumps([asdict(self.net.options), asdict(self.options)]), "net": self.net.state_dict(),
                   "start": self.start,
                   "optimiser": self.optimiser.state_dict(), "scaler": self.scaler.state_dict(),
                   "generator": self.generator.get_state(), "torch": torch.get_rng_state(), "iteration": self.iteration,
                   "losses": self.losses, "history": self.history.rows, "seconds": self.seconds}
        if self.device.type == "cuda":
            content["cuda"] = torch.cuda.get_rng_state(self.device)
        with atomic(path) as part:
            torch.save(content, part)

    def load(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"There is no checkpoint {path} to resume from; start without --resume.")
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
            options = json.loads(content["options"])
        except Exception as error:
            raise UserError(f"The checkpoint {path} is damaged; start again without --resume.") from error
        if [list(part) for part in options] != [list(asdict(part)) for part in (self.net.options, self.options)]:
            raise UserError(f"The checkpoint {path} was made by another version of SlicReg; start again without --resume.")
        if content.get("start", "") != self.start or options != json.loads(json.dumps([asdict(self.net.options), asdict(self.options)])):
            raise UserError(f"The checkpoint {path} was made with other options; resume with the options of the first run (and --from).")
        self.net.load_state_dict(content["net"])
        self.optimiser.load_state_dict(content["optimiser"])
        if content["scaler"]:  # empty where the run began on a CPU
            self.scaler.load_state_dict(content["scaler"])
        self.generator.set_state(content["generator"].cpu())
        torch.set_rng_state(content["torch"].cpu())
        if "cuda" in content:
            torch.cuda.set_rng_state(content["cuda"].cpu(), self.device)
        self.iteration, self.losses = content["iteration"], content["losses"]
        self.history = History([tuple(row) for row in content["history"]])
        self.earlier_seconds = content["seconds"]
