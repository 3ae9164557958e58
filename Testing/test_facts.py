"""The facts of a scan: a known body, and scans that cannot be used."""

import numpy as np
import pytest

from SlicRegLib.cohort import facts
from SlicRegLib.cohort.facts import measure_scan
from SlicRegLib.cohort.names import shorten
from SlicRegLib.cohort.orientation import order_by_axis
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import Volume, save_volume
from tiny import phantom


def test_a_known_body(tmp_path):
    """An ellipsoid of 160 x 120 x 200 mm and 50 HU with a piece of metal; the array's axes point to P, L and S."""
    affine = np.array([[0, -4.0, 0, 130], [-3.0, 0, 0, 110], [0, 0, 5.0, -150], [0, 0, 0, 1]])
    grid = Grid((70, 60, 62), affine)
    inside = np.linalg.norm((grid.points().numpy() - grid.centre) / (80.0, 60.0, 100.0), axis=-1) < 1
    scan = Volume(np.where(inside, 50.0, -1000.0).astype(np.float32), grid)
    scan.data[32:39, 27:32, 29:33] = 30000  # 8 of 2000 ml: unless it is clipped, the mean is 170 HU
    save_volume(tmp_path / "a.nrrd", scan)
    found = measure_scan(tmp_path / "a.nrrd")
    assert (found.name, found.path, found.problem) == ("a", str(tmp_path / "a.nrrd"), "")
    assert (found.shape, found.spacing_mm, found.orientation) == ((70, 60, 62), (3, 4, 5), "PLS")
    assert found.extent_mm == (60 * 4, 70 * 3, 62 * 5) and order_by_axis(found.orientation, found.spacing_mm) == [
        4,
        3,
        5,
    ]
    np.testing.assert_allclose(found.body_extent_mm, (160, 120, 200), atol=10)
    assert found.body_ml == pytest.approx(4 / 3 * np.pi * 80 * 60 * 100 / 1000, rel=0.05)
    assert found.mean_hu == pytest.approx(50, abs=40)  # the edge is blurred into the air
    assert found.fingerprint == scan.fingerprint()


def test_values_along_the_axes_of_the_array():
    assert order_by_axis("SAL", (1, 2, 3)) == [3, 2, 1]
    assert order_by_axis("", ()) == []


def test_long_names_are_shortened_in_the_middle():
    name = "left_upper_lobe_of_the_lung"
    assert shorten(name, len(name)) == name
    assert shorten(name, 11) == "left_…_lung" and len(shorten(name, 12)) == 12
    assert shorten("a\udcff", 5) == "a?"


def save_nan(path):
    scan = phantom(1)[0]
    save_volume(path, Volume(np.where(scan.data > 500, np.nan, scan.data).astype(np.float32), scan.grid))


def save_air(path):
    noise = np.random.default_rng(0).normal(-1000, 5, (30, 30, 30)).astype(np.float32)
    save_volume(path, Volume(noise, Grid(noise.shape, np.diag([5.0, 5, 5, 1]))))


def save_micrometres(path):
    scan = phantom(1)[0]
    save_volume(path, Volume(scan.data, Grid(scan.data.shape, np.diag([1000.0, 1000, 1000, 1]) @ scan.grid.affine)))


@pytest.mark.parametrize(
    "write, problem",
    [
        (save_nan, "NaN"),
        (save_air, "no soft tissue"),
        (save_micrometres, "bad.nii.gz is 420 m long; correct its spacing"),
        (lambda path: path.mkdir(), "is a folder without a DICOM series"),
    ],
)
def test_a_bad_scan_has_a_problem_and_raises_nothing(tmp_path, write, problem):
    write(tmp_path / "bad.nii.gz")
    assert problem in measure_scan(tmp_path / "bad.nii.gz").problem


def test_a_scan_without_permission(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(facts, "load_scan", refuse)
    assert "secret.nii.gz cannot be read (Permission denied)" in measure_scan(tmp_path / "secret.nii.gz").problem
