"""Registration of a labelled cohort, and the figures of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..errors import UserError
from ..geometry.resampling import resample_labels
from ..images.files import IMAGE_SUFFIXES, list_images, stem
from ..images.volumes import Volume, load_labels, load_scan
from ..progress import Progress, silent
from ..registration.model import Model
from ..registration.options import RegistrationOptions
from ..registration.register import register
from ..registration.result import Registration
from .metrics import compare_labels


def compare(result: Registration, template_labels: Volume, target_labels: Volume) -> dict:
    """Dice and HD95 before (the scans as they lie in the world) and after, on the template's own grid.

    The target's labels are carried there once (one-hot, linear, arg max). Labels that are missing on either
    side are left out and named under "left_out".
    """
    grid = template_labels.grid
    wanted = set(np.unique(template_labels.data)) - {0}
    present = set(np.unique(target_labels.data)) - {0}
    values = sorted(int(v) for v in wanted & present)
    if not values:
        raise UserError(
            "The template's and the target's labels have no value in common; check that both use the same numbers."
        )
    before = resample_labels(target_labels.data, target_labels.grid, grid)
    after = result.labels_on_template(target_labels).data
    return {
        "before": compare_labels(template_labels.data, before, grid, values),
        "after": compare_labels(template_labels.data, after, grid, values)
        | {"folding_percent": result.folding_percent()},
        "left_out": sorted(int(v) for v in wanted ^ present),
    }


def evaluate(
    bundle: Model,
    template: Volume,
    template_labels: Volume,
    images: Path,
    labels: Path,
    options: RegistrationOptions = RegistrationOptions(),
    device: torch.device = torch.device("cpu"),
    progress: Progress = silent,
) -> dict:
    """Register every scan of ``images`` that has labels of the same name; {"cases": {name: ...}, "mean": {...}}.

    A case that fails is listed under "failed" with its reason and does not stop the others.
    """
    scans = {stem(p): p for p in list_images(images)}
    found = {name: path for name in scans if (path := labels_of(Path(labels), name))}
    if not found:
        raise UserError(f"No file of {labels} has the name of a scan in {images}; labels are matched to scans by name.")
    cases, failed = {}, {}
    for index, (name, path) in enumerate(found.items()):
        progress("evaluation", index / len(found), name)
        try:
            target = load_scan(scans[name])
            target_labels = load_labels(path, target)
            result = register(bundle, template, target, options, device)
            cases[name] = compare(result, template_labels, target_labels) | {
                "seconds": round(sum(result.seconds.values()), 3)
            }
        except UserError as error:
            failed[name] = str(error)
    progress("evaluation", 1.0, f"{len(cases)} cases")
    if not cases:
        raise UserError(f"No case could be evaluated; the first reason: {next(iter(failed.values()))}")
    return {
        "own_template": template.fingerprint() == bundle.template_sha256,
        "cases": cases,
        "mean": _means(cases),
        "failed": failed,
        "without_labels": sorted(set(scans) - set(found)),
    }


def labels_of(folder: Path, name: str) -> Path | None:
    return next((p for s in IMAGE_SUFFIXES if (p := folder / f"{name}{s}").is_file()), None)


def _means(cases: dict) -> dict:
    def mean(*keys):
        values = []
        for case in cases.values():
            for key in keys:
                case = case.get(key) if case is not None else None
            values.append(case)
        values = [v for v in values if v is not None]
        return float(np.mean(values)) if values else None

    labels = sorted({label for case in cases.values() for label in case["after"]["dice"]}, key=int)
    return {
        "before_dice": mean("before", "mean_dice"),
        "after_dice": mean("after", "mean_dice"),
        "before_hd95_mm": mean("before", "mean_hd95_mm"),
        "after_hd95_mm": mean("after", "mean_hd95_mm"),
        "folding_percent": mean("after", "folding_percent"),
        "seconds": mean("seconds"),
        "before_dice_per_label": {v: mean("before", "dice", v) for v in labels},
        "after_dice_per_label": {v: mean("after", "dice", v) for v in labels},
        "cases": len(cases),
    }
