"""What users read for the stages of `SlicRegLib.stages`."""

from __future__ import annotations

from .translation import _

REGISTER = {
    "starting": _("Starting"),
    "preparation": _("Preparation"),
    "prediction": _("Prediction"),
    "alignment": _("Alignment"),
    "spline": _("Spline"),
    "refinement": _("Refinement"),
    "unfolding": _("Unfolding"),
    "writing": _("Writing the results"),
}
"""Stages of a registration, as the progress bar's text."""

LEARN = {
    "starting": _("starting"),
    "check": _("checking the scans"),
    "supervoxels": _("dividing the template into supervoxels"),
    "teacher": _("registering the scans"),
    "training": _("training"),
    "report": _("writing the report"),
}
"""Stages of a training, as parts of the sentence that tells its state."""
