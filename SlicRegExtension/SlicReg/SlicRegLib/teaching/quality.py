"""The quality of a teacher's field, measured without labels, and which fields to exclude from training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.field import DisplacementField
from ..geometry.folding import jacobian_determinant
from ..geometry.grid import Grid, translation
from ..geometry.resampling import resample
from ..geometry.sampling import sample
from ..images.preparation import AIR_HU, PreparedScan

HU_RANGE = (-200.0, 300.0)
"""Fat to contrast agent: the correlation depends on soft tissue, not on the air around it or on the brightest bone."""
MAX_FALL = 0.001
"""A field that lowers the correlation by more makes the scan less similar; a smaller fall is rounding."""
MAX_FOLDING_PERCENT = 5.0
STRETCH = (0.05, 20.0)
"""Bounds of det J in a plausible field, not counting one percent of the body at either end."""
MIN_COHORT = 8
"""With fewer scans, none is an outlier."""
OUTLIER = 4.0
"""Standard deviations (1.4826 MAD) below the cohort's median correlation."""
MIN_DEVIATION = 0.02
"""Least standard deviation that is assumed: tiny differences in a very uniform cohort do not make outliers."""


@dataclass(frozen=True)
class FieldQuality:
    """A teacher's field in numbers; see `measure_field`. Studies store them in this order."""

    similarity_before: float
    """Correlation of scan and template with the centres of their frames aligned."""
    similarity_after: float
    """Correlation of scan and warped template."""
    folding_percent: float
    """Share of the body where det J <= 0."""
    stretch_low: float
    """1st percentile of det J in the body."""
    stretch_high: float
    """99th percentile of det J in the body."""
    mean_displacement_mm: float
    """In the body, without the shift between the centres of the frames."""


def measure_field(scan: PreparedScan, template: PreparedScan, field: DisplacementField) -> FieldQuality:
    """The quality of ``field``, which points from the scan to the template.

    Similarity is the correlation coefficient of HU, clipped to `HU_RANGE`, in the scan's body region; the template is
    resampled on the scan's canonical grid and air outside its own. J is the Jacobian of p -> p + u(p), by central
    differences on that grid; a coarser field is interpolated, so that folds between its points count.
    """
    shift = template.grid.centre - scan.grid.centre
    shifted = Grid(scan.grid.shape, translation(shift) @ scan.grid.affine)
    unregistered = resample(template.hu[None], template.grid, shifted, fill=AIR_HU)[0]
    points = scan.grid.points()
    vectors = field.at(points)
    registered = sample(template.hu[None], template.grid, points + vectors, fill=AIR_HU)[0]
    dense = DisplacementField(vectors.movedim(-1, 0), scan.grid)
    stretch = jacobian_determinant(dense)[scan.body[1:-1, 1:-1, 1:-1]]
    low, high = np.percentile(stretch.numpy(), (1, 99))
    moved = (vectors[scan.body] - torch.as_tensor(shift).to(vectors)).norm(dim=-1)
    return FieldQuality(
        _correlate(scan, unregistered),
        _correlate(scan, registered),
        100 * float((stretch <= 0).double().mean()),
        float(low),
        float(high),
        float(moved.double().mean()),
    )


def find_implausible(qualities: dict[str, FieldQuality]) -> dict[str, str]:
    """Scans that should be excluded from training: name -> reason, as part of a sentence.

    A field is implausible if it makes the scan less similar to the template (by more than `MAX_FALL`), folds more than
    `MAX_FOLDING_PERCENT` of the body, or stretches it beyond `STRETCH`. If at least `MIN_COHORT` fields pass, those
    whose similarity is more than `OUTLIER` robust standard deviations below the median are implausible, too. These are
    always fewer than half, because the standard deviation is estimated from the median deviation.
    """
    reasons = {name: text for name, quality in qualities.items() if (text := _explain(quality))}
    reasons |= _find_outliers({name: q.similarity_after for name, q in qualities.items() if name not in reasons})
    return {name: reasons[name] for name in qualities if name in reasons}


def _correlate(scan: PreparedScan, other: torch.Tensor) -> float:
    """Correlation coefficient of the scan with HU (I, J, K) on its grid in its body region; 0 if one is constant."""
    a, b = (hu[scan.region].clamp(*HU_RANGE).double() for hu in (scan.hu, other))
    a, b = a - a.mean(), b - b.mean()
    norm = float((a.square().sum() * b.square().sum()).sqrt())
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _explain(quality: FieldQuality) -> str:
    """Why a field is implausible in itself; "" if it is not."""
    before, after = quality.similarity_before, quality.similarity_after
    (least, most), low, high = STRETCH, quality.stretch_low, quality.stretch_high
    texts = []
    if before - after > MAX_FALL:
        texts.append(
            f"makes the scan less similar to the template (correlation {before:.3f} before, {after:.3f} after)"
        )
    if quality.folding_percent > MAX_FOLDING_PERCENT:
        texts.append(f"folds {quality.folding_percent:.1f} % of the body")
    if low < least:
        texts.append(f"compresses the body (1st percentile of the volume ratio {low:.2g}, below {least:g})")
    if high > most:
        texts.append(f"expands the body (99th percentile of the volume ratio {high:.2g}, above {most:g})")
    return "the teacher's field " + " and ".join(texts) if texts else ""


def measure_robustly(values: Sequence[float], least: float) -> tuple[float, float]:
    """Median and standard deviation (1.4826 MAD, at ``least`` so much) of values of which fewer than half are wrong."""
    median = float(np.median(values))
    return median, max(1.4826 * float(np.median(np.abs(np.array(values) - median))), least)


def _find_outliers(similarities: dict[str, float]) -> dict[str, str]:
    if len(similarities) < MIN_COHORT:
        return {}
    median, deviation = measure_robustly(list(similarities.values()), MIN_DEVIATION)
    return {
        name: "after the teacher's registration the scan resembles the template much less than the other scans do "
        f"(correlation {value:.3f}, median {median:.3f})"
        for name, value in similarities.items()
        if median - value > OUTLIER * deviation
    }
