"""Registration as a whole: the same world whatever the voxels, files that other programs read alike, a true inverse."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from tiny import FRAME, phantom, tiny_bundle, tiny_study, wave

from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.filters import box_filter
from SlicRegLib.geometry.grid import Grid, apply_affine, translation
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.preparation import PreparedScan, body_mask, prepare, prepare_scan
from SlicRegLib.images.transforms import load_transform, save_transform
from SlicRegLib.images.volumes import Volume, load_scan, save_volume, to_itk
from SlicRegLib.network.options import PredictionOptions
from SlicRegLib.network.prediction import Description
from SlicRegLib.progress import silent
from SlicRegLib.registration import register
from SlicRegLib.registration.affine import is_rotated_or_scaled, similarity_part
from SlicRegLib.registration.key_points import describe_key_points
from SlicRegLib.registration.options import AlignmentOptions, RefinementOptions, RegistrationOptions
from SlicRegLib.registration.register import Stopwatch, refine_and_unfold, register
from SlicRegLib.results.metrics import dice

QUICK = RegistrationOptions(
    alignment=AlignmentOptions(key_points=400, iterations=60, learning_rate=0.01, affine_start=False),
    refinement=RefinementOptions(iterations=0),
)
APART = torch.tensor([20.0, -30.0, 500.0])  # mm from the template's world to the target's


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return tiny_study(tmp_path_factory.getbasetemp() / "tiny")


@pytest.fixture(scope="module")
def bundle(study):
    return tiny_bundle(study)


@pytest.fixture(scope="module")
def template() -> Volume:
    return phantom(0)[0]


def body_points(scan: Volume) -> torch.Tensor:
    prepared = prepare_scan(scan, FRAME)
    return prepared.grid.points()[body_mask(prepared.hu)]


# ---- a known warp: the target is the template moved by it, the features are perfect ----------------------------


def there(points: torch.Tensor) -> torch.Tensor:
    """Template's world -> target's world."""
    return points + wave(points) + APART


def back(points: torch.Tensor) -> torch.Tensor:
    found = points - APART
    for _ in range(12):
        found = points - APART - wave(found)
    return found


def perfect_description(net, scan, options) -> Description:
    """Features of the template's world, told from the target's by the 500 mm between them."""
    generator = torch.Generator().manual_seed(4)
    direction = F.normalize(torch.randn(24, 3, generator=generator), dim=1)
    length, phase = 60 + 190 * torch.rand(24, generator=generator), 6.28 * torch.rand(24, generator=generator)
    grid = scan.grid.strided(2)
    points = grid.points()
    points = back(points) if scan.grid.centre[2] > 250 else points
    return Description(0.3 * (6.28 * (points @ direction.T) / length + phase).sin(), grid, torch.zeros(2, 128, 4))


@pytest.fixture(scope="module")
def known(bundle, template):
    """The registration of a target made by a known warp, on an oblique grid of other voxels."""
    rotation = Rotation.from_euler("xyz", [12, -8, 15], degrees=True).as_matrix()
    shape, spacing = (60, 52, 46), np.array([7.5, 8.0, 10.0])
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = template.grid.centre + APART.numpy() - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = Grid(shape, affine)
    labels, points = phantom(0)[1], back(grid.points())
    hu = sample(template.tensor, template.grid, points, fill=-1000.0)[0].numpy()
    moved = sample(torch.from_numpy(labels.data[None].astype(np.float32)), labels.grid, points, "nearest", fill=0.0)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registration, "describe", perfect_description)
        patch.setattr(registration, "INVERSE_SPACING_MM", 6.0)
        result = register(bundle, template, Volume(hu, grid), QUICK)
        assert result.inverse.grid.spacing.max() < 7
    return result, labels, Volume(moved.numpy().astype(np.uint8), grid)


def test_a_known_warp_is_recovered(known, template):
    result, _, _ = known
    points = body_points(template)
    error = (result.dense(points) - there(points)).norm(dim=-1)
    assert wave(points).norm(dim=-1).mean() > 10
    assert error.mean() < 2 and error.quantile(0.99) < 8  # mm; voxels are 8 mm
    assert result.own_template and result.folding_percent() == 0
    assert set(result.seconds) == {"preparation", "prediction", "alignment", "spline", "unfolding"}


@pytest.mark.parametrize("shows_less, leads", [(0.0, "moving"), (0.6, "moving"), (10.0, "fixed")])
def test_the_refinement_finds_the_warp_from_either_side(known, template, monkeypatch, shows_less, leads):
    """Also where the moving scan was prepared in another pose and the scans lie far apart."""
    monkeypatch.setattr(registration, "SHOWS_LESS", shows_less)
    refine, regions = registration.refine, []
    monkeypatch.setattr(
        registration, "refine", lambda *arguments: (regions.append(arguments[3]), refine(*arguments))[1]
    )
    target, fixed = known[0].target, prepare_scan(template, FRAME)
    turn = np.eye(4)
    turn[:3, :3] = 1.1 * Rotation.from_euler("xyz", [10, -6, 8], degrees=True).as_matrix()
    lay = turn @ translation(APART.numpy())  # how the frame lies on the target, and where the refinement starts
    grid = Grid(fixed.grid.shape, lay @ fixed.grid.affine)
    moving = PreparedScan(
        "", prepare(Volume(target.data, Grid(target.grid.shape, turn @ target.grid.affine)), grid), grid
    )
    control = fixed.grid.pooled(2)
    start = DisplacementField(
        (apply_affine(lay, control.points()) - control.points()).movedim(-1, 0).float().contiguous(), control
    )
    found = refine_and_unfold([start], fixed, moving, Stopwatch(silent))
    assert regions[0] is (fixed.region if leads == "fixed" else moving.region)
    points = body_points(template)
    before, after = ((field(points) - apply_affine(turn, there(points))).norm(dim=-1) for field in (start, found))
    assert after.mean() < 0.4 * before.mean(), (before.mean(), after.mean())


def test_labels_arrive_on_both_sides(known):
    result, labels, target_labels = known
    large = [1, 2, 3, 6, 7]  # spleen, kidneys, liver, stomach
    labels, target_labels = (
        Volume(np.where(np.isin(v.data, large), v.data, 0), v.grid) for v in (labels, target_labels)
    )
    on_template, on_target = result.labels_on_template(target_labels), result.labels_on_target(labels)
    assert on_template.data.shape == labels.data.shape and on_target.data.shape == target_labels.data.shape
    for organ in large:
        assert dice(on_template.data == organ, labels.data == organ) > 0.8
        assert dice(on_target.data == organ, target_labels.data == organ) > 0.8


def test_transform_in_simpleitk_reproduces_the_warped_target(known, tmp_path):
    result, _, _ = known
    save_volume(tmp_path / "warped_target.nii.gz", result.warped_target())
    save_transform(tmp_path / "transform.h5", result.field)
    ours = load_scan(tmp_path / "warped_target.nii.gz").data
    transform = sitk.ReadTransform(str(tmp_path / "transform.h5"))
    image = sitk.Resample(to_itk(result.target), to_itk(result.template), transform, sitk.sitkLinear, -1000.0)
    theirs = sitk.GetArrayFromImage(image).transpose(2, 1, 0)

    voxel = result.target.grid.to_voxel(result.field(result.template.grid.points()))
    size = torch.tensor(result.target.grid.shape)
    inside = ((voxel >= 0) & (voxel <= size - 1)).all(-1).numpy()
    outside = ((voxel < -1) | (voxel > size)).any(-1).numpy()  # between: how the edge fades is each program's own
    assert inside.mean() > 0.6
    difference = np.abs(ours - theirs)[inside]
    assert difference.max() < 1 and difference.mean() < 0.02  # HU
    assert (ours[outside] == -1000).all() and (theirs[outside] == -1000).all()


def test_inverse_file_undoes_the_transform_file(known, tmp_path):
    result, _, _ = known
    save_transform(tmp_path / "transform.h5", result.field)
    save_transform(tmp_path / "transform_inverse.h5", result.inverse)
    field, inverse = load_transform(tmp_path / "transform.h5"), load_transform(tmp_path / "transform_inverse.h5")
    forward, backward = (sitk.ReadTransform(str(tmp_path / f"{n}.h5")) for n in ("transform", "transform_inverse"))

    points = result.target.grid.points().reshape(-1, 3)
    image = inverse(points)
    low, high = result.template.grid.corners().min(0), result.template.grid.corners().max(0)
    in_template = ((image > torch.tensor(low)) & (image < torch.tensor(high))).all(1)
    assert in_template.float().mean() > 0.3
    error = (field(image) - points).norm(dim=1)[in_template]
    assert error.max() < 1 and error.mean() < 0.1  # mm
    start = result.template.grid.points().reshape(-1, 3)
    there = field(start)
    voxel = result.target.grid.to_voxel(there)
    in_target = ((voxel > 0) & (voxel < torch.tensor(result.target.grid.shape) - 1)).all(1)
    assert in_target.float().mean() > 0.3 and (inverse(there) - start).norm(dim=1)[in_target].max() < 1
    for point in points[in_template][::20_000].double().numpy():  # the same through ITK
        lps = point * [-1, -1, 1]
        assert np.linalg.norm(np.array(forward.TransformPoint(backward.TransformPoint(lps))) - lps) < 1


def test_fields_in_files_end_in_zeros(known):
    for field in (known[0].field, known[0].inverse):
        v = field.vectors
        assert all(
            side.abs().max() < 1e-3 for side in (v[:, 0], v[:, -1], v[:, :, 0], v[:, :, -1], v[..., 0], v[..., -1])
        )


# ---- the same scan in other voxels ----------------------------------------------------------------------------


def hu_description(net, scan, options) -> Description:
    """Soft histograms of the HU around each voxel: what a trained network does for real, without the training."""
    hu = F.avg_pool3d(scan.hu[None, None], 3, 1, 1)[0, 0, ::2, ::2, ::2]
    centres, widths = torch.tensor(
        [[-1000, -600, -300, -100, 0, 50, 100, 200, 350, 600], [200, 200, 150, 60, 40, 40, 50, 80, 100, 200.0]]
    )
    tissue = torch.exp(-((hu[..., None] - centres) / widths).square())
    features = 0.5 * torch.cat([box_filter(tissue.clone(), 3), box_filter(tissue.clone(), 7)], -1)
    return Description(features, scan.grid.strided(2), torch.zeros(2, 128, 4))


def permuted(scan: Volume, axes, signs) -> Volume:
    """The same voxels stored in another order of axes and directions."""
    data, affine = scan.data.transpose(axes), scan.grid.affine[:, [*axes, 3]].copy()
    for axis, sign in enumerate(signs):
        if sign < 0:
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
    return Volume(np.ascontiguousarray(data), Grid(data.shape, affine))


def resliced(scan: Volume, rotation, spacing) -> Volume:
    """The same scan on a rotated grid of other voxels that holds it."""
    extent = np.abs(np.linalg.inv(rotation)) @ (scan.grid.shape * scan.grid.spacing)
    shape = np.ceil(extent / spacing).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.asarray(spacing)
    affine[:3, 3] = scan.grid.centre - affine[:3, :3] @ ((shape - 1) / 2)
    grid = Grid(tuple(shape), affine)
    return Volume(resample(scan.tensor, scan.grid, grid, fill=-1000.0)[0].numpy(), grid)


ORDERS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]
OBLIQUE = Rotation.from_euler("xyz", [20, -20, 20], degrees=True).as_matrix()


FROM_HU = replace(QUICK, alignment=replace(QUICK.alignment, alpha=0.3))


@pytest.fixture(scope="module")
def target() -> Volume:
    return phantom(1)[0]


@pytest.fixture(scope="module")
def difference(bundle, template, target):
    """A function of (template, target) in other voxels: how far (n,) mm their field is from that of the scans as they are."""
    points = body_points(template)

    def displacements(fixed, moving):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registration, "describe", hu_description)
            return register(bundle, fixed, moving, FROM_HU).dense.at(points)

    wanted = displacements(template, target)
    assert wanted.norm(dim=1).mean() > 8  # there is something to find
    return lambda fixed, moving: (displacements(fixed, moving) - wanted).norm(dim=1)


@pytest.mark.parametrize("axes, signs", ORDERS[3::11])
def test_reordered_axes_give_the_same_field(template, target, difference, axes, signs):
    assert (
        difference(permuted(template, axes[::-1], signs), permuted(target, axes, signs)).max() < 0.25 * FRAME.spacing_mm
    )


@pytest.mark.parametrize(
    "rotation, spacing",
    [(OBLIQUE, (7, 7, 7)), (np.eye(3), (0.8, 0.8, 5.0)), (OBLIQUE, (4, 5, 9))],
    ids=["oblique", "anisotropic", "both"],
)
def test_other_voxels_give_the_same_field_to_a_voxel(template, target, difference, rotation, spacing):
    scan = resliced(target, rotation, spacing)
    error = difference(template, scan)
    assert error.max() < FRAME.spacing_mm and error.mean() < 0.5 * FRAME.spacing_mm


# ---- other poses ----------------------------------------------------------------------------------------------


def posed(degrees=25.0, size=1.12, shift=(60.0, -40.0, 30.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = size * Rotation.from_rotvec(np.array([2, -1, 2]) / 3 * degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def test_the_pose_is_the_turn_the_size_and_the_shift_of_a_matrix():
    matrix, centre = posed(), np.array([10.0, -20, 30])
    np.testing.assert_allclose(similarity_part(matrix, centre), matrix, atol=1e-9)
    sheared = matrix @ np.array([[1.2, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 0.9, 0], [0, 0, 0, 1]])
    found = similarity_part(sheared, centre)
    assert np.cbrt(np.linalg.det(found[:3, :3])) == pytest.approx(
        np.linalg.svd(sheared[:3, :3])[1][2]
    )  # 1.36, 1.12, 0.98
    np.testing.assert_allclose(apply_affine(found, centre), apply_affine(sheared, centre))
    assert not is_rotated_or_scaled(
        np.diag([1.02, 0.93, 0.6, 1])
    )  # squeezed along the body: a short field of view, no other size
    assert np.cbrt(np.linalg.det(similarity_part(posed(size=3), centre)[:3, :3])) == pytest.approx(1.5)
    assert (
        is_rotated_or_scaled(posed(10, 1))
        and is_rotated_or_scaled(posed(0, 1.2))
        and is_rotated_or_scaled(posed(0, 0.8))
        and not is_rotated_or_scaled(posed(5, 1.05))
    )


def test_a_turned_and_scaled_scan_is_seen_upright(bundle, template, monkeypatch):
    """The template itself, moved: from the supervoxels' centroids alone its own frame is laid on it, voxel on voxel."""
    matrix = posed()
    moved = Volume(template.data, Grid(template.grid.shape, matrix @ template.grid.affine))
    centroids = torch.cat(
        [torch.full((2, 128, 1), 100.0), 60 * torch.randn(2, 128, 3, generator=torch.Generator().manual_seed(0))], -1
    )
    seen = []

    def described(net, scan, options):
        seen.append(scan)
        turned = matrix if len(seen) > 1 else np.eye(4)  # the fixed scan comes first
        return Description(
            torch.zeros(*scan.grid.strided(2).shape, 4),
            scan.grid.strided(2),
            torch.cat([centroids[..., :1], apply_affine(turned, centroids[..., 1:])], -1).double(),
        )

    monkeypatch.setattr(registration, "describe", described)
    result = register(
        bundle, template, moved, RegistrationOptions(alignment=replace(QUICK.alignment, affine_start=True))
    )
    fixed, _, upright = seen
    assert (upright.hu - fixed.hu)[body_mask(fixed.hu)].abs().mean() < 5  # HU
    points = body_points(template)
    error = (points + result.dense.at(points) - apply_affine(matrix, points)).norm(dim=1)
    assert error.max() < 0.3 * FRAME.spacing_mm and error.mean() < 0.1 * FRAME.spacing_mm


# ---- with the bundle's own network ----------------------------------------------------------------------------


def test_a_scan_registered_to_itself_stays(bundle, template):
    points = body_points(template)
    for options in (QUICK, replace(QUICK, refinement=RefinementOptions())):
        result = register(bundle, template, template, options)
        assert result.dense.at(points).norm(dim=1).max() < 1  # mm
        assert np.abs(result.warped_target().data - template.data)[8:-8, 8:-8, 8:-8].mean() < 5  # HU


def test_equal_input_gives_an_equal_field(bundle, template, target):
    first, again = (register(bundle, template, target, QUICK) for _ in range(2))
    torch.testing.assert_close(
        first.dense.vectors, again.dense.vectors, rtol=0.01, atol=0.5
    )  # mm; threads add in any order


def test_any_two_scans_can_be_registered(bundle, target):
    """The template is not the bundle's own: its supervoxels are predicted as well."""
    fixed = phantom(2)[0]
    for hard in (False, True):
        result = register(bundle, fixed, target, replace(QUICK, prediction=PredictionOptions(hard=hard)))
        assert not result.own_template and set(result.seconds) == {
            "preparation",
            "prediction",
            "alignment",
            "spline",
            "unfolding",
        }
        assert result.dense.vectors.isfinite().all()
        assert result.warped_target().data.shape == fixed.data.shape


def test_hard_labels_of_the_own_template_are_its_layers(bundle, template, target, monkeypatch):
    """As published; only the target is predicted."""
    described = []
    real = registration.describe
    monkeypatch.setattr(registration, "describe", lambda *a: (described.append(a), real(*a))[1])
    result = register(bundle, template, target, replace(QUICK, prediction=PredictionOptions(hard=True)))
    assert result.own_template and len(described) == 1
    register(bundle, template, target, QUICK)
    assert len(described) == 3


def test_stored_key_points_serve_the_own_template_and_the_default_points_alone(bundle, template, monkeypatch):
    fixed = prepare_scan(template, FRAME)
    points = describe_key_points(
        registration.describe(bundle.net, fixed, PredictionOptions()), body_mask(fixed.hu), fixed.grid
    )
    stored = replace(bundle, key_points=points)
    described = []
    real = registration.describe
    monkeypatch.setattr(registration, "describe", lambda *a: (described.append(a), real(*a))[1])

    def found(own, options):
        return register.fixed_key_points(stored, fixed, own, options, torch.device("cpu"))

    assert torch.equal(found(True, RegistrationOptions()).features, points.features) and not described
    torch.testing.assert_close(found(False, RegistrationOptions()).features, points.features)
    assert len(found(True, QUICK).points) == 400
    assert len(described) == 2


def test_progress_names_every_stage(bundle, template, target):
    steps = []
    options = replace(QUICK, refinement=RefinementOptions(iterations=2))
    register(bundle, template, target, options, progress=lambda *step: steps.append(step))
    assert [s for s, share, _ in steps if share == 0] == [
        "preparation",
        "prediction",
        "alignment",
        "spline",
        "refinement",
        "unfolding",
    ]
    assert all(0 <= share <= 1 for _, share, _ in steps)
