"""What a scan of a cohort is: geometry, body, intensities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ..errors import UserError
from ..geometry.grid import Grid, bounding_grid
from ..geometry.resampling import resample
from ..images.files import stem
from ..images.preparation import AIR_HU, MAX_HU, body_mask, soft_tissue_centre
from ..images.volumes import Volume, load_scan

BODY_MM = 4.0
"""Voxel edge of the grid on which the body is found."""


@dataclass(frozen=True)
class ScanFacts:
    """What one scan is. If it cannot be read, it has a ``problem`` and no geometry; without a body, only a geometry."""

    name: str
    path: str
    """Absolute path of the file."""
    shape: tuple[int, ...] = ()
    """Voxels along the array's axes."""
    spacing_mm: tuple[float, ...] = ()
    """Voxel edges along the array's axes."""
    orientation: str = ""
    """Directions of the array's axes, such as "LPS"."""
    extent_mm: tuple[float, ...] = ()
    """Size of the scan along its axes nearest to R, A and S."""
    body_extent_mm: tuple[float, ...] = ()
    """Size of the body's bounding box along R, A and S, to 4 mm."""
    body_ml: float = 0.0
    mean_hu: float = 0.0
    """Mean over the body, air inside it included."""
    fingerprint: str = ""
    """SHA-256 from `Volume.fingerprint`; scans with the same one are copies."""
    problem: str = ""
    """Why the scan cannot be used."""
    unusual: list[str] = field(default_factory=list)
    """What is unusual about it, in sentences."""
    same_as: str = ""
    """An earlier scan, or the template, with the same voxels at the same place."""
    notes: list[str] = field(default_factory=list)
    """What was corrected when it was read, in sentences."""


@dataclass(frozen=True)
class Cohort:
    """The template and the scans of a training, in the order in which they were listed."""

    template: ScanFacts
    scans: list[ScanFacts]

    @property
    def usable(self) -> list[str]:
        """Names of the scans without a problem that are no copy of an earlier one or of the template."""
        return [scan.name for scan in self.scans if not scan.problem and not scan.same_as]


def measure_scan(path: Path, scan: Volume | None = None) -> ScanFacts:
    """Read and measure one scan. Raises nothing: the facts of an unusable scan contain its ``problem``.

    scan: the content of ``path`` if it is known already.
    """
    facts = ScanFacts(stem(path), str(Path(path).absolute()))
    try:
        scan = scan or load_scan(path)
        facts = replace(facts, **_measure_grid(scan.grid), fingerprint=scan.fingerprint(), notes=list(scan.notes))
        soft_tissue_centre(scan)  # needed to prepare the scan
        hu, body, _ = find_body(scan)
    except UserError as error:
        return replace(facts, problem=str(error))
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror or error}); check the file and its permissions."
        return replace(facts, problem=problem)
    return replace(
        facts,
        body_extent_mm=_round(BODY_MM * (np.ptp(axis) + 1) for axis in body.nonzero()),
        body_ml=round(int(body.sum()) * BODY_MM**3 / 1000, 1),
        mean_hu=round(float(hu[body].mean()), 1),
    )


def find_body(scan: Volume) -> tuple[np.ndarray, np.ndarray, Grid]:
    """HU (I, J, K), the body's mask, and their grid: voxels of 4 mm along the world's axes."""
    grid = bounding_grid([scan.grid], BODY_MM)
    hu = resample(scan.tensor.clamp(AIR_HU, MAX_HU), scan.grid, grid, fill=AIR_HU)[0]
    return hu.numpy(), body_mask(hu).numpy(), grid


def _measure_grid(grid: Grid) -> dict[str, Any]:
    """Shape, spacing, orientation and extent as in `ScanFacts`."""
    orientation = nib.orientations.io_orientation(grid.affine)  # of each array axis: world axis, direction
    axes = orientation[:, 0].astype(int).tolist()
    extent = grid.spacing * grid.shape
    return {
        "shape": grid.shape,
        "spacing_mm": _round(grid.spacing),
        "orientation": "".join(nib.orientations.ornt2axcodes(orientation)),
        "extent_mm": _round(extent[axes.index(world)] for world in range(3)),
    }


def _round(values: Iterable[float]) -> tuple[float, ...]:
    """Values rounded to six significant digits, as cohort.json stores them."""
    return tuple(float(f"{value:.6g}") for value in values)
