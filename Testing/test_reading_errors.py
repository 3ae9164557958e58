"""What a reader's error becomes, and the limits of a scan's size, just inside and just outside."""

from pathlib import Path

import numpy as np
import pytest

from SlicRegLib.errors import UserError
from SlicRegLib.images.reading import explained
from SlicRegLib.images.source import check_geometry, check_shape, describe_doubts

ERRORS = {
    "several lines": (
        RuntimeError("sitk::ERROR:\n  Unable to read.\n  Wrong magic number. \n\n"),
        "(Wrong magic number);",
    ),
    "no words": (ValueError(), "(ValueError);"),
    "no memory": (MemoryError("Unable to allocate 30 GiB"), "needs more memory than is free"),
    "a sentence already": (UserError("The scan is a picture."), "The scan is a picture."),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_of_readers(kind):
    error, words = ERRORS[kind]
    with pytest.raises(UserError) as found, explained(Path("scan.nrrd")):
        raise error
    assert words in str(found.value)
    assert ("scan.nrrd" in str(found.value)) == (kind != "a sentence already")


def test_what_is_read_without_an_error_is_left_alone():
    with explained(Path("scan.nrrd")):
        value = 3
    assert value == 3


SIZES = [  # shape, spacing along k in mm, words where it is refused
    ((20, 20, 1500), 1.99, ""),
    ((20, 20, 1500), 2.01, "3.01 m long"),
    ((20, 20, 10), 0.81, ""),
    ((20, 20, 10), 0.79, "only 7.9 mm long"),
    ((20, 20, 50), 49.9, ""),
    ((20, 20, 50), 50.1, "voxels of 50.1 mm"),
    ((20, 20, 400), 0.051, ""),
    ((20, 20, 400), 0.049, "voxels of 0.049 mm"),
]


@pytest.mark.parametrize("shape, spacing, words", SIZES)
def test_limits_of_size(shape, spacing, words):
    affine = np.diag([2.0, 2.0, spacing, 1])
    if not words:
        assert check_geometry(Path("a.nii"), shape, affine).shape == shape
        return
    with pytest.raises(UserError, match=words):
        check_geometry(Path("a.nii"), shape, affine)


def test_limits_of_place_and_number():
    affine = np.diag([2.0, 2.0, 2.0, 1])
    affine[1, 3] = -9.9e5
    assert check_geometry(Path("a.nii"), (20, 20, 20), affine).affine[1, 3] == -9.9e5
    affine[1, 3] = -1.01e6
    with pytest.raises(UserError, match=r"1\.01 km from the origin"):
        check_geometry(Path("a.nii"), (20, 20, 20), affine)
    check_shape(Path("a.nii"), (1000, 1000, 1000))
    with pytest.raises(UserError, match="more than 1000 million voxels"):
        check_shape(Path("a.nii"), (1000, 1000, 1001))
    check_shape(Path("a.nii"), (8, 8, 8))
    with pytest.raises(UserError, match="fewer than 8 slices"):
        check_shape(Path("a.nii"), (8, 7, 8))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0), (1, 3)])
def test_numbers_that_are_not_finite_are_no_geometry(value, place):
    affine = np.diag([2.0, 2.0, 2.0, 1])
    affine[place] = value
    with pytest.raises(UserError, match="no valid voxel-to-world matrix"):
        check_geometry(Path("a.nii"), (20, 20, 20), affine)


@pytest.mark.parametrize("column", [[0, 0, 0], [0, 2, 0], [0, 2, 1e-3]])
def test_axes_in_one_plane_are_no_geometry(column):
    affine = np.diag([2.0, 2.0, 2.0, 1])
    affine[:3, 2] = column
    with pytest.raises(UserError, match="no valid voxel-to-world matrix"):
        check_geometry(Path("a.nii"), (20, 20, 20), affine)


def test_a_small_or_unit_geometry_is_doubted():
    def doubts(spacing, shape=(20, 20, 20), origin=1.0):
        affine = np.diag([spacing, spacing, spacing, 1])
        affine[0, 3] = origin
        return " ".join(describe_doubts(Path("a.nii"), check_geometry(Path("a.nii"), shape, affine)))

    assert "only 59.8 mm long" in doubts(2.99) and doubts(3.01) == ""
    assert "exactly 1 mm at the origin" in doubts(1.0, (80, 80, 80), 0.0) and doubts(1.0, (80, 80, 80)) == ""
