"""Contours that cannot be the organ, found by their volume among those of the cohort."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .quality import OUTLIER, measure_robustly

FEWEST_RATERS = 10
"""With fewer contours none is called wrong."""
LEAST_SPREAD = 0.1
"""Least standard deviation of ln volume that is assumed: organs of very uniform patients differ by more."""


def find_wrong_contours(volumes_ml: Mapping[str, float]) -> list[str]:
    """The scans in which an organ's volume is more than `OUTLIER` robust standard deviations from the median, as
    logarithms: three times as large is as far away as a third.

    volumes_ml: by scan, only of contours that the scan's border does not cut. The scans found are fewer than half.
    """
    if len(volumes_ml) < FEWEST_RATERS:
        return []
    logs = {scan: float(np.log(volume)) for scan, volume in volumes_ml.items()}
    median, deviation = measure_robustly(list(logs.values()), LEAST_SPREAD)
    return [scan for scan, value in logs.items() if abs(value - median) > OUTLIER * deviation]
