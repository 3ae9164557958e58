"""Which scan of a cohort its average begins with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..cohort.facts import ScanFacts, measure_scan
from ..errors import UserError
from ..progress import Progress, silent
from ..stages import CHECK
from ..workers import run_each


def choose_start(paths: Sequence[Path], jobs: int = 1, progress: Progress = silent) -> Path:
    """The scan of the most usual size among the half that shows most of the body. Raises UserError if none can be
    used."""
    facts: list[ScanFacts] = []
    for number, done in enumerate(run_each(measure_scan, paths, jobs), 1):
        facts.append(done.result or ScanFacts("", str(done.item), problem=done.problem))
        progress(CHECK, number / len(paths), f"{number} of {len(paths)}")
    usable = sorted((each for each in facts if not each.problem), key=lambda each: each.path)
    if not usable:
        raise UserError(f"No scan can be used; the first reason: {facts[0].problem}")
    return Path(find_most_usual(usable).path)


def find_most_usual(scans: Sequence[ScanFacts]) -> ScanFacts:
    """Of scans without a problem. The size along the body only tells how much a scan shows, so that the two others are
    compared."""
    extents = np.array([each.body_extent_mm for each in scans])
    long = extents[:, 2] >= np.median(extents[:, 2])
    unusual = np.abs(np.log(extents[:, :2] / np.median(extents[long, :2], axis=0))).sum(1)
    return scans[int(np.where(long, unusual, np.inf).argmin())]
