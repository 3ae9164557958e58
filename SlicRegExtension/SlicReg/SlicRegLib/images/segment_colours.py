"""Colours of segments that have none of their own. Without torch, as Slicer uses it."""

from __future__ import annotations

import colorsys
from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]


def invent_colour(value: int) -> Colour:
    """A colour for a label's ``value``, RGB, 0 to 255; neighbouring numbers differ much."""
    red, green, blue = colorsys.hsv_to_rgb(value * 0.618034 % 1, 0.65, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
