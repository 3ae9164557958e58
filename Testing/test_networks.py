"""What all kinds of networks have in common: the output grid, the pointwise classifier, training in small batches."""

from dataclasses import fields, replace

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from SlicRegLib.errors import UserError
from SlicRegLib.network.networks import SupervoxelNet, build
from SlicRegLib.network.options import PRESETS, STRIDE, NetworkOptions
from tiny import NETWORK, random

TWO_LAYERS = replace(PRESETS["paper"], layers=2)


def build_seeded(options: NetworkOptions) -> SupervoxelNet:
    torch.manual_seed(0)
    return build(options)


def quiet_dropout(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


def test_presets_are_nothing_but_options():
    assert set(PRESETS) == {"paper", "unet", "compact"}
    assert PRESETS["paper"].kind == "deeplab"
    assert PRESETS["unet"].kind == PRESETS["compact"].kind == "unet"
    assert {(o.layers, o.classes) for o in PRESETS.values()} == {(16, 128)}
    assert {f.name for f in fields(NetworkOptions)} == {"kind", "layers", "classes", "widths", "hidden", "stem"}
    with pytest.raises(UserError, match="transformer"):
        NetworkOptions(kind="transformer")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", [(32, 16, 16), (18, 17, 16)])
def test_output_lies_on_half_of_the_input_grid(preset, shape):
    net = build_seeded(PRESETS[preset]).eval()
    with torch.no_grad():
        features = net.features(random(1, 1, *shape))
        logits = net.logits(features[0].flatten(1)[:, :3].T)
    assert features.shape[2:] == tuple(-(-n // STRIDE) for n in shape)
    assert logits.shape == (16, 3, 128)
    assert logits.isfinite().all()


@pytest.mark.parametrize("options", [TWO_LAYERS, NETWORK, replace(NETWORK, stem=4)], ids=["paper", "unet", "stem"])
def test_chosen_voxels_have_the_logits_of_the_dense_output(options):
    net = build_seeded(options).eval()
    scan = random(2, 1, 16, 16, 32)
    with torch.no_grad():
        dense = net(scan)
        features = net.features(scan).flatten(2)
        chosen = torch.tensor([0, 7, 501, 1023])
        pointwise = torch.stack([net.logits(f[:, chosen].T) for f in features])  # (B, layers, n, classes)
    assert dense.shape == (2, options.layers, options.classes, 8, 8, 16)
    torch.testing.assert_close(pointwise, dense.flatten(3)[..., chosen].permute(0, 1, 3, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [TWO_LAYERS, NETWORK], ids=["paper", "unet"])
@pytest.mark.parametrize("count", [9, 300])  # few, and many of the 480 voxels
def test_features_at_chosen_voxels_are_those_of_the_dense_output(options, count):
    net, scan = build_seeded(options), random(2, 1, 11, 20, 15)
    with torch.no_grad():
        net.train()(scan)  # statistics other than 0 and 1
        net.eval()
        dense = net.features(scan).flatten(2)
        chosen = torch.randint(480, (2, count), generator=torch.Generator().manual_seed(1))
        chosen[:, :4] = torch.tensor([0, 7, 472, 479])  # corners, where a convolution sees zeros
        found = net.features_at(scan, chosen).unflatten(0, (2, count))
    for own, expected, voxels in zip(found, dense, chosen, strict=True):
        torch.testing.assert_close(own, expected[:, voxels].T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [TWO_LAYERS, NETWORK], ids=["paper", "unet"])
def test_gradients_at_chosen_voxels_are_those_of_the_dense_output(options):
    net, scan = build_seeded(options).eval(), random(1, 1, 12, 20, 16)
    chosen = torch.tensor([[0, 7, 200, 479]])
    gradients = []
    for features in (net.features_at(scan, chosen), net.features(scan)[0].flatten(1)[:, chosen[0]].T):
        net.zero_grad()
        net.logits(features).square().sum().backward()
        gradients.append([weight.grad.clone() for weight in net.parameters()])
    for few, dense in zip(*gradients, strict=True):
        torch.testing.assert_close(few, dense, rtol=1e-3, atol=1e-4 * float(dense.abs().max()))


@pytest.mark.parametrize("options", [TWO_LAYERS, NETWORK], ids=["paper", "unet"])
def test_an_output_voxel_sits_on_every_second_input_voxel(options):
    """With mirror-symmetric kernels, the response to a dot at input voxel 2 o is symmetric about output voxel o."""
    net = build_seeded(options).eval()
    for convolution in (m for m in net.trunk.modules() if isinstance(m, nn.Conv3d)):
        w = convolution.weight.data
        for axis in (2, 3, 4):
            w = (w + w.flip(axis)) / 2
        convolution.weight.data = w
    first = net.trunk.early[0] if options.kind == "deeplab" else net.trunk.down[0][0][0]
    dot = torch.zeros(1, 1, 33, 33, 33)
    dot[..., 16, 16, 16] = 1
    with torch.no_grad():
        response = first(dot) - first(torch.zeros_like(dot))
    for axis in (2, 3, 4):
        torch.testing.assert_close(response, response.flip(axis))
    strength = response.abs().sum((0, 1))
    assert strength[8, 8, 8] > 0 == strength[5, 8, 8]


@pytest.mark.parametrize("options", [TWO_LAYERS, NETWORK], ids=["paper", "unet"])
def test_a_batch_of_one_trains(options):
    """The reference fails here: its image pooling asks a batch norm for the variance of one value."""
    net, scan = quiet_dropout(build_seeded(options)).train(), random(1, 1, 16, 16, 16)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.003)
    target = torch.arange(512).remainder(options.classes).repeat(options.layers, 1)  # (layers, voxels)
    losses = []
    for _ in range(6):
        optimiser.zero_grad()
        loss = F.cross_entropy(net.logits(net.features(scan)[0].flatten(1).T).flatten(0, 1), target.flatten())
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.isfinite().all() for p in net.parameters())
