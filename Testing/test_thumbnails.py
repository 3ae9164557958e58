"""The picture of the unusual scans: proportions, directions and layout."""

import sys
from collections import Counter
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from cohort_samples import flip
from SlicRegLib.cohort import thumbnails
from SlicRegLib.cohort.facts import measure_scan
from SlicRegLib.cohort.thumbnails import draw_thumbnails, slice_body
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import Volume, load_scan
from tiny import write_cohort


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """The facts of three phantoms."""
    images = write_cohort(tmp_path_factory.getbasetemp() / "tiny") / "img"
    return [measure_scan(images / f"pt_{i}.nii.gz") for i in (1, 2, 3)]


def test_slices_through_the_body_have_the_right_proportions():
    """A ball in voxels of 3 x 4 x 6 mm, off the scan's centre, with a bone on the left, in front and at the top."""
    affine = np.array([[3.0, 0, 0, -120], [0, 4, 0, -120], [0, 0, 6, -90], [0, 0, 0, 1]])
    grid = Grid((80, 60, 40), affine)
    points, centre = grid.points().numpy(), np.array([40.0, -30, 20])
    data = np.where(np.linalg.norm(points - centre, axis=-1) < 60, 50.0, -1000.0).astype(np.float32)
    for bone in ((-24, 0, 24), (0, 24, 24)):
        data[(np.abs(points - centre - bone) < 8).all(-1)] = 900
    for scan in (Volume(data, grid), flip(flip(Volume(data, grid), 0), 2)):
        for image in slice_body(scan):
            assert image.shape == pytest.approx((240 / 2, 240 / 2), abs=1)
            rows, columns = np.nonzero(image > -400)
            assert np.ptp(rows) + 1 == pytest.approx(60, abs=4) and np.ptp(columns) + 1 == pytest.approx(60, abs=4)
            bone = np.argwhere(image > 500).mean(0) - (rows.mean(), columns.mean())
            np.testing.assert_allclose(bone, (-12, 12), atol=2)  # up; the patient's left and front are on the right


def test_the_picture(scans, tmp_path, monkeypatch):
    """Tiles of 3.4 inches at 100 dpi, 0.15 between them; one for the template and one per scan, five in a row."""
    template, short = scans[:2]
    drawn, sizes, path = [], {}, tmp_path / "unusual.png"
    monkeypatch.setattr(thumbnails, "THUMBNAILS", 14)
    monkeypatch.setattr(thumbnails, "load_scan", lambda path: drawn.append(path) or load_scan(path))
    for count in (1, 4, 5, 20):
        shown = [(replace(short, name=f"pt_{i}"), ["Odd."]) for i in range(count)]
        draw_thumbnails(path, template, shown)
        sizes[count] = imread(path).shape[:2]
        assert Counter(drawn) == {template.path: 1, short.path: min(count, 14)}  # only what is shown is read
        drawn.clear()
    assert [sizes[n][1] for n in (1, 4, 5, 20)] == pytest.approx([15 + 355 * n for n in (2, 5, 5, 5)], abs=1)
    row = sizes[5][0] - sizes[4][0]
    assert sizes[1][0] == sizes[4][0] and sizes[20][0] == pytest.approx(sizes[4][0] + 2 * row, abs=3)
    coronal, sagittal = slice_body(load_scan(short.path))
    proportion = coronal.shape[0] / (coronal.shape[1] + 6 + sagittal.shape[1])
    assert row == pytest.approx(340 * proportion + 15 + 28 + 16, abs=2)  # image, gap, name, one line of findings
    picture = imread(path)[..., :3]
    tile = picture[15 + 44 : 15 + 44 + int(340 * proportion), 15:355]
    assert (tile > 0.5).any() and (picture.std(-1) > 0.2).any()  # tissue is bright; the findings are coloured


def test_the_backend_of_the_user_is_left_alone(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(matplotlib, "use", lambda *_: pytest.fail("switched the backend"))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would choose one
    draw_thumbnails(tmp_path / "unusual.png", scans[0], [(scans[1], ["Odd."])])
    assert (tmp_path / "unusual.png").is_file()
