"""A cohort's average: the template of a model that needs no patient's scan.

Averaged are, at each place of the average shape, the Hounsfield units and the image features of all scans that show the
place. The features of the average image would be another thing: it is blurred where patients differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..geometry.grid import Grid
from ..images.archive import ArchiveError
from ..images.arrays import Arrays, take, take_affine
from ..images.differences import pack_differences, take_differences
from ..images.preparation import PreparedScan, prepare
from ..images.volumes import Volume
from .growth import Growth
from .image_features import CELL, WINDOWS, ImageFeatures
from .options import RefinementOptions
from .refinement import ComparedScan

CHANNELS = 12 + len(WINDOWS)
STORED = RefinementOptions(intensity=1.0)
"""With these options the features lie between 0 and 1, as they are stored."""
LEVELS = 63
"""Of the features, as they are stored: finer ones would make the file half as large again and change no result."""
NAME = "average"


@dataclass(frozen=True, eq=False)
class Atlas:
    """The average of a cohort.

    image: mean HU, whole numbers, on a grid that covers the canonical ``grid`` exactly; air where hardly any scan
    shows the place. features: uint8 (i, j, k, C), `LEVELS` times the mean of `image_features` with the options
    `STORED`, of the part of ``grid`` that begins at voxel ``first`` (3,). seen: uint16 (I, J, K) on ``grid``, how many
    scans show the voxel. scans: how many there are. growth: of the scans at each place, on the control points' grid;
    None in the rounds before the last.
    """

    image: Volume
    grid: Grid
    features: np.ndarray
    first: tuple[int, int, int]
    seen: np.ndarray
    scans: int
    growth: Growth | None = None

    @cached_property
    def scan(self) -> PreparedScan:
        """The image in the canonical frame."""
        same = self.image.grid.matches(self.grid)
        return PreparedScan(NAME, self.image.tensor[0] if same else prepare(self.image, self.grid), self.grid)

    def compared(self, options: RefinementOptions, device: torch.device) -> ComparedScan:
        """As the refinement compares it: by its averaged features, or by those of its image where ``options`` ask for
        others than were averaged."""
        if (options.dilation, options.radius) != (STORED.dilation, STORED.radius):
            return ComparedScan.describe(self.scan, options, device)
        values = torch.from_numpy(self.features).to(device).float() / LEVELS
        values[..., -len(WINDOWS) :] *= options.intensity
        return ComparedScan(self.scan, ImageFeatures(values, torch.tensor(self.first, device=device)))


def pack_atlas(atlas: Atlas) -> Arrays:
    """As arrays of a file."""
    content = {
        **pack_differences("hu", np.round(atlas.image.data).astype(np.int16)),
        "hu_affine": atlas.image.grid.affine,
        "affine": atlas.grid.affine,
        **pack_differences("features", atlas.features),
        "first": np.array(atlas.first, np.int32),
        "seen": atlas.seen,
        "scans": np.array([atlas.scans], np.int32),
    }
    if atlas.growth:
        content["growth"] = np.stack([atlas.growth.mean, atlas.growth.deviation]).astype(np.float16)
    return content


def unpack_atlas(content: Arrays) -> Atlas:
    """Raises ArchiveError for arrays that are none of an atlas."""
    hu = take_differences(content, "hu", "i2", (None, None, None))
    seen = take(content, "seen", "u2", (None, None, None))
    features = take_differences(content, "features", "u1", (None, None, None, CHANNELS))
    first = [int(n) for n in take(content, "first", "i4", (3,))]
    if any(low < 0 or low + n > most for low, n, most in zip(first, features.shape, seen.shape, strict=False)):
        raise ArchiveError("the atlas' features lie outside its frame")
    if features.max() > LEVELS:
        raise ArchiveError(f"the atlas' features exceed {LEVELS}")
    image = Volume(hu.astype(np.float32), Grid(hu.shape, take_affine(content, "hu_affine")))
    grid = Grid(seen.shape, take_affine(content))
    if not (image.grid.matches(grid) or image.grid.matches(grid.halved())):
        raise ArchiveError("the atlas' image lies elsewhere than its frame")
    scans = int(take(content, "scans", "i4", (1,))[0])
    if not 1 <= seen.max() <= scans:
        raise ArchiveError("the atlas was seen by more scans than there are, or by none")
    growth = None
    if "growth" in content:
        control = grid.pooled(CELL)
        mean, deviation = take(content, "growth", "f2", (2, *control.shape)).astype(np.float32)
        growth = Growth(control, mean, deviation)
    return Atlas(image, grid, features, (first[0], first[1], first[2]), seen, scans, growth)
