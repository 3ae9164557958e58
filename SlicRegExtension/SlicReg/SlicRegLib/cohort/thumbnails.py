"""Pictures of the unusual scans of a cohort."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry.grid import Grid, bounding_grid
from ..geometry.resampling import resample
from ..images.figures import save_figure
from ..images.preparation import AIR_HU
from ..images.volumes import Volume, load_scan
from .facts import ScanFacts, find_body
from .names import shorten
from .unusual import is_harmless

THUMBNAILS = 24
"""Unusual scans drawn at most; the template comes in addition."""
COLUMNS = 5
TILE_INCHES = 3.4
"""Width of a thumbnail."""
PIXEL_MM = 2.0
PICTURE_HU = (-300, 500)
"""Values drawn as black and as white."""
TITLE_LINES = 5
"""Lines of findings above a thumbnail; longer text is cut off."""
DPI = 100


def slice_body(scan: Volume, pixel_mm: float = PIXEL_MM) -> tuple[np.ndarray, np.ndarray]:
    """The coronal and the sagittal slice through the middle of the body, HU (rows, columns) float32 in square pixels.

    Both cover the whole scan, with superior at the top; the coronal slice has the patient's right on the left, the
    sagittal one anterior on the right.
    """
    _, body, coarse = find_body(scan)
    middle = coarse.to_world(np.array([(axis.min() + axis.max()) / 2 for axis in body.nonzero()]))
    around = bounding_grid([scan.grid], pixel_mm)
    slices = []
    for axis in (1, 0):
        (i, j, k), affine = around.shape, around.affine.copy()
        affine[axis, 3] = middle[axis]
        plane = Grid((1, j, k) if axis == 0 else (i, 1, k), affine)
        slices.append(resample(scan.tensor, scan.grid, plane, fill=AIR_HU).numpy().squeeze((0, 1 + axis)))
    coronal, sagittal = slices
    return coronal.T[::-1, ::-1], sagittal.T[::-1]


def draw_thumbnails(path: Path, template: ScanFacts, shown: list[tuple[ScanFacts, list[str]]]) -> None:
    """Write a PNG of the template and up to 24 scans with their findings, all at the same scale.

    shown: each scan with the sentences about it.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    entries = [(template, ["The template."]), *shown[:THUMBNAILS]]
    images = _pad_to_one_size([slice_body(load_scan(facts.path)) for facts, _ in entries])
    reasons = [textwrap.wrap(" ".join(texts), 50, max_lines=TITLE_LINES, placeholder=" ...") for _, texts in entries]
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    gap, foot = 0.15, 0.3  # inches, as all lengths here
    height = TILE_INCHES * images[0].shape[0] / images[0].shape[1]
    title = 0.28 + 0.16 * max(map(len, reasons))
    full_width, full_height = gap + columns * (TILE_INCHES + gap), gap + rows * (title + height + gap) + foot
    figure = Figure(figsize=(full_width, full_height), facecolor="black")

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / full_width, y / full_height, text, **style)

    colours = colormaps["gray"].with_extremes(bad="0.16")  # bad: around the scans
    for number, ((facts, texts), image, reason) in enumerate(zip(entries, images, reasons, strict=True)):
        row, column = divmod(number, columns)
        left, top = gap + column * (TILE_INCHES + gap), full_height - gap - row * (title + height + gap)
        bottom = top - title - height
        axes = figure.add_axes(
            (left / full_width, bottom / full_height, TILE_INCHES / full_width, height / full_height)
        )
        axes.imshow(np.ma.masked_invalid(image), cmap=colours, vmin=PICTURE_HU[0], vmax=PICTURE_HU[1])
        axes.set_axis_off()
        colour = "0.7" if facts is template or is_harmless(texts) else "#ffb347"
        write(left, top, shorten(facts.name, 36), color="white", fontsize=11, weight="bold", va="top")
        write(left, top - 0.21, "\n".join(reason), color=colour, fontsize=9, va="top")
    more = len(shown) + 1 - len(entries)
    note = "All at the same scale." + (f" {more} more are not shown." if more else "")
    write(gap, gap, note, color="0.7", fontsize=9)
    save_figure(path, figure, DPI, "black")


def _pad_to_one_size(pairs: list[tuple[np.ndarray, np.ndarray]], gap: int = 6) -> list[np.ndarray]:
    """Each pair of slices side by side, padded with NaN to the size of the largest, so that all have the same scale."""
    height = max(len(coronal) for coronal, _ in pairs)
    widths = [max(pair[side].shape[1] for pair in pairs) for side in (0, 1)]
    images = []
    for pair in pairs:
        image = np.full((height, widths[0] + gap + widths[1]), np.nan, np.float32)
        for part, start, width in zip(pair, (0, widths[0] + gap), widths, strict=True):
            top, left = (height - len(part)) // 2, start + (width - part.shape[1]) // 2
            image[top : top + len(part), left : left + part.shape[1]] = part
        images.append(image)
    return images
