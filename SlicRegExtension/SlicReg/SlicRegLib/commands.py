"""What the command line does, one function per command, on paths."""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from . import __version__
from .alignment import describe_key_points
from .bundle import Bundle, load_bundle, save_bundle
from .cohort import Cohort, Estimate, check_cohort, estimate, list_cohort, save_cohort, summary
from .deeds import DeedsTeacher
from .devices import choose_device, peak_memory_mb
from .errors import UserError
from .evaluation import compare, evaluate
from .files import MODEL_SUFFIX, atomic
from .networks import PRESETS, SupervoxelNet
from .overlays import overlays
from .prediction import describe
from .preparation import PreparationOptions, fit_shape
from .progress import Progress
from .ranks import ranks
from .registration import RegistrationOptions, register
from .report import overview
from .study import Study, create_study, open_study
from .supervision import ConvexAdamTeacher, Teacher
from .training import History, TrainingOptions, train
from .volumes import load_labels, load_scan, save_transform, save_volume


def run_prepare(template: Path, images: Path | list[Path], out: Path, teacher: str, deeds_dir: Path | None, affine_first: bool, jobs: int,
                preparation: PreparationOptions, progress: Progress, scheduler: str = "", start: Path | None = None) -> Study:
    """`slicreg prepare`: template, cohort and teacher to a study folder.

    scheduler: address of a Dask cluster for the teacher. start: a model of the same template; its frame and supervoxels are
    used again, so that a training can begin with its weights.
    """
    given = None
    if start:
        begun = load_bundle(start)
        if load_scan(template).fingerprint() != begun.template_sha256:
            raise UserError(f"{start} was trained with another template than {template}; training cannot begin with it.")
        preparation, given = begun.preparation, (begun.layers, begun.template_grid)
    return create_study(template, list_cohort(images) if isinstance(images, Path) else images, out,
                        make_teacher(teacher, template, deeds_dir, affine_first), jobs, preparation, progress=progress,
                        scheduler=scheduler, given=given)


def run_check(template: Path, images: Path, preset: str, options: TrainingOptions, device: str, jobs: int,
              preparation: PreparationOptions, out: Path | None, progress: Progress) -> str:
    """`slicreg check`: what is unusual in a cohort and what training on it will cost, as text; more in the folder ``out``."""
    processor, _ = choose_device(device)
    cohort = check_cohort(template, images, jobs, progress)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        save_cohort(out, cohort)
    return f"{summary(cohort)}\nIt will take {expected(cohort, template, preset, options, processor, jobs, preparation)}."


def expected(cohort: Cohort, template: Path, preset: str, options: TrainingOptions, device: torch.device, jobs: int,
             preparation: PreparationOptions) -> Estimate:
    """What training on ``cohort`` will cost."""
    voxels = int(np.prod(fit_shape(load_scan(template), preparation)))
    return estimate(cohort, voxels, preset, options.iterations, options.batch, jobs, device.type == "cuda")


def make_teacher(name: str, template: Path, deeds_dir: Path | None = None, affine_first: bool = False) -> Teacher:
    if name == "deeds":
        if deeds_dir is None:
            raise UserError("The deeds teacher needs --deeds-dir, the folder of its programs or results.")
        return DeedsTeacher(Path(deeds_dir).absolute(), Path(template).absolute())  # workers of a cluster stand elsewhere
    if importlib.util.find_spec("convexAdam") is None:
        raise UserError("The teacher convexAdam is not installed; run `pip install convexAdam` or use --teacher deeds.")
    return ConvexAdamTeacher(affine_first=affine_first)


def run_train(study: Path, out: Path, preset: str, options: TrainingOptions, device: str, resume: bool, cohort: str,
              progress: Progress, template: Path | None = None, template_labels: Path | None = None, start: Path | None = None,
              watch: Callable[[SupervoxelNet], None] = lambda net: None) -> History:
    """`slicreg train`: a study to a bundle ``out``; the learning curve and the checkpoint stand beside it.

    start: a model of the same template and supervoxels whose weights the training begins with.
    template, template_labels: put into the bundle; only for data that may be shared.
    watch: called with the network after each validation. Under ``torchrun`` all processes train and the first one writes.
    """
    if out.suffix != MODEL_SUFFIX:
        raise UserError(f"A model's name ends in {MODEL_SUFFIX}, unlike {out.name}.")
    processor, _ = choose_device(device)
    content = open_study(study)
    scan = load_scan(template) if template else None
    if scan is not None and scan.fingerprint() != content.template_sha256:
        raise UserError(f"{template} is not the template of the study {study}.")
    if template_labels and not template:
        raise UserError("The template's labels can be included only together with the template.")
    scan_labels = load_labels(template_labels, scan) if template_labels else None
    begun = load_bundle(start) if start else None
    if begun and (begun.net.options != PRESETS[preset] or not np.array_equal(begun.layers, content.layers())):
        raise UserError(f"{start} has another network or other supervoxels than {preset} on {study}; training cannot begin with it.")
    beside = out.with_suffix("")
    if resume and not Path(f"{beside}.checkpoint").is_file():
        raise UserError(f"There is no checkpoint {beside}.checkpoint to resume from; start without --resume.")
    out.parent.mkdir(parents=True, exist_ok=True)
    def watched(net: SupervoxelNet, history: History) -> None:
        history.save_table(Path(f"{beside}_curve.csv"))
        watch(net)

    with ranks(processor) as (own, processor):
        net, history = train(content, PRESETS[preset], options, Path(f"{beside}.checkpoint"), processor, resume, progress,
                             begun.net if begun else None, watched, own)
    if not own.first:
        return history
    history.save(Path(f"{beside}_curve"))
    provenance = {
        "cohort": cohort or f"{len(content.scans)} scans", "template": content.template_name, "teacher": content.teacher,
        "preset": preset, "begun_with": begun.provenance if begun else None, "training": asdict(options), "seconds": history.rows[-1][1], "device": str(processor),
        "validation": dict(zip(History.COLUMNS, history.rows[-1])),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "SlicReg": __version__},
    }
    fixed = content.template()
    key_points = describe_key_points(describe(net.cpu(), fixed), fixed.body, fixed.grid)
    save_bundle(out, Bundle(net, content.preparation, content.layers(), fixed.grid, content.template_sha256, provenance,
                            key_points, scan, scan_labels))
    return history


def run_register(model: Path, template: Path, target: Path, out: Path, template_label: Path | None, target_label: Path | None,
                 device: str, options: RegistrationOptions, progress: Progress, with_overlays: bool = False) -> dict:
    """`slicreg register`: writes transforms, images, report and picture into the folder ``out``, all or none.

    with_overlays: also the confidence and the predicted supervoxels of both scans.
    """
    processor, why = choose_device(device)
    bundle = load_bundle(model)
    fixed, moving = load_scan(template), load_scan(target)
    fixed_labels = load_labels(template_label, fixed) if template_label else None
    moving_labels = load_labels(target_label, moving) if target_label else None
    for processor, options, why in _attempts(processor, options, why):
        progress("device", 1.0, why)
        try:
            result = register(bundle, fixed, moving, options, processor, progress)
            shown = overlays(bundle, result, processor) if with_overlays else None
            break
        except torch.cuda.OutOfMemoryError:
            if processor.type == "cpu":
                raise
        torch.cuda.empty_cache()
    progress("writing", 0.0, "inverse field")
    with all_or_nothing(out) as folder:
        save_transform(folder / "transform.h5", result.field)
        save_transform(folder / "transform_inverse.h5", result.inverse)
        progress("writing", 0.4, "images")
        save_volume(folder / "warped_target.nii.gz", result.warped_target())
        if fixed_labels:
            save_volume(folder / "warped_labels.nii.gz", result.labels_on_target(fixed_labels))
        report = {"template": str(template), "target": str(target), "model": str(model), "device": str(processor),
                  "device_reason": why, "own_template": result.own_template,
                  "seconds": {**{k: round(v, 3) for k, v in result.seconds.items()}, "total": round(sum(result.seconds.values()), 3)},
                  "folding_percent": result.folding_percent()}
        if fixed_labels and moving_labels:
            report |= compare(result, fixed_labels, moving_labels)
        report["peak_memory_mb"] = peak_memory_mb(processor)
        (folder / "report.json").write_text(json.dumps(report, indent=1))
        if shown:
            save_volume(folder / "confidence.nii.gz", shown.confidence)
            save_volume(folder / "supervoxels_template.nii.gz", shown.template_supervoxels)
            save_volume(folder / "supervoxels_target.nii.gz", shown.target_supervoxels)
        progress("writing", 0.8, "picture")
        overview(folder / "overview.png", result, fixed_labels, moving_labels)
    progress("writing", 1.0, "")
    return report


def _attempts(device: torch.device, options: RegistrationOptions, why: str) -> list[tuple[torch.device, RegistrationOptions, str]]:
    """Where to register: as chosen; if the GPU's memory runs out there in smaller pieces; then on the CPU."""
    if device.type == "cpu":
        return [(device, options, why)]
    smaller = replace(options, prediction=replace(options.prediction, chunk=options.prediction.chunk // 8))
    return [(device, options, why), (device, smaller, f"{why}, in smaller pieces since its memory ran out"),
            (torch.device("cpu"), options, f"CPU, since the memory of the GPU ran out ({why})")]


def run_evaluate(model: Path, template: Path, template_label: Path, images: Path, labels: Path, out: Path, device: str,
                 options: RegistrationOptions, progress: Progress) -> dict:
    """`slicreg evaluate`: a labelled cohort to a JSON file of Dice, HD95, folding and seconds."""
    processor, _ = choose_device(device)
    bundle = load_bundle(model)
    scan = load_scan(template)
    if not out.parent.is_dir():
        raise UserError(f"The folder of {out} does not exist.")
    results = evaluate(bundle, scan, load_labels(template_label, scan), images, labels, options, processor, progress)
    with atomic(out) as part:
        part.write_text(json.dumps(results, indent=1))
    return results


RESULT_FILES = ("transform.h5", "transform_inverse.h5", "warped_target.nii.gz", "warped_labels.nii.gz", "report.json", "overview.png",
                "confidence.nii.gz", "supervoxels_template.nii.gz", "supervoxels_target.nii.gz")


@contextmanager
def all_or_nothing(out: Path):
    """Yields a hidden folder inside ``out`` whose files move into ``out`` only if the block succeeds."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for the results.")
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".slicreg-", dir=out))
    except OSError as error:
        raise UserError(f"The folder {out} cannot be written ({error.strerror}).") from error
    try:
        yield part
        for name in RESULT_FILES:  # none of an earlier run into the same folder may stay beside the new ones
            (out / name).unlink(missing_ok=True)
        for file in part.iterdir():
            file.replace(out / file.name)
        made = False
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if made:
            out.rmdir()
