"""3-D DeepLab trunk: MobileNetV2 blocks, atrous spatial pyramid pooling, one skip connection, grouped head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from ..geometry.grid import unravel
from .unet import gather

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
AMPLE_MEMORY = 4000
"""Bytes of a GPU for each voxel of a batch. Four scans of 1.15 million voxels take 9.7 GB with the head at all voxels;
with blocks that are computed again they take 5 GB and an eighth more time."""
NEIGHBOURS = 27
"""Of a voxel, itself among them, in a 3x3x3 convolution."""


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class DepthwiseConv(nn.Conv3d):
    """A depthwise convolution, computed on a GPU and in training as an ordinary one in groups of `CHANNELS` channels
    whose other weights are zero.

    The result is the same. The libraries compute depthwise gradients in three dimensions channel by channel: the
    backward pass takes three times as long on a CPU, and two hundred times as long on a GPU (channels last).
    """

    CHANNELS = 16

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (x.is_cuda or torch.is_grad_enabled()) or self.groups % self.CHANNELS:
            return super().forward(x)
        own = torch.eye(self.CHANNELS, device=x.device, dtype=self.weight.dtype).repeat(self.groups // self.CHANNELS, 1)
        weight = self.weight * own[:, :, None, None, None]
        return F.conv3d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups // self.CHANNELS)


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
        DepthwiseConv(middle, middle, 3, padding=1, stride=stride, groups=middle, bias=False),
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

    Group g of the head serves layer g. Blocks are computed again in the backward pass to save memory, except on a GPU
    with `AMPLE_MEMORY`.
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
        return self._runner(image)(self.head, self._join(image))

    def features_at(self, image: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
        """As `UNetTrunk.features_at`. Where voxels and neighbours are fewer than all, the head, three fifths of the
        work, is computed at them alone. In training its norms then take their statistics from these."""
        joined = self._join(image)
        if voxels.shape[1] * NEIGHBOURS > joined[0, 0].numel():
            return gather(self._runner(image)(self.head, joined), voxels)
        return self._apply_head_at(joined, voxels)

    def _join(self, image: torch.Tensor) -> torch.Tensor:
        """What the head sees."""
        run = self._runner(image)
        skip = run(self.early, image)
        context = run(self.aspp, run(self.late, skip))
        return torch.cat([skip, F.interpolate(context, size=skip.shape[2:])], 1)

    def _runner(self, image: torch.Tensor) -> Callable[[nn.Module, torch.Tensor], torch.Tensor]:
        """What runs a block: it is computed again in the backward pass if memory is scarce."""
        if torch.is_grad_enabled() and self.training and not _has_ample_memory(image):
            return _run_twice
        return _run_once

    def _apply_head_at(self, joined: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
        """(B, C, i, j, k), (B, n) -> (B * n, 32 * layers)."""
        widen, norm, relu, mix, last_norm, last_relu = self.head
        assert isinstance(widen, nn.Conv3d) and isinstance(mix, nn.Conv3d)
        neighbours, inside = _find_neighbours(voxels, joined.shape[2:])  # (B, n, 27)
        near = relu(_normalise(norm, F.linear(gather(joined, neighbours.flatten(1)), widen.weight.flatten(1))))
        near = near * inside.reshape(-1, 1)  # beyond the edges the convolution sees zeros
        groups, count = mix.groups, len(voxels) * voxels.shape[1]
        patches = near.reshape(count, NEIGHBOURS, groups, -1).permute(2, 0, 3, 1).flatten(2)  # (groups, B * n, C * 27)
        weight = mix.weight.flatten(1).unflatten(0, (groups, -1)).transpose(1, 2)
        mixed = torch.bmm(patches, weight.to(patches)).movedim(0, 1).flatten(1)
        return last_relu(_normalise(last_norm, mixed))


def _normalise(norm: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """(N, C) by a `BatchNorm3d`."""
    return norm(values[:, :, None, None, None]).flatten(1)


def _find_neighbours(voxels: torch.Tensor, shape: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat indices (B, n) -> those of their 27 neighbours in the order of a 3x3x3 kernel, and whether these lie in the
    volume; the others are moved into it."""
    side = torch.arange(-1, 2, device=voxels.device)
    places = unravel(voxels.flatten(), shape).long()[:, None] + torch.cartesian_prod(side, side, side)
    size = torch.tensor(shape, device=voxels.device)
    inside = ((places >= 0) & (places < size)).all(-1)
    i, j, k = places.clamp(min=0).minimum(size - 1).unbind(-1)
    flat = (i * shape[1] + j) * shape[2] + k
    return flat.reshape(*voxels.shape, NEIGHBOURS), inside.reshape(*voxels.shape, NEIGHBOURS)


def _run_once(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return module(x)


def _run_twice(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    again = lambda: (nullcontext(), _keep_statistics(module))  # noqa: E731  before and in the backward pass
    return checkpoint(module, x, use_reentrant=False, context_fn=again)


@contextmanager
def _keep_statistics(module: nn.Module) -> Iterator[None]:
    """What is computed again does not count a second time in the running statistics."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, torch.as_tensor(norm.num_batches_tracked).clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            torch.as_tensor(norm.num_batches_tracked).copy_(batches)


def _has_ample_memory(image: torch.Tensor) -> bool:
    if not image.is_cuda:  # a job on a cluster may have less memory than the computer, and is killed if it takes more
        return False
    return torch.cuda.get_device_properties(image.device).total_memory > AMPLE_MEMORY * image.numel()
