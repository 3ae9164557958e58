"""Which nodes can be registered. Each check raises UserError with the cause and the cure.

``what`` begins the sentence, such as "The target volume".
"""

from __future__ import annotations

import numpy as np

from SlicRegLib.errors import UserError
from SlicRegLib.images.files import MAX_SHEAR, MIN_SLICES

from .node_arrays import compute_voxel_to_world, view_voxels
from .translation import _


def check_volume(node, what: str) -> None:
    """Raise UserError unless the volume node is a 3-D scan with a valid geometry; None is "not chosen"."""
    if node is None:
        raise UserError(_("{what} is not chosen; choose a CT scan.").format(what=what))
    what = f"{what} ({node.GetName()})"
    image = node.GetImageData()
    if image is None or not image.GetPointData().GetScalars() or 0 in image.GetDimensions():
        raise UserError(_("{what} contains no voxels; load its scan or choose another volume.").format(what=what))
    if not node.IsA("vtkMRMLScalarVolumeNode") or image.GetNumberOfScalarComponents() != 1:
        raise UserError(
            _("{what} has {n} components per voxel; choose a CT scan with one value per voxel.").format(
                what=what, n=image.GetNumberOfScalarComponents()
            )
        )
    if min(image.GetDimensions()) < MIN_SLICES:
        raise UserError(
            _("{what} has only {size} voxels; choose a 3-D scan with at least {n} slices along each axis.").format(
                what=what, size=" x ".join(map(str, image.GetDimensions())), n=MIN_SLICES
            )
        )
    check_parent(node, what)
    check_matrix(compute_voxel_to_world(node), what)
    _check_values(view_voxels(node), what)


def check_segmentation(node, what: str) -> None:
    """Raise UserError unless the segmentation node has segments that can be written."""
    what = f"{what} ({node.GetName()})"
    if not node.GetSegmentation() or not node.GetSegmentation().GetNumberOfSegments():
        raise UserError(_("{what} has no segments; add some or choose another segmentation.").format(what=what))
    check_parent(node, what)


def check_output(node, inputs, what: str) -> None:
    """Raise UserError where writing to ``node`` would change an input: it is one, or a parent transform of one.

    node: None for a node that is still to be created. inputs: nodes or None.
    """
    for used in inputs if node else ():
        while used:
            if used is node:
                raise UserError(
                    _("{what} ({name}) is an input or transforms one; choose another node or create a new one.").format(
                        what=what, name=node.GetName()
                    )
                )
            used = used.GetParentTransformNode()


def check_parent(node, what: str) -> None:
    """Raise UserError where a parent transform is not linear."""
    parent = node.GetParentTransformNode()
    if parent and not parent.IsTransformToWorldLinear():
        raise UserError(
            _("{what} is under the non-linear transform {name}; harden it or move the data out of it.").format(
                what=what, name=parent.GetName()
            )
        )


def check_matrix(matrix: np.ndarray, what: str) -> None:
    """Raise UserError unless a voxel-to-world matrix has box-shaped voxels, which files and grid transforms need."""
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise UserError(
            _("{what} has no valid voxel-to-world matrix; set its spacing and orientation.").format(what=what)
        )
    axes = matrix[:3, :3] / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > MAX_SHEAR:
        raise UserError(
            _(
                "{what} is sheared by gantry tilt or its parent transform; resample it to a rectangular grid, "
                "for instance with Resample Scalar/Vector/DWI Volume."
            ).format(what=what)
        )


def _check_values(voxels: np.ndarray, what: str) -> None:
    low, high = voxels.min(), voxels.max()  # NaN spreads to both
    if not np.isfinite([float(low), float(high)]).all():
        raise UserError(
            _("{what} contains NaN or infinite voxels; export the scan again or replace them by -1000.").format(
                what=what
            )
        )
    if low == high:
        raise UserError(
            _("{what} is constant ({value:g} everywhere); choose a volume that shows a scan.").format(
                what=what, value=float(low)
            )
        )
