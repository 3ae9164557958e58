"""Grey panels with label contours and text, drawn with numpy and Pillow: in a tenth of a plotting library's time."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont

from ..images.files import write_bytes

WINDOW_HU = (-200, 300)
"""Intensities shown from black to white."""
COLOURS = (
    "#e6194b",
    "#3cb44b",
    "#ffe119",
    "#4363d8",
    "#f58231",
    "#c07bf0",
    "#42d4f4",
    "#f032e6",
    "#bfef45",
    "#fabed4",
    "#469990",
    "#dcbeff",
    "#ff9a56",
    "#fffac8",
)
"""Contour colours: label n has the n-th; after the last they begin again."""
GROUND = (16, 18, 22)
"""Colour around the pictures of a film, RGB."""
SWELLING_RGB, SHRINKING_RGB = (230, 60, 40), (50, 110, 240)
"""Of tints: larger and smaller than usual."""
WIDTH, GAP, CELL = 1080, 12, 344
"""Of the picture, between rows, and of the square that each panel fits into, pixels."""
TITLE_SIZE, HEADING_SIZE, CAPTION_SIZE = 19, 17, 12
_SOLID, _DOTTED = 1.5, 2.0  # widths of lines, pixels
_DOT, _PERIOD = 2, 4  # pixels along a dotted line that are drawn, and after which it repeats
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=16)
def load_font(size: int) -> Font:
    """DejaVu Sans, which has the letters of most languages, from matplotlib's data, found without importing matplotlib;
    where it is missing, Pillow's own font, which has few but English letters."""
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib and matplotlib.origin:
        path = Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        with suppress(OSError):
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A plane: arrays (rows, columns), the first row on top, which all cover the same rectangle.

    image: Hounsfield units. solid, dotted: label maps whose contours are drawn in these styles; None: none. size_mm:
    height and width of the rectangle. tint: from -1, blue, over 0, none, to 1, red.
    """

    image: np.ndarray
    solid: np.ndarray | None
    dotted: np.ndarray | None
    size_mm: tuple[float, float]
    tint: np.ndarray | None = None


def draw_panels(
    path: Path, rows: Sequence[tuple[str, Sequence[Panel]]], headings: Sequence[str], title: str, colour: str
) -> None:
    """Write a picture of three panels a row as PNG; atomic. Those of a row have one scale.

    rows: the caption of each row and its panels. headings: of the columns. title: written above in ``colour``, broken
    where it is too long; may be empty.
    """
    fonts = [load_font(size) for size in (TITLE_SIZE, HEADING_SIZE, CAPTION_SIZE)]
    lines = wrap(title, fonts[0].getlength, WIDTH - 4 * GAP)
    drawn = [(caption, draw_row(panels)) for caption, panels in rows]
    heights = [max(panel.height for panel in panels) for _, panels in drawn]
    spacing = round(1.35 * TITLE_SIZE)
    top = GAP + (spacing * len(lines) + GAP if lines else 0) + 2 * HEADING_SIZE
    picture = Image.new("RGB", (WIDTH, top + sum(heights) + GAP * len(heights)))
    write = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        write.text((WIDTH / 2, GAP + number * spacing), line, colour, fonts[0], anchor="ma")
    lefts = [column * WIDTH // 3 + (WIDTH // 3 - CELL) // 2 for column in range(3)]
    for left, heading in zip(lefts, headings, strict=True):
        write.text((left + CELL / 2, top - HEADING_SIZE / 2), heading, "white", fonts[1], anchor="ms")
    for (caption, panels), height in zip(drawn, heights, strict=True):
        for left, panel in zip(lefts, panels, strict=True):
            picture.paste(panel, (left + (CELL - panel.width) // 2, top + (height - panel.height) // 2))
            write.text((left, top + height - 3), caption, "#b3b3b3", fonts[2], anchor="ls")
        top += height + GAP
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=3)
    write_bytes(path, content.getbuffer())


def draw_row(panels: Sequence[Panel]) -> list[Image.Image]:
    """Panels to one scale, as large as the cells allow."""
    scale = CELL / max(size for panel in panels for size in panel.size_mm)
    return [draw_panel(panel, scale) for panel in panels]


def draw_panel(panel: Panel, scale: float) -> Image.Image:
    """A panel with its contours, ``scale`` pixels per mm."""
    low, high = WINDOW_HU
    grey = np.clip((panel.image - low) * (255 / (high - low)), 0, 255)
    height, width = (_pixels(size, scale) for size in panel.size_mm)
    image = Image.fromarray(grey.round().astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    picture = np.array(image.convert("RGB"), np.float32)
    if panel.tint is not None:
        _blend(picture, panel.tint)
    for labels, dotted in ((panel.solid, False), (panel.dotted, True)):
        if labels is not None:
            for value in np.unique(labels[labels > 0]):
                _draw_contour(picture, labels == value, COLOURS[(int(value) - 1) % len(COLOURS)], dotted)
    return Image.fromarray(picture.round().astype(np.uint8))


def _blend(picture: np.ndarray, tint: np.ndarray) -> None:
    """Colour a picture (height, width, 3) by ``tint`` (rows, columns), which covers it."""
    size = picture.shape[1], picture.shape[0]
    strength = np.asarray(Image.fromarray(tint.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)).clip(-1, 1)
    colours = np.where(strength[..., None] > 0, np.array(SWELLING_RGB, np.float32), np.array(SHRINKING_RGB, np.float32))
    picture += 0.7 * np.abs(strength)[..., None] * (colours - picture)


def wrap(text: str, measure: Callable[[str], float], width: float) -> list[str]:
    """The lines of a text, each at most ``width`` wide unless a single word is wider. measure: the width of a text."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and measure(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _draw_contour(picture: np.ndarray, mask: np.ndarray, colour: str, dotted: bool) -> None:
    """Blend the contour of a mask (rows, columns), which covers the picture (height, width, 3), into it.

    The line is where the mask, magnified and smoothed, is one half; how much of a pixel it covers follows from the
    distance, which value and gradient tell.
    """
    zoom = np.array(picture.shape[:2]) / mask.shape
    ends = [np.flatnonzero(mask.any(1 - axis))[[0, -1]] for axis in range(2)]
    first = [max(0, int(n * (end[0] - 1)) - 3) for end, n in zip(ends, zoom, strict=True)]
    last = [min(size, int(n * (end[1] + 2)) + 3) for end, n, size in zip(ends, zoom, picture.shape[:2], strict=True)]
    box = (first[1] / zoom[1], first[0] / zoom[0], last[1] / zoom[1], last[0] / zoom[0])
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    image = image.resize((last[1] - first[1], last[0] - first[0]), Image.Resampling.BILINEAR, box)
    image = image.filter(ImageFilter.GaussianBlur(max(0.8, 0.35 * float(zoom.mean()))))
    inside = np.asarray(image, np.float32)
    inside = inside / max(1.0, inside.max()) - 0.5  # so that a label of one voxel is seen
    down, right = np.gradient(inside)
    distance = np.abs(inside) / np.maximum(np.hypot(down, right), 1e-6)
    cover = np.clip((_DOTTED if dotted else _SOLID) / 2 + 0.5 - distance, 0, 1)
    if dotted:  # along the axis that the line is closer to
        row, column = np.ogrid[first[0] : last[0], first[1] : last[1]]
        cover *= np.where(np.abs(right) > np.abs(down), row % _PERIOD < _DOT, column % _PERIOD < _DOT)
    part = picture[first[0] : last[0], first[1] : last[1]]
    part += cover[..., None] * (np.array(ImageColor.getrgb(colour), np.float32) - part)


def _pixels(size_mm: float, scale: float) -> int:
    return max(2, round(size_mm * scale))
