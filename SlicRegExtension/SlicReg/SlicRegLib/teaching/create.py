"""A study from a template, a cohort and a teacher."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..cohort.label_files import find_labels_among, list_label_files
from ..cohort.label_names import LabelName, check_label_names
from ..cohort.listing import list_cohort
from ..cohort.segment_names import agree_on_names
from ..errors import UserError
from ..geometry.grid import Grid
from ..images.dicom_series import choose_series, is_same_scan
from ..images.files import check_output, is_valid_name, list_images, make_folder, remove_folders, stem
from ..images.options import PreparationOptions
from ..images.preparation import PreparedScan, fit_shape, prepare_scan
from ..images.volumes import Volume, load_scan
from ..progress import Progress, silent
from ..registration.atlas import NAME
from ..registration.consensus import pack_consensus
from ..registration.model import load_model
from ..registration.organs import describe_organs
from ..stages import SUPERVOXELS
from .cluster import check_scheduler
from .consensus import make_consensus, remove_votes
from .deeds import DeedsTeacher
from .groupwise import average_cohort, remove_rounds
from .options import PrepareRequest, SupervoxelOptions, TeacherOptions, check_average
from .packing import pack_scan, save_arrays
from .start_scan import choose_start
from .study import Study, check_same_study, find_finished_study, save_study
from .supervoxels import cut
from .teach_cohort import teach_cohort
from .teachers import ConvexAdamTeacher, RefinementTeacher, Teacher
from .warped_supervoxels import open_warped_supervoxels

OWN_FILES = ("study.json", "template.npz", "supervoxels.npz", "atlas.npz", "consensus.npz")
"""Of a study, beside those of its scans."""


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
    average: bool = False
    """Whether the template is the cohort's average; ``template_path`` is then the scan with which it begins."""


def prepare_study(
    request: PrepareRequest,
    progress: Progress = silent,
    template: Volume | None = None,
    paths: Sequence[Path] | None = None,
) -> Study:
    """`slicreg prepare`: from template, cohort and teacher to a study folder; see `create_study`.

    template, paths: the content of ``request.template`` and the scans of ``request.images`` if they are known already.
    """
    check_average(request, request.is_average)
    if request.teach_labels and not request.labels:
        raise UserError("There are no labels to teach; give their folder with --labels.")
    check_warped(request)
    if request.is_average and request.start:
        raise UserError("An average has supervoxels of its own; leave out --from here, and give it to `slicreg train`.")
    names = check_label_names(request.label_names, request.labels)
    inputs = [request.template, request.images, request.start, request.labels, request.label_names, request.supervoxels]
    check_output(request.out, folder=True, names=OWN_FILES, inputs=[path for path in inputs if path])
    check_labels(request.labels)
    names = names or agree_on_names(list_label_files(Path(request.labels)) if request.labels else ())
    paths = list_cohort(request.images, request.series) if paths is None else paths
    check_labels(request.labels, paths, request.single_rater)
    begin = request.template or choose_start(paths, request.workers, progress)
    path = choose_series(begin, request.template_series)
    template = template or load_scan(path)
    preparation, layers = request.preparation(), None
    if request.start:
        model = load_model(request.start)
        if template.fingerprint() != model.template_sha256:
            raise UserError(
                f"{request.start} was trained with another template than {request.template}; a training cannot start "
                "from it."
            )
        preparation, layers = model.preparation, (model.layers, model.template_grid)
    teacher: Teacher
    if request.supervoxels:
        teacher = open_warped_supervoxels(Path(request.supervoxels), path, paths)
        layers = teacher.template(template)
        preparation = PreparationOptions(spacing_mm=float(layers[1].spacing[0]), shape=layers[1].shape)
    else:
        teacher = make_teacher(request, path)
    cut_before = {"supervoxels": SupervoxelOptions(layers=len(layers[0]))} if request.supervoxels and layers else {}
    plan = StudyPlan(
        template_path=path,
        images=paths,
        folder=request.out,
        teacher=teacher,
        preparation=preparation,
        supervoxel_layers=layers,
        template=template,
        average=request.is_average,
        **cut_before,
    )
    study = create_study(plan, max(1, request.workers), progress, request.scheduler)
    if not request.labels:
        return study
    scans = {stem(scan): scan for scan in paths} if request.teach_labels else None
    return count_labels(study, request.labels, names, progress, max(1, request.workers), request.single_rater, scans)


def count_labels(
    study: Study,
    labels: str,
    names: Mapping[int, LabelName],
    progress: Progress = silent,
    jobs: int = 1,
    single_rater: bool = False,
    scans: Mapping[str, Path] | None = None,
) -> Study:
    """The study with the consensus of the labels in a folder, as `make_consensus` finds it; written into it."""
    counted = make_consensus(study, Path(labels), names, study.consensus_grid(), progress, jobs, single_rater, scans)
    save_arrays(study.consensus_path, pack_consensus(counted.consensus))
    study = replace(study, organs=describe_organs(counted.consensus.organs), label_notes=counted.notes)
    save_study(study)
    remove_votes(study)
    return study


def check_warped(request: PrepareRequest) -> None:
    """Raise UserError for options that contradict supervoxels which were warped elsewhere."""
    if not request.supervoxels:
        return
    if request.is_average:
        raise UserError("Warped supervoxels belong to one template scan; give it with --template, without --average.")
    if request.start:
        raise UserError("Both --supervoxels and --from bring supervoxels; give one of them.")
    if request.teacher != "refinement":
        raise UserError(f"Warped supervoxels need no teacher; leave out --teacher {request.teacher} or --supervoxels.")
    if request.shape or request.spacing_mm != PreparationOptions.spacing_mm:
        raise UserError("Warped supervoxels have a frame of their own; leave out --shape and --spacing.")


def check_labels(folder: str, scans: Sequence[Path] = (), single_rater: bool = False) -> None:
    """Raise UserError where a folder of labels is given that holds none, or none of any of the ``scans``, or those of
    one scan only unless a ``single_rater`` is enough: what is certain before the hours of work."""
    files = list_label_files(Path(folder)) if folder else []
    if folder and not files:
        raise UserError(f"There are no label files in {folder}; give the folder of the scans' labels.")
    labelled = [stem(scan) for scan in scans if find_labels_among(files, stem(scan))]
    if files and scans and not labelled:
        raise UserError(f"No file in {folder} has the name of a scan of the cohort; labels are matched by name.")
    if len(labelled) == 1 and not single_rater:
        raise UserError(
            f"{folder} holds labels of one scan only ({labelled[0]}), so that there is nothing to agree on; give those "
            "of more scans, or keep this patient's contours with --single-rater."
        )


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
    paths = _find_scans(list_images(images) if isinstance(images, (str, Path)) else images, origin)
    if not plan.average:
        paths = _without(template_path, paths, origin)
    cut_before = plan.supervoxel_layers
    shape = cut_before[1].shape if cut_before else fit_shape(template, plan.preparation)
    preparation = replace(plan.preparation, shape=shape)
    study = Study(
        folder,
        NAME if plan.average else stem(template_path),
        "" if plan.average else template.fingerprint(),
        plan.teacher.name,
        preparation,
        plan.supervoxels,
        [],
        start_sha256=template.fingerprint() if plan.average else "",
    )
    check_same_study(study)
    if plan.average and (finished := find_finished_study(folder)):
        if set(paths) != {*finished.scans, *finished.failed}:
            raise UserError(f"{folder} holds the average of other scans; choose another --out, or delete the study.")
        remove_rounds(finished)
        return finished
    names = [study.scan_path(name).relative_to(folder).as_posix() for name in paths if is_valid_name(name)]
    check_output(
        folder,
        folder=True,
        names=[*OWN_FILES, *names],
        inputs=[template_path, *paths.values(), *([images] if isinstance(images, (str, Path)) else [])],
    )
    new = not folder.exists()
    made = make_folder(folder / "scans")
    try:
        return _fill_study(study, plan, template, paths, origin, jobs, scheduler, progress)
    except UserError:
        if new and not any(folder.rglob("scans/*.npz")):  # nothing that could be resumed
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

    def teach(study: Study, prepared: PreparedScan, teacher: Teacher, progress: Progress) -> Study:
        return teach_cohort(study, paths, prepared, teacher, jobs, scheduler, progress, origin)

    cut_before = plan.supervoxel_layers
    save_study(study)
    prepared = prepare_scan(template, study.preparation, cut_before[1] if cut_before else None, plan.template_path)
    if plan.average:
        study = average_cohort(study, paths, prepared, teach, progress)
        prepared = study.template()
    if not (study.folder / "supervoxels.npz").exists():
        if not plan.average:
            save_arrays(study.folder / "template.npz", pack_scan(prepared))
        layers = (
            cut_before[0]
            if cut_before
            else cut(prepared.hu, prepared.grid, plan.supervoxels, lambda share: progress(SUPERVOXELS, share, ""))
        )
        save_arrays(study.folder / "supervoxels.npz", {"layers": layers})
    if not plan.average:
        study = teach(study, prepared, plan.teacher, progress)
    save_study(study)
    remove_rounds(study)
    return study


def _find_scans(images: Sequence[Path], origin: str) -> dict[str, Path]:
    """Name -> file of the scans. Raises UserError if there are none or two have the same name."""
    paths: dict[str, Path] = {}
    for path in map(Path, images):
        other = paths.setdefault(stem(path), path)
        if other != path:
            raise UserError(f"{other} and {path} are both called {stem(path)}; give each scan a name of its own.")
    if not paths:
        raise UserError(f"There is no scan in {origin}; add the cohort's scans.")
    return paths


def _without(template_path: Path, paths: dict[str, Path], origin: str) -> dict[str, Path]:
    """The scans except the template. Raises UserError if there is no other."""
    cohort = {name: path for name, path in paths.items() if not is_same_scan(path, template_path)}
    if not cohort:
        raise UserError(f"There is no scan besides the template in {origin}; add the cohort's scans.")
    return cohort
