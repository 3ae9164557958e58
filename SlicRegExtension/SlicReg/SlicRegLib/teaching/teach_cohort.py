"""The teacher on all scans of a cohort, and which of its fields can be used."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from ..errors import UserError
from ..images.files import make_folder
from ..images.preparation import PreparedScan
from ..progress import Progress
from ..stages import TEACHER
from .cluster import teach_on_cluster
from .packing import load_quality
from .quality import find_implausible
from .study import Study
from .teach import teach_locally
from .teachers import Teacher


def teach_cohort(
    study: Study,
    paths: dict[str, Path],
    template: PreparedScan,
    teacher: Teacher,
    jobs: int,
    scheduler: str,
    progress: Progress,
    origin: str,
) -> Study:
    """Register the template to each scan whose file is missing; returns the study with the scans that can be used, and
    those that cannot be read or registered or whose field is implausible, with the reason.

    paths: name -> file of the scans. jobs, scheduler: as in `create.create_study`. origin: where the scans are, in
    words. Raises UserError if no scan can be used.
    """
    make_folder(study.folder / "scans")
    failed = _teach_missing(study, paths, template, teacher, jobs, scheduler, progress)
    qualities = {
        name: quality for name in paths if name not in failed and (quality := load_quality(study.scan_path(name)))
    }
    failed |= {name: f"{paths[name]}: {reason}." for name, reason in find_implausible(qualities).items()}
    study = replace(
        study,
        scans=[name for name in paths if name not in failed],
        failed={name: failed[name] for name in paths if name in failed},
        quality={name: asdict(quality) for name, quality in qualities.items()},
    )
    if not study.scans:
        raise UserError(f"No scan of {origin} could be prepared; the first reason: {next(iter(study.failed.values()))}")
    return study


def _teach_missing(
    study: Study,
    paths: dict[str, Path],
    template: PreparedScan,
    teacher: Teacher,
    jobs: int,
    scheduler: str,
    progress: Progress,
) -> dict[str, str]:
    """Write the missing files of the scans; returns name -> reason of those that could not be registered."""
    todo = [path for name, path in paths.items() if not load_quality(study.scan_path(name))]
    done = len(paths) - len(todo)
    failed: dict[str, str] = {}
    progress(TEACHER, done / len(paths), f"{done} of {len(paths)}")
    if scheduler and todo:
        outcomes = teach_on_cluster(scheduler, study, todo, template, teacher)
    else:
        outcomes = teach_locally(jobs, study, todo, template, teacher)
    for name, problem in outcomes:
        done += 1
        if problem:
            failed[name] = problem
        progress(TEACHER, done / len(paths), f"{done} of {len(paths)}: {name}")
    return failed
