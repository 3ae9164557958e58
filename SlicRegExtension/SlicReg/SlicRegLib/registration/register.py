"""The method on one screen: prepare, predict, align, make dense, refine, unfold."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
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
from ..network.devices import return_free_memory
from ..network.networks import SupervoxelNet
from ..network.options import PredictionOptions
from ..network.prediction import Description, EncodedScan, describe, describe_layers, encode
from ..progress import Progress, silent
from ..stages import ALIGNMENT, PREDICTION, PREPARATION, REFINEMENT, SPLINE, UNFOLDING, WARNING
from .affine import fit_affine, is_rotated_or_scaled, similarity_part
from .alignment import align
from .common_supervoxels import CommonSupervoxels, compare_mirror_image
from .key_points import KeyPoints, describe_key_points
from .model import Model
from .options import AlignmentOptions, RegistrationOptions
from .refinement import refine
from .result import Registration, Views
from .verdict import foresee

SHOWS_LESS = 0.6
"""The refinement compares features at the fixed scan's voxels if its body has fewer than this share of the moving
scan's."""


def register(
    model: Model,
    template: Volume,
    target: Volume,
    options: RegistrationOptions = RegistrationOptions(),
    device: torch.device = torch.device("cpu"),
    progress: Progress = silent,
) -> Registration:
    """Register ``target`` (moving) to ``template`` (fixed); both in any orientation and spacing.

    The network finds the model's supervoxels in both scans; they are aligned, the field is made dense and refined on
    image features. The two can be any scans of the model's anatomy; the template need not be the model's own. Raises
    UserError for a scan without soft tissue or body.
    """
    return_free_memory()  # of what came before, such as another registration
    clock = Stopwatch(progress)
    net, own = model.network(device), template.fingerprint() == model.template_sha256
    with clock(PREPARATION):
        fixed, moving = (prepare_scan(scan, model.preparation) for scan in (template, target))
    with clock(PREDICTION):
        key_points = fixed_key_points(model, net, fixed, own, options)
        encoded = encode(net, moving, options.prediction)
        description = describe(net, encoded, options.prediction)
        affine = translation(moving.grid.centre - fixed.grid.centre)
        if options.alignment.affine_start:
            fit = fit_affine(key_points.centroids, description.centroids)
            if fit is not None and is_rotated_or_scaled(fit):
                upright = prepare_upright(model, target, fixed, similarity_part(fit, fixed.grid.centre))
                encoded, description = better_of(net, upright, encoded, description, key_points, options)
                fit = fit_affine(key_points.centroids, description.centroids)
            affine = affine if fit is None else fit
        mirror_advantage = compare_mirror_image(net, encoded, key_points.centroids)
        common = CommonSupervoxels(key_points.centroids, description.centroids, mirror_advantage)
    if warning := foresee(common):
        progress(WARNING, 1.0, warning)
    with clock(ALIGNMENT):
        start = apply_affine(affine, key_points.points) - key_points.points
        displacements = align(key_points.points, key_points.features, description, start, options.alignment, progress)
    with clock(SPLINE):
        grid = bounding_grid([fixed.grid], options.alignment.field_spacing_mm)
        aligned = thin_plate_spline(key_points.points, displacements, grid, options.alignment.spline_lambda)
    starts = [aligned, affine_field(affine, grid)]
    dense = refine_and_unfold(starts, fixed, encoded.scan, clock, options, device)
    views = Views(fixed, encoded.to(torch.device("cpu")))
    return Registration(template, target, dense, clock.seconds, own, views, common)


def refine_and_unfold(
    starts: Sequence[DisplacementField],
    fixed: PreparedScan,
    moving: PreparedScan,
    clock: Stopwatch,
    options: RegistrationOptions = RegistrationOptions(),
    device: torch.device = torch.device("cpu"),
) -> DisplacementField:
    """Refine and unfold the first of ``starts``, dense fields fixed to moving, or the best of them (see `refine`).
    Without refinement the first is only unfolded.

    The refinement compares features at the voxels of one scan. All of them have a counterpart only if the other scan
    shows as much of the body; voxels without one would squeeze the field into what is there. A template is chosen to
    show all of the anatomy, so the moving scan's voxels are compared, unless the fixed scan shows far less. (Numbers
    of voxels can be compared, since a patient of another size was prepared at the template's size.)
    """
    dense = starts[0]
    if options.refine:
        with clock(REFINEMENT):
            forward = int(fixed.region.sum()) < SHOWS_LESS * int(moving.region.sum())
            if not forward:
                starts = [invert(unfold(start, options.least_stretch), moving.grid.pooled(4)) for start in starts]
            first, second = (fixed, moving) if forward else (moving, fixed)
            starts = [start.to(device) for start in starts]
            dense = refine(starts, first, second, first.region, options.refinement, clock.progress).to("cpu")
            if not forward:
                dense = invert(unfold(dense, options.least_stretch), fixed.grid.pooled(2))
    with clock(UNFOLDING):
        return unfold(dense, options.least_stretch)


def fixed_key_points(
    model: Model, net: SupervoxelNet, fixed: PreparedScan, own: bool, options: RegistrationOptions
) -> KeyPoints:
    """The fixed scan's key points: stored in the model for its own template and the default options, else predicted.

    own: whether the fixed scan is the model's own template.
    """
    device = next(net.parameters()).device
    default = AlignmentOptions()
    as_stored = replace(options.prediction, chunk=PredictionOptions.chunk) == PredictionOptions() and all(
        getattr(options.alignment, name) == getattr(default, name) for name in ("key_points", "seed")
    )
    if own and as_stored and model.key_points:
        return model.key_points.to(device)
    if own and options.prediction.features == "labels":  # as published: the template's own layers
        description = describe_layers(model.layers, fixed, options.prediction, device)
    else:
        description = describe(net, encode(net, fixed, options.prediction), options.prediction)
    return describe_key_points(description, fixed.body, fixed.grid, options.alignment)


def prepare_upright(model: Model, target: Volume, fixed: PreparedScan, pose: np.ndarray) -> PreparedScan:
    """Prepare the target in the fixed frame moved by ``pose``, a 4x4 world matrix from the fixed scan to the target. In
    that frame the patient is upright and has the template's size."""
    return prepare_scan(target, model.preparation, Grid(fixed.grid.shape, pose @ fixed.grid.affine))


def better_of(
    net: SupervoxelNet,
    upright: PreparedScan,
    encoded: EncodedScan,
    description: Description,
    key_points: KeyPoints,
    options: RegistrationOptions,
) -> tuple[EncodedScan, Description]:
    """The upright scan, encoded and described, if it has at least as many supervoxels in common with the fixed scan as
    the view before (``encoded``, ``description``), which is returned otherwise."""
    try:
        upright_encoded = encode(net, upright, options.prediction)
    except UserError:  # no body in that frame: the fit was wrong
        return encoded, description
    upright_description = describe(net, upright_encoded, options.prediction)

    def common_mass(view: Description) -> float:
        return float(torch.minimum(key_points.centroids[:, 1:, 0], view.centroids[:, 1:, 0]).sum())

    if common_mass(upright_description) >= common_mass(description):
        return upright_encoded, upright_description
    return encoded, description


class Stopwatch:
    """Times stages, as ``with stopwatch("alignment"): ...``, and reports the start and end of each; ``seconds`` has the
    times by name."""

    def __init__(self, progress: Progress):
        self.progress: Progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self.progress(stage, 0.0, "")
        started = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - started
        self.progress(stage, 1.0, "")
