"""The method on one screen: prepare, describe, align, densify, refine, unfold; then warp."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from scipy.linalg import polar
from scipy.spatial.transform import Rotation

from .alignment import AlignmentOptions, KeyPoints, affine_between, align, describe_key_points, thin_plate_spline
from .bundle import Bundle
from .errors import UserError
from .geometry import Grid, apply_affine, bounding_grid, translation
from .prediction import Description, PredictionOptions, describe, describe_layers
from .preparation import AIR_HU, Prepared, prepare_scan
from .progress import Progress, silent
from .refinement import RefinementOptions, refine
from .volumes import Volume
from .warping import DisplacementField, affine_field, invert, jacobian_determinant, resample, resample_labels, tapered, unfolded

INVERSE_SPACING_MM = 3.0  # of the inverse field's grid: keeps field and inverse within 1 mm of each other
SHOWS_LESS = 0.6  # voxels of body for one of the moving scan's: below, the refinement compares at the fixed scan's voxels
TAPER_MM = 30.0  # beyond the scans, over which fields fall to zero


@dataclass(frozen=True)
class RegistrationOptions:
    """How a scan is registered; the network's part stands in the bundle."""

    prediction: PredictionOptions = field(default_factory=PredictionOptions)
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)
    refinement: RefinementOptions = field(default_factory=RefinementOptions)  # 0 iterations: the published method
    least_stretch: float = 0.5  # the field is smoothed where it folds or compresses more than that; 0: only where it folds


@dataclass(frozen=True, eq=False)
class Registration:
    """What `register` found, and what can be made of it.

    dense: the field template -> target over the template's canonical frame, RAS mm, the edge repeated outside.
    seconds: per stage. own_template: whether the template is the one the bundle was trained with. moving_grid: the frame in
    which the network saw the target; None: its canonical frame.
    """

    template: Volume
    target: Volume
    dense: DisplacementField
    seconds: dict[str, float]
    own_template: bool
    moving_grid: Grid | None = None

    @cached_property
    def field(self) -> DisplacementField:
        """The resampling field template -> target (fixed to moving), zero at its border, as written to files."""
        return tapered(self.dense, self.template.grid, TAPER_MM)

    @cached_property
    def inverse(self) -> DisplacementField:
        """The explicit inverse, target -> template, zero at its border."""
        grid = bounding_grid([self.target.grid], INVERSE_SPACING_MM)
        return tapered(invert(self.dense, grid), self.target.grid, TAPER_MM)

    def warped_target(self) -> Volume:
        """The target's HU on the template's grid."""
        hu = resample(self.target.tensor, self.target.grid, self.template.grid, self.field, fill=AIR_HU)[0]
        return Volume(hu.numpy(), self.template.grid)

    def labels_on_target(self, labels: Volume) -> Volume:
        """Template labels on the target's own grid, through the inverse field."""
        return Volume(resample_labels(labels.data, labels.grid, self.target.grid, self.inverse), self.target.grid)

    def labels_on_template(self, labels: Volume) -> Volume:
        """Target labels on the template's own grid."""
        return Volume(resample_labels(labels.data, labels.grid, self.template.grid, self.field), self.template.grid)

    def folding_percent(self) -> float:
        """Share of the template's volume where the field's Jacobian determinant is not positive, in per cent."""
        inner = bounding_grid([self.template.grid], float(self.dense.grid.spacing.min()) / 2)
        return float((jacobian_determinant(self.field.on(inner)) <= 0).float().mean() * 100)


def register(bundle: Bundle, template: Volume, target: Volume, options: RegistrationOptions = RegistrationOptions(),
             device: torch.device = torch.device("cpu"), progress: Progress = silent) -> Registration:
    """Register ``target`` to ``template``: find the bundle's supervoxels in both scans, align them, make the field dense.

    Any two scans will do: the template need not be the bundle's own, since its supervoxels are predicted as well.
    """
    clock = Stopwatch(progress)
    own = template.fingerprint() == bundle.template_sha256
    with clock("preparation"):
        fixed, moving = (prepare_scan(scan, bundle.preparation) for scan in (template, target))
    with clock("prediction"):
        wanted = fixed_key_points(bundle, fixed, own, options, device)
        found = describe(bundle.net.to(device), moving, options.prediction)
        matrix = translation(moving.grid.centre - fixed.grid.centre)
        if options.alignment.affine_start:
            fit = affine_between(wanted.centroids, found.centroids)
            if fit is not None and is_posed(fit):
                moving, found = seen_upright(bundle, target, fixed, wanted, moving, found, pose(fit, fixed.grid.centre), options)
                fit = affine_between(wanted.centroids, found.centroids)
            matrix = matrix if fit is None else fit
    with clock("alignment"):
        start = apply_affine(matrix, wanted.points) - wanted.points
        displacements = align(wanted.points, wanted.features, found, start, options.alignment, progress)
    with clock("spline"):
        grid = bounding_grid([fixed.grid], options.alignment.field_spacing_mm)
        dense = thin_plate_spline(wanted.points, displacements, grid, options.alignment.spline_lambda)
    dense = finish([dense, affine_field(matrix, grid)], fixed, moving, clock, options, device)
    return Registration(template, target, dense, clock.seconds, own, moving.grid)


def finish(starts: Sequence[DisplacementField], fixed: Prepared, moving: Prepared, clock: Stopwatch,
           options: RegistrationOptions = RegistrationOptions(), device: torch.device = torch.device("cpu")) -> DisplacementField:
    """The first of ``starts``, dense fields fixed to moving (or another, see `refine`), refined and unfolded. With 0 iterations
    of the refinement it is the first, unfolded.

    The refinement compares at the voxels of one scan, and each finds a counterpart if the other scan shows as much of the
    body. So the moving scan's voxels look for their places in the fixed one, a template that was chosen to show all of the
    anatomy, unless the fixed scan shows far less (in voxels: a patient seen upright is also seen at the template's size): voxels
    without a counterpart would squeeze the field into what is there.
    """
    dense = starts[0]
    if options.refinement.iterations:
        with clock("refinement"):
            forward = int(fixed.region.sum()) < SHOWS_LESS * int(moving.region.sum())
            if not forward:
                starts = [invert(unfolded(start, options.least_stretch), moving.grid.pooled(4)) for start in starts]
            first, second = (fixed, moving) if forward else (moving, fixed)
            starts = [start.to(device) for start in starts]
            dense = refine(starts, first, second, first.region, options.refinement, clock.progress).to("cpu")
            if not forward:
                dense = invert(unfolded(dense, options.least_stretch), fixed.grid.pooled(2))
    with clock("unfolding"):
        return unfolded(dense, options.least_stretch)


def fixed_key_points(bundle: Bundle, fixed: Prepared, own: bool, options: RegistrationOptions, device: torch.device) -> KeyPoints:
    """The fixed scan's key points: those stored in the bundle where scan and options are its own, else predicted."""
    default = AlignmentOptions()
    as_stored = replace(options.prediction, chunk=PredictionOptions().chunk) == PredictionOptions() and all(
        getattr(options.alignment, name) == getattr(default, name) for name in ("key_points", "seed"))
    if own and as_stored and bundle.key_points:
        return bundle.key_points.to(device)
    if own and options.prediction.hard:  # as published: the template's own layers
        description = describe_layers(bundle.layers, fixed, options.prediction, device)
    else:
        description = describe(bundle.net.to(device), fixed, options.prediction)
    return describe_key_points(description, fixed.body, fixed.grid, options.alignment)


def seen_upright(bundle: Bundle, target: Volume, fixed: Prepared, wanted: KeyPoints, moving: Prepared, found: Description,
                 posed: np.ndarray, options: RegistrationOptions) -> tuple[Prepared, Description]:
    """The target prepared and described with the fixed frame laid on it by the 4x4 matrix ``posed``, so that network and
    image features see the patient upright and at the template's size; what was there where that finds less in common."""
    grid = Grid(fixed.grid.shape, posed @ fixed.grid.affine)
    upright = prepare_scan(target, bundle.preparation, grid)
    try:
        description = describe(bundle.net, upright, options.prediction)
    except UserError:  # no body there: the fit was wrong
        return moving, found
    before, after = (float(torch.minimum(wanted.centroids[:, 1:, 0], d.centroids[:, 1:, 0]).sum()) for d in (found, description))
    return (upright, description) if after >= before else (moving, found)


def is_posed(matrix: np.ndarray, degrees: float = 8.0, scale: float = 1.12) -> bool:
    """Whether a 4x4 world matrix turns by more than ``degrees`` or changes sizes by more than ``scale``."""
    turn, size = _turn_and_size(matrix)
    return bool(np.degrees(Rotation.from_matrix(turn).magnitude()) > degrees or max(size, 1 / size) > scale)


def pose(matrix: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The rotation, isotropic scale (at most 1.5 either way) and shift of a 4x4 world matrix, equal to it at ``centre``."""
    turn, size = _turn_and_size(matrix)
    result = np.eye(4)
    result[:3, :3] = np.clip(size, 1 / 1.5, 1.5) * turn
    return translation(apply_affine(matrix, centre)) @ result @ translation(-centre)


def _turn_and_size(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """The rotation nearest to a 4x4 matrix, and by how much it changes all lengths: its singular value nearest to 1.

    A patient of another size is that in all directions; a scan that ends early squeezes the fit along the body alone.
    """
    turn, stretch = polar(matrix[:3, :3])
    return turn, min(np.linalg.eigvalsh(stretch), key=lambda size: abs(np.log(size)))


class Stopwatch:
    """Times named stages and announces each one's start and end."""

    def __init__(self, progress: Progress):
        self.progress, self.seconds = progress, {}

    @contextmanager
    def __call__(self, stage: str):
        self.progress(stage, 0.0, "")
        started = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - started
        self.progress(stage, 1.0, "")
