"""The average shape of bodies whose average is known: one body that swells, turns and moves by known amounts."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid, apply_affine
from SlicRegLib.geometry.inverse import invert
from SlicRegLib.teaching.shape import ShownField, find_average_shape

FRAME = Grid.centred((40.0, -70.0, 500.0), (28, 28, 28), 8.0)
AVERAGE = Grid.centred((0.0, 0.0, 0.0), (28, 28, 28), 8.0)
CENTRE = torch.tensor(FRAME.centre, dtype=torch.float32)
BODY = (FRAME.points() - CENTRE).norm(dim=-1) < 75
ALL = torch.ones(FRAME.shape, dtype=torch.bool)


def swell(by: float, points: torch.Tensor) -> torch.Tensor:
    """Points moved away from the centre; no rigid map does anything like it."""
    offset = points - CENTRE
    return points + by * offset * torch.exp(-offset.square().sum(-1, keepdim=True) / (2 * 40.0**2))


def make_field(by: float, degrees=(0.0, 0.0, 0.0), shift=(0.0, 0.0, 0.0)) -> DisplacementField:
    """The body swells, is turned about the frame's centre, and moves."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = FRAME.centre + shift - matrix[:3, :3] @ FRAME.centre
    there = apply_affine(matrix, swell(by, FRAME.points()))
    return DisplacementField((there - FRAME.points()).movedim(-1, 0).contiguous(), FRAME)


def average(fields, shown=ALL):
    return find_average_shape(FRAME, BODY, [ShownField(field, shown) for field in fields], AVERAGE)


def largest_error(shape, expected: torch.Tensor) -> float:
    """In the body, of where its points lie in the average. expected: world points with the template's centre."""
    found = shape.onto(FRAME.points()) + CENTRE
    return float((found - expected)[BODY].norm(dim=-1).max())


@pytest.mark.parametrize("amounts", [(0.1, 0.3), (0.0, 0.1, 0.2, 0.5), (-0.2, 0.2)])
def test_the_mean_of_displacements_is_the_average(amounts):
    shape = average([make_field(by) for by in amounts])
    assert largest_error(shape, swell(float(np.mean(amounts)), FRAME.points())) < 0.01


def test_poses_and_places_do_not_count():
    """Bodies turned either way would have a smaller mean; each is as it is, and so is their average."""
    turns = [(0, 0, 25), (0, 0, -25), (12, 0, 0), (-12, 0, 0), (0, 0, 0)]
    fields = [make_field(0.2, turn, (300.0 * n, -50.0, 20.0 * n)) for n, turn in enumerate(turns)]
    assert largest_error(average(fields), swell(0.2, FRAME.points())) < 0.1


def test_the_mean_pose_is_taken():
    shape = average([make_field(0.0, (0, 10.0, 0)), make_field(0.0, (0, 20.0, 0))])
    assert largest_error(shape, FRAME.points() + make_field(0.0, (0, 15.0, 0)).vectors.movedim(0, -1)) < 0.05


def test_there_and_back():
    shape = average([make_field(0.3), make_field(0.1)])
    points = AVERAGE.points()[4:-4, 4:-4, 4:-4].reshape(-1, 3)
    assert float((shape.onto(shape.back(points)) - points).norm(dim=-1).max()) < 0.05
    field = make_field(0.3, (5, 0, 8), (20, 0, 0))
    assert float((shape.field_to(field)(points) - field(shape.back(points))).norm(dim=-1).max()) < 0.2
    inside = (points.norm(dim=-1) < 60).nonzero()[:, 0]
    back = shape.field_from(invert(field, FRAME))
    there = shape.field_to(field)(points[inside])
    assert float((back(there) - points[inside]).norm(dim=-1).mean()) < 0.3


def test_another_scan_as_template_finds_the_same_average():
    amounts, start = (0.0, 0.1, 0.3), make_field(0.3)
    own = average([make_field(by) for by in amounts])
    back = invert(start, FRAME)
    others = []
    for by in amounts:  # from the third scan to each
        there = make_field(by)(back(FRAME.points()))
        others.append(DisplacementField((there - FRAME.points()).movedim(-1, 0).contiguous(), FRAME))
    other = average(others)
    marks = (CENTRE + torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * 25).float()
    assert float((own.onto(marks) - other.onto(start(marks))).norm(dim=-1).mean()) < 1.0
    assert other.moved_mm > 1 and own.moved_mm > 1


def test_an_average_does_not_move():
    assert average([make_field(-0.2), make_field(0.2)]).moved_mm < 0.01


def test_a_place_that_few_scans_show_follows_what_is_around_it():
    shown = ALL.clone()
    shown[:, :, 20:] = False
    fields = [ShownField(make_field(0.0, shift=(0, 0, 5.0)), shown) for _ in range(6)]
    fields.append(ShownField(make_field(0.8), ALL))  # alone above
    shape = find_average_shape(FRAME, BODY, fields, AVERAGE)
    above = shape.onto(FRAME.points()[14:16, 14:16, 22]) - (FRAME.points()[14:16, 14:16, 22] - CENTRE)
    assert float(above.norm(dim=-1).max()) < 6  # a swelling of 0.8 moves points there by more than 20 mm
