"""Options of a registration."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import refuse
from ..network.options import PredictionOptions


@dataclass(frozen=True)
class AlignmentOptions:
    """How key points are moved and their displacements spread."""

    key_points: int = 2048
    iterations: int = 50  # of Adam
    learning_rate: float = 0.05  # in units of 200 mm
    alpha: float = 0.015  # weight of the diffusion regularisation
    neighbours: int = 8  # per key point in the regularisation's graph
    affine_start: bool = True  # start from the affine map between the supervoxels' centroids
    spline_lambda: float = 0.001  # stiffness of the thin-plate spline; 0 interpolates
    field_spacing_mm: float = 16.0  # of the dense field that the spline is evaluated on
    seed: int = 0

    def __post_init__(self):
        refuse(
            "Registration",
            [
                (self.key_points < 8, "key points must be at least 8"),
                (self.iterations < 0, "iterations must not be negative"),
                (self.learning_rate <= 0, "the learning rate must be positive"),
                (self.alpha < 0, "alpha must not be negative"),
                (self.neighbours < 1, "neighbours must be at least 1"),
                (self.spline_lambda < 0, "the spline's lambda must not be negative"),
                (self.field_spacing_mm <= 0, "the field's spacing must be positive"),
            ],
        )


@dataclass(frozen=True)
class RefinementOptions:
    """How the field is refined on image features."""

    iterations: int = 30  # of Adam on averaged features; 0: `register` refines nothing
    fine_iterations: int = 40  # and then on those of every voxel
    learning_rate: float = 1.0  # in control-point spacings
    regularisation: float = 1.25  # weight of squared differences between neighbouring control points (spacings)
    dilation: int = 1  # of MIND-SSC: voxels from the centre to the compared patches
    radius: int = 1  # of the patches, voxels
    intensity: float = 2.0  # weight of the windowed Hounsfield units beside MIND-SSC

    def __post_init__(self):
        refuse(
            "Refinement",
            [
                (min(self.iterations, self.fine_iterations) < 0, "iterations must not be negative"),
                (self.learning_rate <= 0, "the learning rate must be positive"),
                (min(self.regularisation, self.intensity) < 0, "weights must not be negative"),
                (min(self.dilation, self.radius) < 1, "dilation and radius must be at least 1 voxel"),
            ],
        )


@dataclass(frozen=True)
class RegistrationOptions:
    """How a scan is registered; the network's part stands in the bundle."""

    prediction: PredictionOptions = field(default_factory=PredictionOptions)
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)
    refinement: RefinementOptions = field(default_factory=RefinementOptions)  # 0 iterations: the published method
    least_stretch: float = (
        0.5  # the field is smoothed where it folds or compresses more than that; 0: only where it folds
    )
