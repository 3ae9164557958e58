"""Adam: the steps of torch.optim's."""

import pytest
import torch

from SlicRegLib.registration.optimiser import Adam
from tiny import random


@pytest.mark.parametrize("epsilon", [1e-8, 1e-3])
def test_steps_are_those_of_torch(epsilon):
    """On a function with curvature, over a learning rate that falls, as in the refinement."""
    target, scale = random(3, 4, 5), random(3, 4, 5, seed=1).exp()
    ours = torch.zeros(3, 4, 5, requires_grad=True)
    torchs = torch.zeros(3, 4, 5, requires_grad=True)
    adam, reference = Adam(ours, 0.1, epsilon=epsilon), torch.optim.Adam([torchs], 0.1, eps=epsilon)
    for step in range(30):
        adam.learning_rate = reference.param_groups[0]["lr"] = 0.1 * (1 - step / 30)
        for parameter in (ours, torchs):
            (scale * (parameter - target).square()).sum().backward()
        adam.step()
        reference.step()
        reference.zero_grad()
        torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-6)
        assert ours.grad is None
    assert (ours - target).abs().mean() < 0.5 * target.abs().mean()
