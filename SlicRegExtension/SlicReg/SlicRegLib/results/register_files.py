"""From files to files: register a target to a template and write everything a user needs into a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import UserError
from ..images.files import atomic
from ..images.transforms import save_transform
from ..images.volumes import load_labels, load_scan, save_volume
from ..network.devices import choose_device, peak_memory_mb
from ..progress import Progress
from ..registration.confidence import compute_overlays
from ..registration.model import load_model
from ..registration.options import RegistrationOptions
from ..registration.register import register
from .evaluate import compare, evaluate
from .overview import draw_overview


def run_register(
    model: Path,
    template: Path,
    target: Path,
    out: Path,
    template_label: Path | None,
    target_label: Path | None,
    device: str,
    options: RegistrationOptions,
    progress: Progress,
    with_overlays: bool = False,
) -> dict:
    """`slicreg register`: writes transforms, images, report and picture into the folder ``out``, all or none.

    with_overlays: also the confidence and the predicted supervoxels of both scans.
    """
    processor, why = choose_device(device)
    bundle = load_model(model)
    fixed, moving = load_scan(template), load_scan(target)
    fixed_labels = load_labels(template_label, fixed) if template_label else None
    moving_labels = load_labels(target_label, moving) if target_label else None
    for processor, options, why in _attempts(processor, options, why):
        progress("device", 1.0, why)
        try:
            result = register(bundle, fixed, moving, options, processor, progress)
            shown = compute_overlays(bundle, result, processor) if with_overlays else None
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
        report = {
            "template": str(template),
            "target": str(target),
            "model": str(model),
            "device": str(processor),
            "device_reason": why,
            "own_template": result.own_template,
            "seconds": {
                **{k: round(v, 3) for k, v in result.seconds.items()},
                "total": round(sum(result.seconds.values()), 3),
            },
            "folding_percent": result.folding_percent(),
        }
        if fixed_labels and moving_labels:
            report |= compare(result, fixed_labels, moving_labels)
        report["peak_memory_mb"] = peak_memory_mb(processor)
        (folder / "report.json").write_text(json.dumps(report, indent=1))
        if shown:
            save_volume(folder / "confidence.nii.gz", shown.confidence)
            save_volume(folder / "supervoxels_template.nii.gz", shown.template_supervoxels)
            save_volume(folder / "supervoxels_target.nii.gz", shown.target_supervoxels)
        progress("writing", 0.8, "picture")
        draw_overview(folder / "overview.png", result, fixed_labels, moving_labels)
    progress("writing", 1.0, "")
    return report


def _attempts(
    device: torch.device, options: RegistrationOptions, why: str
) -> list[tuple[torch.device, RegistrationOptions, str]]:
    """Where to register: as chosen; if the GPU's memory runs out there in smaller pieces; then on the CPU."""
    if device.type == "cpu":
        return [(device, options, why)]
    smaller = replace(options, prediction=replace(options.prediction, chunk=options.prediction.chunk // 8))
    return [
        (device, options, why),
        (device, smaller, f"{why}, in smaller pieces since its memory ran out"),
        (torch.device("cpu"), options, f"CPU, since the memory of the GPU ran out ({why})"),
    ]


def run_evaluate(
    model: Path,
    template: Path,
    template_label: Path,
    images: Path,
    labels: Path,
    out: Path,
    device: str,
    options: RegistrationOptions,
    progress: Progress,
) -> dict:
    """`slicreg evaluate`: a labelled cohort to a JSON file of Dice, HD95, folding and seconds."""
    processor, _ = choose_device(device)
    bundle = load_model(model)
    scan = load_scan(template)
    if not out.parent.is_dir():
        raise UserError(f"The folder of {out} does not exist.")
    results = evaluate(bundle, scan, load_labels(template_label, scan), images, labels, options, processor, progress)
    with atomic(out) as part:
        part.write_text(json.dumps(results, indent=1))
    return results


RESULT_FILES = (
    "transform.h5",
    "transform_inverse.h5",
    "warped_target.nii.gz",
    "warped_labels.nii.gz",
    "report.json",
    "overview.png",
    "confidence.nii.gz",
    "supervoxels_template.nii.gz",
    "supervoxels_target.nii.gz",
)


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
