"""Volume nodes to files and back: geometry in the world, voxels, window."""

import numpy as np
import pytest
import SimpleITK as sitk

from scene_samples import (
    add_volume,
    put_under,
    random_scan,
    read_matrix,
    record_state,
    rigid,
    slicer,
)
from SlicRegLib.images.volumes import Volume, load_labels, load_scan, save_volume
from SlicRegSlicer.checks import check_volume
from SlicRegSlicer.reading import fill_volume, load_image
from SlicRegSlicer.writing import write_volume

pytest_plugins = ["scene_fixtures"]


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_written_volume_has_the_hardened_geometry(scene, tmp_path, odd_grid, dtype):
    data = random_scan(odd_grid.shape, dtype)
    node = add_volume(scene, data, odd_grid.affine)
    outer = put_under(scene, put_under(scene, node, rigid()), rigid((0, 0, 90), (1, 2, 3)))
    before = record_state(scene, node, outer)
    write_volume(node, tmp_path / "scan.nrrd")
    assert record_state(scene, node, outer) == before

    known = rigid((0, 0, 90), (1, 2, 3)) @ rigid() @ odd_grid.affine
    found = (load_labels if dtype == np.uint8 else load_scan)(tmp_path / "scan.nrrd")
    np.testing.assert_allclose(found.grid.affine, known, atol=1e-9)
    np.testing.assert_array_equal(found.data, data)
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "scan.nrrd"))).dtype == dtype
    node.HardenTransform()
    np.testing.assert_allclose(found.grid.affine, read_matrix(node), atol=1e-9)


def test_a_parent_that_scales_is_written(scene, tmp_path, anisotropic):
    node = add_volume(scene, random_scan(anisotropic().shape), anisotropic().affine)
    put_under(scene, node, np.diag([2.0, 1.5, 0.5, 1.0]))
    check_volume(node, "The target")
    write_volume(node, tmp_path / "scan.nrrd")
    np.testing.assert_allclose(load_scan(tmp_path / "scan.nrrd").grid.spacing, [1.6, 1.2, 2.5])


def test_a_volume_read_into_a_node_in_use(scene, tmp_path, odd_grid):
    scan = Volume(random_scan(odd_grid.shape, np.float32), odd_grid)
    save_volume(tmp_path / "warped.nii.gz", scan)
    like = add_volume(scene, random_scan((9, 9, 9)), np.eye(4), "target")
    like.CreateDefaultDisplayNodes()
    like.GetDisplayNode().SetAutoWindowLevel(False)
    like.GetDisplayNode().SetWindowLevel(350, 40)
    node = add_volume(scene, random_scan((10, 11, 12)), np.diag([3.0, 3, 3, 1]), "warped")
    put_under(scene, node, rigid())
    known_id = node.GetID()

    fill_volume(node, load_image(tmp_path / "warped.nii.gz"), like)
    assert node.GetID() == known_id and node.GetName() == "warped" and node.GetParentTransformNode() is None
    np.testing.assert_allclose(read_matrix(node), odd_grid.affine, atol=1e-4)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node).transpose(2, 1, 0), scan.data)
    assert node.GetImageData().GetOrigin() == (0, 0, 0) and node.GetImageData().GetSpacing() == (1, 1, 1)
    assert (node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()) == (350, 40)
