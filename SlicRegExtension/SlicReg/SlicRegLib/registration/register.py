"""The method on one screen: prepare, predict, align, make dense, refine, unfold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from ..geometry.field import DisplacementField, affine_field
from ..geometry.folding import unfold
from ..geometry.grid import Grid, apply_affine, bounding_grid
from ..geometry.inverse import invert
from ..geometry.spline import thin_plate_spline
from ..images.preparation import PreparedScan
from ..images.volumes import Volume
from ..network.devices import return_free_memory
from ..network.networks import SupervoxelNet
from ..network.prediction import EncodedScan, describe
from ..progress import Progress, silent
from ..stages import ALIGNMENT, PREDICTION, PREPARATION, REFINEMENT, SPLINE, UNFOLDING, WARNING
from .alignment import align
from .both_ways import invert_finely
from .common_supervoxels import CommonSupervoxels, compare_mirror_image
from .fixed_side import FixedSide
from .model import Model
from .moving_side import MovingSide, prepare_target, see_target
from .options import RefinementOptions, RegistrationOptions
from .refinement import ComparedScan, refine
from .result import Registration, Views
from .verdict import foresee

EXPLAINED = 0.8
"""Share of the supervoxels that must lie where the affine map leads (`CommonSupervoxels.found`): then it is as good a
start of the refinement as an alignment of key points."""
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
    fixed: FixedSide | None = None,
    moving: MovingSide | None = None,
) -> Registration:
    """Register ``target`` (moving) to ``template`` (fixed); both in any orientation and spacing.

    The network finds the model's supervoxels in both scans. An affine map brings them together; where it does not
    explain them, and where nothing refines the field, key points are aligned and the field is made dense. Then it is
    refined on image features. The two can be any scans of the model's anatomy; the template need not be the model's
    own. fixed: the template's side, kept from an earlier registration with the same arguments. moving: the target's
    side, where the choice of a model has made it already. Raises UserError for a scan without soft tissue or body.
    """
    return_free_memory()  # of what came before, such as another registration
    clock, net = Stopwatch(progress), model.network(device)
    fixed = fixed or FixedSide(model, template, options, device)
    with clock(PREPARATION):
        scan, prepared = fixed.scan, None if moving else prepare_target(target, model)
    with clock(PREDICTION):
        moving = moving or see_target(fixed, target, prepared)
        encoded, affine = moving.encoded, moving.affine
        mirror_advantage = compare_mirror_image(net, encoded, fixed.centroids)
        common = CommonSupervoxels(fixed.centroids, moving.centroids, mirror_advantage)
    if warning := foresee(common):
        progress(WARNING, 1.0, warning)
    starts: list[DisplacementField | np.ndarray] = [affine]
    if not (options.refine and options.alignment.affine_start and common.found > EXPLAINED):
        starts.insert(0, align_key_points(net, encoded, affine, fixed, clock, options))
    dense, backward = refine_and_unfold(starts, scan, encoded.scan, clock, options, device, fixed.compared, template)
    views = Views(scan, encoded.to(torch.device("cpu")), fixed.supervoxels())
    return Registration(template, target, dense, clock.seconds, fixed.own, views, common, backward)


def align_key_points(
    net: SupervoxelNet,
    encoded: EncodedScan,
    affine: np.ndarray,
    fixed: FixedSide,
    clock: Stopwatch,
    options: RegistrationOptions,
) -> DisplacementField:
    """The dense field fixed to moving of the supervoxels, from their ``affine`` map (4x4 world)."""
    with clock(ALIGNMENT):
        description = describe(net, encoded, options.prediction)
        points, features = fixed.key_points.points, fixed.key_points.features
        start = apply_affine(affine, points) - points
        displacements = align(points, features, description, start, options.alignment, clock.progress)
    with clock(SPLINE):
        grid = bounding_grid([fixed.scan.grid], options.alignment.field_spacing_mm)
        return thin_plate_spline(points, displacements, grid, options.alignment.spline_lambda)


def refine_and_unfold(
    starts: Sequence[DisplacementField | np.ndarray],
    fixed: PreparedScan,
    moving: PreparedScan,
    clock: Stopwatch,
    options: RegistrationOptions = RegistrationOptions(),
    device: torch.device = torch.device("cpu"),
    compared: Callable[[RefinementOptions], ComparedScan] | None = None,
    template: Volume | None = None,
) -> tuple[DisplacementField, DisplacementField | None]:
    """The field fixed to moving, and the one moving to fixed if that is what was refined.

    Refines and unfolds the first of ``starts``, dense fields fixed to moving or 4x4 world matrices, or the best of them
    (see `refine`). Without refinement the first is only unfolded. compared: gives the fixed scan with its features, if
    they are kept. template: the fixed scan as it was loaded, over which the first field is to be exact.

    The refinement compares features at the voxels of one scan. All of them have a counterpart only if the other scan
    shows as much of the body; voxels without one would squeeze the field into what is there. A template is chosen to
    show all of the anatomy, so the moving scan's voxels are compared, unless the fixed scan shows far less. (Numbers
    of voxels can be compared, since a patient of another size was prepared at the template's size.)
    """
    if not options.refine:
        with clock(UNFOLDING):
            return unfold(_as_field(starts[0], fixed.grid, device), options.least_stretch).to("cpu"), None
    with clock(REFINEMENT):
        forward = int(fixed.region.sum()) < SHOWS_LESS * int(moving.region.sum())
        if forward:
            fields = [_as_field(start, fixed.grid, device) for start in starts]
        else:
            fields = [_as_inverse(start, moving.grid, options.least_stretch, device) for start in starts]
        sides = [
            compared(options.refinement) if compared else ComparedScan.describe(fixed, options.refinement, device),
            ComparedScan.describe(moving, options.refinement, device),
        ]
        first, second = sides if forward else reversed(sides)
        refined = refine(fields, first, second, options.refinement, clock.progress)
    with clock(UNFOLDING):
        refined = unfold(refined, options.least_stretch)
        if forward:
            return refined.to("cpu"), None
        return invert_finely(refined, fixed, moving, template).to("cpu"), refined.to("cpu")


def _as_field(start: DisplacementField | np.ndarray, grid: Grid, device: torch.device) -> DisplacementField:
    field = start if isinstance(start, DisplacementField) else affine_field(start, grid.pooled(4))
    return field.to(device)


def _as_inverse(
    start: DisplacementField | np.ndarray, grid: Grid, least_stretch: float, device: torch.device
) -> DisplacementField:
    if isinstance(start, DisplacementField):
        return invert(unfold(start.to(device), least_stretch), grid.pooled(4))
    return affine_field(np.linalg.inv(start), grid.pooled(4)).to(device)


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
