"""Registration of a labelled cohort, measured by Dice, HD95 and folding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..geometry.resampling import resample_labels
from ..images.files import IMAGE_SUFFIXES, list_images, stem, write_json
from ..images.volumes import Volume, load_labels, load_scan
from ..network.devices import choose_device
from ..progress import Progress, silent
from ..registration.model import load_model
from ..registration.register import register
from ..registration.result import Registration
from ..registration.verdict import Verdict, judge
from .metrics import compare_labels
from .options import EvaluateRequest
from .verdict_text import count_verdicts


def evaluate_files(request: EvaluateRequest, progress: Progress = silent) -> dict[str, Any]:
    """`slicreg evaluate`: the results of `evaluate` for a model, also written to ``request.out`` as JSON."""
    device, _ = choose_device(request.device)
    model = load_model(request.model)
    template = load_scan(request.template)
    template_labels = load_labels(request.template_label, template)
    if not request.out.parent.is_dir():
        raise UserError(f"The folder of {request.out} does not exist; create it first.")

    def register_target(target: Volume) -> Registration:
        return register(model, template, target, request.registration, device)

    def judge_result(result: Registration) -> Verdict:
        return judge(model, result, device)

    results = evaluate(register_target, template_labels, request.images, request.labels, progress, judge_result)
    results = {"own_template": template.fingerprint() == model.template_sha256, **results}
    write_json(request.out, results)
    return results


def evaluate(
    register_target: Callable[[Volume], Registration],
    template_labels: Volume,
    images: Path,
    labels: Path,
    progress: Progress = silent,
    judge_result: Callable[[Registration], Verdict] | None = None,
) -> dict[str, Any]:
    """Register every scan of the folder ``images`` that has labels of the same name in ``labels``, and measure.

    register_target: any function that registers a target to the template. judge_result: gives its verdict, if there is
    one. Returns "cases" (name: result of `compare`, seconds, verdict), "mean" of all cases, "verdicts" (word: number of
    cases), "failed" (name: reason; a case that fails does not stop the others) and "without_labels" (names). Raises
    UserError where no case could be evaluated.
    """
    scans = {stem(p): p for p in list_images(images)}
    labelled = {name: path for name in scans if (path := find_labels(labels, name))}
    if not labelled:
        raise UserError(f"No file of {labels} has the name of a scan in {images}; labels are matched to scans by name.")
    cases: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for index, (name, path) in enumerate(labelled.items()):
        progress("evaluation", index / len(labelled), name)
        try:
            target = load_scan(scans[name])
            target_labels = load_labels(path, target)
            result = register_target(target)
            seconds = round(sum(result.seconds.values()), 3)
            case = compare(result, template_labels, target_labels) | {"seconds": seconds}
            if judge_result:
                case["verdict"] = asdict(judge_result(result))
            cases[name] = case
        except UserError as error:
            failed[name] = str(error)
    progress("evaluation", 1.0, f"{len(cases)} cases")
    if not cases:
        raise UserError(f"No case could be evaluated; the first reason: {next(iter(failed.values()))}")
    return {
        "cases": cases,
        "mean": _means(cases),
        "verdicts": count_verdicts(case["verdict"]["word"] for case in cases.values() if "verdict" in case),
        "failed": failed,
        "without_labels": sorted(set(scans) - set(labelled)),
    }


def compare(result: Registration, template_labels: Volume, target_labels: Volume) -> dict[str, Any]:
    """Dice and HD95 "before" (both scans in world coordinates) and "after" registration, on the template's own grid.

    The target's labels are resampled once (one-hot, linear, arg max). Labels that only one side has are not measured;
    "left_out" lists them. Raises UserError where no label is common to both.
    """
    grid = template_labels.grid
    on_template, on_target = (set(np.unique(labels.data)) - {0} for labels in (template_labels, target_labels))
    values = sorted(int(v) for v in on_template & on_target)
    if not values:
        raise UserError(
            "The template's and the target's labels have no value in common; use the same numbers for both."
        )
    before = resample_labels(target_labels.data, target_labels.grid, grid)
    after = result.labels_on_template(target_labels).data
    return {
        "before": compare_labels(template_labels.data, before, grid, values),
        "after": compare_labels(template_labels.data, after, grid, values)
        | {"folding_percent": result.folding_percent},
        "left_out": sorted(int(v) for v in on_template ^ on_target),
    }


def find_labels(folder: Path, name: str) -> Path | None:
    """The label file of the scan called ``name``: the file of that name in ``folder``, with any image suffix."""
    return next((p for s in IMAGE_SUFFIXES if (p := Path(folder) / f"{name}{s}").is_file()), None)


def _means(cases: dict[str, dict[str, Any]]) -> dict[str, Any]:
    def mean(*keys: str) -> float | None:
        values = []
        for case in cases.values():
            value: Any = case
            for key in keys:
                value = value.get(key) if value is not None else None
            values.append(value)
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
