"""Values continued to where they are not known."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def extend(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """``values`` (C, I, J, K), those that are not ``known`` (I, J, K) bool replaced by what is known around them.

    Voxel by voxel outwards: each takes the mean of its neighbours that have a value, diagonals included. Zero where
    nothing is known at all.
    """
    filled, done = torch.where(known, values, 0.0), known.to(values)[None]
    while done.any() and not done.all():
        around = F.avg_pool3d(F.pad(torch.cat([filled, done])[None], (1,) * 6), 3, 1)[0]
        fresh = (done == 0) & (around[-1:] > 0)
        filled = torch.where(fresh, around[:-1] / around[-1:].clamp_min(1e-9), filled)
        done = torch.where(fresh, 1.0, done)
    return filled
