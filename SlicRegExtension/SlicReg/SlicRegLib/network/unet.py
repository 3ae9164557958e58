"""3-D UNet trunk of dense convolutions."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

from .options import NetworkOptions


class UNetTrunk(nn.Module):
    """An encoder from stride 2 to stride 16 and back to stride 2; two convolutions per level.

    Channels are reduced before they are upsampled and the last level is narrow: there the voxels are many, and
    the classifier's hidden layer, evaluated at chosen voxels only, widens the features again.
    """

    def __init__(self, options: NetworkOptions):
        super().__init__()

        def block(inputs, outputs, kernel=3, stride=1):
            return nn.Sequential(
                nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2, stride=stride, bias=False),
                nn.InstanceNorm3d(outputs, affine=True),
                nn.LeakyReLU(0.1, inplace=True),
            )

        widths = options.widths
        self.stem = block(1, options.stem) if options.stem else nn.Identity()
        inputs = (options.stem or 1, *widths[:-1])
        self.down = nn.ModuleList([nn.Sequential(block(i, o, stride=2), block(o, o)) for i, o in zip(inputs, widths)])
        self.reduce = nn.ModuleList([block(below, w, kernel=1) for below, w in zip(widths[1:], widths)])
        self.up = nn.ModuleList([nn.Sequential(block(2 * w, w), block(w, w)) for w in widths[:-1]])

    def forward(self, image):
        x = self.stem(image)
        skips = []
        for level in self.down:
            x = level(x)
            skips.append(x)
        for reduce, up, skip in zip(reversed(self.reduce), reversed(self.up), reversed(skips[:-1])):
            x = F.interpolate(reduce(x), size=skip.shape[2:], mode="trilinear", align_corners=False)
            x = up(torch.cat([x, skip], 1))
        return x
