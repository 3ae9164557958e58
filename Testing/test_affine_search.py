"""The affine map that image features alone find: known maps, scans that end elsewhere, equal bits."""

import numpy as np
import pytest
import torch

from SlicRegLib.geometry.grid import Grid, apply_affine
from SlicRegLib.images.preparation import PreparedScan
from SlicRegLib.registration.affine_search import search_affine
from SlicRegLib.registration.image_features import describe_body
from SlicRegLib.registration.options import RefinementOptions
from SlicRegLib.registration.refinement import ComparedScan
from test_teachers import SHAPE, VOXEL_MM, known_affine, scan_of, scene

BODY = np.array(np.meshgrid(*[(-50, 0, 50)] * 3)).reshape(3, -1).T


def described(scan):
    return ComparedScan.describe(scan, RefinementOptions(), torch.device("cpu"))


def image_features_of(scan):
    return describe_body(scan.hu, torch.ones(SHAPE, dtype=torch.bool), RefinementOptions())


def errors(found, known, points=BODY):
    return np.linalg.norm(apply_affine(found, points) - known(points), axis=1)


@pytest.mark.parametrize("template_centre", [(0, 0, 0), (30.0, -50, 17)])
def test_a_known_map_is_found(template_centre):
    matrix, centre = known_affine(template_centre)
    frame = np.eye(4)
    frame[:3, 3] = -centre
    scan, template = described(scan_of((0, 0, 0), matrix)), described(scan_of(centre, frame))
    found = search_affine(scan, template)
    assert errors(found, lambda points: apply_affine(matrix, points) + centre).max() < VOXEL_MM
    assert np.array_equal(found, search_affine(scan, template))


def test_a_scan_that_shows_one_end_is_slid_there():
    """Its frame is centred on what it shows, 65 mm above the template's centre."""
    grid = Grid.centred((0, 0, 65.0), SHAPE, VOXEL_MM)
    points = grid.points()
    upper = PreparedScan("upper", torch.where(points[..., 2] > 25, scene(points), -1000.0), grid)
    whole = scan_of((0, 0, 0))
    found = search_affine(described(upper), described(whole))
    shown = BODY[BODY[:, 2] > 0]
    assert errors(found, lambda points: points, shown).max() < 2 * VOXEL_MM  # of the compared features
    laid_on_each_other = np.eye(4)
    laid_on_each_other[2, 3] = -65
    assert errors(laid_on_each_other, lambda points: points, shown).min() > 10 * VOXEL_MM


def test_scans_that_show_nothing_in_common_stay_where_they_are():
    """No body to compare: the frames are laid on each other."""
    air = PreparedScan("air", torch.full(SHAPE, -1000.0), Grid.centred((5, 6, 7), SHAPE, VOXEL_MM))
    air.__dict__["region"] = torch.zeros(SHAPE, dtype=torch.bool)
    features = ComparedScan(air, image_features_of(air))
    found = search_affine(features, described(scan_of((0, 0, 0))))
    np.testing.assert_allclose(found, [[1, 0, 0, -5], [0, 1, 0, -6], [0, 0, 1, -7], [0, 0, 0, 1]], atol=1e-4)


def test_frames_that_are_turned_in_the_world():
    """The frame of an upright patient follows the pose of the scan."""
    pose = np.array([[0.0, 0, 1, 40], [1, 0, 0, -20], [0, 1, 0, 10], [0, 0, 0, 1]])
    grid = Grid.centred((0, 0, 0), SHAPE, VOXEL_MM)
    turned = PreparedScan("turned", scene(grid.points()), Grid(SHAPE, pose @ grid.affine))
    found = search_affine(described(scan_of((0, 0, 0))), described(turned))
    assert errors(found, lambda points: apply_affine(pose, points)).max() < VOXEL_MM / 2
