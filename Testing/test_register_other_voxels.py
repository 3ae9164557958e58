"""Registration of the same scans stored in other voxels: orders of axes, oblique and anisotropic grids."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from known_warp import QUICK, body_points
from SlicRegLib.geometry.filters import box_filter
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.volumes import Volume
from SlicRegLib.network.prediction import Description
from SlicRegLib.registration.register import register
from tiny import FRAME, phantom

ORDERS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]
OBLIQUE = Rotation.from_euler("xyz", [20, -20, 20], degrees=True).as_matrix()
FROM_HU = replace(QUICK, alignment=replace(QUICK.alignment, alpha=0.3))


def describe_by_hu(net, encoded, options) -> Description:
    """Soft histograms of the HU around each voxel: what a trained network does for real, without the training."""
    hu = F.avg_pool3d(encoded.scan.hu[None, None], 3, 1, 1)[0, 0, ::2, ::2, ::2]
    centres, widths = torch.tensor(
        [[-1000, -600, -300, -100, 0, 50, 100, 200, 350, 600], [200, 200, 150, 60, 40, 40, 50, 80, 100, 200.0]]
    )
    tissue = torch.exp(-((hu[..., None] - centres) / widths).square())
    features = 0.5 * torch.cat([box_filter(tissue.clone(), 3), box_filter(tissue.clone(), 7)], -1)
    return Description(features, encoded.grid, torch.zeros(2, 128, 4))


def permute(scan: Volume, axes, signs) -> Volume:
    """The same voxels stored in another order of axes and directions."""
    data, affine = scan.data.transpose(axes), scan.grid.affine[:, [*axes, 3]].copy()
    for axis, sign in enumerate(signs):
        if sign < 0:
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
    return Volume(np.ascontiguousarray(data), Grid(data.shape, affine))


def reslice(scan: Volume, rotation, spacing) -> Volume:
    """The same scan on a rotated grid of other voxels that holds it."""
    extent = np.abs(np.linalg.inv(rotation)) @ (scan.grid.shape * scan.grid.spacing)
    shape = np.ceil(extent / spacing).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.asarray(spacing)
    affine[:3, 3] = scan.grid.centre - affine[:3, :3] @ ((shape - 1) / 2)
    grid = Grid(tuple(shape), affine)
    return Volume(resample(scan.tensor, scan.grid, grid, fill=-1000.0)[0].numpy(), grid)


@pytest.fixture(scope="module")
def template() -> Volume:
    return phantom(0)[0]


@pytest.fixture(scope="module")
def target() -> Volume:
    return phantom(1)[0]


@pytest.fixture(scope="module")
def difference(model, template, target):
    """A function of (template, target) in other voxels: distances (n,) mm of their field from that of the originals."""
    points = body_points(template)

    def displacements(fixed: Volume, moving: Volume) -> torch.Tensor:
        with pytest.MonkeyPatch.context() as patch:
            for module in ("register", "fixed_side"):
                patch.setattr(f"SlicRegLib.registration.{module}.describe", describe_by_hu)
            return register(model, fixed, moving, FROM_HU).dense.at(points)

    known = displacements(template, target)
    assert known.norm(dim=1).mean() > 8  # there is something to find
    return lambda fixed, moving: (displacements(fixed, moving) - known).norm(dim=1)


@pytest.mark.parametrize("axes, signs", ORDERS[3::11])
def test_reordered_axes_give_the_same_field(template, target, difference, axes, signs):
    assert (
        difference(permute(template, axes[::-1], signs), permute(target, axes, signs)).max() < 0.25 * FRAME.spacing_mm
    )


@pytest.mark.parametrize(
    "rotation, spacing",
    [(OBLIQUE, (7, 7, 7)), (np.eye(3), (0.8, 0.8, 5.0)), (OBLIQUE, (4, 5, 9))],
    ids=["oblique", "anisotropic", "both"],
)
def test_other_voxels_give_the_same_field_to_a_voxel(template, target, difference, rotation, spacing):
    scan = reslice(target, rotation, spacing)
    error = difference(template, scan)
    assert error.max() < FRAME.spacing_mm and error.mean() < 0.5 * FRAME.spacing_mm
