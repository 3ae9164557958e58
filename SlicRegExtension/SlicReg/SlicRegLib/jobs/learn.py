"""From a folder of scans to a model, in one job folder: check, teacher, training, report. See `jobfolder` for the files."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch

from ..cli.commands import expected
from ..cohort.check import Cohort, check_cohort, load_cohort, save_cohort
from ..errors import UserError
from ..images.files import MODEL_SUFFIX, atomic, stem
from ..images.options import PreparationOptions
from ..images.volumes import Volume, load_labels, load_scan
from ..network.devices import choose_device, peak_memory_mb
from ..network.networks import SupervoxelNet
from ..progress import Progress
from ..registration.model import Model, load_model
from ..registration.register import register
from ..registration.result import Registration
from ..results.evaluate import compare, labels_of
from ..results.overview import draw_overview
from ..teaching.create import run_prepare
from ..teaching.study import Study, open_study
from ..training.history import History
from ..training.loop import split
from ..training.options import TrainingOptions, training_preset
from ..training.train import run_train
from .options import JobOptions
from .recorder import STAGES, Recorder
from .report.report import ReportContent, hardware, write_report

SHOWN = 4  # held-out scans in the report


def learn(folder: Path, options: JobOptions, recorder: Recorder) -> Path:
    """Run the job, or what is left of it; returns the model's path. Only for the folder's owner (`jobfolder.claimed`)."""
    model = folder / f"{options.name}{MODEL_SUFFIX}"
    device, _ = choose_device(options.device)
    template_labels = labels_of_template(options)  # what is wrong with them is said now, not after the training
    cohort = check_scans(folder, options, device, recorder)
    study = teach_scans(folder, options, cohort, recorder)
    history = run_train(
        study.folder,
        model,
        options.preset,
        training_of(options),
        options.device,
        model.with_suffix(".checkpoint").is_file(),
        options.cohort,
        recorder,
        start=Path(options.start) if options.start else None,
        watch=ValidationSnapshot(folder, study, options, device, recorder),
    )
    if options.models:
        copy_model(model, Path(options.models))
    write_report(
        folder / "report.html",
        collect_report(folder, options, cohort, study, load_model(model), history, template_labels, recorder),
    )
    recorder("report", 1.0, "")
    return model


def training_of(options: JobOptions) -> TrainingOptions:
    given = {
        name: value
        for name in ("iterations", "batch", "learning_rate")
        if (value := getattr(options, name)) is not None
    }
    return training_preset(options.preset, seed=options.seed, **given)


def preparation_of(options: JobOptions) -> PreparationOptions:
    return PreparationOptions(spacing_mm=options.spacing_mm, shape=tuple(options.shape) if options.shape else None)


def held_out(study: Study, options: JobOptions) -> list[str]:
    return split(study.scans, training_of(options).validation_scans)[1]


def check_scans(folder: Path, options: JobOptions, device: torch.device, recorder: Recorder) -> Cohort:
    """The cohort's check, made once; the job's log and its estimate of time get what it found."""
    if (folder / "cohort.json").is_file():
        cohort = load_cohort(folder)
    else:
        cohort = check_cohort(Path(options.template), Path(options.images), options.workers, recorder)
        save_cohort(folder, cohort)
    if not cohort.usable:
        raise UserError(f"{options.images} holds no scan that can be used; {folder / 'cohort.json'} says why.")
    cost = expected(
        cohort,
        Path(options.template),
        options.preset,
        training_of(options),
        device,
        options.workers,
        preparation_of(options),
    )
    recorder.expect(
        {**STAGES, "teacher": max(1.0, 3600 * cost.teacher_hours), "training": max(1.0, 3600 * cost.training_hours)}
    )
    recorder.log(f"{len(cohort.usable)} of {len(cohort.scans)} scans; {cost}")
    return cohort


def teach_scans(folder: Path, options: JobOptions, cohort: Cohort, progress: Progress) -> Study:
    """The study: template in supervoxels, scans prepared, fields of the teacher, implausible ones left out. A finished one stays
    as it is, whatever failed in it: a training that has begun must not see other scans."""
    if (study := finished_study(folder / "study")) is not None:
        return study
    usable = set(cohort.usable)
    paths = [Path(scan.path) for scan in cohort.scans if scan.name in usable]
    return run_prepare(
        Path(options.template),
        paths,
        folder / "study",
        options.teacher,
        Path(options.deeds_dir) if options.deeds_dir else None,
        options.affine_first,
        options.workers,
        preparation_of(options),
        progress,
        options.scheduler,
        Path(options.start) if options.start else None,
    )


def finished_study(folder: Path) -> Study | None:
    try:
        return open_study(folder)
    except UserError:
        return None


class ValidationSnapshot:
    """After each validation: the first held-out scan registered with the network as it is, as a picture."""

    def __init__(self, folder: Path, study: Study, options: JobOptions, device: torch.device, recorder: Recorder):
        self.folder, self.study, self.device, self.recorder = folder, study, device, recorder
        self.name = (held_out(study, options) or study.scans)[0]

    def __call__(self, net: SupervoxelNet) -> None:
        training = net.training
        template, (scan, _) = self.study.template(), self.study.scan(self.name)
        bundle = Model(net.eval(), self.study.preparation, self.study.layers(), template.grid, "")
        try:
            result = register(
                bundle,
                Volume(template.hu.numpy(), template.grid),
                Volume(scan.hu.numpy(), scan.grid),
                device=self.device,
            )
            draw_overview(self.folder / "validation.png", result)
        except Exception as error:
            self.recorder.log(f"no picture of the validation: {type(error).__name__}: {error}")
        finally:
            net.train(training)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def collect_report(
    folder: Path,
    options: JobOptions,
    cohort: Cohort,
    study: Study,
    bundle: Model,
    history: History,
    template_labels: Volume | None,
    recorder: Recorder,
) -> ReportContent:
    """What the report says; the held-out scans are registered to the template as a user would. What cannot be measured is
    missing in it, and named in the log."""
    recorder("report", 0.0, "registering the held-out scans")
    held = held_out(study, options)
    shown = held[:SHOWN] or study.scans[:1]
    template, paths = load_scan(Path(options.template)), {scan.name: Path(scan.path) for scan in cohort.scans}
    device, _ = choose_device(options.device)
    overlays, dice = [], {}
    for index, name in enumerate(shown):
        try:
            target = load_scan(paths[name])
            result = register(bundle, template, target, device=device)
            overlays.append((name, _picture(result)))
            found = labels_of(Path(options.labels), name) if template_labels else None
            if found:
                dice[name] = compare(result, template_labels, load_labels(found, target))
        except UserError as error:
            recorder.log(f"{name} is not measured in the report: {error}")
        recorder("report", (index + 1) / (len(shown) + 1), f"held-out scan {index + 1} of {len(shown)}")
    picture = folder / "cohort_unusual.png"
    left_out = {
        s.name: s.problem or f"the same voxels as {s.same_as}" for s in cohort.scans if s.problem or s.same_as
    } | study.failed
    return ReportContent(
        name=options.name,
        finished=time.strftime("%Y-%m-%d %H:%M"),
        trained=[name for name in study.scans if name not in held],
        held_out=held,
        left_out=left_out,
        classes=bundle.net.options.classes,
        curve=history.rows,
        template=asdict(cohort.template),
        cohort=[asdict(scan) for scan in cohort.scans],
        unusual_picture=picture.read_bytes() if picture.is_file() else b"",
        teacher=study.quality,
        overlays=overlays,
        dice=dice,
        configuration=asdict(options),
        hardware=hardware(),
        seconds=recorder.seconds,
        waiting_share=history.waiting_share,
        peak_memory_mb=peak_memory_mb(device),
        versions=bundle.provenance["versions"],
        provenance=bundle.provenance,
    )


def labels_of_template(options: JobOptions) -> Volume | None:
    return (
        load_labels(Path(options.template_label), load_scan(Path(options.template))) if options.template_label else None
    )


def _picture(result: Registration) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        draw_overview(Path(scratch) / "overlay.png", result)
        return (Path(scratch) / "overlay.png").read_bytes()


def copy_model(model: Path, folder: Path) -> None:
    """The finished model among the user's other models; one of the same name that is another stays beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path, number = folder / model.name, 2
    while path.exists() and path.read_bytes() != model.read_bytes():
        path, number = folder / f"{stem(model.stem)}-{number}{MODEL_SUFFIX}", number + 1
    with atomic(path) as part:
        shutil.copyfile(model, part)
