"""The organs of a cohort's consensus as plain arrays: shares of votes, in files and as a label map. Without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..cohort.names import MAX_NAME, tidy_name
from ..images.archive import ArchiveError
from ..images.arrays import Arrays, take
from ..images.options import MAX_FRAME_VOXELS

MAX_VOXELS = 8 * MAX_FRAME_VOXELS
"""Of a consensus' grid: those of the largest canonical frame, halved."""
PERCENTILES = tuple(range(5, 100, 5))
"""Of an organ's volume in the cohort, as `Organ.volumes_ml` has them. Its ends are left out: they are one patient's,
and often those of a wrong label."""
SIZES = (88, 48, 24, 1)
"""Of the layers of the perceptron in `Correction`; the first is the number of features."""
WEIGHTS = sum((inputs + 1) * outputs for inputs, outputs in pairwise(SIZES))
ENOUGH_RATERS = 3
"""Fewer are some patients' contours rather than what a cohort agrees on."""


@dataclass(frozen=True, eq=False)
class Correction:
    """What labels taught of an organ's borders (`registration.correction`).

    weights: float32 (WEIGHTS,) of the perceptron. threshold: of its answers, 0 to 1. agreement: mean Dice, in the
    template's space, of scans from which the weights were not learned; before: that of the consensus. Both know the
    scans' own votes.
    """

    weights: np.ndarray
    threshold: float
    agreement: float
    before: float


@dataclass(frozen=True, eq=False)
class Organ:
    """One label of the cohort.

    shares: uint8 (i, j, k), 255 times the share of the scans with this organ in which it covers the voxel, of the part
    of the consensus' grid that begins at voxel ``first`` (3,). threshold: share above which a voxel belongs to it, 0 to
    1. raters: scans that have it. agreement: mean Dice of each of them with the consensus of the others. volumes_ml:
    `PERCENTILES` of its volume over the scans that show all of it; empty if there is none. colour: RGB, 0 to 255, if it
    was given. correction: what labels taught of its borders, if they were asked to.
    """

    value: int
    name: str
    shares: np.ndarray
    first: tuple[int, int, int]
    threshold: float
    raters: int
    agreement: float
    volumes_ml: tuple[float, ...] = ()
    colour: tuple[int, int, int] | None = None
    correction: Correction | None = None

    def percentile(self, volume_ml: float) -> float | None:
        """Of a volume in the cohort, 0 to 100; None where the cohort shows no complete organ, or a single one."""
        if not self.volumes_ml or self.volumes_ml[0] == self.volumes_ml[-1]:
            return None
        return float(np.interp(volume_ml, self.volumes_ml, PERCENTILES))


def count_votes(shape: tuple[int, int, int], organs: Sequence[Organ]) -> np.ndarray:
    """The label map (I, J, K) of the organs on their own grid: each voxel belongs to the organ whose share exceeds its
    threshold by the largest factor, and to none where no share does."""
    best = np.full(shape, 1 + 1e-6, np.float32)  # what is no more than rounding is no majority
    labels = np.zeros(shape, choose_dtype(organs))
    for organ in organs:
        i, j, k = (slice(a, a + n) for a, n in zip(organ.first, organ.shares.shape, strict=True))
        factor = organ.shares.astype(np.float32) / 255 / np.float32(organ.threshold)
        wins = factor > best[i, j, k]
        labels[i, j, k][wins], best[i, j, k][wins] = organ.value, factor[wins]
    return labels


def choose_dtype(organs: Sequence[Organ]) -> np.dtype:
    """Of a label map that holds them."""
    return np.dtype(np.uint8 if max(organ.value for organ in organs) < 256 else np.uint16)


def describe_few_raters(organs: Iterable[Organ]) -> list[str]:
    """What a user should know of organs that fewer than `ENOUGH_RATERS` scans have, a sentence for each number."""
    found: dict[int, list[str]] = {}
    for organ in organs:
        if organ.raters < ENOUGH_RATERS:
            found.setdefault(organ.raters, []).append(organ.name)
    return [
        f"{', '.join(names)}: drawn in {'one scan' if raters == 1 else f'{raters} scans'} only, so that this is "
        f"{'the contour of one patient' if raters == 1 else f'what {raters} patients have in common'} rather than the "
        "cohort's consensus."
        for raters, names in sorted(found.items())
    ]


def describe_organs(organs: Iterable[Organ]) -> list[dict[str, Any]]:
    """What bundle.json holds of the organs: all but their shares."""
    return [
        {
            "value": organ.value,
            "name": organ.name,
            "colour": list(organ.colour) if organ.colour else None,
            "raters": organ.raters,
            "threshold": organ.threshold,
            "agreement": round(organ.agreement, 4),
            "volumes_ml": [round(volume, 2) for volume in organ.volumes_ml],
            **_describe_correction(organ.correction),
        }
        for organ in organs
    ]


def _describe_correction(correction: Correction | None) -> dict[str, Any]:
    if correction is None:
        return {}
    numbers = {"threshold": correction.threshold, "agreement": correction.agreement, "before": correction.before}
    return {"correction": {name: round(number, 4) for name, number in numbers.items()}}


def pack_shares(organs: Sequence[Organ]) -> Arrays:
    """The shares as arrays of a file, one organ after the other, and the weights of their corrections, one row for each
    organ that has one; the rest is in `describe_organs`."""
    content = {
        "shares": np.concatenate([organ.shares.ravel() for organ in organs]),
        "boxes": np.array([[*organ.first, *organ.shares.shape] for organ in organs], np.int32),
    }
    corrections = [organ.correction.weights for organ in organs if organ.correction]
    return content | ({"corrections": np.array(corrections).astype(np.float16)} if corrections else {})


def unpack_organs(content: Arrays, described: Any) -> tuple[tuple[int, int, int], tuple[Organ, ...]]:
    """Shape of the grid, and the organs on it. described: `describe_organs`, as a file has them. Raises ArchiveError
    for what is no consensus."""
    i, j, k = (int(n) for n in take(content, "shape", "i4", (3,)))
    if min(i, j, k) < 1 or i * j * k > MAX_VOXELS:
        raise ArchiveError("the grid of its organs has a wrong size")
    if not isinstance(described, list) or not all(isinstance(about, dict) for about in described):
        raise ArchiveError("the description of its organs is damaged")
    boxes = take(content, "boxes", "i4", (len(described), 6)).astype(int)
    first, shapes = boxes[:, :3], boxes[:, 3:]
    if (first < 0).any() or (shapes < 1).any() or (first + shapes > (i, j, k)).any():
        raise ArchiveError("its organs lie outside its grid")
    ends = shapes.prod(1).cumsum()
    shares = np.split(take(content, "shares", "u1", (int(ends[-1]),)), ends[:-1])
    read = tuple(
        _read_organ(about, part.reshape(shape), tuple(low))
        for about, part, low, shape in zip(described, shares, first.tolist(), shapes.tolist(), strict=True)
    )
    read = tuple(_read_corrections(content, described, read))
    if len({organ.value for organ in read}) < len(read):
        raise ArchiveError("two of its organs have one value")
    return (i, j, k), read


def _read_organ(about: dict[str, Any], shares: np.ndarray, first: tuple[int, int, int]) -> Organ:
    """Raises ArchiveError for a description with anything but what `describe_organs` writes."""
    name, volumes, colour = about.get("name"), about.get("volumes_ml"), about.get("colour")
    is_name = isinstance(name, str) and 0 < len(name) <= MAX_NAME and tidy_name(name) == name
    are_volumes = isinstance(volumes, list) and len(volumes) in (0, len(PERCENTILES))
    is_colour = colour is None or (isinstance(colour, list) and len(colour) == 3)
    if not (is_name and are_volumes and is_colour):
        raise ArchiveError("the description of its organs is damaged")
    sizes = [_number(volume, 0, 1e9) for volume in volumes or ()]
    if sizes != sorted(sizes):
        raise ArchiveError("the description of its organs is damaged")
    red, green, blue = (_whole(channel, 0, 255) for channel in colour or (0, 0, 0))
    return Organ(
        value=_whole(about.get("value"), 1, 65535),
        name=str(name),
        shares=shares,
        first=first,
        threshold=_number(about.get("threshold"), 1e-3, 1 - 1e-3),
        raters=_whole(about.get("raters"), 1, 65535),
        agreement=_number(about.get("agreement"), 0, 1),
        volumes_ml=tuple(sizes),
        colour=(red, green, blue) if colour else None,
    )


def _read_corrections(content: Arrays, described: list[dict[str, Any]], organs: Sequence[Organ]) -> Iterator[Organ]:
    abouts = [about.get("correction") for about in described]
    count = sum(about is not None for about in abouts)
    rows = iter(take(content, "corrections", "f2", (count, WEIGHTS)).astype(np.float32) if count else ())
    for organ, about in zip(organs, abouts, strict=True):
        if about is None:
            yield organ
            continue
        weights: np.ndarray = next(rows)
        if not isinstance(about, dict) or not np.isfinite(weights).all():
            raise ArchiveError("what labels taught of its organs is damaged")
        threshold = _number(about.get("threshold"), 1e-3, 1 - 1e-3)
        agreement, before = (_number(about.get(key), 0, 1) for key in ("agreement", "before"))
        yield replace(organ, correction=Correction(weights, threshold, agreement, before))


def _whole(value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ArchiveError("the description of its organs is damaged")
    return int(_number(value, least, most))


def _number(value: Any, least: float, most: float) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise ArchiveError("the description of its organs is damaged")
    return float(value)
