"""How good a teacher's field on one scan is, without labels, and which fields no network should learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.field import DisplacementField
from ..geometry.folding import jacobian_determinant
from ..geometry.grid import Grid, translation
from ..geometry.resampling import resample
from ..geometry.sampling import sample
from ..images.preparation import AIR_HU, PreparedScan

HU_RANGE = (-200.0, 300.0)  # fat to contrast: soft tissue decides, not the air around and not the brightest bone
MAX_FALL = 0.001  # of the correlation; less is rounding
MAX_FOLDING_PERCENT = 5.0
STRETCH = (0.05, 20.0)  # between these lies det J of a plausible field, but for one percent at either end
MIN_COHORT = 8  # scans; among fewer, none is an outlier
OUTLIER = 4.0  # standard deviations (1.4826 MAD) below the cohort's median correlation
MIN_DEVIATION = 0.02  # of the correlation; a very uniform cohort has no outliers by hair's breadths


@dataclass(frozen=True)
class FieldQuality:
    """A teacher's field in numbers; see `measure`. In a study they stand in this order."""

    similarity_before: float  # correlation of scan and template, their frames laid centre on centre
    similarity_after: float  # the same through the field
    folding_percent: float  # share of the body where det J <= 0
    stretch_low: float  # 1st percentile of det J in the body
    stretch_high: float  # 99th
    mean_displacement_mm: float  # in the body, without the shift between the frames' centres


def measure_field(scan: PreparedScan, template: PreparedScan, field: DisplacementField) -> FieldQuality:
    """The quality of ``field``, which points from the scan to the template.

    Similarity is the correlation coefficient of HU clipped to `HU_RANGE` in the scan's body region, the template pulled
    onto the scan's canonical grid and taken as air outside its own. J is the Jacobian of p -> p + u(p) by central
    differences on that grid; a coarser field is interpolated, so that folds between its points count.
    """
    shift = template.grid.centre - scan.grid.centre
    beneath = Grid(scan.grid.shape, translation(shift) @ scan.grid.affine)
    laid = resample(template.hu[None], template.grid, beneath, fill=AIR_HU)[0]
    points = scan.grid.points()
    vectors = field.at(points)
    pulled = sample(template.hu[None], template.grid, points + vectors, fill=AIR_HU)[0]
    dense = DisplacementField(vectors.movedim(-1, 0), scan.grid)
    stretch = jacobian_determinant(dense)[scan.body[1:-1, 1:-1, 1:-1]]
    low, high = np.percentile(stretch.numpy(), (1, 99))
    moved = (vectors[scan.body] - torch.as_tensor(shift).to(vectors)).norm(dim=-1)
    return FieldQuality(
        _similarity(scan, laid),
        _similarity(scan, pulled),
        100 * float((stretch <= 0).double().mean()),
        float(low),
        float(high),
        float(moved.double().mean()),
    )


def find_implausible(qualities: dict[str, FieldQuality]) -> dict[str, str]:
    """Scans of a cohort that should be left out of training, by name, each with the reason as part of a sentence.

    A field is implausible where it makes the scan less like the template (by more than `MAX_FALL`), folds more than
    `MAX_FOLDING_PERCENT` of the body, or stretches beyond `STRETCH`. Among at least `MIN_COHORT` fields that pass, those are
    left out as well whose similarity lies more than `OUTLIER` robust standard deviations below the median; as deviations
    are measured in their own median, that can never be half of them.
    """
    reasons = {name: text for name, quality in qualities.items() if (text := _problem(quality))}
    reasons |= _outliers({name: q.similarity_after for name, q in qualities.items() if name not in reasons})
    return {name: reasons[name] for name in qualities if name in reasons}


def _similarity(scan: PreparedScan, other: torch.Tensor) -> float:
    """Correlation coefficient in the scan's body region with HU (I, J, K) on its grid; 0 where either is constant."""
    a, b = (hu[scan.region].clamp(*HU_RANGE).double() for hu in (scan.hu, other))
    a, b = a - a.mean(), b - b.mean()
    norm = float((a.square().sum() * b.square().sum()).sqrt())
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _problem(quality: FieldQuality) -> str:
    before, after = quality.similarity_before, quality.similarity_after
    texts = [
        text
        for holds, text in [
            (
                before - after > MAX_FALL,
                f"makes the scan less like the template (correlation {before:.3f} before, {after:.3f} after)",
            ),
            (quality.folding_percent > MAX_FOLDING_PERCENT, f"folds {quality.folding_percent:.1f} % of the body"),
            (
                quality.stretch_low < STRETCH[0],
                f"crushes the body (1st percentile of the volume's change {quality.stretch_low:.2g}, below {STRETCH[0]:g})",
            ),
            (
                quality.stretch_high > STRETCH[1],
                f"inflates the body (99th percentile of the volume's change {quality.stretch_high:.2g}, above {STRETCH[1]:g})",
            ),
        ]
        if holds
    ]
    return "the teacher's field " + " and ".join(texts) if texts else ""


def _outliers(similarities: dict[str, float]) -> dict[str, str]:
    if len(similarities) < MIN_COHORT:
        return {}
    values = np.array(list(similarities.values()))
    median = float(np.median(values))
    deviation = max(1.4826 * float(np.median(np.abs(values - median))), MIN_DEVIATION)
    return {
        name: f"through the teacher's field the scan is far less like the template than the others (correlation {value:.3f}, "
        f"median {median:.3f})"
        for name, value in similarities.items()
        if median - value > OUTLIER * deviation
    }
