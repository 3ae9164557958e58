"""Panels, contours and text of a picture: where the lines lie, how wide they are, what is grey."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from SlicRegLib.results import drawing
from SlicRegLib.results.drawing import COLOURS, WINDOW_HU, Panel, draw_panel, draw_panels, load_font, wrap

AIR = -1000.0


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    """A mask (rows, columns) of what lies within ``radius`` of ``centre``, the distances in rows and columns."""
    row, column = np.ogrid[: shape[0], : shape[1]]
    return (row - centre[0]) ** 2 + (column - centre[1]) ** 2 <= radius**2


def coverage(picture: np.ndarray, colour: str) -> np.ndarray:
    """How much of each pixel of a black picture is covered by a colour."""
    rgb = np.array(ImageColor.getrgb(colour), float)
    return picture @ rgb / (rgb @ rgb)


def contour(labels: np.ndarray, style: str, scale: float = 2.0) -> np.ndarray:
    """The panel of a label map with voxels of 1 mm, on air."""
    maps = {"solid": None, "dotted": None, style: labels}
    image = np.full((labels.shape[0] // 2, labels.shape[1] // 2), AIR)
    return np.asarray(draw_panel(Panel(image=image, size_mm=labels.shape, **maps), scale), float)


@pytest.mark.parametrize("scale", [1.0, 2.0, 5.0])
def test_a_contour_lies_on_the_border_of_its_label(scale):
    """Of a disc: the middle of the line is a circle to a third of a pixel or of a voxel, one and a half pixels wide."""
    picture = contour(4 * disc((60, 80), (25.0, 41.5), 15.0), "solid", scale)
    cover = coverage(picture, COLOURS[3])
    row, column = np.indices(cover.shape)
    distance = np.hypot((row + 0.5) / scale - 0.5 - 25.0, (column + 0.5) / scale - 0.5 - 41.5) - 15.0  # mm
    assert cover.max() < 1.01 and np.abs(distance[cover > 0.1]).max() < 1.0 + 1.2 / scale
    angle = np.arctan2(row / scale - 25, column / scale - 41.5)
    for start in np.arange(-np.pi, np.pi, np.pi / 4):  # on all sides
        part = (angle >= start) & (angle < start + np.pi / 4)
        assert abs(np.average(distance[part], weights=cover[part])) < max(0.33, 0.33 / scale)
        length = np.pi / 4 * 15 * scale
        assert cover[part].sum() / length == pytest.approx(1.5, rel=0.3)


def test_a_dotted_contour_is_interrupted_in_every_direction():
    labels = disc((100, 100), (49.5, 49.5), 35.0).astype(np.uint8)
    solid, dotted = (coverage(contour(labels, style), COLOURS[0]) for style in ("solid", "dotted"))
    row, column = np.indices(solid.shape) - 99.5
    angle = np.arctan2(row, column)
    for start in np.arange(-np.pi, np.pi, np.pi / 8):
        part = (angle >= start) & (angle < start + np.pi / 8)
        assert 0.55 < dotted[part].sum() / solid[part].sum() < 0.8  # thicker, half of the length
        assert 0.4 < (dotted[part & (solid > 0.5)] < 0.1).mean() < 0.6


def test_labels_have_their_own_colours_which_begin_again():
    labels = np.zeros((60, 90), np.uint16)
    for number, value in enumerate((1, 15, 2, 900)):
        labels[20:40, 5 + 20 * number : 18 + 20 * number] = value
    picture = contour(labels, "solid", 4.0)
    for number, colour in enumerate((0, 0, 1, 899 % len(COLOURS))):
        block = picture[:, 80 * number : 80 * number + 80].reshape(-1, 3)
        assert np.abs(block - ImageColor.getrgb(COLOURS[colour])).max(1).min() < 8


def test_a_label_at_the_edge_and_one_of_a_single_voxel():
    labels = np.zeros((20, 20), np.uint8)
    labels[:6, :6], labels[19, 12] = 1, 2
    picture = contour(labels, "solid", 4.0)
    cover = coverage(picture, COLOURS[0])
    assert cover[24, 8] + cover[23, 8] > 0.9 and cover[2, 2] < 0.1 and cover[30:, 30:40].max() < 0.1
    assert coverage(picture, COLOURS[1])[70:, 44:58].max() > 0.3


def test_the_window_is_linear_from_black_to_white():
    low, high = WINDOW_HU
    image = np.repeat(np.array([AIR, low, (low + high) / 2, high, 3000.0]), 4)[None].repeat(8, 0)
    picture = np.asarray(draw_panel(Panel(image=image, solid=None, dotted=None, size_mm=(8, 20)), 10.0))
    assert picture.shape == (80, 200, 3)
    assert [picture[40, x, 0] for x in (20, 60, 100, 140, 180)] == [0, 0, 128, 255, 255]


def test_titles_are_broken_where_they_are_too_long():
    assert wrap("one two three four", len, 9) == ["one two", "three", "four"]
    assert wrap("a longerthanallowed b", len, 5) == ["a", "longerthanallowed", "b"]
    assert wrap("", len, 5) == []


def test_panels_of_a_row_have_one_scale_and_stand_in_their_columns(tmp_path):
    """White rectangles of known size, in mm: 50 x 100, 100 x 50, 25 x 25; the largest side fills the cell."""
    sizes = [(50, 100), (100, 50), (25, 25)]
    panels = [Panel(image=np.full(size, 1000.0), solid=None, dotted=None, size_mm=size) for size in sizes]
    draw_panels(tmp_path / "a.png", [("", panels), ("", panels[2:] * 3)], ["", "", ""], "", "white")
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape[1] == 1080 and [file.name for file in tmp_path.iterdir()] == ["a.png"]
    top = 12 + 2 * 17
    for column, (height, width) in enumerate(sizes):
        rows, columns = np.nonzero(picture[top : top + 344, 360 * column : 360 * column + 360, 0] == 255)
        assert np.ptp(rows) + 1 == pytest.approx(3.44 * height, abs=1)
        assert np.ptp(columns) + 1 == pytest.approx(3.44 * width, abs=1)
        assert (rows.min() + rows.max()) / 2 == pytest.approx(171.5, abs=1)
        assert (columns.min() + columns.max()) / 2 == pytest.approx(179.5, abs=1)
    assert (picture[top + 344 + 12 : -12, 8:352] == 255).all()  # alone in its row, the small one is as large as any


def test_letters_of_other_languages_are_drawn(monkeypatch):
    """Each has a form of its own, not the box of what a font lacks."""
    load_font.cache_clear()
    forms = {bytes(load_font(24).getmask(letter)) for letter in "öĞŁжλ\uffff"}
    assert len(forms) == 6
    monkeypatch.setattr(drawing.importlib.util, "find_spec", lambda name: None)
    load_font.cache_clear()
    assert load_font(24).getlength("Groesse") > 20  # without matplotlib
    load_font.cache_clear()
