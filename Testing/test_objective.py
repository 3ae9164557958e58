"""The loss and the validation against values computed by hand."""

from types import SimpleNamespace

import pytest
import torch

from SlicRegLib.training.objective import SupervoxelLoss, validate
from SlicRegLib.training.samples import SampleBatch
from tiny import tiny_net

CPU = torch.device("cpu")


class Oracle(torch.nn.Module):
    """Predicts class 1 everywhere with the logit ``sure``."""

    def __init__(self, sure: float):
        super().__init__()
        self.sure = sure

    def features_at(self, image, voxels):
        return torch.zeros(voxels.numel(), 1)

    def logits(self, features):
        logits = torch.zeros(2, len(features), 128)
        logits[..., 1] = self.sure
        return logits


def batch_of(targets) -> SampleBatch:
    return SampleBatch(torch.zeros(1, 1, 8, 8, 8), torch.arange(64)[None], targets.expand(64, 2)[None])


def test_the_validation_ignores_the_background():
    right, wrong, background = (torch.full((64, 2), v) for v in (1, 5, 0))
    mixed = torch.cat([right[:16], wrong[:16], background[:32]])
    batches = [batch_of(right), batch_of(mixed), batch_of(background)]
    scans = SimpleNamespace(names=["a", "b", "c"], batch=lambda index, generator, augment: batches[index[0]])
    loss, accuracy = validate(Oracle(100.0), scans, CPU, 0, "fp32")
    assert accuracy == pytest.approx((64 + 16) / (64 + 32))
    assert loss == pytest.approx(100 * 16 / 96)
    scans.names = []
    assert validate(Oracle(1.0), scans, CPU, 0, "fp32") == (0.0, 0.0)


def test_the_loss_is_the_mean_over_voxels_and_layers():
    torch.manual_seed(0)
    net = tiny_net().eval()
    image, voxels = torch.randn(2, 1, 16, 16, 16), torch.randint(512, (2, 9))
    targets = torch.randint(128, (2, 9, 2))
    with torch.no_grad():
        loss = SupervoxelLoss(net, "fp32")(image, voxels, targets)
        dense = net(image).log_softmax(2).flatten(3)  # (B, layers, classes, voxels)
    single = [
        -dense[b, layer, targets[b, n, layer], voxels[b, n]] for b in range(2) for n in range(9) for layer in range(2)
    ]
    assert loss.item() == pytest.approx(torch.stack(single).mean().item(), rel=1e-5)
