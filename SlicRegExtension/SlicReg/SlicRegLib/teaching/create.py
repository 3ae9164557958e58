"""A study from a template, a cohort and a teacher."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from ..cohort.listing import list_cohort
from ..errors import UserError
from ..geometry.grid import Grid
from ..images.dicom_series import choose_series, is_same_scan
from ..images.files import check_output, is_valid_name, list_images, make_folder, remove_folders, stem
from ..images.options import PreparationOptions
from ..images.preparation import PreparedScan, fit_shape, prepare_scan
from ..images.volumes import Volume, load_scan
from ..progress import Progress, silent
from ..registration.model import load_model
from ..stages import SUPERVOXELS, TEACHER
from .cluster import check_scheduler, teach_on_cluster
from .deeds import DeedsTeacher
from .options import PrepareRequest, SupervoxelOptions, TeacherOptions
from .packing import load_quality, pack_scan, save_arrays
from .quality import find_implausible
from .study import Study, check_same_study, save_study
from .supervoxels import cut
from .teach import teach_locally
from .teachers import ConvexAdamTeacher, RefinementTeacher, Teacher


@dataclass(frozen=True, eq=False, kw_only=True)
class StudyPlan:
    """From what a study is made, and where."""

    template_path: Path
    images: Path | Sequence[Path]
    """A folder, or files with different names; the template itself is skipped."""
    folder: Path
    """Of the study."""
    teacher: Teacher
    preparation: PreparationOptions = field(default_factory=PreparationOptions)
    supervoxels: SupervoxelOptions = field(default_factory=SupervoxelOptions)
    supervoxel_layers: tuple[np.ndarray, Grid] | None = None
    """Layers (uint8) and grid that were cut from this template before, to be used again."""
    template: Volume | None = None
    """The content of ``template_path`` if it is known already."""


def prepare_study(
    request: PrepareRequest,
    progress: Progress = silent,
    template: Volume | None = None,
    paths: Sequence[Path] | None = None,
) -> Study:
    """`slicreg prepare`: from template, cohort and teacher to a study folder; see `create_study`.

    template, paths: the content of ``request.template`` and the scans of ``request.images`` if they are known already.
    """
    request = replace(request, template=choose_series(request.template, request.template_series), template_series="")
    names = ("study.json", "template.npz", "supervoxels.npz")
    check_output(request.out, folder=True, names=names, inputs=(request.template, request.images, request.start))
    template = template or load_scan(request.template)
    preparation, layers = request.preparation(), None
    if request.start:
        model = load_model(request.start)
        if template.fingerprint() != model.template_sha256:
            raise UserError(
                f"{request.start} was trained with another template than {request.template}; a training cannot start "
                "from it."
            )
        preparation, layers = model.preparation, (model.layers, model.template_grid)
    plan = StudyPlan(
        template_path=request.template,
        images=list_cohort(request.images, request.series) if paths is None else paths,
        folder=request.out,
        teacher=make_teacher(request, request.template),
        preparation=preparation,
        supervoxel_layers=layers,
        template=template,
    )
    return create_study(plan, max(1, request.workers), progress, request.scheduler)


def make_teacher(options: TeacherOptions, template: Path) -> Teacher:
    """The teacher that the options name. Raises UserError if it is not installed."""
    if options.teacher == "deeds":
        if not options.deeds_dir:
            raise UserError("The deeds teacher needs --deeds-dir, the folder of its programs or results.")
        # absolute, since the workers of a cluster have other working directories
        return DeedsTeacher(Path(options.deeds_dir).absolute(), template.absolute())
    if options.teacher == "refinement":
        return RefinementTeacher()
    if importlib.util.find_spec("convexAdam") is None:
        raise UserError(
            "The teacher convexAdam is not installed; run `pip install convexAdam` or use --teacher refinement."
        )
    return ConvexAdamTeacher(affine_first=options.affine_first)


def create_study(plan: StudyPlan, jobs: int = 1, progress: Progress = silent, scheduler: str = "") -> Study:
    """Cut the template into supervoxels, register it to every scan with the teacher and write the study.

    An interrupted study that was made with the same options is resumed. Scans that cannot be read or registered, and
    those with an implausible field (`find_implausible`), are listed in ``study.failed`` with the reason.

    jobs: processes that share the cores. scheduler: address of a Dask scheduler whose workers register the scans
    instead.

    Raises UserError if the folder holds a study made with other options, and if no scan can be used.
    """
    folder, template_path, images = Path(plan.folder), Path(plan.template_path), plan.images
    check_output(folder, folder=True)
    if scheduler:
        check_scheduler(scheduler)  # a wrong address is reported now, not after the supervoxels
    template = plan.template or load_scan(template_path)
    origin = str(images) if isinstance(images, (str, Path)) else "the list of scans"
    paths = _find_scans(list_images(images) if isinstance(images, (str, Path)) else images, template_path, origin)
    cut_before = plan.supervoxel_layers
    shape = cut_before[1].shape if cut_before else fit_shape(template, plan.preparation)
    preparation = replace(plan.preparation, shape=shape)
    study = Study(
        folder, stem(template_path), template.fingerprint(), plan.teacher.name, preparation, plan.supervoxels, []
    )
    check_same_study(study)
    names = [study.scan_path(name).relative_to(folder).as_posix() for name in paths if is_valid_name(name)]
    check_output(
        folder,
        folder=True,
        names=["study.json", "template.npz", "supervoxels.npz", *names],
        inputs=[template_path, *paths.values(), *([images] if isinstance(images, (str, Path)) else [])],
    )
    new = not folder.exists()
    made = make_folder(folder / "scans")
    try:
        return _fill_study(study, plan, template, paths, origin, jobs, scheduler, progress)
    except UserError:
        if new and not any((folder / "scans").glob("*.npz")):  # nothing that could be resumed
            shutil.rmtree(folder)
            remove_folders(made)
        raise


def _fill_study(
    study: Study,
    plan: StudyPlan,
    template: Volume,
    paths: dict[str, Path],
    origin: str,
    jobs: int,
    scheduler: str,
    progress: Progress,
) -> Study:
    """Write the missing files of the study; returns the finished one."""
    folder, cut_before = study.folder, plan.supervoxel_layers
    save_study(study)
    prepared = prepare_scan(template, study.preparation, cut_before[1] if cut_before else None, plan.template_path)
    if not (folder / "supervoxels.npz").exists():
        save_arrays(folder / "template.npz", pack_scan(prepared))
        layers = (
            cut_before[0]
            if cut_before
            else cut(prepared.hu, prepared.grid, plan.supervoxels, lambda share: progress(SUPERVOXELS, share, ""))
        )
        save_arrays(folder / "supervoxels.npz", {"layers": layers})

    failed = _teach_all(study, paths, prepared, plan.teacher, jobs, scheduler, progress)
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
    save_study(study)
    return study


def _find_scans(images: Sequence[Path], template_path: Path, origin: str) -> dict[str, Path]:
    """Name -> file of the scans without the template. Raises UserError if there are none or two have the same name."""
    paths: dict[str, Path] = {}
    for path in map(Path, images):
        other = paths.setdefault(stem(path), path)
        if other != path:
            raise UserError(f"{other} and {path} are both called {stem(path)}; give each scan a name of its own.")
    cohort = {name: path for name, path in paths.items() if not is_same_scan(path, template_path)}
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
