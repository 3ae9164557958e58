"""Whether a scan is CT in Hounsfield units, judged from a sample of its values.

A CT has air near -1000 HU, or, if it shows the inside of the body alone, fat and soft tissue between -200 and 250 HU
with noise. Nothing else has both: images of other kinds have no negative values, or few, or a range of a few units.
Values below -1100 that occur exactly are padding and are left out. The limits were measured by
`Testing/reliability/hounsfield.py`; the page on reliability has its table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .intensities import (
    NARROW,
    IntensitySample,
    find_densest,
    find_problem,
    has_air_and_body,
    sample_values,
)
from .intensity_words import describe_values

OFFSETS = (1024.0, 1000.0, 8192.0, 32768.0, -1024.0, -1000.0)
"""What files are stored with: the negated rescale intercepts of scanners, and an intercept that was applied twice."""


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
    values, ends = sample_values(data)
    low, high = float(data.min()), float(data.max())
    if low < -1800:  # before HU themselves: bone would pass for a body, and the body for air
        certain = [
            offset for offset in OFFSETS if offset < 0 and has_air_and_body(IntensitySample(values - offset, ends))
        ]
        if certain:
            return _correct(_choose_offset(values, certain))
    sample = IntensitySample(values, ends)
    problem = "range" if high - low < NARROW and low > -100 else "bytes" if (low, high) == (-128, 127) else ""
    problem = problem or find_problem(sample, data)
    if not problem:
        return Judgement(note=_find_shift(sample))
    if high > 60000:
        unsigned = np.where(values >= 32768, values - 65536, values)
        if not find_problem(IntensitySample(unsigned, ends), data):
            return Judgement(
                wrapped=True, note="has its negative values stored as unsigned numbers; 65536 was subtracted."
            )
    certain = [
        offset
        for offset in OFFSETS
        if (offset < 0 or not sample.has_air_and_fat) and has_air_and_body(IntensitySample(values - offset, ends))
    ]
    if certain:
        return _correct(_choose_offset(values, certain))
    return Judgement(
        refusal=f"is not a CT in Hounsfield units: {describe_values(problem, values, ends, data, low, high)}."
    )


def _choose_offset(values: np.ndarray, certain: list[float]) -> float:
    """Among offsets that all explain the values, the one with air nearest to -1000 HU; if air has no noise, with its
    value nearest to -1024, the lowest that scanners store.
    """

    def distance(offset: float) -> float:
        air = (values - offset)[(values - offset > -1100) & (values - offset < -880)]
        distinct, counts = np.unique(air, return_counts=True)
        often = distinct[counts.argmax()]
        noisy = air[air != often]
        return abs(find_densest(noisy, 16)[1] + 1000) if len(noisy) > 0.02 * values.size else abs(float(often) + 1024)

    return min(certain, key=distance)


def _correct(offset: float) -> Judgement:
    if offset < 0:
        return Judgement(
            offset, note=f"had its rescale intercept applied twice; {-offset:.0f} was added to get Hounsfield units."
        )
    return Judgement(
        offset, note=f"was stored with an offset of {offset:.0f}; it was subtracted to get Hounsfield units."
    )


def _find_shift(sample: IntensitySample) -> str:
    """A note where air lies too high, as in cone-beam CT."""
    if sample.edge_narrow > 0.6 and -930 < sample.edge_median <= -650:
        return f"has its air at {sample.edge_median:.0f} HU instead of -1000; are its values calibrated?"
    return ""
