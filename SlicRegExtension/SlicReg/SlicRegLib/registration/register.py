"""The method on one screen: prepare, describe, align, densify, refine, unfold; then warp."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from ..errors import UserError
from ..geometry.field import DisplacementField, affine_field
from ..geometry.folding import unfold
from ..geometry.grid import Grid, apply_affine, bounding_grid, translation
from ..geometry.inverse import invert
from ..geometry.spline import thin_plate_spline
from ..images.preparation import PreparedScan, prepare_scan
from ..images.volumes import Volume
from ..network.options import PredictionOptions
from ..network.prediction import Description, describe, describe_layers
from ..progress import Progress, silent
from .affine import fit_affine, is_rotated_or_scaled, similarity_part
from .alignment import align
from .key_points import KeyPoints, describe_key_points
from .model import Model
from .options import AlignmentOptions, RegistrationOptions
from .refinement import refine
from .result import Registration

SHOWS_LESS = (
    0.6  # voxels of body for one of the moving scan's: below, the refinement compares at the fixed scan's voxels
)


def register(
    bundle: Model,
    template: Volume,
    target: Volume,
    options: RegistrationOptions = RegistrationOptions(),
    device: torch.device = torch.device("cpu"),
    progress: Progress = silent,
) -> Registration:
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
            fit = fit_affine(wanted.centroids, found.centroids)
            if fit is not None and is_rotated_or_scaled(fit):
                moving, found = predict_upright(
                    bundle, target, fixed, wanted, moving, found, similarity_part(fit, fixed.grid.centre), options
                )
                fit = fit_affine(wanted.centroids, found.centroids)
            matrix = matrix if fit is None else fit
    with clock("alignment"):
        start = apply_affine(matrix, wanted.points) - wanted.points
        displacements = align(wanted.points, wanted.features, found, start, options.alignment, progress)
    with clock("spline"):
        grid = bounding_grid([fixed.grid], options.alignment.field_spacing_mm)
        dense = thin_plate_spline(wanted.points, displacements, grid, options.alignment.spline_lambda)
    dense = refine_and_unfold([dense, affine_field(matrix, grid)], fixed, moving, clock, options, device)
    return Registration(template, target, dense, clock.seconds, own, moving.grid)


def refine_and_unfold(
    starts: Sequence[DisplacementField],
    fixed: PreparedScan,
    moving: PreparedScan,
    clock: Stopwatch,
    options: RegistrationOptions = RegistrationOptions(),
    device: torch.device = torch.device("cpu"),
) -> DisplacementField:
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
                starts = [invert(unfold(start, options.least_stretch), moving.grid.pooled(4)) for start in starts]
            first, second = (fixed, moving) if forward else (moving, fixed)
            starts = [start.to(device) for start in starts]
            dense = refine(starts, first, second, first.region, options.refinement, clock.progress).to("cpu")
            if not forward:
                dense = invert(unfold(dense, options.least_stretch), fixed.grid.pooled(2))
    with clock("unfolding"):
        return unfold(dense, options.least_stretch)


def fixed_key_points(
    bundle: Model, fixed: PreparedScan, own: bool, options: RegistrationOptions, device: torch.device
) -> KeyPoints:
    """The fixed scan's key points: those stored in the bundle where scan and options are its own, else predicted."""
    default = AlignmentOptions()
    as_stored = replace(options.prediction, chunk=PredictionOptions().chunk) == PredictionOptions() and all(
        getattr(options.alignment, name) == getattr(default, name) for name in ("key_points", "seed")
    )
    if own and as_stored and bundle.key_points:
        return bundle.key_points.to(device)
    if own and options.prediction.hard:  # as published: the template's own layers
        description = describe_layers(bundle.layers, fixed, options.prediction, device)
    else:
        description = describe(bundle.net.to(device), fixed, options.prediction)
    return describe_key_points(description, fixed.body, fixed.grid, options.alignment)


def predict_upright(
    bundle: Model,
    target: Volume,
    fixed: PreparedScan,
    wanted: KeyPoints,
    moving: PreparedScan,
    found: Description,
    posed: np.ndarray,
    options: RegistrationOptions,
) -> tuple[PreparedScan, Description]:
    """The target prepared and described with the fixed frame laid on it by the 4x4 matrix ``posed``, so that network and
    image features see the patient upright and at the template's size; what was there where that finds less in common."""
    grid = Grid(fixed.grid.shape, posed @ fixed.grid.affine)
    upright = prepare_scan(target, bundle.preparation, grid)
    try:
        description = describe(bundle.net, upright, options.prediction)
    except UserError:  # no body there: the fit was wrong
        return moving, found
    before, after = (
        float(torch.minimum(wanted.centroids[:, 1:, 0], d.centroids[:, 1:, 0]).sum()) for d in (found, description)
    )
    return (upright, description) if after >= before else (moving, found)


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
