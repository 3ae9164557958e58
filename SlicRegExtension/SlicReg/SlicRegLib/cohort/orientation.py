"""Directions of an array's axes as letters, such as "LPS"."""

from __future__ import annotations

from collections.abc import Sequence

WORLD = ("RL", "AP", "SI")
"""The two directions of each world axis."""


def order_by_axis(orientation: str, values: Sequence[float]) -> list[float]:
    """Values along the array's axes, reordered to R, A, S; empty if the orientation is "", as of an unreadable scan."""
    return [values[axis] for pair in WORLD for axis, letter in enumerate(orientation) if letter in pair]
