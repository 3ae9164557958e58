"""A scan in the canonical frame: a crop centred on the soft tissue, and the body in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from ..errors import UserError
from ..geometry.grid import Grid, bounding_grid
from ..geometry.masks import dilate_box, dilate_cross, erode_box, erode_cross
from ..geometry.resampling import align_axes, average_along_axes, resample
from .files import stem
from .options import PreparationOptions
from .volumes import Volume

AIR_HU = -1000.0
BODY_HU = -400.0
"""Threshold between air and tissue."""
MAX_HU = 2000.0
"""Metal artefacts above this carry no anatomy."""


def soft_tissue_centre(scan: Volume, spacing_mm: float = 4.0) -> np.ndarray:
    """World position (3,) mm of the soft tissue's centre of mass.

    Weights: sigmoid(10 - 10 |HU / 250 * 2 - 1|), about one from 0 to 250 HU, then a 3x3x3 erosion, as in
    Heinrich (MIDL 2021). They are evaluated on an isotropic grid along the world axes, so that the result
    does not depend on the scan's orientation or spacing. Raises UserError where there is no soft tissue.
    """
    grid = bounding_grid([scan.grid], spacing_mm)
    hu = resample(scan.tensor, scan.grid, grid, fill=AIR_HU)
    weight = torch.sigmoid(10 - 10 * (hu / 250 * 2 - 1).abs())
    weight = erode_box(weight[0]).double()
    if weight.sum() < 20:  # voxels
        raise UserError("The scan holds no soft tissue between 0 and 250 HU; is it a CT in Hounsfield units?")
    centre = [
        (weight.sum([b for b in range(3) if b != a]) * torch.arange(n)).sum() / weight.sum()
        for a, n in enumerate(weight.shape)
    ]
    return grid.to_world(np.array([float(c) for c in centre]))


def fit_shape(template: Volume, options: PreparationOptions) -> tuple[int, int, int]:
    """The canonical shape: ``options.shape``, or the multiples of 16 nearest to the template's body and a margin around
    its centre of mass. Raises UserError where that has more than ``options.max_voxels``.
    """
    if options.shape:
        return options.shape
    centre = soft_tissue_centre(template)
    around = bounding_grid([template.grid], options.spacing_mm)
    body = body_mask(resample(template.tensor, template.grid, around, fill=AIR_HU)[0])
    points = around.points()[body]
    reach = torch.quantile(
        (points - torch.as_tensor(centre, dtype=torch.float32)).abs()[:: max(1, len(points) // 500_000)], 0.999, dim=0
    )
    extent = 2 * (reach.numpy() + options.margin_mm) / options.spacing_mm
    i, j, k = (int(16 * max(2, round(float(n) / 16 + 0.2))) for n in extent)
    if i * j * k > options.max_voxels:
        raise UserError(
            f"The template's body needs {i} x {j} x {k} voxels of {options.spacing_mm:g} mm, more than "
            f"{options.max_voxels}; crop the template or use larger voxels."
        )
    return i, j, k


def canonical_grid(scan: Volume, shape: tuple[int, int, int], spacing_mm: float) -> Grid:
    """The grid of ``shape`` and ``spacing_mm`` along the world axes, centred on the scan's soft tissue."""
    return Grid.centred(soft_tissue_centre(scan), shape, spacing_mm)


def prepare(scan: Volume, grid: Grid) -> torch.Tensor:
    """The scan's HU on a canonical ``grid``, (I, J, K) float32, from `AIR_HU` to `MAX_HU`: sampled at half the spacing,
    then averaged over 2^3 voxels, which suppresses noise and aliasing.
    """
    hu, halved = scan.tensor.clamp(AIR_HU, MAX_HU), grid.halved()
    if positions := align_axes(scan.grid, halved):
        return average_along_axes(hu[0], positions, 2, AIR_HU)
    return F.avg_pool3d(resample(hu, scan.grid, halved, fill=AIR_HU)[None], 2)[0, 0]


def network_input(hu: torch.Tensor) -> torch.Tensor:
    """The intensities that the network takes: HU / 500."""
    return hu / 500.0


def body_mask(hu: torch.Tensor, threshold_hu: float = BODY_HU) -> torch.Tensor:
    """The patient's body in an isotropic scan (I, J, K), bool: opened to remove the table, reduced to the largest
    connected part, lungs filled. Raises UserError where nothing exceeds the threshold.
    """
    labels, count = ndimage.label(dilate_cross(erode_cross(hu > threshold_hu)).numpy())
    if count == 0:
        raise UserError(f"The scan holds no body above {threshold_hu:g} HU; is it a CT in Hounsfield units?")
    mask = torch.from_numpy(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))
    closed = erode_cross(dilate_cross(F.pad(mask, (3,) * 6), 2), 2)[3:-3, 3:-3, 3:-3]
    return closed | torch.from_numpy(_holes(closed.numpy()))


def _holes(mask: np.ndarray) -> np.ndarray:
    """What ``mask`` (I, J, K) encloses, slice by slice along the body axis, so that airways which leave the scan at its
    ends are holes too."""
    within_slices = np.zeros((3, 3, 3))
    within_slices[1, :, 1] = within_slices[:, 1, 1] = 1
    parts, count = ndimage.label(~mask, within_slices)
    enclosed = np.ones(count + 1, bool)
    for border in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        enclosed[border] = False
    enclosed[0] = False  # the mask itself
    return enclosed[parts]


def body_region(body: torch.Tensor, dilation: int = 2) -> torch.Tensor:
    """The ``body`` (bool, I, J, K) and ``dilation`` voxels around it, diagonals included."""
    return dilate_box(body, dilation)


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan in its canonical frame: ``hu`` (I, J, K) float32 on ``grid``; ``name`` and ``path`` say which it is.

    known_region: the `region`, bool (I, J, K), where it is stored with the scan, as in a study. original: the grid of
    the scan as it was loaded; elsewhere the frame holds air that nobody has seen. None where that is not known.
    supervoxels: uint8 (layers, i, j, k) and their grid, where they were warped to the scan elsewhere.
    """

    name: str
    hu: torch.Tensor
    grid: Grid
    path: str = ""
    known_region: torch.Tensor | None = None
    original: Grid | None = None
    supervoxels: tuple[np.ndarray, Grid] | None = None

    def shows(self, points: torch.Tensor) -> torch.Tensor:
        """Whether the scan shows world ``points`` (..., 3) mm, (...) bool."""
        grid = self.original or self.grid
        return (grid.to_normalised(points).abs() <= 1).all(-1)

    @cached_property
    def body(self) -> torch.Tensor:
        """The patient's body, bool (I, J, K), from `body_mask`."""
        return body_mask(self.hu)

    @cached_property
    def region(self) -> torch.Tensor:
        """`body_region`, where the scan is described and compared."""
        return body_region(self.body) if self.known_region is None else self.known_region


@contextmanager
def call_scan(name: str) -> Iterator[None]:
    """Errors about "the scan" are about the template or the target, as ``name`` says, where there are both."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("The scan", f"The {name}", 1)) from error


def prepare_scan(
    scan: Volume, options: PreparationOptions, grid: Grid | None = None, path: str | Path = ""
) -> PreparedScan:
    """Bring a scan into its own canonical frame, or onto the ``grid`` that is given.

    ``options.shape`` must be known where no grid is given; `fit_shape` finds it for a template. ``path`` is the scan's
    file.
    """
    if grid is None:
        if options.shape is None:
            raise ValueError("the canonical frame has no shape; fit one to the template with fit_shape")
        grid = canonical_grid(scan, options.shape, options.spacing_mm)
    return PreparedScan(stem(path), prepare(scan, grid), grid, str(path), original=scan.grid)
