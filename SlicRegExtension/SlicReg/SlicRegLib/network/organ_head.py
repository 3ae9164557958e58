"""The organs of a cohort's labels, recognised beside the supervoxels: a head for models that labels teach."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

START_BIAS = -5.0
"""Of the last layer: at first hardly any voxel is thought to be part of an organ."""


class OrganHead(nn.Module):
    """The trunk's features (B, C, i, j, k) at stride 2 and the image (B, 1, I, J, K) -> logits (B, organs, I, J, K).

    Each organ has a logit of its own, not a share of one: in a cohort of partial labels, a voxel of no labelled organ
    may belong to one that nobody drew.
    """

    def __init__(self, channels: int, organs: int, width: int = 16):
        super().__init__()
        self.reduce = nn.Conv3d(channels, width, 1)
        self.image = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.LeakyReLU(0.1))
        self.mix = nn.Sequential(
            nn.Conv3d(width + 8, 2 * width, 3, padding=1, bias=False),
            nn.InstanceNorm3d(2 * width, affine=True),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv3d(2 * width, 2 * width, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
        )
        self.last = nn.Conv3d(2 * width, organs, 1)
        with torch.no_grad():
            self.last.bias.fill_(START_BIAS)  # type: ignore[union-attr]  # it has one

    def forward(self, image: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        fine = F.interpolate(self.reduce(features), size=image.shape[2:], mode="trilinear", align_corners=False)
        return self.last(self.mix(torch.cat([fine, self.image(image)], 1)))
