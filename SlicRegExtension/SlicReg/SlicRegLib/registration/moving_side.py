"""The moving scan of a registration: described in the pose in which the network knows it best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import UserError
from ..geometry.grid import Grid, translation
from ..images.preparation import PreparedScan, call_scan, prepare_scan
from ..images.volumes import Volume
from ..network.prediction import EncodedScan, encode, locate
from .affine import fit_affine, is_rotated_or_scaled, similarity_part
from .fixed_side import FixedSide
from .model import Model


@dataclass(frozen=True, eq=False)
class MovingSide:
    """A target as a model sees it beside a template.

    encoded: in the target's own frame, or upright in the template's. centroids: (layers, classes, 4) of its
    supervoxels, as in `Description`. affine: 4x4 world matrix from the template to the target, by the supervoxels that
    both show, or by their centres where these tell none.
    """

    encoded: EncodedScan
    centroids: torch.Tensor
    affine: np.ndarray


@dataclass(frozen=True, eq=False)
class FirstView:
    """A target in its own frame, before any turn: prepared, encoded, and its supervoxels' centroids as in
    `Description`."""

    target: Volume
    prepared: PreparedScan
    encoded: EncodedScan
    centroids: torch.Tensor


def see_target(fixed: FixedSide, target: Volume, prepared: PreparedScan | None = None) -> MovingSide:
    """Describe ``target``. prepared: the target in its own frame, if that is known. Raises UserError for a scan without
    soft tissue or body."""
    return turn_upright(fixed, view_target(fixed, target, prepared))


def view_target(fixed: FixedSide, target: Volume, prepared: PreparedScan | None = None) -> FirstView:
    """The first half of `see_target`."""
    prepared = prepared or prepare_target(target, fixed.model)
    net, options = fixed.model.network(fixed.device), fixed.options.prediction
    encoded = encode(net, prepared, options)
    return FirstView(target, prepared, encoded, locate(net, encoded, options))


def prepare_target(target: Volume, model: Model) -> PreparedScan:
    """The target in its own canonical frame."""
    with call_scan("target"):
        return prepare_scan(target, model.preparation)


def turn_upright(fixed: FixedSide, view: FirstView) -> MovingSide:
    """The second half of `see_target`: a target whose supervoxels show that it is turned or of another size is prepared
    again as the template lies."""
    frame, encoded, centroids = fixed.scan.grid, view.encoded, view.centroids
    affine = translation(view.prepared.grid.centre - frame.centre)
    if fixed.options.alignment.affine_start:
        fit = fit_affine(fixed.centroids, centroids)
        if fit is not None and is_rotated_or_scaled(fit):
            upright = _prepare_upright(fixed, view.target, similarity_part(fit, frame.centre))
            encoded, centroids = _better_of(upright, encoded, centroids, fixed)
            fit = fit_affine(fixed.centroids, centroids)
        affine = affine if fit is None else fit
    return MovingSide(encoded, centroids, affine)


def _prepare_upright(fixed: FixedSide, target: Volume, pose: np.ndarray) -> PreparedScan:
    """Prepare the target in the fixed frame moved by ``pose``, a 4x4 world matrix from the fixed scan to the target. In
    that frame the patient is upright and has the template's size."""
    grid = fixed.scan.grid
    return prepare_scan(target, fixed.model.preparation, Grid(grid.shape, pose @ grid.affine))


def _better_of(
    upright: PreparedScan, encoded: EncodedScan, centroids: torch.Tensor, fixed: FixedSide
) -> tuple[EncodedScan, torch.Tensor]:
    """The upright scan, encoded, and its supervoxels' centroids, if it has at least as many of them in common with the
    fixed scan as the view before (``encoded``, ``centroids``), which is returned otherwise."""
    net, options = fixed.model.network(fixed.device), fixed.options.prediction
    try:
        upright_encoded = encode(net, upright, options)
    except UserError:  # no body in that frame: the fit was wrong
        return encoded, centroids
    upright_centroids = locate(net, upright_encoded, options)

    def common_mass(view: torch.Tensor) -> float:
        return float(torch.minimum(fixed.centroids[:, 1:, 0], view[:, 1:, 0]).sum())

    if common_mass(upright_centroids) >= common_mass(centroids):
        return upright_encoded, upright_centroids
    return encoded, centroids
