"""Networks that name the template's supervoxels in any scan.

Every network is a *trunk*, image (B, 1, I, J, K) -> features (B, C, i, j, k) at stride 2, and a pointwise
*classifier*, features of single voxels (N, C) -> logits (layers, N, classes). The classifier is pointwise in
all of them, so that a loss or a prediction can be evaluated at chosen voxels only: 2048 logits per voxel are
what costs time and memory, not the trunk.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

from .deeplab import DeepLabTrunk
from .options import NetworkOptions
from .unet import UNetTrunk


def build(options: NetworkOptions) -> SupervoxelNet:
    """The network for ``options``, with fresh weights from torch's global random state."""
    if options.kind == "deeplab":
        classifier = nn.Conv1d(32 * options.layers, options.classes * options.layers, 1, groups=options.layers)
        return SupervoxelNet(DeepLabTrunk(options.layers), classifier, options)
    if options.kind == "unet":
        classifier = nn.Sequential(
            nn.Conv1d(options.widths[0], options.hidden, 1),
            nn.LeakyReLU(0.1),
            nn.Conv1d(options.hidden, options.classes * options.layers, 1),
        )
        return SupervoxelNet(UNetTrunk(options), classifier, options)
    raise ValueError(f"unknown kind of network {options.kind!r}")


class SupervoxelNet(nn.Module):
    """A trunk and its pointwise classifier; see the module's text."""

    def __init__(self, trunk: nn.Module, classifier: nn.Module, options: NetworkOptions):
        super().__init__()
        self.trunk, self.classifier, self.options = trunk, classifier, options

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, I, J, K) HU / 500 -> (B, C, i, j, k) with i = ceil(I / 2)."""
        return self.trunk(image)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Features of voxels (N, C) -> (layers, N, classes): one matrix product per layer, its classes side by side in memory."""
        *hidden, last = self.classifier if isinstance(self.classifier, nn.Sequential) else [self.classifier]
        for module in hidden:
            features = (
                F.linear(features, module.weight[:, :, 0], module.bias)
                if isinstance(module, nn.Conv1d)
                else module(features)
            )
        layers, classes = self.options.layers, self.options.classes
        weight = last.weight[:, :, 0].unflatten(0, (layers, classes)).transpose(1, 2)  # (layers, C / groups, classes)
        inputs = features.unflatten(1, (last.groups, -1)).transpose(0, 1).expand(layers, -1, -1)
        return torch.baddbmm(last.bias.reshape(layers, 1, classes), inputs, weight)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Dense logits (B, layers, classes, i, j, k): large, for tests and small images."""
        features = self.features(image)
        logits = self.classifier(features.flatten(2))
        return logits.reshape(len(image), self.options.layers, self.options.classes, *features.shape[2:])
