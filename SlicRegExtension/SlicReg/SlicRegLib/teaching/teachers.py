"""The teacher: a conventional registration of the template to a training scan, as a coarse displacement field.

A teacher's field lies on the *scan's* canonical grid and points to the template (from the scan's world RAS mm to the
template's), so that the template's supervoxels can be looked up directly at each voxel of the scan.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry.field import DisplacementField, affine_field
from ..geometry.folding import unfold
from ..geometry.grid import Grid, apply_affine
from ..geometry.resampling import resample
from ..images.arrays import read_arrays
from ..images.preparation import PreparedScan
from ..registration.affine_search import search_affine
from ..registration.atlas import unpack_atlas
from ..registration.options import RefinementOptions
from ..registration.refinement import ComparedScan, refine


class Teacher(Protocol):
    """A registration of two prepared scans of the same shape."""

    @property
    def name(self) -> str:
        """Recorded in the study and in the model."""
        ...

    def register(self, scan: PreparedScan, template: PreparedScan) -> DisplacementField:
        """The field on ``scan.grid`` (or a coarser grid over it) from the scan to the template, RAS mm.

        A RuntimeError, ValueError or UserError excludes this scan from the study.
        """
        ...


def field_from_voxels(
    displacement: np.ndarray, scan: Grid, template: Grid, affine: np.ndarray | None = None, control: Grid | None = None
) -> DisplacementField:
    """Field from a displacement d in voxels: scan voxel v -> template voxel A v + d(v).

    displacement: (I, J, K, 3) at the voxels of ``control`` (default: of the scan's grid), components along i, j, k.
    affine: A, 4x4 from scan voxels to template voxels; None: the identity.
    """
    control = control or scan
    v = scan.to_voxel(control.to_world(np.stack(np.meshgrid(*map(np.arange, control.shape), indexing="ij"), -1)))
    moved = (apply_affine(affine, v) if affine is not None else v) + displacement
    vectors = template.to_world(moved) - scan.to_world(v)
    return DisplacementField(torch.from_numpy(np.ascontiguousarray(vectors.transpose(3, 0, 1, 2), np.float32)), control)


@dataclass(frozen=True)
class ConvexAdamTeacher:
    """convexAdam (Siebert et al.): coupled convex search, then Adam, both on MIND-SSC features."""

    affine_first: bool = False
    """Start from `search_affine`."""
    regularisation: float = 1.25
    """Weight of the smoothness term, convexAdam's lambda; larger is smoother."""
    iterations: int = 80
    """Steps of Adam after the convex search."""
    control_voxels: int = 2
    """Spacing of convexAdam's control points, on which the field is kept, voxels."""
    device: str = "cpu"
    name: str = "convexadam"

    def register(self, scan: PreparedScan, template: PreparedScan) -> DisplacementField:
        from convexAdam.convex_adam_MIND import convex_adam_pt  # optional, and slow to import

        affine = np.eye(4)
        if self.affine_first:
            affine = search_affine(*(_describe(torch.device(self.device), side) for side in (scan, template)))
        moved = Grid(scan.grid.shape, affine @ scan.grid.affine) if self.affine_first else None
        moving = resample(template.hu[None], template.grid, moved, fill=-1000.0)[0] if moved else template.hu
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about align_corners, whose default convexAdam relies on
            voxels = convex_adam_pt(
                scan.hu,
                moving,
                lambda_weight=self.regularisation,
                grid_sp_adam=self.control_voxels,
                selected_niter=self.iterations,
                dtype=torch.float32,
                device=torch.device(self.device),
            )
        # convexAdam divides displacements by (n - 1) / 2 of its n control points, but samples with align_corners=False,
        # where a voxel is 2 / n: the displacement that it applied is n / (n - 1) times the one that it returns.
        control = np.array(scan.grid.shape) // self.control_voxels
        voxels = voxels * (control / (control - 1))
        pooled = F.avg_pool3d(torch.from_numpy(voxels).float().permute(3, 0, 1, 2)[None], self.control_voxels)[0]
        return field_from_voxels(
            pooled.permute(1, 2, 3, 0).numpy(),
            scan.grid,
            moved or template.grid,
            control=scan.grid.pooled(self.control_voxels),
        )


@dataclass(frozen=True)
class RefinementTeacher:
    """This project's own: an affine map from the images, then the refinement of a registration."""

    atlas: Path | None = None
    """File of the atlas that is the template, which has features of its own."""
    device: str = "cpu"
    name: str = "refinement"

    def register(self, scan: PreparedScan, template: PreparedScan) -> DisplacementField:
        device = torch.device(self.device)
        fixed = _describe(device, scan)
        moving = (
            _describe_atlas(device, self.atlas, self.atlas.stat().st_mtime_ns)
            if self.atlas
            else _describe(device, template)
        )
        start = affine_field(search_affine(fixed, moving), scan.grid.pooled(4)).to(device)
        return unfold(refine([start], fixed, moving)).to("cpu")


def _stamp(file: Path) -> int:
    """When it was written: another average may follow at the same place."""
    return file.stat().st_mtime_ns


@lru_cache(maxsize=1)
def _describe_atlas(device: torch.device, file: Path, stamp: int) -> ComparedScan:
    return unpack_atlas(read_arrays(file)).compared(RefinementOptions(), device)


def _describe(device: torch.device, scan: PreparedScan) -> ComparedScan:
    """The scan with the image features that the refinement compares by default."""
    return ComparedScan.describe(scan, RefinementOptions(), device)
