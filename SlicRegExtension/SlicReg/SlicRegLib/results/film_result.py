"""What a film shows, read from the folder of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageColor

from ..cohort.label_names import LabelName, read_label_names
from ..cohort.segment_names import read_segment_names
from ..errors import UserError, show_name
from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..geometry.resampling import resample
from ..images.files import IMAGE_SUFFIXES, stem
from ..images.json_reading import read_json
from ..images.reading import explained, open_image, read_image
from ..images.segment_defaults import Colour
from ..images.source import check_geometry
from ..images.transforms import load_transform
from ..images.volumes import Volume, load_labels, load_scan
from ..registration.verdict_text import WORDS
from .carry_points import find_transform
from .drawing import COLOURS
from .film_template import find_file, find_template_labels
from .options import FilmRequest
from .result_folder import REPORT_FILE

LABEL_FILES = ("warped_labels", "labels")
ON_TEMPLATE = ("warped_target", "confidence")
"""Names, without suffix, of the files on the grid of the template, whose box is the template's."""
STEP = 4
"""Voxels between those at which a scan is compared with the one that was registered."""
SAME_HU = 20.0
"""Most that they differ on average."""
CURE = "give the folder that `slicreg register` or `slicreg segment` wrote for one scan"


@dataclass(frozen=True)
class ShownOrgan:
    """value: in the label map. colour: RGB, 0 to 255."""

    value: int
    name: str
    colour: Colour


@dataclass(frozen=True, eq=False, kw_only=True)
class FilmResult:
    """labels: the carried ones on the target's grid; None where the result has none, or none but ``empty`` ones. own:
    the template's, on their grid; None if unknown. organs: those in either. warped: the target on the template's grid,
    read only where there are no labels. template: the template's grid or a coarser one of the same box; None if
    unknown. verdict: word and sentence, if report.json tells them."""

    name: str
    target: Volume
    field: DisplacementField
    verdict: tuple[str, str] | None
    labels: Volume | None = None
    empty: bool = False
    own: Volume | None = None
    organs: tuple[ShownOrgan, ...] = ()
    warped: Volume | None = None
    template: Grid | None = None


def read_result(request: FilmRequest) -> FilmResult:
    """Raises UserError for what is no result, for a damaged one, and where its scan cannot be found."""
    names = read_label_names(request.label_names) if request.label_names else {}
    folder, report = request.result, _read_report(request.result)
    field = load_transform(find_transform(folder, "template-to-target"))
    path = find_target(request, report)
    target, verdict = load_scan(path), _read_verdict(report)
    label_file = next((file for name in LABEL_FILES if (file := _find_image(folder, name))), None)
    other = bool(request.target) and str(path) != report.get("target")
    labels = load_labels(label_file, None if other else target) if label_file else None
    warped = _find_image(folder, ON_TEMPLATE[0])
    on_its_grid = labels is None or labels.grid.matches(target.grid, tolerance_mm=1.0)
    if not on_its_grid or (other and warped and not _is_registered(target, warped, field)):
        raise UserError(f"{show_name(path)} is not the scan that was registered; give that one with --target.")
    parts: dict[str, Any] = {"name": stem(path), "target": target, "field": field, "verdict": verdict}
    if label_file is None or labels is None or not labels.data.any():
        return FilmResult(**parts, empty=labels is not None, warped=load_scan(warped) if warped else None)
    own = find_template_labels(report, folder, labels, field)
    about = {**_read_names(report), **read_segment_names(label_file), **names}
    on_template = next((file for name in ON_TEMPLATE if (file := _find_image(folder, name))), None)
    template = _read_grid(on_template) if on_template else None
    shown = [labels, own] if own else [labels]
    return FilmResult(**parts, labels=labels, own=own, organs=_name_organs(shown, about), template=template)


def find_target(request: FilmRequest, report: dict[str, Any]) -> Path:
    """The file or folder of the scan that was registered. Raises UserError where it cannot be found."""
    if request.target:
        return request.target
    noted = report.get("target")
    if path := find_file(noted, request.result):
        return path
    if isinstance(noted, str) and noted:
        raise UserError(f"The scan {show_name(noted)} of this result is not there; give the scan with --target.")
    raise UserError(f"{show_name(request.result / REPORT_FILE)} does not name its scan; give the scan with --target.")


def _is_registered(target: Volume, warped: Path, field: DisplacementField) -> bool:
    """Whether the scan, moved onto the template, is what the registration wrote as such."""
    data, grid, *_ = read_image(warped)
    values = data[::STEP, ::STEP, ::STEP]
    moved = resample(target.tensor, target.grid, grid.strided(STEP), field, fill=-1000.0)[0].numpy()
    body = np.maximum(values, moved) > -500
    return bool(np.abs(values - moved)[body].mean() < SAME_HU) if body.any() else True


def _read_report(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"The folder of the result, {show_name(folder)}, {problem}; {CURE}.")
    path = folder / REPORT_FILE
    if not path.is_file():
        inside = sorted(one.parent for one in folder.glob(f"*/{REPORT_FILE}"))
        if inside:
            raise UserError(
                f"{show_name(folder)} holds several results; give one of them, such as {show_name(inside[0])}."
            )
        raise UserError(f"{show_name(folder)} holds no result, since it has no {REPORT_FILE}; {CURE}.")
    try:
        return read_json(path)
    except ValueError as error:
        raise UserError(f"{show_name(path)} is damaged ({error}); register the scan again.") from error


def _find_image(folder: Path, name: str) -> Path | None:
    suffixes = (".nii.gz", ".seg.nrrd", *IMAGE_SUFFIXES)
    return next((path for suffix in suffixes if (path := folder / f"{name}{suffix}").is_file()), None)


def _read_grid(path: Path) -> Grid:
    """Of an image, whose voxels are not read."""
    with explained(path):
        source = open_image(path)
        return check_geometry(path, source.shape, source.affine)


def _read_names(report: dict[str, Any]) -> dict[int, LabelName]:
    """Those of a model's organs. What is damaged names nothing."""
    organs, names = report.get("organs"), {}
    for organ in organs if isinstance(organs, list) else ():
        if isinstance(organ, dict) and isinstance(organ.get("value"), int) and isinstance(organ.get("name"), str):
            names[organ["value"]] = LabelName(organ["name"])
    return names


def _name_organs(maps: Sequence[Volume], names: Mapping[int, LabelName]) -> tuple[ShownOrgan, ...]:
    """Of each label that occurs."""
    organs = []
    for value in sorted({int(value) for labels in maps for value in np.flatnonzero(np.bincount(labels.data.ravel()))}):
        if value:
            about = names.get(value, LabelName(f"Label {value}"))
            organs.append(ShownOrgan(value, about.name, about.colour or _choose_colour(value)))
    return tuple(organs)


def _choose_colour(value: int) -> Colour:
    """That of its contour in overview.png."""
    red, green, blue = ImageColor.getrgb(COLOURS[(value - 1) % len(COLOURS)])[:3]
    return red, green, blue


def _read_verdict(report: dict[str, Any]) -> tuple[str, str] | None:
    verdict = report.get("verdict")
    if not isinstance(verdict, dict) or verdict.get("word") not in WORDS:
        return None
    return verdict["word"], str(verdict.get("sentence", ""))
