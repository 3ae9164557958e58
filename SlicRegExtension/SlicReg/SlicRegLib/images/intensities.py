"""A sample of an image's values, and whether they may be Hounsfield units."""

from __future__ import annotations

import numpy as np

PLANES = 60
"""A scan is sampled where this many planes along each axis cross."""
BLOCK = 40
"""Voxels along each axis of the block in which noise is measured."""
BODY_HU, LUNG_HU = -300.0, -850.0
"""Above the first is the body; below the second is air."""
NARROW = 45.0
"""No scan has a smaller range of values: the inside of a brain has more by its noise."""


def sample_values(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values at crossings of planes (i, j, k), the outermost planes included, and which of them are on the box's edges.

    What lies outside the body, or outside a round field of view, fills the edges.
    """
    planes = [np.unique(np.linspace(0, n - 1, min(n, PLANES)).astype(int)) for n in data.shape]
    values = data[np.ix_(*planes)]
    outer = np.zeros(values.shape, np.int8)
    for axis in range(3):
        np.moveaxis(outer, axis, 0)[[0, -1]] += 1
    return values, outer >= 2


class IntensitySample:
    """Statistics of sampled values; shares are of all values without padding, or of the body's."""

    def __init__(self, values: np.ndarray, ends: np.ndarray):
        flat = values.ravel()
        distinct, counts = np.unique(flat, return_counts=True)
        padding = distinct[(distinct <= -1100) & (counts >= max(3, 5e-4 * flat.size))]
        self.values = v = flat[~np.isin(flat, padding)] if len(padding) else flat
        self.body = body = v[v > BODY_HU]
        kept = max(1, len(v))
        self.body_share = len(body) / kept
        self.air = share((v >= -1100) & (v <= LUNG_HU))
        self.between = float(((v > -700) & (v <= -350)).sum()) / max(1, len(body))
        self.below = float((v < -1250).sum()) / max(1, len(body))
        self.core = share((body >= -200) & (body <= 250))
        self.fat = share((body >= -200) & (body <= -30))
        # a scan stored with an offset has no fat here, and padding fills no more than the corners outside a round field
        self.has_air_and_fat = self.air > 0.5 and self.fat > 0.03
        self.negative = share((v > -200) & (v <= -5))
        self.bone = share((body > 300) & (body <= 750))
        self.hump = share((body > 850) & (body < 1250))
        self.lowest = float(v.min()) if len(v) else 0.0
        self.lowest_share = share(v == self.lowest)
        self.zeros = _count_zeros(distinct, counts)
        edge, often = np.unique(values[ends], return_counts=True)
        self.edge, self.edge_share = float(edge[often.argmax()]), float(often.max() / often.sum())
        self.edge_median = float(np.median(values[ends]))
        self.edge_narrow = share(np.abs(values[ends] - self.edge_median) < 60)


def share(mask: np.ndarray) -> float:
    return float(mask.mean()) if mask.size else 0.0


def _count_zeros(distinct: np.ndarray, counts: np.ndarray) -> float:
    """The share of values that are exactly 0, if these are many more than the values just beside 0; otherwise 0."""
    zeros = float(counts[distinct == 0].sum())
    beside = float(counts[(distinct != 0) & (np.abs(distinct) <= 5)].sum()) / 10
    return zeros / float(counts.sum()) if zeros > 20 * beside else 0.0


def find_densest(values: np.ndarray, width: float) -> tuple[float, float]:
    """The largest share of values in a window of this width, and the window's middle."""
    if not len(values):
        return 0.0, 0.0
    ordered = np.sort(values)
    counts = np.searchsorted(ordered, ordered + width, side="right") - np.arange(len(ordered))
    first = int(counts.argmax())
    return float(counts[first] / len(ordered)), float(ordered[first] + width / 2)


def measure_roughness(data: np.ndarray) -> float:
    """Second differences between neighbours, relative to the spread of values, in the middle of the scan: noise and
    texture. A map that was computed, such as of distances, has almost none. 1 where the block is constant.
    """
    block = data[tuple(slice(max(0, n // 2 - BLOCK // 2), n // 2 + BLOCK // 2) for n in data.shape)]
    spread = float(np.subtract(*np.percentile(block, [90, 10])))
    bends = max(float(np.percentile(np.abs(np.diff(block, 2, axis=axis)), 90)) for axis in range(3))
    return bends / spread if spread > 0 else 1.0


def find_problem(sample: IntensitySample, data: np.ndarray) -> str:
    """Why the values are not HU: a key word; "" where they are."""
    if len(sample.body) < 20:
        return ""  # air alone: whoever needs a body says so
    rest = sample.values[sample.values != 0]
    if sample.zeros > 0.1 and share((rest >= -200) & (rest <= 250)) > 0.02 and share(rest < -5) > 0.01:
        return "zeros"
    if sample.edge_share > 0.5 and sample.edge > LUNG_HU and not (sample.edge and -150 <= sample.edge <= 150):
        return "outside"
    if sample.lowest > LUNG_HU and sample.lowest_share > 0.03:
        return "cut"
    if sample.hump > 0.03 and sample.hump > 3 * sample.bone and not sample.has_air_and_fat:
        return "hump"
    if sample.air > 0.02:
        return "" if sample.core > 0.2 else "tissue"
    return find_problem_without_air(sample, data)


def find_problem_without_air(sample: IntensitySample, data: np.ndarray) -> str:
    if sample.core < 0.5:
        return "tissue"
    dark = sample.values[sample.values < -30]
    floor, at = find_densest(dark, 8)
    if len(dark) > 0.1 * len(sample.values) and floor > 0.6 and at > LUNG_HU:
        return "cut"
    if sample.edge_narrow > 0.6 and -650 < sample.edge_median < -200:
        return "outside"
    if sample.below > 0.02 and find_densest(sample.body[sample.body < -40], 40)[1] < -160:
        return "factor"
    if sample.fat < 0.01 and sample.negative < 0.003:
        first, last = np.percentile(sample.values, [1, 99])
        if first < -60 or last > 250 or last - first > 160:
            return "positive"
    return "smooth" if measure_roughness(data) < 0.15 else ""


def resembles_ct(sample: IntensitySample) -> bool:
    """Whether the values may be HU, with air around the body. Limits: on 101 scans ``between`` is at most 0.09 and
    ``bone`` 0.005 to 0.08.
    """
    if sample.air < 0.02 or sample.body_share < 0.003 or sample.core < 0.5 or sample.hump > max(0.03, sample.bone):
        return False
    if sample.edge_narrow > 0.6 and sample.edge_median > LUNG_HU:
        return False
    return sample.between < 0.2 and 0.003 < sample.bone < 0.2


def has_air_and_body(sample: IntensitySample) -> bool:
    """Whether the values are HU beyond doubt: with fat and soft tissue apart from each other.

    On 101 scans fat is at least 15 % of the body and 0.72 of what is least between both, soft tissue 1.7 of it, and
    what is above at most 0.54 of soft tissue.
    """
    if not resembles_ct(sample) or sample.fat < 0.06:
        return False
    counts = np.histogram(sample.body, np.arange(-160, 161, 20))[0]
    fat, valley, soft, above = counts[:5].max(), counts[5:8].min(), counts[8:14].max(), counts[14:].max()
    return bool(fat > 0.6 * valley and soft > 1.3 * valley and above < 0.8 * soft)
