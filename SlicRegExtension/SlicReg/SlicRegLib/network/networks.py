"""Networks that recognise the template's supervoxels in any scan.

Every network is a *trunk*, image (B, 1, I, J, K) -> features (B, C, i, j, k) at stride 2, and a pointwise
*classifier*, features of single voxels (N, C) -> logits (layers, N, classes). Since the classifier is pointwise, a loss
or a prediction can be evaluated at chosen voxels only: the 2048 logits per voxel need not exist for the whole scan.
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
        grouped = nn.Conv1d(32 * options.layers, options.classes * options.layers, 1, groups=options.layers)
        return SupervoxelNet(DeepLabTrunk(options.layers), grouped, options)
    if options.kind == "unet":
        hidden_layer = nn.Sequential(
            nn.Conv1d(options.widths[0], options.hidden, 1),
            nn.LeakyReLU(0.1),
            nn.Conv1d(options.hidden, options.classes * options.layers, 1),
        )
        return SupervoxelNet(UNetTrunk(options), hidden_layer, options)
    raise ValueError(f"unknown kind of network {options.kind!r}; use deeplab or unet")


class SupervoxelNet(nn.Module):
    """A trunk and its pointwise classifier; see the module's docstring."""

    def __init__(self, trunk: nn.Module, classifier: nn.Conv1d | nn.Sequential, options: NetworkOptions):
        super().__init__()
        self.trunk, self.classifier, self.options = trunk, classifier, options

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, I, J, K) HU / 500 -> (B, C, i, j, k) with i = ceil(I / 2)."""
        return self.trunk(image)

    def features_at(self, image: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
        """`features` of chosen voxels, by their flat indices (B, n): (B * n, C). Few take less work than all."""
        return self.trunk.features_at(image, voxels)  # type: ignore[operator]

    def logits(self, features: torch.Tensor, layers: int | None = None) -> torch.Tensor:
        """Features of voxels (N, C) -> (layers, N, classes): one matrix product per layer, with contiguous classes.

        layers: only so many, the first; None: all.
        """
        *hidden, last = self.classifier if isinstance(self.classifier, nn.Sequential) else [self.classifier]
        assert isinstance(last, nn.Conv1d) and last.bias is not None
        for module in hidden:
            if isinstance(module, nn.Conv1d):
                features = F.linear(features, module.weight[:, :, 0], module.bias)
            else:
                features = module(features)
        count, classes = self.options.layers, self.options.classes
        weight = last.weight[:, :, 0].unflatten(0, (count, classes)).transpose(1, 2)  # (layers, C / groups, classes)
        inputs = features.unflatten(1, (last.groups, -1)).transpose(0, 1).expand(count, -1, -1)
        return torch.baddbmm(last.bias.reshape(count, 1, classes)[:layers], inputs[:layers], weight[:layers])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Dense logits (B, layers, classes, i, j, k), for tests and small images: they take gigabytes for a scan."""
        features = self.features(image)
        logits = self.classifier(features.flatten(2))
        return logits.reshape(len(image), self.options.layers, self.options.classes, *features.shape[2:])
