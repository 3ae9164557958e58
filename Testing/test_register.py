"""Registration as a whole: known warps and poses are found, with the network's own features and without."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from known_warp import APART, QUICK, body_points, register_known_warp, there
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid, apply_affine, bounding_grid, translation
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.preparation import PreparedScan, prepare, prepare_scan
from SlicRegLib.images.volumes import Volume
from SlicRegLib.network.options import PredictionOptions
from SlicRegLib.network.prediction import describe, encode
from SlicRegLib.progress import silent
from SlicRegLib.registration import refinement
from SlicRegLib.registration.fixed_side import FixedSide
from SlicRegLib.registration.key_points import describe_key_points
from SlicRegLib.registration.options import RefinementOptions, RegistrationOptions
from SlicRegLib.registration.register import Stopwatch, refine_and_unfold, register
from SlicRegLib.registration.result import Registration
from tiny import FRAME, phantom, random, wave

STAGES = ["preparation", "prediction", "alignment", "spline", "unfolding"]


@pytest.fixture(scope="module")
def template() -> Volume:
    return phantom(0)[0]


@pytest.fixture(scope="module")
def target() -> Volume:
    return phantom(1)[0]


# ---- a known warp ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(model):
    with pytest.MonkeyPatch.context() as patch:
        return register_known_warp(model, patch)[0]


def test_a_known_warp_is_recovered(known, template):
    points = body_points(template)
    error = (known.dense(points) - there(points)).norm(dim=-1)
    assert wave(points).norm(dim=-1).mean() > 10
    assert error.mean() < 2 and error.quantile(0.99) < 8  # mm; voxels are 8 mm
    assert known.own_template and known.folding_percent == 0
    assert list(known.seconds) == STAGES


@pytest.mark.parametrize("shows_less, leads", [(0.0, "moving"), (0.6, "moving"), (10.0, "fixed")])
def test_the_refinement_finds_the_warp_from_either_side(known, template, monkeypatch, shows_less, leads):
    """Also where the moving scan was prepared in another pose and the scans lie far apart."""
    regions = []

    def refine(*arguments):
        regions.append(arguments[1].scan)
        return refinement.refine(*arguments)

    monkeypatch.setattr("SlicRegLib.registration.register.SHOWS_LESS", shows_less)
    monkeypatch.setattr("SlicRegLib.registration.register.refine", refine)
    target, fixed = known.target, prepare_scan(template, FRAME)
    turn = np.eye(4)
    turn[:3, :3] = 1.1 * Rotation.from_euler("xyz", [10, -6, 8], degrees=True).as_matrix()
    pose = turn @ translation(APART.numpy())  # how the frame lies on the target, and where the refinement starts
    grid = Grid(fixed.grid.shape, pose @ fixed.grid.affine)
    turned = Volume(target.data, Grid(target.grid.shape, turn @ target.grid.affine))
    moving = PreparedScan("", prepare(turned, grid), grid)
    control = fixed.grid.pooled(2)
    start = DisplacementField(
        (apply_affine(pose, control.points()) - control.points()).movedim(-1, 0).float().contiguous(), control
    )
    found, backward = refine_and_unfold([start], fixed, moving, Stopwatch(silent))
    assert regions == [fixed if leads == "fixed" else moving]
    points = body_points(template)
    if leads == "fixed":
        assert backward is None
    else:
        between = points + 4 * (random(len(points), 3) - 0.5)  # not the points of the lattice
        there_and_back = (backward(found(between)) - between).norm(dim=-1)
        assert there_and_back.mean() < 0.1 and there_and_back.quantile(0.99) < 1
    before, after = ((field(points) - apply_affine(turn, there(points))).norm(dim=-1) for field in (start, found))
    assert after.mean() < 0.4 * before.mean(), (before.mean(), after.mean())


# ---- another pose ----------------------------------------------------------------------------------------------


def test_a_turned_and_scaled_scan_is_prepared_upright(model, template, monkeypatch):
    """The template itself, moved: from the supervoxels' centroids alone its own frame is laid on it, voxel on voxel."""
    matrix = np.eye(4)
    matrix[:3, :3] = 1.12 * Rotation.from_rotvec(np.array([2, -1, 2]) / 3 * 25.0, degrees=True).as_matrix()
    matrix[:3, 3] = 60, -40, 30
    moved = Volume(template.data, Grid(template.grid.shape, matrix @ template.grid.affine))
    centroids = torch.cat([torch.full((2, 128, 1), 100.0), 60 * random(2, 128, 3)], -1)
    scans = []

    def place(matrix) -> torch.Tensor:
        return torch.cat([centroids[..., :1], apply_affine(matrix, centroids[..., 1:])], -1).double()

    def locate_moved(net, encoded, options=None) -> torch.Tensor:
        scans.append(encoded.scan)
        return place(matrix)

    monkeypatch.setattr("SlicRegLib.registration.moving_side.locate", locate_moved)
    monkeypatch.setattr("SlicRegLib.registration.fixed_side.locate", lambda *_: place(np.eye(4)))
    options = replace(QUICK, refine=True, alignment=replace(QUICK.alignment, affine_start=True))
    result = register(model, template, moved, options)
    fixed, (_, upright) = result.views.fixed, scans
    assert result.views.moving.scan is upright
    assert (upright.hu - fixed.hu)[fixed.body].abs().mean() < 5  # HU
    points = body_points(template)
    error = (result.dense(points) - apply_affine(matrix, points)).norm(dim=1)
    assert error.max() < 0.3 * FRAME.spacing_mm and error.mean() < 0.1 * FRAME.spacing_mm


@pytest.mark.parametrize("degrees, scale, shape", [(0, 1.0, (48, 32, 32)), (12, 1.1, (48, 32, 48))])
def test_both_directions_agree_also_where_the_body_leaves_the_frame(template, degrees, scale, shape):
    """Between the lattices' points, over all that both scans show."""
    target, options = phantom(1)[0], replace(FRAME, shape=shape)
    matrix = np.eye(4)
    matrix[:3, :3] = scale * Rotation.from_rotvec(np.array([0.6, 0.5, 0.62]) * degrees, degrees=True).as_matrix()
    matrix = translation(template.grid.centre) @ matrix @ translation(-template.grid.centre)
    target = Volume(target.data, Grid(target.grid.shape, matrix @ target.grid.affine))
    fixed = prepare_scan(template, options)
    frame = Grid(fixed.grid.shape, matrix @ fixed.grid.affine)
    moving = PreparedScan("", prepare(target, frame), frame)
    dense, backward = refine_and_unfold([matrix], fixed, moving, Stopwatch(silent), template=template)
    result = Registration(template, target, dense, {}, True, backward=backward)
    everywhere = bounding_grid([template.grid], 7.0).points().reshape(-1, 3)
    shown = sample(template.tensor, template.grid, everywhere, fill=-1000.0)[0] > -400
    assert (dense.grid.to_voxel(everywhere[shown]) > 0).all()
    there = result.field(everywhere[shown])
    both = sample(target.tensor, target.grid, there, fill=-1000.0)[0] > -400
    error = (result.inverse(there) - everywhere[shown]).norm(dim=1)[both]
    assert both.float().mean() > 0.5
    assert error.mean() < 0.1 and error.quantile(0.99) < 1, (error.mean(), error.quantile(0.99))


# ---- what is left out, and what is kept ------------------------------------------------------------------------


@pytest.mark.parametrize("explained, aligned", [(-1.0, False), (2.0, True)])
def test_key_points_are_aligned_only_where_the_affine_map_does_not_explain(
    model, template, target, monkeypatch, explained, aligned
):
    monkeypatch.setattr("SlicRegLib.registration.register.EXPLAINED", explained)
    quick = RefinementOptions(coarse_iterations=2, fine_iterations=0)
    options = replace(QUICK, refine=True, refinement=quick, alignment=replace(QUICK.alignment, affine_start=True))
    result = register(model, template, target, options)
    assert ("alignment" in result.seconds, "spline" in result.seconds) == (aligned, aligned)


@pytest.mark.parametrize("own", [True, False])
def test_a_template_that_is_kept_gives_the_same_bits(model, template, target, own):
    known = model if own else replace(model, template_sha256="")
    options = replace(QUICK, refine=True, refinement=RefinementOptions(coarse_iterations=3, fine_iterations=2))
    fixed = FixedSide(known, template, options)
    first, again = (register(known, template, target, options, fixed=fixed) for _ in range(2))
    alone = register(known, template, target, options)
    assert torch.equal(first.dense.vectors, alone.dense.vectors) and torch.equal(
        again.dense.vectors, alone.dense.vectors
    )
    shown, known_layer = (result.views.fixed_supervoxels().data for result in (again, alone))
    assert np.array_equal(shown, known_layer) and shown.any()


# ---- with the model's own network ------------------------------------------------------------------------------


@pytest.mark.parametrize("refine", [False, True])
def test_a_scan_registered_to_itself_stays(model, template, refine):
    result = register(model, template, template, replace(QUICK, refine=refine))
    assert result.dense.at(body_points(template)).norm(dim=1).max() < 1  # mm
    assert np.abs(result.warped_target().data - template.data)[8:-8, 8:-8, 8:-8].mean() < 5  # HU


def test_equal_input_gives_an_equal_field(model, template, target):
    """Bit by bit, with the refinement."""
    options = replace(QUICK, refine=True, refinement=RefinementOptions(coarse_iterations=4, fine_iterations=4))
    first, again = (register(model, template, target, options) for _ in range(2))
    assert torch.equal(first.dense.vectors, again.dense.vectors)
    assert torch.equal(first.field.vectors, again.field.vectors)


@pytest.mark.parametrize("features", ["probabilities", "labels"])
def test_any_two_scans_can_be_registered(model, target, features):
    """The template is not the model's own: its supervoxels are predicted as well."""
    fixed = phantom(2)[0]
    result = register(model, fixed, target, replace(QUICK, prediction=PredictionOptions(features=features)))
    assert not result.own_template and list(result.seconds) == STAGES
    assert result.dense.vectors.isfinite().all()
    assert result.warped_target().data.shape == fixed.data.shape


@pytest.fixture
def described(monkeypatch):
    """The scans that are described while the test runs, in order."""
    scans = []

    def record(net, encoded, options):
        scans.append(encoded.scan)
        return describe(net, encoded, options)

    for module in ("register", "fixed_side"):
        monkeypatch.setattr(f"SlicRegLib.registration.{module}.describe", record)
    return scans


def test_hard_labels_of_the_own_template_are_its_layers(model, template, target, described):
    """As published; only the target is predicted."""
    options = replace(QUICK, prediction=PredictionOptions(features="labels"))
    assert register(model, template, target, options).own_template and len(described) == 1
    register(model, template, target, QUICK)
    assert len(described) == 3


def test_stored_key_points_serve_the_own_template_and_the_default_points_alone(model, template, described):
    fixed = prepare_scan(template, FRAME)
    points = describe_key_points(describe(model.net, encode(model.net, fixed)), fixed.body, fixed.grid)
    stored = replace(model, key_points=points)

    def choose(own: bool, options: RegistrationOptions):
        return FixedSide(stored if own else replace(stored, template_sha256=""), template, options).key_points

    assert torch.equal(choose(True, RegistrationOptions()).features, points.features) and not described
    torch.testing.assert_close(choose(False, RegistrationOptions()).features, points.features)
    assert len(choose(True, QUICK).points) == 400
    assert len(described) == 2


def test_progress_names_every_stage(model, template, target):
    steps = []
    options = replace(QUICK, refine=True, refinement=RefinementOptions(coarse_iterations=2, fine_iterations=0))
    register(model, template, target, options, progress=lambda *step: steps.append(step))
    begun = [stage for stage, share, _ in steps if share == 0]
    assert begun == [*STAGES[:4], "refinement", STAGES[4]]
    assert all(0 <= share <= 1 for _, share, _ in steps)
