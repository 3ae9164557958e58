"""Learns from the labels of a cohort where the borders of its organs lie (`registration.correction`).

Each organ is learned from three quarters of its raters and tried on the others, four times. The threshold of its
answers is the one with the best mean Dice there, and where the consensus alone is as good, the organ keeps it.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import UserError
from ..geometry.inverse import invert
from ..geometry.threads import one_thread
from ..images.volumes import load_scan
from ..progress import Progress
from ..registration.consensus import Consensus
from ..registration.correction import AROUND, DIVIDED, WINDOWS, average_target, find_divided, look_around, perceive
from ..registration.image_features import CELL
from ..registration.organs import SIZES, Correction, Organ
from ..stages import CONSENSUS
from ..workers import run_each
from .agreement import THRESHOLDS
from .packing import load_arrays, save_arrays
from .study import Study
from .votes import Vote, read_votes

LEAST_RATERS = 8
"""Of an organ whose borders are learned."""
FOLDS = 4
LEAST_GAIN = 0.003
"""Of the mean Dice of raters that were not learned from."""
MOST_VOXELS = 3000
"""Of an organ and a scan that are learned from."""
STEPS, BATCH, RATE = 5000, 512, 0.002
JITTER_HU = 10.0
"""Standard deviation of an offset that is added to all that is seen of a place."""


class Rater(NamedTuple):
    """A scan of the study, its file, and the organs of which it is a rater."""

    name: str
    path: Path
    organs: frozenset[int]


def learn_corrections(
    study: Study, consensus: Consensus, raters: Sequence[Rater], folder: Path, jobs: int, progress: Progress
) -> tuple[Consensus, list[str]]:
    """The consensus with what its raters teach of the organs' borders, and what the user should know, in sentences.

    folder: where `carry_votes` left the votes. jobs: processes. Raises UserError where no scan can be learned from.
    """
    samples, taught, notes = folder / "samples", set[str](), list[str]()
    shutil.rmtree(samples, ignore_errors=True)  # of an interrupted run, perhaps with other labels
    samples.mkdir()
    for number, found in enumerate(run_each(partial(take_samples, study, consensus, folder, samples), raters, jobs), 1):
        progress(CONSENSUS, 0.6 * number / len(raters), f"borders, {found.item.name}")
        if found.problem:
            notes.append(f"{found.item.name} taught no borders: {found.problem}")
        else:
            taught.add(found.item.name)
    if not taught:
        raise UserError(f"No scan can teach borders; the first reason: {notes[0]}" if notes else "No scan has labels.")
    names = [rater.name for rater in raters if rater.name in taught]
    learned: dict[int, Correction | None] = {}
    for number, found in enumerate(run_each(partial(learn_organ, samples, names), consensus.organs, jobs), 1):
        progress(CONSENSUS, 0.6 + 0.4 * number / len(consensus.organs), f"borders, {found.item.name}")
        learned[found.item.value] = found.result
        if found.problem:
            notes.append(f"The borders of {found.item.name} were not learned: {found.problem}")
    if kept := [organ.name for organ in consensus.organs if learned.get(organ.value) is None]:
        notes.append(f"Labels taught no better borders than the cohort's votes of: {', '.join(kept)}.")
    organs = (replace(organ, correction=learned.get(organ.value)) for organ in consensus.organs)
    return replace(consensus, organs=tuple(organs)), notes


@one_thread()
def take_samples(study: Study, consensus: Consensus, folder: Path, samples: Path, rater: Rater) -> None:
    """Write what one scan teaches of each of its organs to a file in ``samples``."""
    scan = load_scan(rater.path)
    field = invert(study.scan(rater.name)[1], study.template().grid.pooled(CELL))
    own = [organ for organ in consensus.organs if organ.value in rater.organs]
    if not own:
        return
    image, votes = average_target(scan, consensus.grid, own, field), read_votes(folder, rater.name)
    content = {}
    for organ in own:
        if not len(voxels := find_divided(organ)):
            continue
        mask, sure = draw_mask(votes[organ.value], organ), organ.shares >= 255 * DIVIDED[1]
        above = organ.shares > 255 * organ.threshold
        part = consensus.grid.cropped(organ.first, organ.shares.shape)
        shown = scan.grid.to_normalised(field(part.points())).abs().le(1).all(-1)
        sure, above = sure & shown.numpy(), above & shown.numpy()
        voxels = voxels[shown[tuple(voxels.T)]]
        generator = np.random.default_rng(zlib.crc32(f"{rater.name} {organ.value}".encode()))
        chosen = np.sort(generator.permutation(len(voxels))[:MOST_VOXELS])
        counts = mask.sum(), sure.sum(), (mask & sure).sum(), above.sum(), (above & mask).sum(), len(voxels)
        if not len(chosen):
            continue
        features = look_around(organ, voxels[chosen], consensus.grid, image, field)
        content[f"x{organ.value}"] = features.half().numpy()
        content[f"y{organ.value}"] = mask[tuple(voxels[chosen].T.numpy())]
        content[f"n{organ.value}"] = np.array(counts, np.int64)
    save_arrays(samples / f"{rater.name}.npz", content)


def draw_mask(vote: Vote, organ: Organ) -> np.ndarray:
    """A scan's vote in the organ's part of the grid, bool."""
    mask = np.zeros(organ.shares.shape, bool)
    if vote.box:
        place = (slice(a.start - low, a.stop - low) for a, low in zip(vote.box, organ.first, strict=True))
        mask[tuple(place)] = vote.mask
    return mask


@dataclass(frozen=True, eq=False)
class _Samples:
    """Of one scan: features (n, FEATURES), labels (n,) bool, and the counts of voxels that `take_samples` writes."""

    x: torch.Tensor
    y: torch.Tensor
    counts: Mapping[str, float]

    @property
    def before(self) -> float:
        """Dice of the consensus with the scan's label."""
        counts = self.counts
        return 2 * counts["above in mask"] / (counts["above"] + counts["mask"])

    def dice(self, answers: torch.Tensor) -> np.ndarray:
        """Dice with the scan's label at each of the THRESHOLDS of the answers (n,)."""
        inside = answers[:, None] > torch.tensor(THRESHOLDS)
        scale = self.counts["divided"] / len(self.y)
        size = self.counts["sure"] + scale * inside.sum(0).numpy()
        common = self.counts["sure in mask"] + scale * (inside & self.y[:, None]).sum(0).numpy()
        return 2 * common / (size + self.counts["mask"])


@one_thread()
def learn_organ(samples: Path, names: Sequence[str], organ: Organ) -> Correction | None:
    """What the scans teach of one organ; None where they are too few, or where it does not help."""
    read = [found for name in names if (found := _read(samples / f"{name}.npz", organ.value))]
    if len(read) < LEAST_RATERS:
        return None
    dice = []
    for held in range(FOLDS):
        weights = _fit([each for number, each in enumerate(read) if number % FOLDS != held])
        dice += [each.dice(perceive(weights, each.x).sigmoid()) for each in read[held::FOLDS]]
    mean, before = np.mean(dice, axis=0), float(np.mean([each.before for each in read]))
    best = int(mean.argmax())
    if mean[best] < before + LEAST_GAIN:
        return None
    learned = _fit(read).half().float().numpy()
    return Correction(learned, THRESHOLDS[best], agreement=float(mean[best]), before=before)


def _read(path: Path, value: int) -> _Samples | None:
    content = load_arrays(path, f"x{value}", f"y{value}", f"n{value}")
    if len(content) < 3:
        return None
    names = ("mask", "sure", "sure in mask", "above", "above in mask", "divided")
    counts = dict(zip(names, content[f"n{value}"].tolist(), strict=True))
    if not counts["mask"]:
        return None
    return _Samples(
        torch.from_numpy(content[f"x{value}"]).float(), torch.from_numpy(content[f"y{value}"].astype(bool)), counts
    )


def _fit(read: Sequence[_Samples]) -> torch.Tensor:
    """Weights (WEIGHTS,) of a perceptron. A scan counts as much as the others, however large its organ is."""
    x, y = torch.cat([each.x for each in read]), torch.cat([each.y for each in read]).float()
    importance = torch.cat([torch.full((len(each.y),), 1 / max(50, each.counts["mask"])) for each in read])
    importance /= importance.mean()
    mean, scale = x.mean(0), x.std(0) + 1e-3
    generator = torch.Generator().manual_seed(0)
    widths = torch.full((x.shape[1],), torch.inf)
    for number, (_, width, _, _) in enumerate(WINDOWS):
        widths[number * len(AROUND) : (number + 1) * len(AROUND)] = width
    layers = []
    for inputs, outputs in pairwise(SIZES):
        matrix = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
        layers += [matrix.requires_grad_(), torch.zeros(outputs, requires_grad=True)]
    steps = min(STEPS, 12 * max(1, len(y) // BATCH) + 200)
    optimiser = torch.optim.AdamW(layers, lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        chosen = torch.randint(len(y), (BATCH,), generator=generator)
        noise = 0.05 * torch.randn(BATCH, x.shape[1], generator=generator)
        offset = JITTER_HU * torch.randn(BATCH, 1, generator=generator) / widths  # other scanners, other contrast
        logits = perceive(torch.cat([part.flatten() for part in layers]), (x[chosen] + offset - mean) / scale + noise)
        loss = F.binary_cross_entropy_with_logits(logits, y[chosen], reduction="none")
        optimiser.zero_grad()
        (loss * importance[chosen]).mean().backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():  # so that it takes the features as they are
        layers[1] -= layers[0] @ (mean / scale)
        layers[0] /= scale
    return torch.cat([part.detach().flatten() for part in layers])
