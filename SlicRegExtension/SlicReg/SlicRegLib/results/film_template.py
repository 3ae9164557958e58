"""The template's own labels, which a film shows before the registration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..geometry.field import DisplacementField
from ..geometry.grid import Grid, bounding_grid
from ..geometry.label_maps import resample_labels
from ..images.files import split_series
from ..images.volumes import Volume, load_labels
from ..registration.installed_models import find_model
from ..registration.own_template import read_own_template
from .result_folder import OWN_TEMPLATE

SPACING_MM = 5.0
"""Of the points at which labels are compared."""
AGREEMENT = 0.5
"""Least share of the organs, brought back from the scan, in which the template's own labels must be the same."""


def find_file(noted: Any, folder: Path) -> Path | None:
    """A file or folder of scans that the report in ``folder`` names, relative to where the command ran; None where it
    is not there."""
    if not isinstance(noted, str) or not noted:
        return None
    paths = (Path(noted), folder / noted, folder.parent / noted)
    return next((path for path in paths if split_series(path)[0].exists()), None)


def find_template_labels(
    report: dict[str, Any], folder: Path, carried: Volume, field: DisplacementField
) -> Volume | None:
    """On their own grid; None where report.json does not tell where they are, or they are no longer those that were
    carried."""
    try:
        labels = _read(report, folder)
    except (UserError, OSError):
        return None
    return labels if labels and _is_same(labels, carried, field) else None


def _read(report: dict[str, Any], folder: Path) -> Volume | None:
    if path := find_file(report.get("template_label"), folder):
        return load_labels(path)
    if report.get("template") != OWN_TEMPLATE or not isinstance(report.get("model"), str):
        return None
    own = read_own_template(find_file(report["model"], folder) or find_model(report["model"]))
    return Volume(own.labels, Grid(own.labels.shape, own.labels_affine)) if own.labels is not None else None


def _is_same(labels: Volume, carried: Volume, field: DisplacementField) -> bool:
    grid = bounding_grid([labels.grid], SPACING_MM)
    back = resample_labels(carried.data, carried.grid, grid, field)
    organ = back > 0
    same = resample_labels(labels.data, labels.grid, grid)[organ] == back[organ]
    return bool(np.mean(same) >= AGREEMENT) if len(same) else False
