"""Teachers recover known motions; a field from voxels is right on grids of any orientation."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from SlicRegLib.geometry.grid import Grid, apply_affine
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.preparation import PreparedScan
from SlicRegLib.teaching.teachers import ConvexAdamTeacher, RefinementTeacher, field_from_voxels

pytestmark = pytest.mark.filterwarnings("ignore:Default grid_sample")  # convexAdam's

SHAPE, VOXEL_MM = (40, 40, 40), 5.0
SPACE = Grid.centred((0, 0, 0), (72, 72, 72), 4.0)
NOISE = gaussian_filter(np.random.default_rng(0).standard_normal(SPACE.shape), 2.5)
TEXTURE = torch.from_numpy(150 * NOISE / NOISE.std()).float()[None]


def scene(points):
    """HU at world points: a textured ellipsoid in air."""
    inside = torch.sigmoid((1 - (points / torch.tensor([75.0, 65, 85])).norm(dim=-1)) * 20)
    return -1000 + inside * (1000 + sample(TEXTURE, SPACE, points)[0])


def scan_of(centre, world_from_scan=np.eye(4)):
    """A scan on a grid around ``centre`` whose point p shows the scene at ``world_from_scan`` p."""
    grid = Grid.centred(centre, SHAPE, VOXEL_MM)
    return PreparedScan("scan", scene(apply_affine(world_from_scan, grid.points())), grid)


def test_field_from_voxels():
    scan = Grid((4, 5, 6), np.diag([2.0, 3, 4, 1]))
    template = Grid((7, 7, 7), np.array([[-1, 0, 0, 10], [0, 0, 2, 20], [0, 5, 0, 30], [0, 0, 0, 1.0]]))  # L, S, A
    affine = np.array([[0.5, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, -1], [0, 0, 0, 1]])
    displacement = np.zeros((*scan.shape, 3))
    displacement[2, 1, 3] = 1, 2, 3
    field = field_from_voxels(displacement, scan, template, affine)
    # voxel (2, 1, 3) -> (2, 1, 2) + (1, 2, 3) = (3, 3, 5) of the template, at (7, 30, 45); it lies at (4, 3, 12)
    np.testing.assert_allclose(field.vectors[:, 2, 1, 3], (3, 27, 33))
    np.testing.assert_allclose(field.vectors[:, 0, 0, 0], (10 - 1, 20 - 2, 30))
    coarse = field_from_voxels(np.ones((2, 2, 3, 3)), scan, scan, control=scan.pooled(2))
    assert coarse.grid.shape == (2, 2, 3)
    np.testing.assert_allclose(coarse.vectors.movedim(0, -1).reshape(-1, 3), [(2, 3, 4)] * 12, atol=1e-5)


@pytest.mark.parametrize("teacher", [ConvexAdamTeacher(iterations=40), RefinementTeacher()], ids=lambda t: t.name)
def test_a_teacher_recovers_a_shift(teacher):
    """The scan's p is the template's p + shift, though the template lies elsewhere in the world."""
    shift, template_centre = np.array([12.0, -8, 16]), (30.0, -50, 17)
    move, frame = np.eye(4), np.eye(4)
    move[:3, 3] = shift
    frame[:3, 3] = -np.array(template_centre)
    scan, template = scan_of((0, 0, 0), move), scan_of(template_centre, frame)
    field = teacher.register(scan, template)
    np.testing.assert_allclose(field.grid.points()[0, 0, 0], scan.grid.pooled(2).points()[0, 0, 0])
    body = scan.grid.pooled(2).points()
    body = (body + torch.from_numpy(shift).float()).div(torch.tensor([75.0, 65, 85])).norm(dim=-1) < 0.8
    error = (field.vectors.movedim(0, -1)[body] - torch.from_numpy(shift + template_centre).float()).norm(dim=-1)
    assert error.median() < VOXEL_MM / 2 and error.quantile(0.9) < VOXEL_MM
    assert (
        field.vectors.movedim(0, -1)[body].median(0).values - torch.from_numpy(shift + template_centre)
    ).abs().max() < 1


def known_affine(centre):
    """6 degrees about S, 5 % larger along A, and a shift, then to a template around ``centre``."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", 6, degrees=True).as_matrix() * (1, 1.05, 1)
    matrix[:3, 3] = 9, -6, 4
    return matrix, np.array(centre)


def test_convexadam_after_an_affine():
    matrix, _ = known_affine((0, 0, 0))
    scan, template = scan_of((0, 0, 0), matrix), scan_of((0, 0, 0))
    field = ConvexAdamTeacher(affine_first=True, iterations=40).register(scan, template)
    points = field.grid.points()
    body = points.div(torch.tensor([75.0, 65, 85])).norm(dim=-1) < 0.7
    error = (field(points) - apply_affine(matrix, points))[body].norm(dim=-1)
    assert error.median() < VOXEL_MM / 2 and error.quantile(0.9) < VOXEL_MM
