"""Options of a registration."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import refuse
from ..network.options import PredictionOptions


@dataclass(frozen=True, kw_only=True)
class AlignmentOptions:
    """How key points are moved and their displacements made dense."""

    key_points: int = 2048
    """Points of the fixed scan whose displacements are optimised, at least 8."""
    iterations: int = 50
    """Steps of Adam (published: 100)."""
    learning_rate: float = 0.05
    """Learning rate of Adam, in units of 200 mm."""
    alpha: float = 0.015
    """Weight of the diffusion regularisation; larger is smoother."""
    neighbours: int = 8
    """Neighbours of each key point in the regularisation's graph."""
    affine_start: bool = True
    """Start from the affine map between the supervoxels of both scans (published: from their centres of mass)."""
    spline_lambda: float = 0.001
    """Stiffness of the thin-plate spline; 0 interpolates."""
    field_spacing_mm: float = 16.0
    """Spacing in mm of the grid on which the spline is evaluated."""
    seed: int = 0
    """Random seed of the key points."""

    def __post_init__(self) -> None:
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


@dataclass(frozen=True, kw_only=True)
class RefinementOptions:
    """How the field is refined on image features."""

    coarse_iterations: int = 30
    """Steps of Adam on features averaged to 8 mm."""
    fine_iterations: int = 40
    """Steps of Adam that follow on the features of every 4 mm voxel, an eighth of them at a time."""
    step_size: float = 1.0
    """Learning rate of Adam, in control-point spacings."""
    regularisation: float = 1.25
    """Weight of squared differences between neighbouring control points; larger is smoother."""
    dilation: int = 1
    """MIND-SSC: voxels from the centre to the compared patches."""
    radius: int = 1
    """MIND-SSC: radius of the patches, voxels."""
    intensity: float = 2.0
    """Weight of the windows of Hounsfield units beside MIND-SSC."""

    def __post_init__(self) -> None:
        refuse(
            "Refinement",
            [
                (min(self.coarse_iterations, self.fine_iterations) < 0, "iterations must not be negative"),
                (self.coarse_iterations + self.fine_iterations < 1, "at least one iteration is needed"),
                (self.step_size <= 0, "the step size must be positive"),
                (min(self.regularisation, self.intensity) < 0, "weights must not be negative"),
                (min(self.dilation, self.radius) < 1, "dilation and radius must be at least 1 voxel"),
            ],
        )


@dataclass(frozen=True, kw_only=True)
class RegistrationOptions:
    """How a scan is registered; the canonical frame and the network belong to the model."""

    refine: bool = True
    """Refine the field on image features. Without it the method is the published one."""
    least_stretch: float = 0.5
    """Smooth the field where it compresses strongly: 0 only where it folds, 0.5 where lengths shrink to less than about
    a third."""
    prediction: PredictionOptions = field(default_factory=PredictionOptions)
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)
    refinement: RefinementOptions = field(default_factory=RefinementOptions)

    def __post_init__(self) -> None:
        refuse("Registration", [(not 0 <= self.least_stretch <= 1, "the least stretch must lie between 0 and 1")])
