"""The overview picture: what it shows where, in which colour, without matplotlib."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor
from scipy.spatial.transform import Rotation

from SlicRegLib.geometry.field import identity_field
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import Volume
from SlicRegLib.phantoms.phantom import ORGANS
from SlicRegLib.registration.result import Registration
from SlicRegLib.registration.verdict import Verdict
from SlicRegLib.results import drawing
from SlicRegLib.results.drawing import CELL, COLOURS, GAP
from SlicRegLib.results.overview import VERDICT_COLOURS, draw_overview, surround
from tiny import phantom


@pytest.fixture(scope="module")
def scans():
    """(template, its labels, target, its labels)."""
    return [volume for seed in (0, 1) for volume in phantom(seed)]


@pytest.fixture(scope="module")
def result(scans) -> Registration:
    return Registration(scans[0], scans[2], identity_field(scans[0].grid.pooled(4)), {}, True)


def draw(path, *arguments, **more) -> np.ndarray:
    """The picture (rows, columns, 3), from 0 to 1."""
    draw_overview(path, *arguments, **{"spacing_mm": 7.0, **more})
    return np.asarray(Image.open(path)) / 255


def panels(picture: np.ndarray, heights: tuple[int, int, int]) -> list[np.ndarray]:
    """Its nine panels, row by row. heights: of the rows, which end at the picture's lower border."""
    cells, bottom = [], len(picture) - GAP
    for height in reversed(heights):
        cells = [picture[bottom - height : bottom, 360 * n + 8 : 360 * n + 8 + CELL] for n in range(3)] + cells
        bottom -= height + GAP
    return cells


@pytest.fixture
def heights(monkeypatch) -> list[int]:
    """Of the rows that are drawn in this test."""
    found, draw_row = [], drawing.draw_row

    def record(row):
        images = draw_row(row)
        found.append(max(image.height for image in images))
        return images

    monkeypatch.setattr(drawing, "draw_row", record)
    return found


def rgb(colour: str) -> np.ndarray:
    return np.array(ImageColor.getrgb(colour)) / 255


def has_colour(picture: np.ndarray, colour: str) -> bool:
    return bool((np.abs(picture - rgb(colour)).max(-1) < 0.08).any())


def test_nine_panels_show_the_scans(result, tmp_path, heights):
    for panel in panels(draw(tmp_path / "overview.png", result), heights):
        assert np.allclose(panel[..., 0], panel[..., 2], atol=0.02)  # grey: there are no labels
        assert (panel > 0.3).mean() > 0.1 and panel.std() > 0.1  # not empty
    assert [path.name for path in tmp_path.iterdir()] == ["overview.png"]


def test_contours_have_their_labels_colours(result, scans, tmp_path, heights):
    template_labels, target_labels = scans[1], scans[3]
    picture = draw(tmp_path / "overview.png", result, template_labels, target_labels)
    shown = [value for value in ORGANS if has_colour(picture, COLOURS[value - 1])]
    assert 6 in shown and len(shown) > 6  # the liver, and most other organs
    heights.clear()
    liver = Volume(np.where(template_labels.data == 6, template_labels.data, 0), template_labels.grid)
    alone = draw(tmp_path / "liver.png", result, liver)
    assert has_colour(alone, COLOURS[5]) and not has_colour(alone, COLOURS[6])
    for panel in panels(alone, heights):  # on the target by the inverse field
        assert has_colour(panel, COLOURS[5])


HALF_WIDTHS = np.array([40.0, 28.0, 20.0])  # mm, of an ellipsoid along x, y, z
BODY_MM = 192.0  # edge of the cube around the origin that holds it
AXES = ((0, 1, -1), (0, 2, -1), (1, 2, 1))
"""Of axial, coronal, sagittal planes: the world axis across, upwards, and whether the former points to the right."""


def make_scan(centre: np.ndarray, value: int) -> tuple[Volume, Volume]:
    """A white ellipsoid in a dark cube, and its labels."""
    grid = Grid.centred((0, 0, 0), (72, 64, 80), (3.0, 3.5, 2.8))
    points = grid.points().numpy()
    inside = (((points - centre) / HALF_WIDTHS) ** 2).sum(-1) < 1
    body = (np.abs(points) < BODY_MM / 2).all(-1)
    hu = np.where(inside, 1000.0, np.where(body, -190.0, -1000.0)).astype(np.float32)
    return Volume(hu, grid), Volume((value * inside).astype(np.uint8), grid)


def test_an_oblique_scan_is_surrounded_as_close_as_another():
    """A ball, whose box does not depend on how the voxels lie."""
    turn = Rotation.from_euler("xyz", [40, 30, 50], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, 3.0, 2.5])
    grid = Grid((60, 40, 48), affine)
    distance = np.linalg.norm(grid.points().numpy() - grid.centre, axis=-1)
    around = surround(Volume(np.where(distance < 50, 0.0, -1000.0).astype(np.float32), grid), 2.0, margin_mm=10.0)
    assert np.abs(around.shape * around.spacing - 2 * (50 + 10)).max() < 10
    assert np.abs(around.centre - grid.centre).max() < 3


def extent(where: np.ndarray) -> np.ndarray:
    """First and last row, first and last column."""
    rows, columns = np.nonzero(where)
    return np.array([rows.min(), rows.max() + 1, columns.min(), columns.max() + 1])


def has_hue(panel: np.ndarray, colour: str) -> np.ndarray:
    """Where the hue is that of a colour, on black or on white."""
    hue, other = rgb(colour) - rgb(colour).mean(), panel - panel.mean(-1, keepdims=True)
    size = np.linalg.norm(other, axis=-1)
    return (other @ hue > 0.97 * size * np.linalg.norm(hue)) & (size > 0.25)


@pytest.mark.parametrize("wrong_mm", [0.0, 12.0])
def test_contours_lie_where_the_transform_says(tmp_path, heights, wrong_mm):
    """The target is the template moved by 17, -13 and 9 mm. With that field all contours surround the white ellipsoid,
    and all planes pass through its middle. With one that is 12 mm wrong along x, contours that were carried lie beside
    it by as much."""
    shift, wrong = np.array([17.0, -13.0, 9.0]), np.array([wrong_mm, 0, 0])
    template, template_labels = make_scan(np.zeros(3), 2)
    target, target_labels = make_scan(shift, 4)
    field = identity_field(Grid.centred((0, 0, 0), (40, 40, 40), 10.0))
    field.vectors.add_(torch.tensor(shift + wrong).float().view(3, 1, 1, 1))
    result = Registration(template, target, field, {}, True)
    cells = panels(draw(tmp_path / "a.png", result, template_labels, target_labels, spacing_mm=2.0), heights)
    places = [  # of the middle of the ellipsoid, of the template's contour and of the target's, in each column
        (np.zeros(3), np.zeros(3), None),
        (shift, shift + wrong, shift),
        (-wrong, np.zeros(3), -wrong),
    ]
    scale = CELL / (BODY_MM + 2 * 10.0)  # pixels per mm: the margin is 10 mm
    for number, cell in enumerate(cells[:6] if wrong_mm else cells):  # the wrong sagittal planes miss the middle
        right, up, sign = AXES[number // 3]

        def find_extent(middle: np.ndarray, cell=cell, right=right, up=up, sign=sign) -> np.ndarray:
            y, x = np.array(cell.shape[:2]) / 2 + scale * np.array([-middle[up], sign * middle[right]])
            dy, dx = scale * HALF_WIDTHS[[up, right]]
            return np.array([y - dy, y + dy, x - dx, x + dx])

        shown = [(cell > 0.8).all(-1), has_hue(cell, COLOURS[1]), has_hue(cell, COLOURS[3])]
        for where, middle in zip(shown, places[number % 3], strict=True):
            if middle is None:
                assert not where.any()
            else:
                assert np.abs(extent(where) - find_extent(middle)).max() < 4  # pixels: a voxel's half is 2 to 3


def test_the_verdict_is_the_title_in_its_own_colour(result, tmp_path):
    """Long sentences are broken, so that nothing leaves the picture."""
    for word in ("doubtful", "failed"):
        colour = VERDICT_COLOURS[word]
        verdict = Verdict(word, "Look at what does not agree. " * 6, 0.1, 0.2, 0.5, 0.5, (), 0.0)
        picture = draw(tmp_path / f"{word}.png", result, verdict=verdict)
        rows, columns = np.nonzero(np.abs(picture - rgb(colour)).max(-1) < 0.08)
        assert rows.max() < len(picture) / 10 and np.ptp(rows) > 30  # two lines or more, above the panels
        assert columns.min() > 5 and columns.max() < picture.shape[1] - 5
        others = [other for other in VERDICT_COLOURS.values() if other != colour]
        assert not any(has_colour(picture, other) for other in others)


def test_scans_without_anything_but_air_and_labels_without_any_are_drawn(tmp_path):
    grid = Grid.centred((0, 0, 0), (20, 20, 20), 8.0)
    air, nothing = Volume(np.full(grid.shape, -1000, np.float32), grid), Volume(np.zeros(grid.shape, np.uint8), grid)
    picture = draw(tmp_path / "air.png", Registration(air, air, identity_field(grid), {}, True), nothing, nothing)
    assert picture.shape[1] == 1080 and (np.ptp(picture, axis=-1) < 0.02).all()


def test_the_number_of_threads_stays(result, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        draw(tmp_path / "overview.png", result)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


PROGRAM = """
import sys
import numpy as np
from pathlib import Path
import SlicRegLib.results.register_files
from SlicRegLib.geometry.field import identity_field
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import Volume
from SlicRegLib.registration.result import Registration
from SlicRegLib.results.overview import draw_overview

grid = Grid((8, 8, 8), np.diag([8.0, 8, 8, 1]))
scan = Volume(np.zeros(grid.shape, np.float32), grid)
draw_overview(Path(sys.argv[1]), Registration(scan, scan, identity_field(grid), {}, True))
print("matplotlib" in sys.modules)
"""


def test_no_plotting_library_is_loaded(tmp_path):
    """It takes longer to load than the picture to draw."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path / "a.png"], capture_output=True, text=True)
    assert done.stdout == "False\n" and (tmp_path / "a.png").is_file()
