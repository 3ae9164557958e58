"""A cohort brought to its average, round by round: register all scans, move to the average shape, average, repeat."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..geometry.inverse import invert
from ..geometry.sampling import sample
from ..images.preparation import PreparedScan
from ..images.volumes import Volume, load_scan
from ..progress import Progress
from ..registration.atlas import Atlas, pack_atlas
from ..registration.growth import Growth, summarise_growth
from ..registration.image_features import CELL
from ..stages import AVERAGE, WARNING
from .averaging import AveragedScan, average, average_finely
from .packing import load_arrays, load_quality, pack_field, pack_measurements, pack_scan, save_arrays
from .quality import measure_field
from .shape import FEWEST, AverageShape, ShownField, find_average_shape
from .study import Study
from .teachers import RefinementTeacher, Teacher

MOST_ROUNDS = 3
FEW_SCANS = 10
"""A smaller cohort has an average of its own, rather than that of its kind."""
MUCH = 0.02
"""Share of the body that may be left out of the average without a warning."""
STILL_MM = 1.0
"""If the shape moves less than this on average, the rounds are over."""

Teach = Callable[[Study, PreparedScan, Teacher, Progress], Study]
"""Registers the template to the scans and tells in the study that it returns which of them can be used."""


def average_cohort(
    study: Study, paths: dict[str, Path], start: PreparedScan, teach: Teach, progress: Progress
) -> Study:
    """Make the average of the scans the template of ``study``; returns the study with the scans that were averaged.

    Writes the atlas, the template and the scans, whose fields lead to it. paths: of all scans by name. start: one of
    them, the template of the first round. Each round is a study in the folder "rounds", so that an interrupted run goes
    on where it was; `remove_rounds` removes it.
    """
    grid = Grid.centred((0, 0, 0), start.grid.shape, study.preparation.spacing_mm)
    template, teacher = start, RefinementTeacher()
    for number in range(1, MOST_ROUNDS + 1):
        taught = teach(
            replace(study, folder=_rounds(study) / str(number)), template, teacher, _report(progress, number)
        )
        fields = _invert_all(taught, template)
        shape = find_average_shape(template.grid, _to_control(template), list(fields.values()), grid.pooled(CELL))
        found = taught.atlas()
        # of other scans, if some were added or could be read this time
        atlas = found if found and found.scans == len(fields) else _average(taught, shape, fields, grid)
        if number == 1:  # later templates show only what enough scans show
            doubts = list(_find_doubts(taught, template, fields))
        progress(AVERAGE, number / MOST_ROUNDS, f"round {number}: the shape moved {shape.moved_mm:.1f} mm")
        if shape.moved_mm < STILL_MM:
            break
        template, teacher = atlas.scan, RefinementTeacher(atlas=taught.atlas_path.absolute())
    for sentence in doubts:
        progress(WARNING, 1.0, sentence)
    return _finish(study, taught, shape, fields, atlas, paths, progress)


def _find_doubts(study: Study, template: PreparedScan, fields: dict[str, ShownField]) -> Iterator[str]:
    """What the user should know of the average, in sentences."""
    if len(fields) < FEW_SCANS:
        yield (
            f"The average is that of {len(fields)} scans only, and looks like these; with {FEW_SCANS} and more it is "
            "that of their kind."
        )
    seen = sum(each.shown.int() for each in fields.values())[_to_control(template)]  # type: ignore[index]
    left_out = float((seen < min(FEWEST, len(fields))).double().mean())
    if left_out > MUCH:
        yield (
            f"{left_out:.0%} of the body in {template.name}, with which the average began, is shown by fewer than "
            f"{FEWEST} scans, and is air in the average."
        )


def remove_rounds(study: Study) -> None:
    """Once the study is finished."""
    shutil.rmtree(_rounds(study), ignore_errors=True)


def _rounds(study: Study) -> Path:
    return study.folder / "rounds"


def _report(progress: Progress, number: int) -> Progress:
    """Of one round, as a part of all."""
    return lambda stage, share, message: progress(
        AVERAGE, (number - 1 + 0.9 * share) / MOST_ROUNDS, f"round {number}: {message}"
    )


def _to_control(template: PreparedScan) -> torch.Tensor:
    """Control points, bool (i, j, k), in whose cells the template has a body."""
    return F.max_pool3d(template.body[None].float(), CELL)[0] > 0


def _invert_all(study: Study, template: PreparedScan) -> dict[str, ShownField]:
    """The fields from the template to each scan, by name."""
    control = template.grid.pooled(CELL)
    points, fields = control.points(), {}
    for name in study.scans:
        scan, field = study.scan(name)
        inverse = invert(field, control)
        fields[name] = ShownField(inverse, scan.shows(inverse(points)))
    return fields


def _average(study: Study, shape: AverageShape, fields: dict[str, ShownField], grid: Grid) -> Atlas:
    """Of a round's scans in the new shape; kept in the round's folder."""

    def go_through() -> Iterator[AveragedScan]:
        for name, each in fields.items():
            yield AveragedScan(study.scan(name)[0], shape.field_to(each.field))

    atlas = average(go_through, grid)
    save_arrays(study.atlas_path, pack_atlas(atlas))
    return atlas


def _finish(
    study: Study,
    last: Study,
    shape: AverageShape,
    fields: dict[str, ShownField],
    atlas: Atlas,
    paths: dict[str, Path],
    progress: Progress,
) -> Study:
    """From the last round to the study: its scans with their fields to the atlas, its image in finer voxels."""
    fine, qualities = study.atlas(), dict[str, dict[str, float]]()
    if fine is None or fine.scans != len(fields):  # written last: what is there belongs to another average, or to none
        (study.folder / "supervoxels.npz").unlink(missing_ok=True)
        for name in last.scans:
            scan, field = last.scan(name)
            field = shape.field_from(field)
            content = load_arrays(last.scan_path(name), "hu", "affine", "original", "original_shape")
            measured = pack_measurements(scan, measure_field(scan, atlas.scan, field))
            save_arrays(study.scan_path(name), content | pack_field(field) | measured)
        fine = replace(
            atlas,
            image=_average_finely(atlas, shape, fields, paths, progress),
            growth=_measure_growth(shape, fields, _to_control(atlas.scan)),
        )
    for name in last.scans:
        if quality := load_quality(study.scan_path(name)):
            qualities[name] = asdict(quality)
    save_arrays(study.folder / "template.npz", pack_scan(fine.scan))
    save_arrays(study.atlas_path, pack_atlas(fine))
    return replace(
        study, template_sha256=fine.image.fingerprint(), scans=last.scans, failed=last.failed, quality=qualities
    )


def _measure_growth(shape: AverageShape, fields: dict[str, ShownField], body: torch.Tensor) -> Growth:
    """The growth of all scans from the average shape in its ``body``, bool (i, j, k)."""
    control = shape.back.grid
    shown_at = shape.back(control.points())

    def go_through() -> Iterator[tuple[DisplacementField, torch.Tensor]]:
        for each in fields.values():
            grid = each.field.grid
            shown = sample(each.shown[None].float(), grid, shown_at, fill=0.0)[0] > 0.5
            yield shape.field_to(each.field), shown & body

    return summarise_growth(control, go_through())


def _average_finely(
    atlas: Atlas, shape: AverageShape, fields: dict[str, ShownField], paths: dict[str, Path], progress: Progress
) -> Volume:
    """The image with half the voxel edges, where the body is, from the scans' files."""

    def go_through() -> Iterator[tuple[Volume, DisplacementField]]:
        for number, (name, each) in enumerate(fields.items(), 1):
            yield load_scan(paths[name]), shape.field_to(each.field)
            progress(AVERAGE, 1.0, f"image: {number} of {len(fields)}")

    where = atlas.scan.region
    for axis in range(3):
        where = where.repeat_interleave(2, axis)
    return average_finely(go_through(), atlas.grid.halved(), where)
