"""Organs as features of the refinement, in models whose network learned them from labels (`network.organ_head`).

A target shows an organ where the network finds it; the cohort's average where its scans' labels agree on it.
"""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.grid import Grid
from ..images.preparation import PreparedScan, network_input
from ..network.devices import autocast
from ..network.networks import SupervoxelNet
from ..network.options import Precision
from .consensus import Consensus


@torch.no_grad()
def find_organs(net: SupervoxelNet, scan: PreparedScan, precision: Precision = "auto") -> torch.Tensor:
    """The probability of each organ at each voxel of a scan, (I, J, K, organs) on the network's device; 0 outside the
    body's region. The network must have a head for organs."""
    assert net.organs is not None
    device = next(net.parameters()).device
    image = network_input(scan.hu)[None, None].to(device, memory_format=torch.channels_last_3d)
    with autocast(device, precision):
        logits = net.organs(image, net.features(image))[0]
    return logits.float().sigmoid_().mul_(scan.region.to(device)).movedim(0, -1)


def average_organs(consensus: Consensus, grid: Grid) -> torch.Tensor:
    """The share of the scans in which each voxel of the canonical ``grid`` belongs to each organ, (I, J, K, organs).

    The grid of the consensus is this one, or has voxels half as large.
    """
    shares = np.zeros((len(consensus.organs), *consensus.grid.shape), np.uint8)
    for number, organ in enumerate(consensus.organs):
        i, j, k = (slice(low, low + n) for low, n in zip(organ.first, organ.shares.shape, strict=True))
        shares[number, i, j, k] = organ.shares
    values = torch.from_numpy(shares).float() / 255
    if consensus.grid.shape != grid.shape:
        values = torch.nn.functional.avg_pool3d(values, 2)
    return values.movedim(0, -1).contiguous()
