"""The teacher: a conventional registration of the template to a training scan, as a coarse displacement field.

A teacher's field lies on the *scan's* canonical grid and points to the template (from the scan's world RAS mm to the
template's), so that the template's supervoxels can be looked up directly at each voxel of the scan.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from ..geometry.field import DisplacementField, affine_field
from ..geometry.folding import unfold
from ..geometry.grid import Grid, apply_affine
from ..geometry.resampling import resample
from ..images.itk import flip_matrix, flip_vectors
from ..images.preparation import PreparedScan
from ..images.volumes import Volume, to_itk
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
    """Start from a SimpleITK affine registration (mutual information)."""
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

        affine = register_affinely(scan, template) if self.affine_first else np.eye(4)
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
    """An affine registration by SimpleITK (mutual information), then this project's refinement on image features."""

    device: str = "cpu"
    name: str = "refinement"

    def register(self, scan: PreparedScan, template: PreparedScan) -> DisplacementField:
        device, options = torch.device(self.device), RefinementOptions()
        start = affine_field(register_affinely(scan, template), scan.grid.pooled(4)).to(device)
        fixed, moving = (ComparedScan.describe(side, options, device) for side in (scan, template))
        return unfold(refine([start], fixed, moving, options).to("cpu"))


def register_affinely(scan: PreparedScan, template: PreparedScan) -> np.ndarray:
    """4x4 world (RAS) matrix from the scan's points to the template's, by mutual information (SimpleITK)."""
    fixed, moving = (to_itk(Volume(p.hu.numpy(), p.grid)) for p in (scan, template))
    start = sitk.AffineTransform(3)
    start.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()]))
    start.SetTranslation(flip_vectors(template.grid.centre - scan.grid.centre).tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.1, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescentLineSearch(learningRate=1.0, numberOfIterations=100)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([2, 1])
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(sitk.Clamp(fixed, sitk.sitkFloat32, -500, 500), sitk.Clamp(moving, sitk.sitkFloat32, -500, 500))
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(start.GetMatrix()).reshape(3, 3)
    centre = np.asarray(start.GetCenter())
    matrix[:3, 3] = np.asarray(start.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return flip_matrix(matrix)
