"""The state of a training run: what a step changes and a checkpoint holds."""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from ..errors import UserError
from ..images.files import atomic
from ..network.networks import SupervoxelNet
from .distributed import Processes
from .history import History
from .options import TrainingOptions
from .samples import Batch


class TrainingRun:
    """The state of a training run: what a step changes and a checkpoint holds."""

    def __init__(
        self,
        net: SupervoxelNet,
        loss: nn.Module,
        options: TrainingOptions,
        device: torch.device,
        processes: Processes,
        scans: list[list[str]],
    ):
        self.net, self.options, self.device, self.processes, self.scans = net, options, device, processes, scans
        self.loss = processes.parallel(loss, device)
        self.optimiser = torch.optim.Adam(net.parameters(), lr=options.learning_rate)
        self.scaler = torch.amp.GradScaler(
            device.type, enabled=device.type == "cuda" and options.precision in ("auto", "fp16")
        )
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
        loss = self.loss(
            batch.image.to(self.device, memory_format=torch.channels_last_3d),
            batch.voxels.to(self.device),
            batch.targets.to(self.device),
        )
        mean = self.processes.mean(loss)
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
        content = {
            "options": json.dumps([asdict(self.net.options), asdict(self.options)]),
            "net": self.net.state_dict(),
            "start": self.start,
            "scans": self.scans,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "torch": torch.get_rng_state(),
            "iteration": self.iteration,
            "losses": self.losses,
            "history": self.history.rows,
            "seconds": self.seconds,
            "waited": self.earlier_waited + self.waited,
        }
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
            raise UserError(
                f"The checkpoint {path} is damaged; delete it and start again (train: without --resume)."
            ) from error
        if [list(part) for part in options] != [list(asdict(part)) for part in (self.net.options, self.options)]:
            raise UserError(
                f"The checkpoint {path} was made by another version of SlicReg; start again without --resume."
            )
        if content.get("scans", self.scans) != self.scans:
            raise UserError(f"The checkpoint {path} was made with other scans; start again without it.")
        if content.get("start", "") != self.start or options != json.loads(
            json.dumps([asdict(self.net.options), asdict(self.options)])
        ):
            raise UserError(
                f"The checkpoint {path} was made with other options; resume with the options of the first run (and --from)."
            )
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
