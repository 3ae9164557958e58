"""The verdict of a registration: whether it can be used, and what to look at.

The rule is a list of checks. Each compares one figure with two limits, "doubtful" and "failed". The verdict is the
worst of them, and its sentence is that of the first of the worst checks; but where the images agree very well, nothing
makes it worse than doubtful. How the limits were found, and what they are worth: docs/results.md and
``benchmarks/verdict.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import uniform_filter

from ..geometry.field import DisplacementField
from ..geometry.sampling import sample
from ..images.preparation import PreparedScan
from ..images.volumes import Volume
from ..network.options import STRIDE
from ..network.prediction import expected_positions
from .common_supervoxels import CommonSupervoxels
from .confidence import confidence
from .image_features import image_features
from .model import Model
from .result import Registration, Views
from .verdict_text import WORDS, Word

Place = tuple[float, float, float, float]
"""R, A, S mm on the template and the confidence there."""
GOOD_SENTENCE = "Both scans show the same anatomy and agree well after the registration."
FOUND = (0.7, 0.4)
"""Limits of `Verdict.supervoxels_found`: less is doubtful, failed."""
CONFIDENCE = (0.2, 0.1)
"""Limits of `Verdict.mean_confidence`: less is doubtful, failed."""
AGREEMENT = (0.55, 0.43)
"""Limits of `Verdict.agreement_after`: less is doubtful, failed."""
AGREEMENT_OF_REGISTERED = 0.65
"""More, and the images agree so well that what else speaks against a registration makes it doubtful, but not failed."""
LONGER = (1.4, 1.8)
"""Limits of each of `CommonSupervoxels.stretches`: more is doubtful, failed. Patients differ by less."""
SHORTER = (0.62, 0.5)
"""The same for targets that are smaller: less is doubtful, failed."""
SHORTER_PART = (0.45, 0.3)
"""The same along the body for a target that shows only a part of it, since such a scan looks shorter than it is."""
FOLDING = (1.0, 10.0)
"""Limits of `Verdict.folding_percent`: more is doubtful, failed."""
MIRROR_ADVANTAGE = 0.08
"""Limit of `CommonSupervoxels.mirror_advantage`: more is doubtful."""
THINNED = 2
"""The figures are measured at every second voxel of the network's output along each axis."""
PLACES = 3
"""How many of the least sure places are named."""
APART_MM = 60.0
"""Least distance between these places."""


@dataclass(frozen=True)
class Verdict:
    """Whether a registration can be used, by a rule that was derived from data (docs/results.md).

    sentence: what to look at, for people. agreement_before, agreement_after: how alike the image features of both scans
    are where both show the body, 1 where they are equal and 0 where they are as unlike as two places chosen at random;
    before, the scans are only centred. supervoxels_found: as `CommonSupervoxels.found`, 0 to 1. mean_confidence: over
    the body that both scans show. least_sure: places on the template, (R, A, S mm, confidence), the worst first.
    folding_percent: as `Registration.folding_percent`.
    """

    word: Word
    sentence: str
    agreement_before: float
    agreement_after: float
    supervoxels_found: float
    mean_confidence: float
    least_sure: tuple[Place, ...]
    folding_percent: float


@dataclass(frozen=True)
class Check:
    """One figure's judgement and what it means."""

    word: Word
    sentence: str


def judge(model: Model, result: Registration, device: torch.device = torch.device("cpu")) -> Verdict:
    """The verdict of a registration by ``model``. Raises ValueError for a registration without a network."""
    if result.views is None or result.common is None:
        raise ValueError("this registration used no network, so it has no verdict")
    net, views = model.network(device), result.views
    seen = views.moving.to(device).thinned(THINNED)
    expected = expected_positions(net, seen, result.common.fixed).cpu()
    sure, least_sure = _sure(confidence(expected, seen.grid, result.dense, views.fixed, THINNED), views.fixed)
    before, after = _agreements(views, result.dense)
    worst = decide([*check_common(result.common), *check_result(after, sure, result.folding_percent)], after)
    return Verdict(
        word=worst.word,
        sentence=worst.sentence,
        agreement_before=before,
        agreement_after=after,
        supervoxels_found=result.common.found,
        mean_confidence=sure,
        least_sure=least_sure,
        folding_percent=result.folding_percent,
    )


def decide(checks: Sequence[Check], agreement: float) -> Check:
    """The word and the sentence of all ``checks`` together."""
    worst = _worst(checks)
    if worst.word == "good":
        return Check("good", GOOD_SENTENCE)
    registered = worst.word == "failed" and agreement > AGREEMENT_OF_REGISTERED
    return replace(worst, word="doubtful") if registered else worst


def foresee(common: CommonSupervoxels) -> str:
    """What is wrong before the long work of a registration, in a sentence; "" where nothing is."""
    worst = _worst([*check_common(common)])
    return "" if worst.word == "good" else worst.sentence


def check_common(common: CommonSupervoxels) -> Iterator[Check]:
    """The checks that the supervoxels alone allow."""
    word = _judge(common.found, FOUND)
    yield Check(
        word,
        f"The model knows {'nearly nothing' if word == 'failed' else 'little'} of this anatomy: {common.found:.0%} of "
        "the supervoxels are found in both scans. Check that template, target and model show the same part of the "
        "body, and the target's orientation and spacing.",
    )
    along_body = SHORTER if common.complete else SHORTER_PART
    for direction, stretch, shorter in zip(_DIRECTIONS, common.stretches, (SHORTER, SHORTER, along_body), strict=True):
        word = max(_judge(stretch, shorter), _judge(stretch, LONGER), key=WORDS.index)
        yield Check(
            word,
            f"The target is {stretch:.2f} times as long as the template {direction}. Patients differ less; check its "
            "spacing.",
        )
    yield Check(
        "doubtful" if common.mirror_advantage > MIRROR_ADVANTAGE else "good",
        "The target may be left-right mirrored: its mirror image fits the template better. Check on which side the "
        "liver or another organ lies, and the file's orientation.",
    )


def check_result(agreement: float, sure: float, folding: float) -> Iterator[Check]:
    """The checks of the finished registration."""
    yield Check(
        _judge(agreement, AGREEMENT),
        f"The scans still differ much after the registration (agreement {agreement:.2f}). Compare them before you "
        "use the result.",
    )
    yield Check(
        _judge(sure, CONFIDENCE),
        f"The field leads to other places than the network expects (mean confidence {sure:.2f}). Compare the scans, "
        "first at the least sure places.",
    )
    yield Check(
        _judge(folding, FOLDING), f"The field folds in {folding:.1f} % of the volume. Do not use it where it folds."
    )


_DIRECTIONS = ("from right to left", "from back to front", "along the body")


def _worst(checks: Sequence[Check]) -> Check:
    """The first of the worst checks."""
    return max(checks, key=lambda check: WORDS.index(check.word))


def _judge(value: float, limits: tuple[float, float]) -> Word:
    """The word for a ``value`` that should not pass the limits for doubtful and failed, whichever way they ascend."""
    side = 1 if limits[0] < limits[1] else -1
    return WORDS[sum(side * value > side * limit for limit in limits)]


def _sure(confidence: Volume, fixed: PreparedScan) -> tuple[float, tuple[Place, ...]]:
    """The mean confidence over the body that both scans show, and the least sure places."""
    step = STRIDE * THINNED
    body = (fixed.body[::step, ::step, ::step].numpy()) & (confidence.data > 0)
    if not body.any():
        return 0.0, ()
    values, points = confidence.data[body], confidence.grid.points().numpy()[body]
    smooth = uniform_filter(confidence.data, 3) / uniform_filter(body.astype(np.float32), 3).clip(1e-3)
    local, chosen = smooth[body], list[int]()
    for n in np.argsort(local):
        if all(np.linalg.norm(points[n] - points[other]) >= APART_MM for other in chosen):
            chosen.append(int(n))
        if len(chosen) == PLACES:
            break
    places = [(*np.round(points[n].astype(float), 1).tolist(), round(float(local[n]), 3)) for n in chosen]
    return float(values.mean()), tuple(places)


def _agreements(views: Views, dense: DisplacementField) -> tuple[float, float]:
    """Of the image features at 8 mm: with the scans only centred, and with the field."""
    fixed, moving = views.fixed, views.moving.scan
    own, other = (image_features(F.avg_pool3d(scan.hu[None], 2)[0]) for scan in (fixed, moving))
    body = F.avg_pool3d(fixed.body[None].float(), 2)[0] > 0.5
    there = F.avg_pool3d(moving.body[None].float(), 2)
    grids = [scan.grid.pooled(2) for scan in (fixed, moving)]
    points, own = grids[0].points()[body], own[body]
    centred = points + torch.tensor(moving.grid.centre - fixed.grid.centre, dtype=torch.float32)

    def agreement(leads_to: torch.Tensor) -> float:
        both = sample(there, grids[1], leads_to, fill=0.0)[0] > 0.5
        if int(both.sum()) < 100:
            return 0.0
        a, b = own[both], sample(other.movedim(-1, 0), grids[1], leads_to[both]).T
        by_chance = a.var(0).sum() + b.var(0).sum() + (a.mean(0) - b.mean(0)).square().sum()
        return float(1 - (a - b).square().sum(1).mean() / by_chance.clamp_min(1e-9))

    return agreement(centred), agreement(dense(points))
