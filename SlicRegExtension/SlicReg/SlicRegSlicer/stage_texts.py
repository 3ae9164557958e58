"""What users read for the stages of `SlicRegLib.stages`."""

from __future__ import annotations

from SlicRegLib import stages

from .translation import _

REGISTER = {
    stages.STARTING: _("Starting"),
    stages.CHOICE: _("Choosing the model"),
    stages.PREPARATION: _("Preparation"),
    stages.PREDICTION: _("Prediction"),
    stages.ALIGNMENT: _("Alignment"),
    stages.SPLINE: _("Spline"),
    stages.REFINEMENT: _("Refinement"),
    stages.UNFOLDING: _("Unfolding"),
    stages.JUDGEMENT: _("Judging the result"),
    stages.WRITING: _("Writing the results"),
    stages.LOADING: _("Loading the results"),
}
"""Stages of a registration, as the progress bar's text."""

FILM = {
    stages.STARTING: _("Starting"),
    stages.READING: _("Reading the result"),
    stages.SURFACES: _("Finding the surfaces"),
    stages.SLICES: _("Drawing the slices"),
    stages.TURNING: _("Drawing the turning view"),
}
"""Stages of a film."""

LEARN = {
    stages.STARTING: _("starting"),
    stages.CHECK: _("checking the scans"),
    stages.AVERAGE: _("averaging the scans"),
    stages.SUPERVOXELS: _("dividing the template into supervoxels"),
    stages.TEACHER: _("registering the scans"),
    stages.CONSENSUS: _("counting the labels"),
    stages.TRAINING: _("training"),
    stages.REPORT: _("writing the report"),
}
"""Stages of a training, with a template scan or with an average, as parts of the sentence that tells its state."""
