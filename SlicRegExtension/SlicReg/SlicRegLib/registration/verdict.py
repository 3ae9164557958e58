"""The verdict of a registration: whether it can be used, and what to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from ..geometry.field import DisplacementField, affine_field
from ..geometry.grid import translation
from ..geometry.sampling import sample
from ..images.preparation import AIR_HU, PreparedScan
from ..network.options import STRIDE, PredictionOptions
from ..network.prediction import describe, encode, expected_positions
from .confidence import confidence
from .image_features import image_features
from .model import Model
from .result import Registration

Word = Literal["good", "doubtful", "failed"]


@dataclass(frozen=True)
class Verdict:
    """Whether a registration can be used, by a rule that was derived from data (docs/results.md).

    sentence: what to look at, for people. agreement_before, agreement_after: how alike the image features of both scans
    are within the body, 1 where they are equal and 0 where they are as unlike as two places chosen at random; before,
    the scans are only centred. supervoxels_found: the share of the smaller scan's supervoxels that the other has, 0 to
    1. mean_confidence: over what both scans show. least_sure: places on the template, (R, A, S mm, confidence).
    folding_percent: as `Registration.folding_percent`.
    """

    word: Word
    sentence: str
    agreement_before: float
    agreement_after: float
    supervoxels_found: float
    mean_confidence: float
    least_sure: tuple[tuple[float, float, float, float], ...]
    folding_percent: float


def judge(model: Model, result: Registration, device: torch.device = torch.device("cpu")) -> Verdict:
    """The verdict of a registration by ``model``. Raises ValueError for a registration without a network."""
    if result.views is None:
        raise ValueError("this registration used no network, so it has no verdict")
    net, moving = model.network(device), result.views.moving.to(device)
    fixed = result.views.fixed
    fixed_centroids = describe(net, encode(net, fixed, PredictionOptions(precision=moving.precision))).centroids
    moving_centroids = describe(net, moving).centroids
    found = _common_share(fixed_centroids, moving_centroids)
    map_ = confidence(expected_positions(net, moving, fixed_centroids).cpu(), moving.grid, result.dense, fixed)
    inside = fixed.body[::STRIDE, ::STRIDE, ::STRIDE].numpy() & (map_.data > 0)
    values, places = map_.data[inside], map_.grid.points().numpy()[inside]
    order = np.argsort(values)[:: max(1, len(values) // 3)][:3]
    least = tuple(
        (float(places[n, 0]), float(places[n, 1]), float(places[n, 2]), round(float(values[n]), 3)) for n in order
    )
    centred = affine_field(translation(moving.scan.grid.centre - fixed.grid.centre), result.dense.grid)
    before, after = (_agreement(fixed, moving.scan, field) for field in (centred, result.dense))
    sure = float(values.mean()) if len(values) else 0.0
    word: Word = "good" if found > 0.5 and sure > 0.5 else "doubtful" if found > 0.3 and sure > 0.3 else "failed"
    sentence = {
        "good": "Both scans show the same anatomy and agree well after the registration.",
        "doubtful": "The scans agree only in part; look at the picture before you use the result.",
        "failed": "The scans have little in common; do not use the result.",
    }[word]
    return Verdict(word, sentence, before, after, found, sure, least, result.folding_percent)


def _common_share(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a[:, 1:, 0], b[:, 1:, 0]
    return float(torch.minimum(a, b).sum() / torch.minimum(a.sum(), b.sum()).clamp_min(1e-9))


def _agreement(fixed: PreparedScan, moving: PreparedScan, field: DisplacementField) -> float:
    """1 minus the mean squared difference of image features over twice their variance, in the fixed scan's body."""
    body = fixed.body
    points = fixed.grid.points()[body][::4]
    warped = sample(image_features(moving.hu).movedim(-1, 0), moving.grid, field(points)).T
    own = image_features(fixed.hu)[body][::4]
    shown = sample(moving.hu[None] - AIR_HU, moving.grid, field(points), fill=0.0)[0] > 100
    if int(shown.sum()) < 100:
        return 0.0
    own, warped = own[shown], warped[shown]
    spread = own.var(0).sum() + warped.var(0).sum() + (own.mean(0) - warped.mean(0)).square().sum()
    return float(1 - (own - warped).square().sum(1).mean() / spread.clamp_min(1e-9))
