"""Transform files: read back, and applied by ITK as we apply them."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.transforms import load_transform, save_transform
from SlicRegLib.images.volumes import Volume, to_itk

ENDINGS = ("h5", "nrrd", "nii.gz")


@pytest.mark.parametrize("ending", ENDINGS)
def test_transform_round_trip(ending, tmp_path, odd_grid, smooth_field):
    field = smooth_field(odd_grid, 9.0)
    save_transform(tmp_path / f"transform.{ending}", field)
    found = load_transform(tmp_path / f"transform.{ending}")
    assert found.grid.matches(odd_grid, 1e-3) and found.vectors.dtype == torch.float32
    assert (found.vectors - field.vectors).abs().max() <= 1 / 256
    assert torch.equal(found.vectors, (field.vectors * 128).round() / 128)


@pytest.mark.parametrize("ending", ENDINGS)
def test_itk_applies_the_transform_file_as_we_do(ending, tmp_path, oblique, left_handed, smooth_field):
    moving, target = oblique((30, 28, 26)), left_handed((13, 11, 9), (1.7, 2.3, 1.1))
    shift = moving.centre - target.centre
    field = smooth_field(left_handed((16, 14, 12)), 4.0)
    field.vectors.add_(torch.tensor(shift, dtype=torch.float32)[:, None, None, None])
    scan = Volume(np.random.default_rng(0).integers(-1000, 1500, moving.shape).astype(np.float32), moving)
    path = tmp_path / f"transform.{ending}"
    save_transform(path, field)
    field = load_transform(path)
    if ending == "h5":
        transform = sitk.ReadTransform(str(path))
    else:
        transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    itk = sitk.Resample(
        to_itk(scan), to_itk(Volume(np.zeros(target.shape, np.float32), target)), transform, sitk.sitkLinear, -1000
    )
    itk = sitk.GetArrayFromImage(itk).transpose(2, 1, 0)
    ours = resample(scan.tensor, moving, target, field, fill=-1000.0)[0].numpy()
    voxel = moving.to_voxel(field(target.points())).numpy()
    within = field.grid.to_voxel(target.points()).numpy()  # outside the field ITK takes zero, we the edge
    inside = (
        (voxel >= 0)
        & (voxel <= np.array(moving.shape) - 1)
        & (within >= 0)
        & (within <= np.array(field.grid.shape) - 1)
    ).all(-1)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(ours[inside], itk[inside], atol=0.5)  # of 2500 HU: float32 coordinates

    point = field.grid.to_world(np.array([5.0, 6, 4]))  # a node: its vector itself
    moved = np.array(transform.TransformPoint((point * (-1, -1, 1)).tolist())) * (-1, -1, 1)
    np.testing.assert_allclose(moved, point + field.vectors[:, 5, 6, 4].numpy(), atol=1e-3)
