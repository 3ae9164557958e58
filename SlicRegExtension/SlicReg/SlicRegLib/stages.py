"""The stages of long commands: names, order and typical seconds. Progress, remaining time and panel all use these."""

from __future__ import annotations

STARTING = "starting"
"""What comes before the first report: starting Python, importing torch, reading scans."""
DEVICE = "device"
"""A message, not a stage: which device computes, and why."""
WARNING = "warning"
"""A message, not a stage: what the user should know before the end, such as a model that does not fit the scan."""
VERDICT = "verdict"
"""A message, not a stage: the last one of a registration, whether its result can be used."""
MODEL = "model"
"""A message, not a stage: which model was chosen, and why."""
NEAREST = "nearest"
"""A message, not a stage: the name of the model that knows most of the scans, where none knows enough."""

CHOICE = "choice"
"""Of a registration whose model is chosen: each model describes both scans."""
PREPARATION = "preparation"
PREDICTION = "prediction"
ALIGNMENT = "alignment"
SPLINE = "spline"
REFINEMENT = "refinement"
UNFOLDING = "unfolding"
JUDGEMENT = "judgement"
WRITING = "writing"
LOADING = "loading"
"""Of a registration in Slicer: what comes after the last one, until its nodes are filled."""
CHECK = "check"
SUPERVOXELS = "supervoxels"
AVERAGE = "average"
"""Of a study whose template is the cohort's average: takes the teacher's place."""
CONSENSUS = "consensus"
"""Of a study with labels: they are carried to the template and counted."""
TEACHER = "teacher"
TRAINING = "training"
REPORT = "report"
READING = "reading"
"""Of a film: the scan, its labels and the transform."""
SURFACES = "surfaces"
"""Of a film: bones or skin, and organs, are found and first drawn."""
SLICES = "slices"
TURNING = "turning view"

REGISTER = {
    STARTING: 2.0,
    PREPARATION: 0.2,
    PREDICTION: 0.5,
    ALIGNMENT: 0.1,
    SPLINE: 0.1,
    REFINEMENT: 1.2,
    UNFOLDING: 0.4,
    JUDGEMENT: 0.2,
    WRITING: 0.6,
}
"""The stages of a registration in order, with typical seconds on two cores. After the first, only the ratios matter."""

OPTIONAL = frozenset({ALIGNMENT, SPLINE, SURFACES})
"""Stages of a registration or a film that are left out where they are not needed."""
CHOICE_SECONDS = 0.8
"""Those of `CHOICE`, with two models."""

LEARN = {STARTING: 4.0, CHECK: 20.0, SUPERVOXELS: 15.0, TEACHER: 600.0, TRAINING: 3600.0, REPORT: 30.0}
"""The stages of a training job in order, with the seconds assumed until the cohort has been checked."""
LEARN_AVERAGE = {
    STARTING: 4.0,
    CHECK: 40.0,
    AVERAGE: 1800.0,
    SUPERVOXELS: 15.0,
    CONSENSUS: 100.0,
    TRAINING: 3600.0,
    REPORT: 30.0,
}
"""The same where the template is the cohort's average."""

FILM = {STARTING: 1.5, READING: 0.5, SURFACES: 2.5, SLICES: 3.5, TURNING: 4.0}
"""The stages of a film, with typical seconds on two cores."""

BY_CLOCK = frozenset(
    {STARTING, PREPARATION, PREDICTION, SPLINE, UNFOLDING, JUDGEMENT, WRITING, REPORT, READING, SURFACES}
)
"""Stages that report only start and end, or steps that tell little about time: the clock tells how far they are."""
