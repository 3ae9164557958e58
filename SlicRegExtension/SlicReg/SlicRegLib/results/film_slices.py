"""The first part of a film: a flight through the scan's slices in three planes, before and after the registration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..geometry.grid import Grid
from ..geometry.label_maps import find_box, resample_labels
from ..geometry.resampling import resample
from ..geometry.threads import one_thread
from ..images.volumes import Volume
from .drawing import GROUND, WINDOW_HU
from .film_page import Page, paste
from .film_result import FilmResult, ShownOrgan
from .overview import PLANES, surround

OPACITY = 0.45
"""Of an organ's colour over the scan; its border has the colour itself."""
MARGIN = 0.08
"""How far the flight begins before the first organ and ends after the last one, of its length."""
BORDER_MM = 11.0
"""Of the grid, where there is only air around the body."""
_BACKWARD = {0: True, 1: False, 2: False}  # from right to left, from back to front, from feet to head


@dataclass(frozen=True, eq=False)
class Row:
    """What a row of panels shows. grid: along the patient's axes, a voxel for each pixel. grey: (I, J, K) uint8.
    numbers: (I, J, K), n in the n-th organ, 0 elsewhere; None for a row without labels."""

    caption: str
    grid: Grid
    grey: np.ndarray
    numbers: np.ndarray | None = None


@one_thread()
def make_rows(result: FilmResult, page: Page, tell: Callable[[float], None] = lambda share: None) -> list[Row]:
    """Before and after the registration: the target with the template's organs where they lie without it, and with the
    carried ones; without organs, the target where it lies and, if it is known, on the template. ``tell`` is called with
    the share that is done."""
    if result.labels is None:
        return _make_rows_without_organs(result, page, tell)
    tell(0.0)
    spacing = choose_spacing(page, [surround(result.target, 4.0)], rows=2)
    grid = surround(result.target, spacing)
    grey, values = _make_grey(result.target, grid), [organ.value for organ in result.organs]
    tell(0.3)
    after = resample_labels(result.labels.data, result.labels.grid, grid)
    tell(0.6)
    if result.own:
        caption = "the template's organs, at its own coordinates"
        before = resample_labels(result.own.data, result.own.grid, grid)
    else:
        caption = "the carried organs, moved back to the template"
        before = resample_labels(result.labels.data, result.labels.grid, grid, result.field)
        before[~find_inside(result.template or result.field.grid, grid)] = 0
    if not before.any():
        caption = "the template's organs, which lie outside of this scan"
    tell(1.0)
    return [
        Row(f"Before registration: {caption}", grid, grey, _number(before, values)),
        Row("After registration: the organs, carried to this scan", grid, grey, _number(after, values)),
    ]


def _make_rows_without_organs(result: FilmResult, page: Page, tell: Callable[[float], None]) -> list[Row]:
    shown = [("The scan where it lies", result.target)]
    if result.warped:
        shown = [("Before registration: the scan where it lies", result.target)]
        shown.append(("After registration: the scan, moved onto the template", result.warped))
    spacing = choose_spacing(page, [surround(scan, 4.0) for _, scan in shown], rows=len(shown))
    grids = [surround(scan, spacing) for _, scan in shown]
    rows: list[Row] = []
    for (caption, scan), grid in zip(shown, grids, strict=True):
        tell(len(rows) / len(shown))
        rows.append(Row(caption, grid, _make_grey(scan, grid)))
    tell(1.0)
    return rows


def choose_spacing(page: Page, grids: Sequence[Grid], rows: int) -> float:
    """Millimetres of a pixel, such that three panels of each grid fit beside each other and ``rows`` such below each
    other."""
    x, y, z = np.max([grid.shape * grid.spacing for grid in grids], 0)
    width = page.body.width - 2 * page.gap
    height = page.body.height / rows - 2 * page.text_height - page.gap
    return float(max((2 * x + y) / max(width - 6, 1), max(y, z) / max(height - 2, 1), 0.2))


def find_inside(box: Grid, grid: Grid) -> np.ndarray:
    """Which voxels of ``grid`` lie in the box of another one, (I, J, K) bool."""
    inside = np.ones(grid.shape, bool)
    matrix = box.voxel_from_world @ grid.affine
    i, j, k = np.ogrid[: grid.shape[0], : grid.shape[1], : grid.shape[2]]
    for row, size in zip(matrix, box.shape, strict=False):
        position = row[0] * i + row[1] * j + row[2] * k + row[3]
        inside &= (position >= -0.5) & (position <= size - 0.5)
    return inside


def draw_slices(
    rows: Sequence[Row], page: Page, title: str, organs: Sequence[ShownOrgan], count: int
) -> Iterator[Image.Image]:
    """``count`` pages; all planes move at once."""
    palette = make_palette(organs)
    flights = [find_flight(rows if row.numbers is not None else [row]) for row in rows]
    base, draw = page.begin(title)
    places = [place_panels(page, rows, number) for number in range(len(rows))]
    for number, (row, panels) in enumerate(zip(rows, places, strict=True)):
        top = _find_top(page, rows, number)
        page.write(draw, (page.body.left, top), row.caption, page.body.width)
        for (plane, _), (left, _, width) in zip(PLANES, panels, strict=True):
            page.write(draw, (left, top + page.text_height), plane, width)
    for number in range(count):
        share = number / max(1, count - 1)
        picture = base.copy()
        for row, panels, flight in zip(rows, places, flights, strict=True):
            for (_, axis), (left, top, _) in zip(PLANES, panels, strict=True):
                paste(picture, draw_slice(row, axis, find_slice(flight[axis], axis, share), palette), left, top)
        yield picture


def find_slice(ends: slice, axis: int, share: float) -> int:
    """The slice across ``axis`` that is shown when ``share`` of the flight is over."""
    way = 1 - share if _BACKWARD[axis] else share
    return round(ends.start + way * (ends.stop - 1 - ends.start))


def draw_slice(row: Row, axis: int, index: int, palette: np.ndarray) -> np.ndarray:
    """A panel (rows, columns, 3) uint8: the patient's right on the left, front or head up; a pixel for each voxel."""
    grey = _turn(row.grey, axis, index)
    picture = np.repeat(grey[..., None], 3, 2)
    if row.numbers is not None:
        numbers = _turn(row.numbers, axis, index)
        organ = numbers > 0
        if organ.any():
            colours = palette[numbers[organ]]
            share = np.where(_find_borders(numbers)[organ], 1.0, OPACITY)[:, None].astype(np.float32)
            mixed = picture[organ] + share * (colours - picture[organ])
            picture[organ] = mixed.round().astype(np.uint8)
    return picture


def make_palette(organs: Sequence[ShownOrgan]) -> np.ndarray:
    """(n + 1, 3) float32: the colour of each organ's number."""
    return np.array([GROUND, *(organ.colour for organ in organs)], np.float32)


def _turn(volume: np.ndarray, axis: int, index: int) -> np.ndarray:
    rows = volume.take(index, axis).T[::-1]
    return rows if axis == 0 else rows[:, ::-1]


def _find_borders(numbers: np.ndarray) -> np.ndarray:
    """Which pixels have a neighbour above, below, left or right with another number."""
    border = np.zeros(numbers.shape, bool)
    down, right = numbers[1:] != numbers[:-1], numbers[:, 1:] != numbers[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return border


def find_flight(rows: Sequence[Row]) -> tuple[slice, slice, slice]:
    """The slices to fly through: those of the carried organs, which the last row shows, with a margin, or all of them.

    Where the organs lie without the registration there may be no scan.
    """
    last = rows[-1]
    box = find_box(last.numbers > 0) if last.numbers is not None else None
    if box is None:
        i, j, k = (slice(0, n) for n in last.grid.shape)
        return i, j, k
    border, flight = int(np.ceil(BORDER_MM / last.grid.spacing[0])), []
    for part, size in zip(box, last.grid.shape, strict=True):
        margin = round(MARGIN * (part.stop - part.start)) + 1
        first = max(min(part.start, border), part.start - margin)
        flight.append(slice(first, min(max(part.stop, size - border), part.stop + margin)))
    return flight[0], flight[1], flight[2]


def _find_top(page: Page, rows: Sequence[Row], number: int) -> int:
    """Where a row begins with its caption."""
    return page.body.top + number * (page.body.height // len(rows))


def place_panels(page: Page, rows: Sequence[Row], number: int) -> list[tuple[int, int, int]]:
    """(left, top, width) of the three panels of a row."""
    x, y, z = np.max([row.grid.shape for row in rows], 0).tolist()
    widths, height = [x, x, y], max(y, z)
    spare = (page.body.width - sum(widths)) // 2
    top = _find_top(page, rows, number) + 2 * page.text_height
    own = [np.delete(rows[number].grid.shape, axis) for _, axis in PLANES]  # width and height of each panel
    lefts = [page.body.left, page.body.left + widths[0] + spare, page.body.left + widths[0] + widths[1] + 2 * spare]
    return [
        (left + (width - int(size[0])) // 2, top + (height - int(size[1])) // 2, int(size[0]))
        for left, width, size in zip(lefts, widths, own, strict=True)
    ]


def _make_grey(scan: Volume, grid: Grid) -> np.ndarray:
    low, high = WINDOW_HU
    values = resample(scan.tensor, scan.grid, grid, fill=-1000.0)[0].numpy()
    return np.clip((values - low) * (255 / (high - low)), 0, 255).round().astype(np.uint8)


def _number(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    numbers = np.zeros(max(int(labels.max()), *values) + 1, np.uint16)
    numbers[list(values)] = np.arange(1, len(values) + 1)
    return numbers[labels]
