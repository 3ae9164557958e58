"""Prediction: probabilities stay probabilities, the hard variant is their arg max, memory bounds change nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.preparation import PreparedScan
from SlicRegLib.network.networks import build
from SlicRegLib.network.options import PredictionOptions
from SlicRegLib.network.prediction import bucket_matrix, describe, describe_layers, encode, predict_layers
from tiny import NETWORK, tiny_net

PLAIN = PredictionOptions(precision="fp32", smoothing=1)
LABELS = replace(PLAIN, features="labels")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scan():
    """A ball of soft tissue with a bone in it."""
    grid = Grid.centred((10, -20, 30), (32, 32, 32), 4.0)
    distance = (grid.points() - torch.tensor([10.0, -20, 30])).norm(dim=-1)
    hu = torch.where(distance < 40, 60.0, -1000.0) + 5 * torch.randn(
        grid.shape, generator=torch.Generator().manual_seed(0)
    )
    hu[12:16, 12:20, 10:20] = 700
    return PreparedScan("ball", hu, grid)


@pytest.fixture(scope="module")
def net():
    """A net that is sure of itself: random weights give nearly uniform probabilities."""
    net = tiny_net()
    net.classifier[-1].weight.data *= 30
    return net.eval()


@pytest.fixture(scope="module")
def encoded(net, scan):
    return encode(net, scan, PLAIN)


def inside(scan) -> torch.Tensor:
    return scan.region[::2, ::2, ::2]


def shares(description) -> torch.Tensor:
    """(i, j, k, layers, buckets)."""
    return description.features.unflatten(-1, (-1, 16))


def test_buckets_hold_eight_classes_each():
    matrix = bucket_matrix(PredictionOptions(), 3, 128)
    assert matrix.shape == (3, 128, 16)
    assert (matrix.sum(2) == 1).all() and (matrix.sum(1) == 8).all()
    assert not torch.equal(matrix[0], matrix[1])
    assert torch.equal(matrix, bucket_matrix(PredictionOptions(), 3, 128))
    assert not torch.equal(matrix, bucket_matrix(PredictionOptions(bucket_seed=1), 3, 128))


@pytest.mark.parametrize("options", [PLAIN, LABELS], ids=lambda options: options.features)
@pytest.mark.parametrize("smoothing", [1, 5])
def test_probabilities_sum_to_one_per_layer(net, scan, encoded, options, smoothing):
    description = describe(net, encoded, replace(options, smoothing=smoothing))
    assert description.features.shape == (16, 16, 16, 2 * 16) and description.features.dtype == torch.float32
    assert description.grid.matches(scan.grid.strided(2))
    assert description.features.min() >= 0
    torch.testing.assert_close(shares(description).sum(-1), torch.ones(16, 16, 16, 2))


def test_features_are_the_dense_softmax_in_buckets(net, scan, encoded):
    with torch.no_grad():
        share = net(scan.hu[None, None] / 500)[0].softmax(1)  # (layers, classes, i, j, k)
    share[..., ~inside(scan)] = 0
    share[:, 0, ~inside(scan)] = 1  # background
    wanted = torch.einsum("lcxyz,lcb->xyzlb", share, bucket_matrix(PLAIN, 2, 128))
    torch.testing.assert_close(shares(describe(net, encoded, PLAIN)), wanted, rtol=1e-3, atol=1e-5)


def test_features_of_labels_are_the_arg_max_in_buckets(net, encoded):
    labels = predict_layers(net, encoded, PLAIN).long()
    matrix = bucket_matrix(PLAIN, 2, 128)
    wanted = torch.stack([matrix[layer][labels[layer]] for layer in range(2)], -2)
    assert torch.equal(shares(describe(net, encoded, LABELS)), wanted)


def test_labels_are_bytes_and_background_outside_the_body(net, scan, encoded):
    labels = predict_layers(net, encoded, PLAIN)
    assert labels.dtype == torch.uint8 and labels.shape == (2, 16, 16, 16)
    assert (labels[:, ~inside(scan)] == 0).all()
    with torch.no_grad():
        wanted = net(scan.hu[None, None] / 500)[0].argmax(1)
    agree = (labels == wanted)[:, inside(scan)]
    assert agree.float().mean() > 0.99
    assert len(labels[:, inside(scan)].unique()) > 5


def test_a_network_in_training_mode_is_refused(scan):
    """With dropout and batch statistics the same scan would differ from time to time."""
    torch.manual_seed(0)
    net = build(replace(NETWORK, kind="deeplab")).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(ValueError, match="training mode"):
        encode(net, scan, PLAIN)
    assert net.training
    first, again = (describe(net, encode(net.eval(), scan, PLAIN), PLAIN).features for _ in range(2))
    assert torch.equal(first, again)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize("options", [PLAIN, LABELS], ids=lambda options: options.features)
def test_chunks_bound_memory_and_change_nothing(net, encoded, options):
    whole = describe(net, encoded, replace(options, chunk=2**16))
    parts = describe(net, encoded, replace(options, chunk=37))
    torch.testing.assert_close(parts.features, whole.features)
    torch.testing.assert_close(parts.centroids, whole.centroids, rtol=1e-4, atol=1e-3)
    assert torch.equal(predict_layers(net, encoded, replace(PLAIN, chunk=37)), predict_layers(net, encoded, PLAIN))


def test_half_precision_predicts_nearly_the_same(net, scan):
    precisions = [replace(PLAIN, precision=precision) for precision in ("fp32", "bf16")]
    whole, half = (describe(net, encode(net, scan, options), options).features for options in precisions)
    assert half.dtype == torch.float32
    assert (whole - half).abs().mean() < 0.02


def test_centroids_are_the_centres_of_the_probability(net, scan, encoded):
    description = describe(net, encoded, PLAIN)
    with torch.no_grad():
        share = net(scan.hu[None, None] / 500)[0].softmax(1)[..., inside(scan)].double()  # (layers, classes, n)
    points = description.grid.points()[inside(scan)].double()
    torch.testing.assert_close(description.centroids[..., 0], share.sum(-1), rtol=1e-3, atol=1e-6)
    heavy = share.sum(-1) > 1
    wanted = share @ points / share.sum(-1, keepdim=True)
    torch.testing.assert_close(description.centroids[..., 1:][heavy], wanted[heavy], rtol=1e-3, atol=0.05)


def test_template_layers_describe_themselves():
    """Two layers of eight octants each, 1 to 7 and background, on an 8^3 grid of 2 mm; every second voxel is seen."""
    grid = Grid.centred((0, 0, 0), (8, 8, 8), 2.0)
    octant = (np.indices((8, 8, 8)) >= 4).astype(np.uint8)
    layers = np.stack([4 * octant[0] + 2 * octant[1] + octant[2], 4 * octant[2] + 2 * octant[1] + octant[0]])
    description = describe_layers(
        layers, PreparedScan("t", torch.zeros(8, 8, 8), grid), PredictionOptions(smoothing=1), CPU
    )
    assert description.grid.matches(grid.strided(2)) and description.features.shape == (4, 4, 4, 32)
    assert (shares(description).sum(-1) == 1).all()
    assert description.centroids.shape == (2, 8, 4)
    assert (description.centroids[..., 0] == 8).all()  # seen voxels in an octant
    # seen voxels lie at -7, -3 | 1, 5 mm
    assert description.centroids[0, 7, 1:].tolist() == [3, 3, 3]
    assert description.centroids[0, 4, 1:].tolist() == [3, -5, -5]
    assert description.centroids[1, 4, 1:].tolist() == [-5, -5, 3]
    assert description.centroids[0, 0, 1:].tolist() == [-5, -5, -5]


def test_template_layers_and_prediction_share_their_buckets(net, scan, encoded):
    """A network that predicts the layers perfectly describes the scan just as the layers do."""
    labels = torch.zeros(2, 32, 32, 32, dtype=torch.uint8)
    labels[:, ::2, ::2, ::2] = predict_layers(net, encoded, PLAIN)
    labels[:, 1, 1, 1] = 127  # not seen at stride 2, but there: all classes are counted
    own = describe_layers(labels.numpy(), scan, PLAIN, CPU)
    assert torch.equal(own.features, describe(net, encoded, LABELS).features)
