"""Networks that name the template's supervoxels in any scan.

Every network is a *trunk*, image (B, 1, I, J, K) -> features (B, C, i, j, k) at stride 2, and a pointwise
*classifier*, features of single voxels (N, C) -> logits (layers, N, classes). The classifier is pointwise in
all of them, so that a loss or a prediction can be evaluated at chosen voxels only: 2048 logits per voxel are
what costs time and memory, not the trunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

STRIDE = 2  # input voxels per output voxel; output voxel o sits on input voxel 2 o


@dataclass(frozen=True)
class NetworkOptions:
    """What `build` needs to make a network."""

    kind: str = "unet"  # "deeplab" or "unet"
    layers: int = 16  # supervoxel layers = heads
    classes: int = 128  # per layer
    widths: tuple[int, ...] = (24, 64, 128, 192)  # unet: channels from stride 2 to stride 16
    hidden: int = 128  # unet: channels of the classifier's hidden layer
    stem: int = 8  # unet: channels at full resolution before the stride; 0: the strided convolution sees the image


PRESETS = {
    "paper": NetworkOptions(kind="deeplab"),
    "unet": NetworkOptions(widths=(48, 96, 192, 256), stem=16),
    "compact": NetworkOptions(stem=0),
}


def build(options: NetworkOptions) -> SupervoxelNet:
    """The network for ``options``, with fresh weights from torch's global random state."""
    if options.kind == "deeplab":
        classifier = nn.Conv1d(32 * options.layers, options.classes * options.layers, 1, groups=options.layers)
        return SupervoxelNet(DeepLabTrunk(options.layers), classifier, options)
    if options.kind == "unet":
        classifier = nn.Sequential(nn.Conv1d(options.widths[0], options.hidden, 1), nn.LeakyReLU(0.1),
                                   nn.Conv1d(options.hidden, options.classes * options.layers, 1))
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
            features = F.linear(features, module.weight[:, :, 0], module.bias) if isinstance(module, nn.Conv1d) else module(features)
        layers, classes = self.options.layers, self.options.classes
        weight = last.weight[:, :, 0].unflatten(0, (layers, classes)).transpose(1, 2)  # (layers, C / groups, classes)
        inputs = features.unflatten(1, (last.groups, -1)).transpose(0, 1).expand(layers, -1, -1)
        return torch.baddbmm(last.bias.reshape(layers, 1, classes), inputs, weight)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Dense logits (B, layers, classes, i, j, k): large, for tests and small images."""
        features = self.features(image)
        logits = self.classifier(features.flatten(2))
        return logits.reshape(len(image), self.options.layers, self.options.classes, *features.shape[2:])


# ---- 3-D DeepLab: MobileNetV2 blocks, atrous spatial pyramid pooling, one skip, grouped head ----------------

# input, middle and output channels and stride of the eight blocks; the first is a plain convolution of stride 2
_BLOCKS = ((1, 64, 24, 2), (24, 128, 24, 1), (24, 192, 32, 1), (32, 192, 48, 2),
           (48, 256, 48, 1), (48, 256, 48, 1), (48, 256, 64, 1), (64, 384, 64, 1))
_RATES = (2, 4, 8, 16)


class Residual(nn.Module):
    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


class DepthwiseConv3d(nn.Conv3d):
    """A 3x3x3 convolution of each channel by itself. On CPU its backward pass is ours: torch's takes twenty times as long."""

    def __init__(self, channels: int, stride: int):
        super().__init__(channels, channels, 3, padding=1, stride=stride, groups=channels, bias=False)

    def forward(self, x):
        if x.device.type == "cpu" and torch.is_grad_enabled():
            return _Depthwise.apply(x, self.weight, self.stride)
        return super().forward(x)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(context, x, weight, stride):
        context.save_for_backward(x, weight)
        context.stride = stride
        return F.conv3d(x, weight, stride=stride, padding=1, groups=len(weight))

    @staticmethod
    def backward(context, gradient):  # autocast, in which the forward pass may have run, is over: the precision is the gradient's
        x, weight = context.saved_tensors
        steps = [slice(None, None, s) for s in context.stride]
        spread = gradient
        if max(context.stride) > 1:
            spread = torch.zeros_like(x, dtype=gradient.dtype)
            spread[(..., *steps)] = gradient
        to_x = F.conv3d(spread, weight.flip(2, 3, 4).to(gradient.dtype), padding=1, groups=len(weight))
        padded, to_weight = F.pad(x, (1,) * 6).to(gradient.dtype), torch.zeros_like(weight)
        for offset in product(range(3), repeat=3):
            window = padded[(..., *(slice(o, o + n) for o, n in zip(offset, x.shape[2:])))][(..., *steps)]
            to_weight[(slice(None), 0, *offset)] = (gradient * window).sum((0, 2, 3, 4), dtype=weight.dtype)
        return to_x.to(x.dtype), to_weight, None


def _inverted_residual(inputs: int, middle: int, outputs: int, stride: int) -> nn.Module:
    if inputs == 1:
        first = nn.Conv3d(1, middle, 3, padding=1, stride=stride, bias=False)
        stride = 1  # the expanding convolution of the first block takes the stride
    else:
        first = nn.Conv3d(inputs, middle, 1, bias=False)
    block = nn.Sequential(
        first, nn.BatchNorm3d(middle), nn.ReLU6(inplace=True),
        DepthwiseConv3d(middle, stride), nn.BatchNorm3d(middle), nn.ReLU6(inplace=True),
        nn.Conv3d(middle, outputs, 1, bias=False), nn.BatchNorm3d(outputs),
    )
    return Residual(block) if inputs == outputs and stride == 1 else block


def _conv_norm_relu(inputs: int, outputs: int, kernel: int, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=groups,
                                   bias=False), nn.BatchNorm3d(outputs), nn.ReLU())


class ImagePooling(nn.Sequential):
    """The mean of the whole image as a context vector, repeated over it."""

    def forward(self, x):
        pooled = x.mean((2, 3, 4), keepdim=True)
        convolution, norm, relu = self
        pooled = convolution(pooled)
        if not self.training or len(x) > 1:  # one value per channel has no batch variance
            pooled = norm(pooled)
        return relu(pooled).expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: 1x1x1, one 3x3x3 per rate, image pooling; projected to ``width``."""

    def __init__(self, inputs: int, rates: tuple[int, ...], width: int):
        super().__init__()
        self.branches = nn.ModuleList([
            _conv_norm_relu(inputs, width, 1),
            *(_conv_norm_relu(inputs, width, 3, rate) for rate in rates),
            ImagePooling(nn.Conv3d(inputs, width, 1, bias=False), nn.BatchNorm3d(width), nn.ReLU()),
        ])
        self.project = nn.Sequential(*_conv_norm_relu(len(self.branches) * width, width, 1), nn.Dropout(0.5))

    def forward(self, x):
        return self.project(torch.cat([branch(x) for branch in self.branches], 1))


class DeepLabTrunk(nn.Module):
    """Backbone, ASPP and the head up to its last 1x1x1 convolution, which is the classifier.

    Group g of the head serves layer g. Blocks are recomputed in the backward pass to save memory.
    """

    def __init__(self, layers: int):
        super().__init__()
        self.early = nn.Sequential(*(_inverted_residual(*block) for block in _BLOCKS[:2]))  # stride 2, the skip
        self.late = nn.Sequential(*(_inverted_residual(*block) for block in _BLOCKS[2:]))  # stride 4
        self.aspp = ASPP(64, _RATES, 128)
        self.head = nn.Sequential(*_conv_norm_relu(128 + 24, 32 * layers, 1), *_conv_norm_relu(32 * layers, 32 * layers, 3, groups=layers))
        for module in (*self.early.modules(), *self.late.modules()):
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, image):
        skip = _checkpointed(self.early, image)
        context = _checkpointed(self.aspp, _checkpointed(self.late, skip))
        context = F.interpolate(context, size=skip.shape[2:])
        return _checkpointed(self.head, torch.cat([skip, context], 1))


def _checkpointed(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return checkpoint(module, x, use_reentrant=False) if torch.is_grad_enabled() and module.training else module(x)


# ---- 3-D UNet of dense convolutions ------------------------------------------------------------------------


class UNetTrunk(nn.Module):
    """An encoder from stride 2 to stride 16 and back to stride 2; two convolutions per level.

    Channels are reduced before they are upsampled and the last level is narrow: there the voxels are many, and
    the classifier's hidden layer, evaluated at chosen voxels only, widens the features again.
    """

    def __init__(self, options: NetworkOptions):
        super().__init__()

        def block(inputs, outputs, kernel=3, stride=1):
            return nn.Sequential(nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2, stride=stride, bias=False),
                                 nn.InstanceNorm3d(outputs, affine=True), nn.LeakyReLU(0.1, inplace=True))

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
