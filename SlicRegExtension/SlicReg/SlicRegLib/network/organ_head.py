"""The organs of a cohort's labels, recognised beside the supervoxels: a head for models that labels teach."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

START_BIAS = -5.0
"""Of the last layer: at first hardly any voxel is thought to be part of an organ."""


class OrganHead(nn.Module):
    """The trunk's features (B, C, i, j, k) at stride 2 and the image (B, 1, I, J, K) -> logits (B, organs, I, J, K).

    The trunk knows where in the body a voxel lies, the image where the borders are. Each organ has a logit of its own,
    not a share of one: in a cohort of partial labels, a voxel of no labelled organ may belong to one that nobody drew.
    """

    def __init__(self, channels: int, organs: int):
        super().__init__()
        self.borders = nn.Sequential(_block(1, 16), _block(16, 16))
        self.place = nn.Sequential(_block(channels + 16, 64), _block(64, 64), nn.Conv3d(64, 24, 1))
        self.both = nn.Sequential(_block(24 + 16, 32), _block(32, 32), nn.Conv3d(32, organs, 1))
        with torch.no_grad():
            self.both[-1].bias.fill_(START_BIAS)  # type: ignore[operator]  # it has one

    def forward(self, image: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        borders = self.borders(image)
        coarse = F.avg_pool3d(borders, 2, ceil_mode=True)
        place = self.place(torch.cat([features, coarse], 1))
        place = F.interpolate(place, size=image.shape[2:], mode="trilinear", align_corners=False)
        return self.both(torch.cat([place, borders], 1))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(0.1, inplace=True),
    )
