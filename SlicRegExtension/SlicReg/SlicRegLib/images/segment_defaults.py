"""Colour and terminology of segments that have none of their own. Without torch, as Slicer uses it."""

from __future__ import annotations

import colorsys
from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]
TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^123037004^Anatomical Structure~^^~Anatomic codes - DICOM master list~^^~^^"
)
"""Slicer's entry for an anatomical structure without a code of its own; without any it would show "Tissue"."""


def invent_colour(value: int) -> Colour:
    """A colour for a label's ``value``, RGB, 0 to 255; neighbouring numbers differ much."""
    red, green, blue = colorsys.hsv_to_rgb(value * 0.618034 % 1, 0.65, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
