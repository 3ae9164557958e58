"""A scan segmented by the labels that a model holds: from file to files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..images.files import atomic, write_json
from ..images.segmentations import SegmentAbout, save_segmentation
from ..images.transforms import save_transform
from ..images.volumes import Volume, save_volume
from ..network.devices import peak_memory_mb
from ..progress import Progress, silent
from ..registration.consensus import Consensus
from ..registration.correction import correct
from ..registration.growth import compare_growth
from ..registration.model import Model
from ..stages import WRITING
from ..workers import run_together
from .evaluate import compare
from .kept import Kept
from .labels import measure_organs
from .options import RegisterRequest, SegmentRequest
from .overview import draw_growth, draw_overview
from .register_files import Registered, read_and_register
from .result_folder import REPORT_FILE, SEGMENT_FILES, all_or_nothing

VOLUMES_FILE = "volumes.csv"


def segment_files(request: SegmentRequest, progress: Progress = silent, kept: Kept | None = None) -> dict[str, Any]:
    """`slicreg segment`: write `SEGMENT_FILES` into ``request.out``, all or none. Returns the content of report.json.

    Raises UserError where the model has no labels, and where it does not know what growth is usual but should say.
    """
    shared = {each.name for each in fields(RegisterRequest)} & {each.name for each in fields(request)}
    register_request = RegisterRequest(**{name: getattr(request, name) for name in shared}, overlays=True)
    needed = {"check_model": _check_growth} if request.normative else {}
    done = read_and_register(register_request, progress, kept, SEGMENT_FILES, by_cohort=True, **needed)
    consensus = done.labels
    assert isinstance(consensus, Consensus), "other models were refused"
    consensus = correct(consensus, done.result.target, done.result.field)
    labels = consensus.on(done.result.target.grid, done.result.inverse)
    done.report["organs"] = measure_organs(labels, consensus)
    with all_or_nothing(request.out, SEGMENT_FILES) as folder:
        tasks = _list_outputs(folder, request, done, labels, consensus)
        run_together(tasks, lambda share: progress(WRITING, share, ""))
        done.report["peak_memory_mb"] = peak_memory_mb(done.device)
        write_json(folder / REPORT_FILE, done.report)
    return done.report


def _list_outputs(
    folder: Path, request: SegmentRequest, done: Registered, labels: Volume, consensus: Consensus
) -> list[Callable[[], object]]:
    """What makes and writes each file, slow ones first."""
    result, target_labels = done.result, done.target_labels
    field, inverse = result.field, result.inverse  # now, since the first to ask for them computes them
    tasks: list[Callable[[], object]] = []
    if target_labels:
        tasks.append(lambda: done.report.update(compare(result, consensus, target_labels)))
    if request.picture:
        picture = partial(draw_overview, folder / "overview.png", result, consensus.labels, target_labels)
        tasks.append(lambda: picture(verdict=done.verdict))
    tasks += [
        lambda: save_transform(folder / f"transform.{request.transform_format}", field),
        lambda: save_transform(folder / f"transform_inverse.{request.transform_format}", inverse),
        lambda: _save_labels(folder / f"labels.{request.format}", labels, consensus),
        lambda: _save_volumes(folder / VOLUMES_FILE, done.report["organs"]),
    ]
    if request.normative:
        tasks += _list_growth(folder, done, consensus)
    if overlays := done.overlays:
        tasks.append(lambda: save_volume(folder / "confidence.nii.gz", overlays.confidence))
    return tasks


def _check_growth(model: Model, name: Path) -> None:
    """Raise UserError where the model does not know what growth is usual."""
    growth = model.atlas.growth if model.atlas else None
    if growth is None or not growth.deviation.any():
        raise UserError(
            f"The model {name} does not know how patients grow usually, since it was made from too few scans or from "
            "one template; leave out --normative."
        )


def _list_growth(folder: Path, done: Registered, consensus: Consensus) -> list[Callable[[], object]]:
    """The map of unusual growth and its picture."""
    assert done.atlas and done.atlas.growth, "other models were refused"
    growth = done.atlas.growth
    z, image = compare_growth(growth, done.result.dense, done.result.target.grid), done.result.template
    return [
        lambda: save_volume(folder / "growth.nii.gz", z),
        lambda: draw_growth(folder / "growth.png", image, z, consensus.labels),
    ]


def _save_labels(path: Path, labels: Volume, consensus: Consensus) -> None:
    if path.name.endswith(".nii.gz"):
        save_volume(path, labels)
    else:
        about = {organ.value: SegmentAbout(organ.name, organ.colour) for organ in consensus.organs}
        save_segmentation(path, labels, about)


def _save_volumes(path: Path, organs: list[dict[str, Any]]) -> None:
    with atomic(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(organs[0]))
        table.writeheader()
        table.writerows(organs)
