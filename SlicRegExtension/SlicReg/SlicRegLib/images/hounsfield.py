"""Whether a scan is CT in Hounsfield units, judged from a sample of its values.

A CT has air near -1000 HU, or, if it shows the inside of the body alone, fat and soft tissue between -200 and 250 HU
with noise. Nothing else has both: images of other kinds have no negative values, or few, or a range of a few units.
Values below -1100 that occur exactly are padding and are left out. The limits were measured by
`Testing/reliability/hounsfield.py`; the page on reliability has its table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PLANES = 60
"""A scan is sampled where this many planes along each axis cross."""
BLOCK = 40
"""Voxels along each axis of the block in which noise is measured."""
BODY_HU, LUNG_HU = -300.0, -850.0
"""Above the first is the body; below the second is air."""
NARROW = 45.0
"""No scan has a smaller range of values: the inside of a brain has more by its noise."""
OFFSETS = (1024.0, 1000.0, 8192.0, 32768.0, -1024.0, -1000.0)
"""What files are stored with: the negated rescale intercepts of scanners, and an intercept that was applied twice."""
WATER = "so that air is about -1000 and water 0"


@dataclass(frozen=True)
class Judgement:
    """What became of the question. HU are ``unwrapped`` values less ``offset``."""

    offset: float = 0.0
    wrapped: bool = False
    """Negative values are stored as unsigned 16-bit numbers, 65536 higher."""
    note: str = ""
    """What was corrected or is worth knowing: a sentence that begins with the file's name, from its second word on."""
    refusal: str = ""
    """Why the scan cannot be used and how to mend it; likewise."""

    @property
    def corrected(self) -> bool:
        return bool(self.offset) or self.wrapped

    def correct(self, data: np.ndarray) -> np.ndarray:
        """The HU of float32 ``data``; the same array where there is nothing to correct."""
        if self.wrapped:
            return np.where(data >= 32768, data - np.float32(65536), data)
        return data - np.float32(self.offset) if self.offset else data


def judge_intensities(data: np.ndarray) -> Judgement:
    """Judge the finite values of a scan (I, J, K), float32."""
    values, ends = _sample(data)
    low, high = float(data.min()), float(data.max())
    if low < -1800:  # before HU themselves: bone would pass for a body, and the body for air
        certain = [offset for offset in OFFSETS if offset < 0 and _has_air_and_body(_Sample(values - offset, ends))]
        if certain:
            return _correct(_choose_offset(values, certain))
    sample = _Sample(values, ends)
    problem = "range" if high - low < NARROW and low > -100 else "bytes" if (low, high) == (-128, 127) else ""
    problem = problem or _find_problem(sample, data)
    if not problem:
        return Judgement(note=_find_shift(sample))
    if high > 60000:
        unsigned = np.where(values >= 32768, values - 65536, values)
        if not _find_problem(_Sample(unsigned, ends), data):
            return Judgement(
                wrapped=True, note="has its negative values stored as unsigned numbers; 65536 was subtracted."
            )
    certain = [
        offset
        for offset in OFFSETS
        if (offset < 0 or not sample.has_air_and_fat) and _has_air_and_body(_Sample(values - offset, ends))
    ]
    if certain:
        return _correct(_choose_offset(values, certain))
    return Judgement(refusal=f"is not a CT in Hounsfield units: {_name(problem, values, ends, data, low, high)}.")


# --- the sample ---


def _sample(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values at crossings of planes (i, j, k), the outermost planes included, and which of them are on the box's edges.

    What lies outside the body, or outside a round field of view, fills the edges.
    """
    planes = [np.unique(np.linspace(0, n - 1, min(n, PLANES)).astype(int)) for n in data.shape]
    values = data[np.ix_(*planes)]
    outer = np.zeros(values.shape, np.int8)
    for axis in range(3):
        np.moveaxis(outer, axis, 0)[[0, -1]] += 1
    return values, outer >= 2


class _Sample:
    """Statistics of sampled values; shares are of all values without padding, or of the body's."""

    def __init__(self, values: np.ndarray, ends: np.ndarray):
        flat = values.ravel()
        distinct, counts = np.unique(flat, return_counts=True)
        padding = distinct[(distinct <= -1100) & (counts >= max(3, 5e-4 * flat.size))]
        self.values = v = flat[~np.isin(flat, padding)] if len(padding) else flat
        self.body = body = v[v > BODY_HU]
        kept = max(1, len(v))
        self.body_share = len(body) / kept
        self.air = _share((v >= -1100) & (v <= LUNG_HU))
        self.between = float(((v > -700) & (v <= -350)).sum()) / max(1, len(body))
        self.below = float((v < -1250).sum()) / max(1, len(body))
        self.core = _share((body >= -200) & (body <= 250))
        self.fat = _share((body >= -200) & (body <= -30))
        # a scan stored with an offset has no fat here, and padding fills no more than the corners outside a round field
        self.has_air_and_fat = self.air > 0.5 and self.fat > 0.03
        self.negative = _share((v > -200) & (v <= -5))
        self.bone = _share((body > 300) & (body <= 750))
        self.hump = _share((body > 850) & (body < 1250))
        self.lowest = float(v.min()) if len(v) else 0.0
        self.lowest_share = _share(v == self.lowest)
        self.zeros = _count_zeros(distinct, counts)
        edge, often = np.unique(values[ends], return_counts=True)
        self.edge, self.edge_share = float(edge[often.argmax()]), float(often.max() / often.sum())
        self.edge_median = float(np.median(values[ends]))
        self.edge_narrow = _share(np.abs(values[ends] - self.edge_median) < 60)


def _share(mask: np.ndarray) -> float:
    return float(mask.mean()) if mask.size else 0.0


def _count_zeros(distinct: np.ndarray, counts: np.ndarray) -> float:
    """The share of values that are exactly 0, if these are many more than the values just beside 0; otherwise 0."""
    zeros = float(counts[distinct == 0].sum())
    beside = float(counts[(distinct != 0) & (np.abs(distinct) <= 5)].sum()) / 10
    return zeros / float(counts.sum()) if zeros > 20 * beside else 0.0


def _densest(values: np.ndarray, width: float) -> tuple[float, float]:
    """The largest share of values in a window of this width, and the window's middle."""
    if not len(values):
        return 0.0, 0.0
    ordered = np.sort(values)
    counts = np.searchsorted(ordered, ordered + width, side="right") - np.arange(len(ordered))
    first = int(counts.argmax())
    return float(counts[first] / len(ordered)), float(ordered[first] + width / 2)


def _roughness(data: np.ndarray) -> float:
    """Second differences between neighbours, relative to the spread of values, in the middle of the scan: noise and
    texture. A map that was computed, such as of distances, has almost none. 1 where the block is constant.
    """
    block = data[tuple(slice(max(0, n // 2 - BLOCK // 2), n // 2 + BLOCK // 2) for n in data.shape)]
    spread = float(np.subtract(*np.percentile(block, [90, 10])))
    bends = max(float(np.percentile(np.abs(np.diff(block, 2, axis=axis)), 90)) for axis in range(3))
    return bends / spread if spread > 0 else 1.0


# --- the judgement ---


def _find_problem(sample: _Sample, data: np.ndarray) -> str:
    """Why the values are not HU: a key word; "" where they are."""
    if len(sample.body) < 20:
        return ""  # air alone: whoever needs a body says so
    rest = sample.values[sample.values != 0]
    if sample.zeros > 0.1 and _share((rest >= -200) & (rest <= 250)) > 0.02 and _share(rest < -5) > 0.01:
        return "zeros"
    if sample.edge_share > 0.5 and sample.edge > LUNG_HU and not (sample.edge and -150 <= sample.edge <= 150):
        return "outside"
    if sample.lowest > LUNG_HU and sample.lowest_share > 0.03:
        return "cut"
    if sample.hump > 0.03 and sample.hump > 3 * sample.bone and not sample.has_air_and_fat:
        return "hump"
    if sample.air > 0.02:
        return "" if sample.core > 0.2 else "tissue"
    return _find_problem_without_air(sample, data)


def _find_problem_without_air(sample: _Sample, data: np.ndarray) -> str:
    if sample.core < 0.5:
        return "tissue"
    dark = sample.values[sample.values < -30]
    floor, at = _densest(dark, 8)
    if len(dark) > 0.1 * len(sample.values) and floor > 0.6 and at > LUNG_HU:
        return "cut"
    if sample.edge_narrow > 0.6 and -650 < sample.edge_median < -200:
        return "outside"
    if sample.below > 0.02 and _densest(sample.body[sample.body < -40], 40)[1] < -160:
        return "factor"
    if sample.fat < 0.01 and sample.negative < 0.003:
        first, last = np.percentile(sample.values, [1, 99])
        if first < -60 or last > 250 or last - first > 160:
            return "positive"
    return "smooth" if _roughness(data) < 0.15 else ""


def _resembles_ct(sample: _Sample) -> bool:
    """Whether the values may be HU, with air around the body. Limits: on 101 scans ``between`` is at most 0.09 and
    ``bone`` 0.005 to 0.08.
    """
    if sample.air < 0.02 or sample.body_share < 0.003 or sample.core < 0.5 or sample.hump > max(0.03, sample.bone):
        return False
    if sample.edge_narrow > 0.6 and sample.edge_median > LUNG_HU:
        return False
    return sample.between < 0.2 and 0.003 < sample.bone < 0.2


def _has_air_and_body(sample: _Sample) -> bool:
    """Whether the values are HU beyond doubt: with fat and soft tissue apart from each other.

    On 101 scans fat is at least 15 % of the body and 0.72 of what is least between both, soft tissue 1.7 of it, and
    what is above at most 0.54 of soft tissue.
    """
    if not _resembles_ct(sample) or sample.fat < 0.06:
        return False
    counts = np.histogram(sample.body, np.arange(-160, 161, 20))[0]
    fat, valley, soft, above = counts[:5].max(), counts[5:8].min(), counts[8:14].max(), counts[14:].max()
    return bool(fat > 0.6 * valley and soft > 1.3 * valley and above < 0.8 * soft)


def _choose_offset(values: np.ndarray, certain: list[float]) -> float:
    """Among offsets that all explain the values, the one with air nearest to -1000 HU; if air has no noise, with its
    value nearest to -1024, the lowest that scanners store.
    """

    def distance(offset: float) -> float:
        air = (values - offset)[(values - offset > -1100) & (values - offset < -880)]
        distinct, counts = np.unique(air, return_counts=True)
        often = distinct[counts.argmax()]
        noisy = air[air != often]
        return abs(_densest(noisy, 16)[1] + 1000) if len(noisy) > 0.02 * values.size else abs(float(often) + 1024)

    return min(certain, key=distance)


def _correct(offset: float) -> Judgement:
    if offset < 0:
        return Judgement(
            offset, note=f"had its rescale intercept applied twice; {-offset:.0f} was added to get Hounsfield units."
        )
    return Judgement(
        offset, note=f"was stored with an offset of {offset:.0f}; it was subtracted to get Hounsfield units."
    )


def _find_shift(sample: _Sample) -> str:
    """A note where air lies too high, as in cone-beam CT."""
    if sample.edge_narrow > 0.6 and -930 < sample.edge_median <= -650:
        return f"has its air at {sample.edge_median:.0f} HU instead of -1000; are its values calibrated?"
    return ""


# --- what the values are instead ---


def _name(problem: str, values: np.ndarray, ends: np.ndarray, data: np.ndarray, low: float, high: float) -> str:
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
        sample = _Sample(sign * values, ends)
        offset = sample.edge_median + 1000
        if abs(offset) > 150 and _has_air_and_body(_Sample(sign * values - offset, ends)):
            return f"it looks {word}, with air at {sign * sample.edge_median:.0f} instead of -1000; rescale it, {WATER}"
    inside = _Sample(values - 1024, ends)
    if _resembles_ct(inside):
        return f"it may be a CT with an offset of about 1024, or an MR; export the CT again, {WATER}"
    if inside.air < 0.02 and not _find_problem_without_air(inside, data):
        return f"it looks like the inside of a body with an offset of about 1024; subtract it, {WATER}"
    if problem in ("cut", "smooth") and _roughness(data) < 0.15:
        return "it looks like a map that was computed, such as of distances or displacements; choose the scan itself"
    if problem == "outside" and (edge := _Sample(values, ends).edge) > low:
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
    return bool(between.any()) and _share((parts[1:] == parts[:-1])[between]) > 0.5


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
