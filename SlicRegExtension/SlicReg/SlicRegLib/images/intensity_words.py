"""What an image looks like that is no CT in Hounsfield units, and what to do about it: half a sentence."""

from __future__ import annotations

import numpy as np

from .intensities import (
    NARROW,
    IntensitySample,
    find_problem_without_air,
    has_air_and_body,
    measure_roughness,
    resembles_ct,
    share,
)

WATER = "so that air is about -1000 and water 0"


def describe_values(
    problem: str, values: np.ndarray, ends: np.ndarray, data: np.ndarray, low: float, high: float
) -> str:
    """What the scan looks like, and what to do."""
    whole = bool((values == np.round(values)).all())
    count = len(np.unique(values))
    if count <= 2:
        return f"it looks like a mask of the values {low:g} and {high:g}; choose the scan itself"
    if whole and low >= 0 and count <= 1000 and _is_flat(data, low, high):
        return f"it looks like a label map (whole numbers from {low:g} to {high:g}); choose the scan itself"
    if problem == "zeros":
        return "outside the body or the field of view it is 0, which is water; set it to -1000 there"
    if high - low < NARROW:
        return _name_scaled(low, high)
    if problem == "bytes":
        return f"it was stored in bytes, which hold -128 to 127 only; export it again as 16-bit numbers, {WATER}"
    for sign, word in ((-1.0, "inverted"), (1.0, "like a CT")):
        sample = IntensitySample(sign * values, ends)
        offset = sample.edge_median + 1000
        if abs(offset) > 150 and has_air_and_body(IntensitySample(sign * values - offset, ends)):
            return f"it looks {word}, with air at {sign * sample.edge_median:.0f} instead of -1000; rescale it, {WATER}"
    inside = IntensitySample(values - 1024, ends)
    if resembles_ct(inside):
        return f"it may be a CT with an offset of about 1024, or an MR; export the CT again, {WATER}"
    if inside.air < 0.02 and not find_problem_without_air(inside, data):
        return f"it looks like the inside of a body with an offset of about 1024; subtract it, {WATER}"
    if problem in ("cut", "smooth") and measure_roughness(data) < 0.15:
        return "it looks like a map that was computed, such as of distances or displacements; choose the scan itself"
    if problem == "outside" and (edge := IntensitySample(values, ends).edge) > low:
        return f"outside the body or the field of view it is {edge:.4g}; set it to -1000 there"
    if problem in ("cut", "outside") and low < 0:
        return f"its values are cut off or begin at {low:.4g} instead of -1000; export it again, not windowed, {WATER}"
    if whole and low >= 0 and high <= 255:
        return f"it looks like an 8-bit image of a grey-value window (0 to {high:g}); export the CT again, {WATER}"
    if low >= -30:
        return (
            f"its values run from {low:.4g} to {high:.4g}, and nothing is as dark as air or fat: an MR, PET or dose "
            f"image, or a CT without its rescale slope and intercept; choose a CT, exported {WATER}"
        )
    return (
        f"its values from {low:.4g} to {high:.4g} are not those of air, fat and soft tissue; export it again, {WATER}"
    )


def _is_flat(data: np.ndarray, low: float, high: float) -> bool:
    """Whether neighbours are equal where they are neither the lowest nor the highest value, as in a label map."""
    parts = data[:, :, :: max(1, data.shape[2] // 8)]
    between = (parts[1:] > low) & (parts[1:] < high)
    return bool(between.any()) and share((parts[1:] == parts[:-1])[between]) > 0.5


def _name_scaled(low: float, high: float) -> str:
    if low >= -0.01 and high <= 1.01:
        kind = "it looks scaled to 0 to 1, or like a probability map"
    elif low >= -1.01 and high <= 1.01:
        kind = "it looks scaled to -1 to 1"
    elif low < 0:
        kind = f"its values run from {low:.3g} to {high:.3g} only, as after a z-score or a division by 1000"
    else:
        kind = f"its values run from {low:.3g} to {high:.3g} only, as of a PET (SUV), a dose or a Jacobian map"
    return f"{kind}; choose a CT with its original values, {WATER}"
