"""A training run: one optimisation step, and the state that the steps change."""

from __future__ import annotations

import hashlib
import math
import time
from typing import Any

import torch
from torch import nn

from ..errors import UserError
from ..network.networks import SupervoxelNet
from .distributed import Processes
from .history import History
from .options import TrainingOptions
from .samples import SampleBatch

WARM_UP = 50
"""Iterations over which the learning rate rises to its full value, if it decays later."""


class TrainingRun:
    """A network in training, its optimiser, its progress and its learning curve."""

    def __init__(
        self,
        net: SupervoxelNet,
        loss: nn.Module,
        options: TrainingOptions,
        device: torch.device,
        processes: Processes,
        scans: list[list[str]],
    ):
        """loss: a module around ``net``, called with a batch's image, voxels and targets. scans: the names of those for
        training and those for validation."""
        self.net, self.options, self.device, self.processes, self.scans = net, options, device, processes, scans
        self.loss = processes.parallelise(loss, device)
        self.optimiser = torch.optim.Adam(net.parameters(), lr=options.learning_rate)
        scaler = getattr(torch.amp, "GradScaler", torch.cuda.amp.GradScaler)  # torch.amp has one since 2.3
        self.scaler = scaler(enabled=device.type == "cuda" and options.precision in ("auto", "fp16"))
        self.iteration = 0
        self.losses: list[float] = []
        """The loss of each step since the last validation, averaged over the processes."""
        self.history = History()
        self.start = ""
        """SHA-256 of the first weights; "" if they were random."""
        self.waited = 0.0
        """Seconds without a batch, not counting earlier runs."""
        self._earlier_seconds, self._earlier_waited, self._started = 0.0, 0.0, time.monotonic()

    def start_from(self, net: SupervoxelNet) -> None:
        """Take the weights of ``net`` as the first ones."""
        self.net.load_state_dict(net.state_dict())
        weights = b"".join(weight.detach().cpu().numpy().tobytes() for weight in net.state_dict().values())
        self.start = hashlib.sha256(weights).hexdigest()

    @property
    def seconds(self) -> float:
        """Seconds of training, including the earlier runs of a resumed one."""
        return self._earlier_seconds + time.monotonic() - self._started

    def step(self, batch: SampleBatch) -> None:
        """Raises UserError if the loss is not finite."""
        self.net.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(
            batch.image.to(self.device, memory_format=torch.channels_last_3d),
            batch.voxels.to(self.device),
            batch.targets.to(self.device),
        )
        mean = self.processes.average(loss)
        if not math.isfinite(mean):
            raise UserError(f"The training diverged at iteration {self.iteration + 1}; reduce the learning rate.")
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.losses.append(mean)
        self.iteration += 1

    def _learning_rate(self) -> float:
        if not self.options.decay:
            return self.options.learning_rate
        share = self.iteration / self.options.iterations
        warm_up = min(1.0, (self.iteration + 1) / WARM_UP)
        return self.options.learning_rate * warm_up * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))

    def record(self, loss: float, accuracy: float) -> None:
        """Add a row to the learning curve: the result of a validation, and the mean loss since the last one."""
        mean = sum(self.losses) / len(self.losses)
        self.history.rows.append((self.iteration, round(self.seconds, 1), mean, loss, accuracy))
        self.history.waiting_share = (self._earlier_waited + self.waited) / max(self.seconds, 1e-9)
        self.losses = []

    def describe(self) -> str:
        """Such as "iteration 120, loss 2.341, validation 2.512"."""
        recent = self.losses[-20:] or [self.history.rows[-1][2]]
        text = f"iteration {self.iteration}, loss {sum(recent) / len(recent):.3f}"
        return text + f", validation {self.history.rows[-1][3]:.3f}" if self.history.rows else text

    def state_dict(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """What the steps change, for `load_state_dict`: facts that JSON can hold, and tensors by name."""
        facts = {
            "scaler": self.scaler.state_dict(),
            "iteration": self.iteration,
            "seconds": self.seconds,
            "waited": self._earlier_waited + self.waited,
        }
        tensors = {f"net/{name}": weight for name, weight in self.net.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam/{index}/{name}": torch.as_tensor(value) for name, value in moments.items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.device)
        # as tensors, since a loss of a validation may be infinite, which JSON does not know
        tensors["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        tensors["history"] = torch.tensor(self.history.rows, dtype=torch.float64).reshape(-1, len(History.COLUMNS))
        return facts, tensors

    def load_state_dict(self, facts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        """Continue from a state; it may come from a run on another kind of device.

        Raises ValueError, KeyError or an error of torch for one that does not fit the network.
        """
        weights = {name[4:]: value for name, value in tensors.items() if name.startswith("net/")}
        moments = self._read_moments(tensors)
        if not all(torch.isfinite(value).all() for value in (*weights.values(), tensors["losses"])):
            raise ValueError("weights or losses are not finite")
        if not 0 < facts["iteration"] <= self.options.iterations or min(facts["seconds"], facts["waited"]) < 0:
            raise ValueError("the progress is out of range")
        self.net.load_state_dict(weights)
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        for weight, state in self.optimiser.state.items():  # in the weights' order in memory: torch adds faster then
            state |= {name: torch.empty_like(weight).copy_(m) for name, m in state.items() if m.shape == weight.shape}
        if facts["scaler"]:  # empty if the run began on a CPU
            self.scaler.load_state_dict(facts["scaler"])
        torch.set_rng_state(tensors["random/cpu"])
        if "random/cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device)
        self.iteration, self.losses = int(facts["iteration"]), tensors["losses"].tolist()
        rows = tensors["history"].reshape(-1, len(History.COLUMNS)).tolist()
        self.history = History([(int(iteration), *rest) for iteration, *rest in rows])
        self.history.waiting_share = facts["waited"] / max(facts["seconds"], 1e-9)
        self._earlier_seconds, self._earlier_waited = facts["seconds"], facts["waited"]

    def _read_moments(self, tensors: dict[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
        """Adam's state: parameter's number -> its step and moments. Raises ValueError where they do not fit."""
        parameters, found = list(self.net.parameters()), dict[int, dict[str, torch.Tensor]]()
        for name, value in tensors.items():
            if name.startswith("adam/"):
                _, number, what = name.split("/")
                found.setdefault(int(number), {})[what] = value
        for index, moments in found.items():
            shapes = {"step": (), "exp_avg": parameters[index].shape, "exp_avg_sq": parameters[index].shape}
            if {what: value.shape for what, value in moments.items()} != shapes or not all(
                torch.isfinite(value).all() and value.is_floating_point() for value in moments.values()
            ):
                raise ValueError("the moments do not fit the weights")
        return found
