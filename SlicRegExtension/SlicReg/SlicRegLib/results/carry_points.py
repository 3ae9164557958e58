"""`slicreg carry`: points and surfaces from the template to the target and back along the transform of a result."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from ..errors import UserError, show_name
from ..geometry.field import DisplacementField
from ..images.files import check_output, write_bytes
from ..images.options import TransformFormat
from ..images.point_files import find_point_suffix, read_points
from ..images.transforms import load_transform
from .options import CarryRequest

NAMES = {"template-to-target": "transform", "target-to-template": "transform_inverse"}
"""Direction -> the file of a result, without its suffix, that takes points there."""


def carry_points(request: CarryRequest) -> str:
    """Write the request's points where the transform takes them; returns a sentence. Raises UserError."""
    suffix = find_point_suffix(request.points)
    if find_point_suffix(request.out) != suffix:
        raise UserError(f"The points are written in the format that they are read from; let --out end in {suffix}.")
    check_output(request.out, inputs=[request.points, request.transform], make_parents=False)
    found = read_points(request.points)
    field = load_transform(find_transform(request.transform, request.direction))
    write_bytes(request.out, found.rewrite(partial(move_points, field)))
    outside = count_outside(field, found.points)
    text = f"{len(found.points)} points written to {request.out}."
    return f"{text} {outside} of them lie outside the scan and stay about where they are." if outside else text


def find_transform(path: Path, direction: str) -> Path:
    """The file whose field takes points in the ``direction``: of a folder of results, or of the file ``path``, which
    leads from the template to the target unless it is called transform_inverse. Raises UserError."""
    endings = get_args(TransformFormat)
    given = next((path.name[: -len(end) - 1] for end in endings if path.name.lower().endswith(f".{end}")), path.name)
    if not path.is_dir():
        leads = next((d for d, name in NAMES.items() if name == given), "template-to-target")
        if leads == direction:
            return path
    folder = path if path.is_dir() else path.parent
    # a file of another name has no partner that could be told from those of other results
    known = path.is_dir() or given in NAMES.values()
    for ending in endings if known else ():
        if (file := folder / f"{NAMES[direction]}.{ending}").is_file():
            return file
    if path.is_dir():
        raise UserError(f"{show_name(path)} contains no {NAMES[direction]}; give the folder of a result.")
    raise UserError(
        f"{show_name(path)} leads the other way and no {NAMES[direction]} is beside it; give the folder of the result, "
        "which holds both."
    )


def move_points(field: DisplacementField, points: np.ndarray) -> np.ndarray:
    """(n, 3) float64: where the field takes points, RAS mm."""
    return points + field.at(torch.from_numpy(points)).double().numpy()


def count_outside(field: DisplacementField, points: np.ndarray) -> int:
    """How many points lie outside the field's grid, where it is zero."""
    voxels = field.grid.to_voxel(points)
    return int(((voxels < 0) | (voxels > np.array(field.grid.shape) - 1)).any(1).sum())
