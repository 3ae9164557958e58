"""The published DeepLab to the weight, and its backward pass with recomputed blocks."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from SlicRegLib.network import deeplab
from SlicRegLib.network.networks import build
from SlicRegLib.network.options import PRESETS
from tiny import random


def parameters(*modules) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def test_paper_has_the_published_parameter_counts():
    net = build(PRESETS["paper"])
    assert parameters(net.trunk.early, net.trunk.late) == 216_768
    assert parameters(net.trunk.aspp) == 1_001_216
    assert parameters(net.trunk.head, net.classifier) == 589_824
    assert parameters(net) == 1_807_808


class ResBlock(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, inputs):
        return self.module(inputs) + inputs


def published_backbone() -> nn.Sequential:
    in_channels = [1, 24, 24, 32, 48, 48, 48, 64]
    mid_channels = [64, 128, 192, 192, 256, 256, 256, 384]
    out_channels = [24, 24, 32, 48, 48, 48, 64, 64]
    mid_stride = [1, 1, 1, 2, 1, 1, 1, 1]
    net = [nn.Identity()]
    for i, (inc, midc, outc, strd) in enumerate(zip(in_channels, mid_channels, out_channels, mid_stride, strict=True)):
        layer = nn.Sequential(
            nn.Conv3d(inc, midc, 1, bias=False),
            nn.BatchNorm3d(midc),
            nn.ReLU6(True),
            nn.Conv3d(midc, midc, 3, stride=strd, padding=1, bias=False, groups=midc),
            nn.BatchNorm3d(midc),
            nn.ReLU6(True),
            nn.Conv3d(midc, outc, 1, bias=False),
            nn.BatchNorm3d(outc),
        )
        if i == 0:
            layer[0] = nn.Conv3d(inc, midc, 3, padding=1, stride=2, bias=False)
        net.append(ResBlock(layer) if inc == outc and strd == 1 else layer)
    return nn.Sequential(*net)


class PublishedASPP(nn.Module):
    """torchvision's module with 3-D layers."""

    def __init__(self, inputs, rates, width):
        super().__init__()

        def branch(*convolution, **options):
            return nn.Sequential(nn.Conv3d(*convolution, bias=False, **options), nn.BatchNorm3d(width), nn.ReLU())

        self.convs = nn.ModuleList(
            [
                branch(inputs, width, 1),
                *(branch(inputs, width, 3, padding=r, dilation=r) for r in rates),
                nn.Sequential(nn.AdaptiveAvgPool3d(1), *branch(inputs, width, 1)),
            ]
        )
        self.project = nn.Sequential(*branch(len(self.convs) * width, width, 1), nn.Dropout(0.5))

    def forward(self, x):
        parts = [conv(x) for conv in self.convs[:-1]]
        pooled = F.interpolate(self.convs[-1](x), size=x.shape[-3:], mode="trilinear", align_corners=False)
        return self.project(torch.cat([*parts, pooled], 1))


def published_head() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(128 + 24, 32 * 16, 1, bias=False),
        nn.BatchNorm3d(32 * 16),
        nn.ReLU(),
        nn.Conv3d(32 * 16, 32 * 16, 3, groups=16, padding=1, bias=False),
        nn.BatchNorm3d(32 * 16),
        nn.ReLU(),
        nn.Conv3d(32 * 16, 128 * 16, 1, groups=16),
    )


def test_paper_computes_the_published_definition():
    """Equal weights give equal features and logits.

    The published head returns 2048 channels. Its group g makes channels 128 g to 128 g + 127; here these are the
    128 classes of layer g, reshaped (16, 128). The authors reshape (128, 16) instead, so that their channel
    16 c + l is class c of layer l and group g serves classes 8 g to 8 g + 7 of all layers: the same channels,
    named otherwise.
    """
    torch.manual_seed(0)
    backbone, aspp, head = published_backbone(), PublishedASPP(64, (2, 4, 8, 16), 128), published_head()
    net = build(PRESETS["paper"]).eval()
    ours = (
        nn.ModuleList([net.trunk.early, net.trunk.late]),
        net.trunk.aspp,
        nn.ModuleList([net.trunk.head, net.classifier]),
    )
    with torch.no_grad():
        for theirs, mine in zip((backbone, aspp, head), ours, strict=True):
            assert len(theirs.state_dict()) == len(mine.state_dict())
            for source, destination in zip(theirs.state_dict().values(), mine.state_dict().values(), strict=True):
                if source.is_floating_point() and source.ndim == 1:  # norms: other values than 0 and 1
                    source.uniform_(0.5, 1.5)
                destination.copy_(source.reshape(destination.shape))
            theirs.eval()

        scan = random(1, 1, 32, 16, 24)
        x1 = backbone[:3](scan)
        x2 = backbone[3:](x1)
        y = aspp(x2)
        y1 = torch.cat((x1, F.interpolate(y, scale_factor=2)), 1)
        channels = head(y1)  # (1, 2048, 16, 8, 12)

        torch.testing.assert_close(net.trunk.early(scan), x1)
        torch.testing.assert_close(net.trunk.late(net.trunk.early(scan)), x2)
        torch.testing.assert_close(net.trunk.aspp(x2), y)
        torch.testing.assert_close(net.features(scan), head[:6](y1), rtol=1e-4, atol=1e-4)
        logits = net(scan)
    torch.testing.assert_close(logits, channels.reshape(1, 16, 128, *channels.shape[2:]), rtol=1e-4, atol=1e-4)
    authors = channels.reshape(1, 128, 16, *channels.shape[2:])
    for class_, layer in ((0, 0), (8, 0), (77, 5), (127, 15)):
        channel = 16 * class_ + layer
        assert channel // 128 == class_ // 8
        torch.testing.assert_close(
            logits[:, channel // 128, channel % 128], authors[:, class_, layer], rtol=1e-4, atol=1e-4
        )


def test_backbone_starts_from_kaiming_normal():
    trunk = build(PRESETS["paper"]).trunk
    for convolution in (m for m in trunk.late.modules() if isinstance(m, nn.Conv3d)):
        fan_out = convolution.out_channels * convolution.weight[0, 0].numel()
        assert convolution.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)


def gradients(net, scan):
    net.train().zero_grad()
    torch.manual_seed(5)  # dropout
    features = net.features(scan)
    net.logits(features.flatten(2).mean(2)).square().sum().backward()
    return [p.grad.clone() for p in net.parameters()]


def test_checkpointing_changes_neither_gradients_nor_statistics(monkeypatch):
    net, scan = build(replace(PRESETS["paper"], layers=2)), random(2, 1, 16, 16, 16)
    recomputed = []
    real = deeplab.checkpoint
    monkeypatch.setattr(
        deeplab, "checkpoint", lambda module, x, **kw: (recomputed.append(module), real(module, x, **kw))[1]
    )
    before = copy.deepcopy(net.state_dict())
    with_checkpoints, statistics = gradients(net, scan), copy.deepcopy(net.state_dict())
    assert recomputed == [net.trunk.early, net.trunk.late, net.trunk.aspp, net.trunk.head]
    monkeypatch.setattr(deeplab, "_has_ample_memory", lambda image: True)
    net.load_state_dict(before)
    without = gradients(net, scan)
    for name, value in net.state_dict().items():  # the running statistics, too, move once
        assert torch.equal(value, statistics[name])
    assert any(not torch.equal(before[name], statistics[name]) for name in before if name.endswith("running_mean"))
    assert len(recomputed) == 4
    assert all(torch.equal(a, b) for a, b in zip(with_checkpoints, without, strict=True))
    assert all(g.abs().sum() > 0 for g in without[:10])


@pytest.mark.parametrize("stride, channels", [(1, 32), (2, 32), (1, 24)])
def test_depthwise_convolutions_and_their_gradients_are_torchs(stride, channels):
    ours = deeplab.DepthwiseConv(channels, channels, 3, padding=1, stride=stride, groups=channels, bias=False)
    theirs = nn.Conv3d(channels, channels, 3, padding=1, stride=stride, groups=channels, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x, other = (random(2, channels, 6, 5, 4).requires_grad_() for _ in range(2))
    results = ours(x), theirs(other)
    torch.testing.assert_close(*results)
    for result in results:
        (result * random(*result.shape, seed=1)).sum().backward()
    torch.testing.assert_close(x.grad, other.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
