"""3-D DeepLab trunk: MobileNetV2 blocks, atrous spatial pyramid pooling, one skip connection, grouped head."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

# input, middle and output channels and stride of the eight blocks; the first is a plain convolution of stride 2
_BLOCKS = (
    (1, 64, 24, 2),
    (24, 128, 24, 1),
    (24, 192, 32, 1),
    (32, 192, 48, 2),
    (48, 256, 48, 1),
    (48, 256, 48, 1),
    (48, 256, 64, 1),
    (64, 384, 64, 1),
)
_RATES = (2, 4, 8, 16)


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def _inverted_residual(inputs: int, middle: int, outputs: int, stride: int) -> nn.Module:
    if inputs == 1:
        first = nn.Conv3d(1, middle, 3, padding=1, stride=stride, bias=False)
        stride = 1  # the expanding convolution of the first block takes the stride
    else:
        first = nn.Conv3d(inputs, middle, 1, bias=False)
    block = nn.Sequential(
        first,
        nn.BatchNorm3d(middle),
        nn.ReLU6(inplace=True),
        nn.Conv3d(middle, middle, 3, padding=1, stride=stride, groups=middle, bias=False),  # depthwise
        nn.BatchNorm3d(middle),
        nn.ReLU6(inplace=True),
        nn.Conv3d(middle, outputs, 1, bias=False),
        nn.BatchNorm3d(outputs),
    )
    return Residual(block) if inputs == outputs and stride == 1 else block


def _conv_norm_relu(inputs: int, outputs: int, kernel: int, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(
            inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=groups, bias=False
        ),
        nn.BatchNorm3d(outputs),
        nn.ReLU(),
    )


class ImagePooling(nn.Sequential):
    """The mean over the image as a context vector, repeated at every voxel. A batch of one is not normalised in
    training, since one value per channel has no variance."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = x.mean((2, 3, 4), keepdim=True)
        convolution, norm, relu = self
        pooled = convolution(pooled)
        if not self.training or len(x) > 1:
            pooled = norm(pooled)
        return relu(pooled).expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1x1 convolution, a 3x3x3 convolution per rate and image pooling, projected
    to ``width`` channels."""

    def __init__(self, inputs: int, rates: tuple[int, ...], width: int):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                _conv_norm_relu(inputs, width, 1),
                *(_conv_norm_relu(inputs, width, 3, rate) for rate in rates),
                ImagePooling(nn.Conv3d(inputs, width, 1, bias=False), nn.BatchNorm3d(width), nn.ReLU()),
            ]
        )
        self.project = nn.Sequential(*_conv_norm_relu(len(self.branches) * width, width, 1), nn.Dropout(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(torch.cat([branch(x) for branch in self.branches], 1))


class DeepLabTrunk(nn.Module):
    """Backbone, ASPP and the head without its last 1x1x1 convolution, which is the classifier: (B, 1, I, J, K) ->
    (B, 32 * layers, i, j, k) at stride 2.

    Group g of the head serves layer g. Blocks are recomputed in the backward pass to save memory.
    """

    def __init__(self, layers: int):
        super().__init__()
        self.early = nn.Sequential(*(_inverted_residual(*block) for block in _BLOCKS[:2]))  # stride 2, the skip
        self.late = nn.Sequential(*(_inverted_residual(*block) for block in _BLOCKS[2:]))  # stride 4
        self.aspp = ASPP(64, _RATES, 128)
        self.head = nn.Sequential(
            *_conv_norm_relu(128 + 24, 32 * layers, 1), *_conv_norm_relu(32 * layers, 32 * layers, 3, groups=layers)
        )
        for module in (*self.early.modules(), *self.late.modules()):
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        skip = _checkpoint(self.early, image)
        context = _checkpoint(self.aspp, _checkpoint(self.late, skip))
        context = F.interpolate(context, size=skip.shape[2:])
        return _checkpoint(self.head, torch.cat([skip, context], 1))


def _checkpoint(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return checkpoint(module, x, use_reentrant=False) if torch.is_grad_enabled() and module.training else module(x)
