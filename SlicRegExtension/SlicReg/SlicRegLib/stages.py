"""The stages of long commands: names, order and typical seconds. Progress, remaining time and panel all use these."""

from __future__ import annotations

STARTING = "starting"
"""What comes before the first report: starting Python, importing torch, reading scans."""
DEVICE = "device"
"""A message, not a stage: which device computes, and why."""

REGISTER = {
    STARTING: 2.5,
    "preparation": 2.0,
    "prediction": 1.0,
    "alignment": 0.4,
    "spline": 0.3,
    "refinement": 3.0,
    "unfolding": 0.2,
    "writing": 10.0,
}
"""The stages of a registration in order, with typical seconds on two cores. After the first, only the ratios matter."""

LEARN = {STARTING: 4.0, "check": 20.0, "supervoxels": 15.0, "teacher": 600.0, "training": 3600.0, "report": 30.0}
"""The stages of a training job in order, with the seconds assumed until the cohort has been checked."""

BY_CLOCK = frozenset({STARTING, "preparation", "prediction", "spline", "unfolding", "writing", "report"})
"""Stages that report only start and end, or steps that tell little about time: the clock tells how far they are."""
