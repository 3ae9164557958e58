"""3-D UNet trunk of dense convolutions."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F

from .options import NetworkOptions


class UNetTrunk(nn.Module):
    """An encoder from stride 2 to stride 16 and a decoder back to stride 2, with two convolutions per level:
    (B, 1, I, J, K) -> (B, widths[0], i, j, k).

    Channels are reduced before they are upsampled, and the last level, where the voxels are many, is narrow. The
    classifier's hidden layer, evaluated at chosen voxels only, widens the features again.
    """

    def __init__(self, options: NetworkOptions):
        super().__init__()

        def block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2, stride=stride, bias=False),
                nn.InstanceNorm3d(outputs, affine=True),
                nn.LeakyReLU(0.1, inplace=True),
            )

        widths = options.widths
        self.stem = block(1, options.stem) if options.stem else nn.Identity()
        inputs = (options.stem or 1, *widths[:-1])
        self.down = nn.ModuleList(
            [nn.Sequential(block(i, o, stride=2), block(o, o)) for i, o in zip(inputs, widths, strict=True)]
        )
        self.reduce = nn.ModuleList([block(below, w, kernel=1) for w, below in pairwise(widths)])
        self.up = nn.ModuleList([nn.Sequential(block(2 * w, w), block(w, w)) for w in widths[:-1]])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        skips = []
        for level in self.down:
            x = level(x)
            skips.append(x)
        for reduce, up, skip in zip(reversed(self.reduce), reversed(self.up), reversed(skips[:-1]), strict=True):
            x = F.interpolate(reduce(x), size=skip.shape[2:], mode="trilinear", align_corners=False)
            x = up(torch.cat([x, skip], 1))
        return x

    def features_at(self, image: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
        """The features of chosen voxels: (B, 1, I, J, K) and flat indices (B, n) -> (B * n, C)."""
        return gather(self(image), voxels)


def gather(features: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
    """(B, C, i, j, k) at flat indices (B, n): (B * n, C)."""
    return torch.cat([one[:, chosen].T for one, chosen in zip(features.flatten(2), voxels, strict=True)])
