"""What one scan of a cohort is: geometry, body, intensities."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from ..errors import UserError
from ..geometry.grid import Grid, bounding_grid
from ..geometry.resampling import resample
from ..images.files import stem
from ..images.preparation import AIR_HU, MAX_HU, body_mask, soft_tissue_centre
from ..images.volumes import Volume, load_scan

BODY_MM = 4.0  # voxel edge of the grid on which the body is found
MAX_EXTENT_MM = 3000.0  # of a scan: longer than any patient, so its spacing is wrong
HARMLESS = "which is harmless: every orientation is read right"


@dataclass(frozen=True)
class ScanFacts:
    """What one scan is. One that cannot be read has a ``problem`` and no geometry, one without a body the geometry alone."""

    name: str
    path: str  # absolute
    shape: tuple[int, ...] = ()  # voxels along the array's axes
    spacing_mm: tuple[float, ...] = ()  # along the array's axes
    orientation: str = ""  # where the array's axes point to, such as "LPS"
    extent_mm: tuple[float, ...] = ()  # of the scan along the axes nearest to R, A, S
    body_extent_mm: tuple[float, ...] = ()  # of the body along R, A, S
    body_ml: float = 0.0
    mean_hu: float = 0.0  # of the body
    fingerprint: str = ""  # `Volume.fingerprint`
    problem: str = ""  # why the scan cannot be used
    unusual: list[str] = field(default_factory=list)  # sentences
    same_as: str = ""  # the name of an earlier scan, or of the template, with the same voxels in the same place

    def along(self, values: tuple[float, ...]) -> list[float]:
        """Values along the array's axes in the order R, A, S."""
        axes = [next(a for a, pair in enumerate(("RL", "AP", "SI")) if letter in pair) for letter in self.orientation]
        return [values[axes.index(axis)] for axis in range(3)]


def measure_scan(path: Path, scan: Volume | None = None) -> ScanFacts:
    """Read one scan and measure it. A scan that cannot be used has its reason in `problem`: nothing is raised for it."""
    facts = ScanFacts(stem(path), str(Path(path).absolute()))
    try:
        scan = scan or load_scan(path)
        facts = replace(facts, **_geometry(scan.grid), fingerprint=scan.fingerprint())
        if max(facts.extent_mm) > MAX_EXTENT_MM:
            raise UserError(
                f"The scan is {max(facts.extent_mm) / 1000:.3g} m long; correct its spacing, which must be in mm."
            )
        soft_tissue_centre(scan)  # without it the scan cannot be prepared
        hu, body, grid = find_body(scan)
    except UserError as error:
        return replace(facts, problem=str(error))
    except OSError as error:
        return replace(
            facts, problem=f"{path} cannot be read ({error.strerror or error}); check the file and its permissions."
        )
    extent = [BODY_MM * (np.ptp(axis) + 1) for axis in body.nonzero()]
    return replace(
        facts,
        body_extent_mm=_rounded(extent),
        body_ml=round(int(body.sum()) * BODY_MM**3 / 1000, 1),
        mean_hu=round(float(hu[body].mean()), 1),
    )


def _geometry(grid: Grid) -> dict:
    """Shape, spacing, orientation and extent of a grid, as in `ScanFacts`."""
    orientation = nib.orientations.io_orientation(grid.affine)  # of each array axis: world axis, direction
    axes = orientation[:, 0].astype(int).tolist()
    extent = grid.spacing * grid.shape
    return {
        "shape": grid.shape,
        "spacing_mm": _rounded(grid.spacing),
        "orientation": "".join(nib.orientations.ornt2axcodes(orientation)),
        "extent_mm": _rounded(extent[axes.index(world)] for world in range(3)),
    }


def _rounded(values) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)


def find_body(scan: Volume) -> tuple[np.ndarray, np.ndarray, Grid]:
    """(HU, the body's mask, their grid of 4 mm along the world's axes)."""
    grid = bounding_grid([scan.grid], BODY_MM)
    hu = resample(scan.tensor.clamp(AIR_HU, MAX_HU), scan.grid, grid, fill=AIR_HU)[0]
    return hu.numpy(), body_mask(hu).numpy(), grid


def is_harmless(texts: list[str]) -> bool:
    return all(HARMLESS in text for text in texts)
