"""From a folder of scans to a model, in one job folder: check, teacher, training, report.

    job.json          the configuration (`options`)
    .lock, owner.json which process works here (`lock`)
    state.json        how far it is (`status`)
    job.log           what happened (`recorder`)
    cohort.json       the check of the scans (`cohort.check`); cohort_unusual.png
    study/            the prepared scans and the teacher's fields (`teaching.study`)
    NAME.checkpoint, NAME_curve.csv, NAME_curve.png, validation.png
    NAME.slicreg      the model
    report.html       how good the model is, and how it was made (`report`)

Every file except the log is written completely or not at all, so that a run can be resumed however it ended.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from ..cohort.check import check_cohort, load_cohort, save_cohort
from ..cohort.facts import Cohort
from ..cohort.listing import list_cohort
from ..errors import UserError
from ..images.dicom_series import choose_series, is_same_scan
from ..images.files import MODEL_SUFFIX, atomic, check_output, is_valid_name, make_folder, stem
from ..images.volumes import Volume, load_labels, load_scan
from ..network.devices import choose_device
from ..progress import Progress
from ..registration.model import load_model
from ..results.labels import Labels, find_own_template
from ..stages import AVERAGE, LEARN, LEARN_AVERAGE, REPORT, TEACHER, TRAINING, WARNING
from ..teaching.create import check_labels, prepare_study
from ..teaching.groupwise import MOST_ROUNDS
from ..teaching.options import PrepareRequest
from ..teaching.start_scan import choose_start
from ..teaching.study import Study, find_finished_study
from ..training.loop import split
from ..training.options import ScheduleOptions, TrainRequest
from ..training.train import train_model
from .check import estimate_training_cost
from .options import JobOptions
from .recorder import Recorder
from .report.collect import FinishedTraining, collect_report
from .report.page import write_report
from .snapshot import ValidationSnapshot


def learn(folder: Path, options: JobOptions, recorder: Recorder) -> Path:
    """Run the job or the rest of it; returns the model's path. Only for the folder's owner (`claim_folder`)."""
    model = folder / f"{options.name}{MODEL_SUFFIX}"
    device, _ = choose_device(options.device)
    paths = list_cohort(Path(options.images), options.series)
    options = settle_template(folder, options, paths, recorder)
    template = load_scan(options.template)
    # problems with the labels are reported now, not after the training
    template_labels: Labels | None = load_labels(options.template_label, template) if options.template_label else None
    if options.average and options.labels:
        check_labels(options.labels, paths, options.single_rater)
    scans = [stem(path) for path in paths]
    check_output(folder, folder=True, names=[f"study/scans/{name}.npz" for name in scans if is_valid_name(name)])
    cohort = check_scans(folder, options, template, recorder)
    study = teach_scans(folder, options, template, cohort, recorder)
    held_out = split(study.scans, options.training().validation_scans)[1]
    snapshot = ValidationSnapshot(folder, study, (held_out or study.scans)[0], device, recorder)
    history = train_model(make_train_request(study, model, options), recorder, snapshot)
    finished = load_model(model)
    if options.average:
        template, template_labels = find_own_template(finished, model)
    if options.models:
        copy_model(model, Path(options.models))
    training = FinishedTraining(
        folder=folder,
        options=options,
        cohort=cohort,
        study=study,
        held_out=held_out,
        model=finished,
        history=history,
        template=template,
        template_labels=template_labels,
    )
    write_report(folder / "report.html", collect_report(training, recorder))
    recorder(REPORT, 1.0, "")
    return model


def settle_template(folder: Path, options: JobOptions, paths: Sequence[Path], recorder: Recorder) -> JobOptions:
    """The options with a template: the one that is given, or the scan with which the cohort's average begins, the same
    one when the job is resumed."""
    begin = Path(options.template)
    if not options.template:
        checked = (folder / "cohort.json").is_file()
        begin = Path(load_cohort(folder).template.path) if checked else choose_start(paths, options.workers, recorder)
    template = choose_series(begin, options.template_series)
    return replace(options, template=str(template), template_series="", average=options.is_average)


def check_scans(folder: Path, options: JobOptions, template: Volume, recorder: Recorder) -> Cohort:
    """Check the cohort, once per job, and estimate the remaining time. Raises UserError if no scan is usable."""
    if (folder / "cohort.json").is_file():
        cohort = load_cohort(folder)
    else:
        workers = max(1, options.workers)
        cohort = check_cohort(Path(options.template), Path(options.images), workers, recorder, template, options.series)
        save_cohort(folder, cohort)
    if not cohort.usable:
        raise UserError(f"{options.images} contains no usable scan; see the reasons in {folder / 'cohort.json'}.")
    rounds = MOST_ROUNDS if options.average else 1
    cost = estimate_training_cost(
        cohort, template, options, options, options.workers, options.device, options.teacher, rounds
    )
    hours = {AVERAGE if options.average else TEACHER: cost.teacher_hours, TRAINING: cost.training_hours}
    stages = LEARN_AVERAGE if options.average else LEARN
    recorder.expect({**stages, **{stage: max(1.0, 3600 * value) for stage, value in hours.items()}})
    recorder.log(f"{len(cohort.usable)} of {len(cohort.scans)} scans; {cost}")
    return cohort


def teach_scans(folder: Path, options: JobOptions, template: Volume, cohort: Cohort, progress: Progress) -> Study:
    """Make the study: supervoxels, prepared scans, the teacher's fields without the implausible ones.

    A finished study is left as it is, even if scans failed: a training that has started must not get other scans.
    """
    study = find_finished_study(folder / "study")
    if study and (study.organs or not (options.average and options.labels)):
        return study
    request = PrepareRequest(
        template=Path(options.template),
        average=options.average,
        labels=options.labels if options.average else "",
        label_names=options.label_names if options.average else "",
        single_rater=options.single_rater,
        teach_labels=options.average and options.teach_labels,
        images=Path(options.images),
        out=folder / "study",
        start="" if options.average else options.start,
        spacing_mm=options.spacing_mm,
        shape=options.shape,
        teacher=options.teacher,
        affine_first=options.affine_first,
        deeds_dir=options.deeds_dir,
        workers=options.workers,
        scheduler=options.scheduler,
    )
    study = prepare_study(request, progress, template, find_taught(options, cohort))
    for note in study.label_notes:
        progress(WARNING, 1.0, note)
    return study


def find_taught(options: JobOptions, cohort: Cohort) -> list[Path]:
    """The scans of the study: the usable ones, and where an average is made the one with which it begins, if it is one
    of the cohort. (The check lists it apart, since it compares the others with it.)"""
    usable = set(cohort.usable)
    paths = [Path(scan.path) for scan in cohort.scans if scan.name in usable]
    if options.average:
        listed = list_cohort(Path(options.images), options.series)
        paths += [path for path in listed if is_same_scan(path, Path(options.template))][:1]
    return paths


def make_train_request(study: Study, model: Path, options: JobOptions) -> TrainRequest:
    """The job's training; resumed if there is a checkpoint."""
    return TrainRequest(
        study=study.folder,
        out=model,
        start=options.start,
        resume=model.with_suffix(".checkpoint").is_file(),
        cohort=options.cohort,
        device=options.device,
        **{option.name: getattr(options, option.name) for option in fields(ScheduleOptions)},
    )


def copy_model(model: Path, folder: Path) -> None:
    """Copy the finished model to the user's other models. A different model with the same name is kept."""
    make_folder(folder)
    path, number = folder / model.name, 2
    while path.exists() and path.read_bytes() != model.read_bytes():
        path, number = folder / f"{stem(model.stem)}-{number}{MODEL_SUFFIX}", number + 1
    with atomic(path) as part:
        shutil.copyfile(model, part)
