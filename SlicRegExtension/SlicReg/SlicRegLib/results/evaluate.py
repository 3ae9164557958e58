"""Registration of a labelled cohort, measured by Dice, HD95 and folding."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cohort.label_files import find_labels, list_label_files
from ..cohort.listing import list_cohort, list_cohort_inputs
from ..errors import UserError
from ..geometry.label_maps import resample_labels
from ..images.files import check_output, stem, write_json
from ..images.volumes import Volume, load_labels, load_scan
from ..network.devices import choose_device
from ..progress import Progress, silent
from ..registration.choose_model import Choice, choose_model
from ..registration.consensus import Consensus
from ..registration.fixed_side import FixedSide
from ..registration.installed_models import list_installed_models
from ..registration.model import Model, load_model
from ..registration.model_header import AUTO
from ..registration.register import register
from ..registration.result import Registration
from ..registration.verdict import Verdict, judge
from ..registration.verdict_text import count_verdicts
from ..workers import run_each
from .labels import Labels, as_label_map, carry_labels, find_labels_of_patient, find_own_template
from .metrics import compare_labels
from .options import EvaluateRequest

Measure = Callable[["LabelledScan"], dict[str, Any]]
"""Registers and measures one case."""


@dataclass(frozen=True)
class LabelledScan:
    """A case of an evaluation."""

    name: str
    scan: Path
    labels: Path


def evaluate_files(request: EvaluateRequest, progress: Progress = silent) -> dict[str, Any]:
    """`slicreg evaluate`: the results of `evaluate` for a model, also written to ``request.out`` as JSON.

    The file is written after each case, with "complete" false until the last one: no finished case is lost, however the
    evaluation ends. The cases run in a process of their own, so that one for which memory does not suffice is listed.
    """
    given = [request.model, request.template, request.template_label, *list_label_files(request.labels)]
    inputs = [path for path in given if path]
    inputs += list_cohort_inputs(request.images, request.series)
    check_output(request.out, inputs=inputs, make_parents=False)
    request, choice = _settle_model(request, progress)
    model, template, template_labels, _ = _load(request)  # what is wrong with them is told before the work
    own_template = model.is_own(template)
    about_template = {
        "model": str(request.model),
        **(choice.report() if choice else {}),
        "own_template": own_template,
        "notes": [*template.notes, *getattr(template_labels, "notes", ())],
    }
    del model, template, template_labels

    def save(results: dict[str, Any]) -> None:
        with suppress(OSError):  # tried again after the next case
            write_json(request.out, {**about_template, "complete": False, **results})

    measure = partial(_measure_for_files, request, uuid.uuid4().hex)
    results = _evaluate_each(measure, request.images, request.labels, progress, save, True, request.series)
    results = {**about_template, "complete": True, **results}
    write_json(request.out, results)
    return results


def _settle_model(request: EvaluateRequest, progress: Progress) -> tuple[EvaluateRequest, Choice | None]:
    """The request with the model that knows the template and the first readable scan best, if one is to be chosen."""
    if request.model != AUTO:
        return request, None
    headers, (device, _) = list_installed_models(request.models), choose_device(request.device)
    template = load_scan(request.template, request.template_series) if request.template else None
    problems = list[str]()
    for case in _list_labelled(request.images, request.labels, request.series)[0]:
        try:
            target = load_scan(case.scan)
        except UserError as error:
            problems.append(str(error))
            continue
        choice = choose_model(headers, template, target, request.registration, device, progress)
        return replace(request, model=choice.taken.header.path), choice
    raise UserError(f"No case could be evaluated; the first reason: {problems[0]}")


def _load(request: EvaluateRequest) -> tuple[Model, Volume, Labels, torch.device]:
    """Model, template, its labels and the device. Raises UserError where there are no labels."""
    if bool(request.template) != bool(request.template_label):
        raise UserError("A template and its labels belong together; give both, or neither for the model's own.")
    device, _ = choose_device(request.device)
    model = load_model(request.model)
    if request.template and request.template_label:
        template = load_scan(request.template, request.template_series)
        return model, template, load_labels(request.template_label, template), device
    template, labels = find_own_template(model, request.model)
    if labels is None:
        raise UserError(f"The model {request.model} holds no labels; give --template and --template-label.")
    return model, template, labels, device


@lru_cache(maxsize=1)
def _load_once(request: EvaluateRequest, evaluation: str) -> tuple[FixedSide, Labels]:
    """The template as the model sees it and its labels, once in an evaluation: files may change before the next one."""
    model, template, template_labels, device = _load(request)
    return FixedSide(model, template, request.registration, device), template_labels


def _measure_for_files(request: EvaluateRequest, evaluation: str, case: LabelledScan) -> dict[str, Any]:
    fixed, template_labels = _load_once(request, evaluation)

    def register_target(target: Volume) -> Registration:
        return register(fixed.model, fixed.template, target, request.registration, fixed.device, fixed=fixed)

    def judge_result(result: Registration) -> Verdict:
        return judge(fixed.model, result, fixed.device)

    return _measure(register_target, judge_result, template_labels, case)


def evaluate(
    register_target: Callable[[Volume], Registration],
    template_labels: Labels,
    images: Path,
    labels: Path,
    progress: Progress = silent,
    judge_result: Callable[[Registration], Verdict] | None = None,
) -> dict[str, Any]:
    """Register every scan of ``images`` (see `list_cohort`) that has labels of its name in ``labels``, and measure.

    register_target: any function that registers a target to the template. judge_result: gives its verdict, if there is
    one. Returns "cases" (name: result of `compare`, seconds, notes, verdict), "mean" of all cases, "verdicts" (word:
    number of cases), "failed" (name: reason; a case that fails does not stop the others) and "without_labels" (names).
    Raises UserError where no case could be evaluated.
    """
    return _evaluate_each(partial(_measure, register_target, judge_result, template_labels), images, labels, progress)


def _measure(
    register_target: Callable[[Volume], Registration],
    judge_result: Callable[[Registration], Verdict] | None,
    template_labels: Labels,
    case: LabelledScan,
) -> dict[str, Any]:
    target = load_scan(case.scan)
    target_labels = load_labels(case.labels, target)
    result = register_target(target)
    measured = compare(result, template_labels, target_labels) | {"seconds": round(sum(result.seconds.values()), 3)}
    measured["notes"] = [*target.notes, *target_labels.notes]
    if judge_result:
        measured["verdict"] = asdict(judge_result(result))
    return measured


def _evaluate_each(
    measure: Measure,
    images: Path,
    labels: Path,
    progress: Progress,
    after_case: Callable[[dict[str, Any]], None] = lambda results: None,
    isolate: bool = False,
    series: str = "",
) -> dict[str, Any]:
    """What `evaluate` returns. after_case: called with the results so far, if there are any. isolate: `run_each`."""
    labelled, without_labels = _list_labelled(images, labels, series)
    cases: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}

    def collect() -> dict[str, Any]:
        return {
            "cases": cases,
            "mean": _means(cases),
            "verdicts": count_verdicts(case["verdict"]["word"] for case in cases.values() if "verdict" in case),
            "failed": failed,
            "without_labels": without_labels,
        }

    progress("evaluation", 0, labelled[0].name)
    for index, (case, measured, problem) in enumerate(run_each(measure, labelled, isolate=isolate), 1):
        if problem:
            failed[case.name] = problem
        else:
            cases[case.name] = measured
        if index < len(labelled):
            progress("evaluation", index / len(labelled), labelled[index].name)
            if cases:
                after_case(collect())
    progress("evaluation", 1.0, f"{len(cases)} cases")
    if not cases:
        raise UserError(f"No case could be evaluated; the first reason: {next(iter(failed.values()))}")
    return collect()


def _list_labelled(images: Path, labels: Path, series: str) -> tuple[list[LabelledScan], list[str]]:
    """The scans that have labels, and the names of the others. Raises UserError where none has."""
    scans = {stem(path): path for path in list_cohort(images, series)}
    labelled = [LabelledScan(name, scans[name], path) for name in scans if (path := find_labels(labels, name))]
    if not labelled:
        raise UserError(f"No file of {labels} has the name of a scan in {images}; labels are matched to scans by name.")
    return labelled, sorted(set(scans) - {case.name for case in labelled})


def compare(result: Registration, labels: Labels, target_labels: Volume) -> dict[str, Any]:
    """Dice and HD95 "before" (both scans in world coordinates) and "after" registration, on the grid of the template's
    labels.

    The target's labels are resampled once (one-hot, linear, arg max). Labels that only one side has are not measured;
    "left_out" lists them. "on_target": Dice and HD95 of the carried labels on the target's own grid, for a consensus of
    a cohort's labels. Raises UserError where no label is common to both.
    """
    template_labels, patient = as_label_map(labels), as_label_map(find_labels_of_patient(result, labels))
    assert template_labels is not None and patient is not None
    grid = template_labels.grid
    on_template, on_target = (set(np.unique(labels.data)) - {0} for labels in (template_labels, target_labels))
    values = sorted(int(v) for v in on_template & on_target)
    if not values:
        raise UserError(
            "The template's and the target's labels have no value in common; use the same numbers for both."
        )
    before = resample_labels(target_labels.data, target_labels.grid, grid)
    after = resample_labels(target_labels.data, target_labels.grid, grid, result.field)
    on_own = {}
    if isinstance(labels, Consensus):
        carried = carry_labels(result, labels)
        on_own["on_target"] = compare_labels(target_labels.data, carried.data, target_labels.grid, values)
    return {
        "before": compare_labels(template_labels.data, before, grid, values),
        "after": compare_labels(patient.data, after, grid, values) | {"folding_percent": result.folding_percent},
        **on_own,
        "left_out": sorted(int(v) for v in on_template ^ on_target),
    }


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
        "on_target_dice": mean("on_target", "mean_dice"),
        "on_target_dice_per_label": {v: mean("on_target", "dice", v) for v in labels},
    }
