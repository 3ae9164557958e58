"""The result of a registration with a known warp: labels on both sides, files that ITK reads alike, a true inverse."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from known_warp import register_known_warp
from SlicRegLib.images.transforms import load_transform, save_transform
from SlicRegLib.images.volumes import Volume, load_scan, save_volume, to_itk
from SlicRegLib.results.metrics import dice


@pytest.fixture(scope="module")
def known(model):
    """(result, labels of the template, labels of the target), with the inverse on a coarser grid than usual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("SlicRegLib.registration.result.INVERSE_SPACING_MM", 6.0)
        found = register_known_warp(model, patch)
        assert found[0].inverse.grid.spacing.max() < 7
    return found


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
