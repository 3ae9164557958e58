"""Options of a registration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ..errors import refuse
from ..network.options import PredictionOptions
from ..option import SEEDS, Range, find_problems


@dataclass(frozen=True, kw_only=True)
class AlignmentOptions:
    """How key points are moved and their displacements made dense."""

    key_points: Annotated[int, Range(8, 8192)] = 2048
    """Points of the fixed scan whose displacements are optimised."""
    iterations: Annotated[int, Range(0, 10_000)] = 50
    """Steps of Adam (published: 100)."""
    learning_rate: Annotated[float, Range(1e-6, 1)] = 0.05
    """Learning rate of Adam, in units of 200 mm."""
    alpha: Annotated[float, Range(0, 1000)] = 0.015
    """Weight of the diffusion regularisation; larger is smoother."""
    neighbours: Annotated[int, Range(1, 64)] = 8
    """Neighbours of each key point in the regularisation's graph."""
    affine_start: bool = True
    """Start from the affine map between the supervoxels of both scans (published: from their centres of mass)."""
    spline_lambda: Annotated[float, Range(0, 1000)] = 0.001
    """Stiffness of the thin-plate spline; 0 interpolates."""
    field_spacing_mm: Annotated[float, Range(2, 200)] = 16.0
    """Spacing in mm of the grid on which the spline is evaluated."""
    seed: Annotated[int, SEEDS] = 0
    """Random seed of the key points."""

    def __post_init__(self) -> None:
        refuse("Registration", find_problems(self))


@dataclass(frozen=True, kw_only=True)
class RefinementOptions:
    """How the field is refined on image features."""

    coarse_iterations: Annotated[int, Range(0, 10_000)] = 30
    """Steps of Adam on features averaged to 8 mm."""
    fine_iterations: Annotated[int, Range(0, 10_000)] = 40
    """Steps of Adam that follow on the features of every 4 mm voxel, an eighth of them at a time."""
    step_size: Annotated[float, Range(1e-6, 100)] = 1.0
    """Learning rate of Adam, in control-point spacings."""
    regularisation: Annotated[float, Range(0, 10_000)] = 1.25
    """Weight of squared differences between neighbouring control points; larger is smoother."""
    dilation: Annotated[int, Range(1, 8)] = 1
    """MIND-SSC: voxels from the centre to the compared patches."""
    radius: Annotated[int, Range(1, 8)] = 1
    """MIND-SSC: radius of the patches, voxels."""
    intensity: Annotated[float, Range(0, 1000)] = 2.0
    """Weight of the windows of Hounsfield units beside MIND-SSC."""

    def __post_init__(self) -> None:
        refuse(
            "Refinement",
            [
                *(problems := find_problems(self)),
                (
                    not problems and self.coarse_iterations + self.fine_iterations < 1,
                    "at least one iteration is needed",
                ),
            ],
        )


@dataclass(frozen=True, kw_only=True)
class RegistrationOptions:
    """How a scan is registered; the canonical frame and the network belong to the model."""

    refine: bool = True
    """Refine the field on image features. Without it the method is the published one."""
    least_stretch: Annotated[float, Range(0, 1)] = 0.5
    """Smooth the field where it compresses strongly: 0 only where it folds, 0.5 where lengths shrink to less than about
    a third."""
    prediction: PredictionOptions = field(default_factory=PredictionOptions)
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)
    refinement: RefinementOptions = field(default_factory=RefinementOptions)

    def __post_init__(self) -> None:
        refuse("Registration", find_problems(self))


@dataclass(frozen=True, kw_only=True)
class ModeOptions:
    """How a registration is done, as a set of options."""

    mode: Literal["default", "fast", "published"] = "default"
    """Values of the options of the registration that are not given: fast has half the steps of the refinement,
    published is the method of the paper, from the centres of mass and without refinement."""


MODES = {
    "default": RegistrationOptions(),
    "fast": RegistrationOptions(refinement=RefinementOptions(coarse_iterations=20, fine_iterations=15)),
    "published": RegistrationOptions(
        refine=False,
        prediction=PredictionOptions(features="labels"),
        alignment=AlignmentOptions(iterations=100, affine_start=False),
    ),
}
"""Sets of options by name. What each costs and gains: docs/results.md."""
