"""Implicit shapes that phantoms are made of.

``distance(points)`` is the approximate signed distance in mm, negative inside, at points (3, ...) in mm. ``bounds()``
are the lowest and highest corner (3,) of a box around the shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

INF = np.inf


class Shape(Protocol):
    """A solid with a bounding box."""

    @property
    def centre(self) -> ArrayLike:
        """(3,) mm."""
        ...

    def bounds(self) -> tuple[np.ndarray, np.ndarray]: ...

    def distance(self, points: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Blob:
    """Superellipsoid; an infinite radius makes it a column along that axis."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)  # degrees about x, y, z
    power: float = 2.0  # 2 is an ellipsoid, larger is boxier

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        reach = np.asarray(self.radii) if not any(self.turn) else np.full(3, max(self.radii))
        return np.asarray(self.centre) - reach, np.asarray(self.centre) + reach

    def distance(self, points: np.ndarray) -> np.ndarray:
        local = points - column(self.centre, points.ndim)
        if any(self.turn):
            inverse = Rotation.from_euler("xyz", self.turn, degrees=True).as_matrix().T
            local = np.tensordot(inverse.astype(np.float32), local, 1)
        inverse_radii = column(1.0 / np.asarray(self.radii), points.ndim)
        local = np.abs(local * inverse_radii) + np.float32(1e-4)
        slope = local if self.power == 2 else local ** np.float32(self.power - 1)
        total = (slope * local).sum(0)
        level = total ** np.float32(1 / self.power)
        # to first order, the distance is the level's excess over the length of its gradient
        gradient = np.sqrt(np.square(slope * inverse_radii).sum(0)) * level / total
        return (level - 1) / gradient


@dataclass(frozen=True)
class Tube:
    """Smooth tube through the knots (x, y, z, radius), all in mm."""

    knots: tuple[tuple[float, float, float, float], ...]

    @property
    def centre(self) -> np.ndarray:
        return np.mean(self.knots, axis=0)[:3]

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        knots = np.asarray(self.knots, float)
        return (knots[:, :3] - knots[:, 3:]).min(0) - 3, (knots[:, :3] + knots[:, 3:]).max(0) + 3

    def distance(self, points: np.ndarray) -> np.ndarray:
        count = len(self.knots)
        curve = PchipInterpolator(np.arange(count), np.asarray(self.knots, float))
        path = curve(np.linspace(0, count - 1, 3 * (count - 1) + 1)).astype(np.float32)
        best = np.full(points.shape[1:], np.float32(1e6))
        for start, end in pairwise(path):
            step = end[:3] - start[:3]
            offset = points - column(start[:3], points.ndim)
            along = np.clip(np.einsum("a,a...->...", step / np.float32(step @ step), offset), 0, 1)
            offset -= column(step, points.ndim) * along
            radius = start[3] + (end[3] - start[3]) * along
            np.minimum(best, np.sqrt(np.einsum("a...,a...->...", offset, offset)) - radius, out=best)
        return best


@dataclass(frozen=True)
class Half:
    """Half space beyond a plane, on the side that the normal points to; without bounds, so only for cuts."""

    point: tuple[float, float, float]
    normal: tuple[float, float, float]

    def distance(self, points: np.ndarray) -> np.ndarray:
        normal = np.asarray(self.normal) / np.linalg.norm(self.normal)
        return np.float32(normal @ self.point) - np.tensordot(normal.astype(np.float32), points, 1)


def column(values: ArrayLike, ndim: int) -> np.ndarray:
    """Three values as float32 (3, 1, ...) of ``ndim`` dimensions, to broadcast against points (3, ...)."""
    return np.asarray(values, np.float32).reshape((3,) + (1,) * (ndim - 1))
