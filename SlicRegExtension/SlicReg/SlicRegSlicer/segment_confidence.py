"""How sure a registration is of each segment of the template, where there are no labels to measure it by."""

from __future__ import annotations

import numpy as np

from .maps import sample_nearest
from .reading import Image


def measure_segment_confidence(labels: Image, confidence: Image, values: list[int]) -> dict[str, list[float | None]]:
    """Label value -> [mean, 10th percentile] of the confidence over the segment, both None where none is known.

    labels: the template's label map. confidence: 0 where it is not known. Keys are text, as in report.json.
    """
    sure = sample_nearest(confidence.voxels, confidence.matrix, labels.voxels.shape, labels.matrix)
    known = sure > 0
    found = {}
    label, values_there = labels.voxels[known], sure[known]
    for value in values:
        here = values_there[label == value]
        found[str(value)] = [float(here.mean()), float(np.percentile(here, 10))] if here.size else [None, None]
    return found
