"""Separable linear filters: box filter, B-spline smoothing and linear interpolation, each a matrix along an axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def box_filter(features: torch.Tensor, width: int) -> torch.Tensor:
    """Box filter of ``width`` voxels over (i, j, k, C); at the edges the mean of the voxels inside.

    One product with a band matrix per axis: on the CPU faster than pooling, which sums channel by channel
    (``benchmarks/kernels.py``).
    """
    i, j, k, channels = features.shape
    band_i, band_j, band_k = (_band(n, width, features) for n in (i, j, k))
    features = (band_i @ features.reshape(i, -1)).reshape(i, j, -1)
    features = torch.matmul(band_j, features).reshape(i * j, k, channels)
    return torch.matmul(band_k, features).reshape(i, j, k, channels)


def _band(n: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """(n, n): averages each element with those up to width // 2 away."""
    index = torch.arange(n, device=like.device)
    near = ((index[:, None] - index).abs() <= width // 2).to(like.dtype)
    return near / near.sum(1, keepdim=True)


class SeparableMap:
    """A linear map of volumes (3, i, j, k) that multiplies each axis by its own matrix."""

    def __init__(self, matrices: list[torch.Tensor]):
        """matrices: (i, i), (j, j) and (k, k)."""
        self.matrices = matrices

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._apply(x, self.matrices)

    def adjoint(self, x: torch.Tensor) -> torch.Tensor:
        """The transposed map, which carries gradients with respect to the output back to the input."""
        return self._apply(x, [m.T for m in self.matrices])

    @staticmethod
    def _apply(x: torch.Tensor, matrices: list[torch.Tensor]) -> torch.Tensor:
        first, second, third = matrices
        x = torch.matmul(second, x @ third.T)
        return (first @ x.flatten(2)).unflatten(2, x.shape[2:])


def b_spline_matrix(n: int, device: torch.device) -> torch.Tensor:
    """(n, n): three box filters of width 3, which smooth nearly like a cubic B-spline; edges repeated."""
    index = torch.arange(n, device=device)
    near = torch.stack([F.one_hot((index + offset).clamp(0, n - 1), n) for offset in (-1, 0, 1)])
    box = near.sum(0).float() / 3
    return box @ box @ box


def linear_matrix(n: int, shift: float, device: torch.device) -> torch.Tensor:
    """(n, n): linear interpolation at positions ``shift`` elements further along the axis; edges repeated."""
    index = torch.arange(n, device=device)
    position = (index + shift).clamp(0, n - 1)
    return (1 - (position[:, None] - index).abs()).clamp_min(0)
