"""What the network learns: the loss and the validation, together as a task that a benchmark can replace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..geometry.grid import Grid
from ..network.devices import autocast
from ..network.networks import SupervoxelNet, build
from ..network.options import NetworkOptions
from .samples import TrainingSet, sample_layers


class SupervoxelLoss(nn.Module):
    """Mean cross entropy over a batch's voxels and all layers; a module, so that processes can share its gradients."""

    def __init__(self, net: SupervoxelNet, precision: str):
        super().__init__()
        self.net, self.precision = net, precision

    def forward(self, image: torch.Tensor, voxels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of a `SampleBatch` on the network's device."""
        with autocast(image.device, self.precision):
            logits = self.net.logits(self.net.features_at(image, voxels))
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(0, 1).T.flatten())  # (layers, voxels) each


@torch.no_grad()
def validate(
    net: SupervoxelNet, scans: TrainingSet, device: torch.device, seed: int, precision: str
) -> tuple[float, float]:
    """Cross entropy and accuracy on scans without augmentation, without background, on the same voxels each time."""
    net.eval()
    generator = torch.Generator().manual_seed(seed)
    loss, correct, count = 0.0, 0, 0
    for index in range(len(scans.names)):
        batch = scans.batch([index], generator, augment=False)
        with autocast(device, precision):
            image = batch.image.to(device, memory_format=torch.channels_last_3d)
            logits = net.logits(net.features_at(image, batch.voxels.to(device))).float().flatten(0, 1)
        targets = batch.targets[0].to(device).T.flatten()
        foreground = targets > 0
        loss += F.cross_entropy(logits[foreground], targets[foreground], reduction="sum").item()
        correct += int((logits[foreground].argmax(1) == targets[foreground]).sum())
        count += int(foreground.sum())
    return loss / max(1, count), correct / max(1, count)


@dataclass(frozen=True)
class Task:
    """What `loop.train` trains a network for; by default, to recognise supervoxels."""

    build: Callable[[NetworkOptions], Any] = build
    """The network, with `features_at` and `options` as in `SupervoxelNet`."""
    loss: Callable[[Any, str], nn.Module] = SupervoxelLoss
    """Network and precision -> a module that is called with a batch's image, voxels and targets."""
    validate: Callable[[Any, TrainingSet, torch.device, int, str], tuple[float, float]] = validate
    """Network, scans, device, seed and precision -> loss and accuracy."""
    targets: Callable[[torch.Tensor, Grid, torch.Tensor], torch.Tensor] = sample_layers
    """The template's layers (float), their grid and world points (n, 3) -> what is to be learned at each point."""
