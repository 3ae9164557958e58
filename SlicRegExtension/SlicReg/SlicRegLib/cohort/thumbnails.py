"""Pictures of the unusual scans of a cohort."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

from ..geometry.grid import Grid, bounding_grid
from ..geometry.resampling import resample
from ..images.files import atomic
from ..images.preparation import AIR_HU
from ..images.volumes import Volume, load_scan
from .facts import ScanFacts, find_body, is_harmless

THUMBNAILS = 24  # at most; the template's comes first and is not counted
COLUMNS = 5  # of thumbnails
TILE_INCHES = 3.4  # width of one
PIXEL_MM = 2.0
PICTURE_HU = (-300, 500)  # from black to white
TITLE_LINES = 5  # of a thumbnail, at most
DPI = 100


def thumbnail(scan: Volume, pixel_mm: float = PIXEL_MM) -> tuple[np.ndarray, np.ndarray]:
    """The coronal and the sagittal slice through the middle of the body, HU in square pixels, as they are looked at.

    (rows, columns) float32; superior is up, the patient's right on the left of the coronal slice, anterior on the right of
    the sagittal one. Both cover the whole scan.
    """
    _, body, coarse = find_body(scan)
    middle = coarse.to_world([(axis.min() + axis.max()) / 2 for axis in body.nonzero()])
    around = bounding_grid([scan.grid], pixel_mm)
    slices = []
    for axis in (1, 0):
        shape, affine = list(around.shape), around.affine.copy()
        shape[axis], affine[axis, 3] = 1, middle[axis]
        slices.append(
            resample(scan.tensor, scan.grid, Grid(tuple(shape), affine), fill=AIR_HU).numpy().squeeze((0, 1 + axis))
        )
    coronal, sagittal = slices
    return coronal.T[::-1, ::-1], sagittal.T[::-1]


def draw_thumbnails(path: Path, template: ScanFacts, shown: list[tuple[ScanFacts, list[str]]]) -> None:
    """The template and up to 24 scans with the reasons, all at one scale, as PNG."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    entries = [(template, ["The template."]), *shown[:THUMBNAILS]]
    images = _on_one_size([thumbnail(load_scan(facts.path)) for facts, _ in entries])
    reasons = [textwrap.wrap(" ".join(texts), 50, max_lines=TITLE_LINES, placeholder=" ...") for _, texts in entries]
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    gap, foot = 0.15, 0.3  # inches, as all lengths here
    height = TILE_INCHES * images[0].shape[0] / images[0].shape[1]
    title = 0.28 + 0.16 * max(map(len, reasons))
    size = np.array([gap + columns * (TILE_INCHES + gap), gap + rows * (title + height + gap) + foot])
    figure = Figure(figsize=size, facecolor="black")
    colours = colormaps["gray"].with_extremes(bad="0.16")  # bad: around the scans
    for number, ((facts, texts), image, reason) in enumerate(zip(entries, images, reasons)):
        row, column = divmod(number, columns)
        corner = np.array(
            [gap + column * (TILE_INCHES + gap), size[1] - gap - row * (title + height + gap)]
        )  # top left
        axes = figure.add_axes((*(corner - (0, title + height)) / size, *(TILE_INCHES, height) / size))
        axes.imshow(np.ma.masked_invalid(image), cmap=colours, vmin=PICTURE_HU[0], vmax=PICTURE_HU[1])
        axes.set_axis_off()
        colour = "0.7" if facts is template or is_harmless(texts) else "#ffb347"
        figure.text(*corner / size, _shortened(facts.name, 36), color="white", fontsize=11, weight="bold", va="top")
        figure.text(*(corner - (0, 0.21)) / size, "\n".join(reason), color=colour, fontsize=9, va="top")
    more = len(shown) + 1 - len(entries)
    note = "All at one scale." + (f" {more} more are not shown." if more else "")
    figure.text(*(gap, gap) / size, note, color="0.7", fontsize=9)
    with atomic(path) as part:
        figure.savefig(part, dpi=DPI, format="png", facecolor="black")


def _shortened(name: str, length: int) -> str:
    half = length // 2 - 2
    return name if len(name) <= length else f"{name[:half]}...{name[-half:]}"


def _on_one_size(pairs: list[tuple[np.ndarray, np.ndarray]], gap: int = 6) -> list[np.ndarray]:
    """Each pair of slices side by side, padded with NaN to the size of the largest, so that all are drawn at one scale."""
    height = max(len(coronal) for coronal, _ in pairs)
    widths = [max(pair[side].shape[1] for pair in pairs) for side in (0, 1)]
    images = []
    for pair in pairs:
        image = np.full((height, widths[0] + gap + widths[1]), np.nan, np.float32)
        for part, start, width in zip(pair, (0, widths[0] + gap), widths):
            top, left = (height - len(part)) // 2, start + (width - part.shape[1]) // 2
            image[top : top + len(part), left : left + part.shape[1]] = part
        images.append(image)
    return images
