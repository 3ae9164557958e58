"""A study from a template, a cohort and a teacher."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import joblib
import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ..cohort.listing import list_cohort
from ..errors import UserError
from ..geometry.grid import Grid
from ..images.files import list_images, stem
from ..images.options import PreparationOptions
from ..images.preparation import PreparedScan, fit_shape, prepare_scan
from ..images.volumes import load_scan
from ..progress import Progress, silent
from ..registration.model import load_model
from .cluster import check_scheduler, teach_on_cluster
from .deeds import DeedsTeacher
from .options import SupervoxelOptions
from .quality import find_implausible
from .study import Study, check_same_study, load_quality, pack_scan, save_arrays, save_study, scan_file
from .supervoxels import cut
from .teach import teach_scan
from .teachers import ConvexAdamTeacher, Teacher


def create_study(
    template_path: Path,
    images: Path | list[Path],
    folder: Path,
    teacher: Teacher,
    jobs: int = 1,
    preparation: PreparationOptions = PreparationOptions(),
    supervoxels: SupervoxelOptions = SupervoxelOptions(),
    progress: Progress = silent,
    scheduler: str = "",
    given: tuple[np.ndarray, Grid] | None = None,
) -> Study:
    """Cut the template, register it to every scan of ``images`` with ``teacher`` and write the study.

    images: a folder, or files with different names. Goes on with an interrupted study made with the same options; a study
    made with others is refused. Scans that cannot be read or registered, and those whose field is implausible (see
    `quality.implausible`), are listed in ``study.failed``, with the reason; the template itself is left out of the cohort.
    ``jobs`` processes share the cores; with ``scheduler``, the address of a Dask scheduler, its workers register instead.
    given: the layers (uint8) and grid of supervoxels that were cut from this template before, to be used again.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a folder for the study.")
    if scheduler:
        check_scheduler(scheduler)  # a wrong address is said now, not after the supervoxels
    template_scan = load_scan(template_path)
    folder_given = isinstance(images, (str, Path))
    origin = str(images) if folder_given else "the list of scans"
    paths = _by_name(list_images(images) if folder_given else images, Path(template_path), origin)
    shape = given[1].shape if given else fit_shape(template_scan, preparation)
    preparation = replace(preparation, shape=shape)
    study = Study(folder, stem(template_path), template_scan.fingerprint(), teacher.name, preparation, supervoxels, [])
    check_same_study(study)
    started_here = not folder.exists()
    (study.folder / "scans").mkdir(parents=True, exist_ok=True)
    save_study(study)
    template = prepare_scan(template_scan, preparation, given[1] if given else None, template_path)
    if not (study.folder / "supervoxels.npz").exists():
        save_arrays(study.folder / "template.npz", pack_scan(template))
        try:
            layers = (
                given[0]
                if given
                else cut(template.hu, template.grid, supervoxels, lambda share: progress("supervoxels", share, ""))
            )
        except UserError:
            if started_here:
                shutil.rmtree(folder)
            raise
        save_arrays(study.folder / "supervoxels.npz", {"layers": layers})

    failed = _teach_all(study, paths, template, teacher, jobs, scheduler, progress)
    qualities = {name: load_quality(scan_file(study, name)) for name in paths if name not in failed}
    failed |= {name: f"{paths[name]}: {reason}." for name, reason in find_implausible(qualities).items()}
    study = replace(
        study,
        scans=[name for name in paths if name not in failed],
        failed={name: failed[name] for name in paths if name in failed},
        quality={name: asdict(quality) for name, quality in qualities.items()},
    )
    if not study.scans:
        if started_here and not qualities:
            shutil.rmtree(folder)
        raise UserError(f"No scan of {origin} could be prepared; the first reason: {next(iter(study.failed.values()))}")
    save_study(study)
    return study


def _by_name(images: list[Path], template_path: Path, origin: str) -> dict[str, Path]:
    """The scans without the template. Raises UserError where there are none or two have the same name."""
    paths: dict[str, Path] = {}
    for path in map(Path, images):
        other = paths.setdefault(stem(path), path)
        if other != path:
            raise UserError(f"{other} and {path} are both called {stem(path)}; give each scan a name of its own.")
    cohort = {name: path for name, path in paths.items() if path.resolve() != template_path.resolve()}
    if not cohort:
        raise UserError(f"There is no scan besides the template in {origin}; add the cohort's scans.")
    return cohort


def _teach_all(
    study: Study,
    paths: dict[str, Path],
    template: PreparedScan,
    teacher: Teacher,
    jobs: int,
    scheduler: str,
    progress: Progress,
) -> dict[str, str]:
    """Write the files of all scans that are not there yet; returns the problems of those that could not be, by name."""
    todo = [path for name, path in paths.items() if not load_quality(scan_file(study, name))]
    done, failed = len(paths) - len(todo), {}
    progress("teacher", done / len(paths), f"{done} of {len(paths)}")
    if scheduler and todo:
        taught = teach_on_cluster(scheduler, study, todo, template, teacher)
    else:
        threads = max(1, (joblib.cpu_count() or 1) // jobs)
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
        taught = parallel(joblib.delayed(teach_scan)(study, path, template, teacher, threads) for path in todo)
    try:
        for name, problem in taught:
            done += 1
            if problem:
                failed[name] = problem
            progress("teacher", done / len(paths), f"{done} of {len(paths)}: {name}")
    except TerminatedWorkerError as error:
        raise UserError(
            f"One of the teacher's {jobs} processes was ended by the system, most likely since memory ran out; use fewer "
            "--jobs."
        ) from error
    return failed


def run_prepare(
    template: Path,
    images: Path | list[Path],
    out: Path,
    teacher: str,
    deeds_dir: Path | None,
    affine_first: bool,
    jobs: int,
    preparation: PreparationOptions,
    progress: Progress,
    scheduler: str = "",
    start: Path | None = None,
) -> Study:
    """`slicreg prepare`: template, cohort and teacher to a study folder.

    scheduler: address of a Dask cluster for the teacher. start: a model of the same template; its frame and supervoxels are
    used again, so that a training can begin with its weights.
    """
    given = None
    if start:
        begun = load_model(start)
        if load_scan(template).fingerprint() != begun.template_sha256:
            raise UserError(
                f"{start} was trained with another template than {template}; training cannot begin with it."
            )
        preparation, given = begun.preparation, (begun.layers, begun.template_grid)
    return create_study(
        template,
        list_cohort(images) if isinstance(images, Path) else images,
        out,
        make_teacher(teacher, template, deeds_dir, affine_first),
        jobs,
        preparation,
        progress=progress,
        scheduler=scheduler,
        given=given,
    )


def make_teacher(name: str, template: Path, deeds_dir: Path | None = None, affine_first: bool = False) -> Teacher:
    if name == "deeds":
        if deeds_dir is None:
            raise UserError("The deeds teacher needs --deeds-dir, the folder of its programs or results.")
        return DeedsTeacher(
            Path(deeds_dir).absolute(), Path(template).absolute()
        )  # workers of a cluster stand elsewhere
    if importlib.util.find_spec("convexAdam") is None:
        raise UserError("The teacher convexAdam is not installed; run `pip install convexAdam` or use --teacher deeds.")
    return ConvexAdamTeacher(affine_first=affine_first)
