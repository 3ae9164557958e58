"""From files to files: register a target to a template and write all results into a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..images.files import check_output, check_space, write_json
from ..images.transforms import save_transform
from ..images.volumes import Volume, load_labels, load_scan, save_volume
from ..network.devices import choose_device, is_left_to_cpu, peak_memory_mb, return_free_memory
from ..progress import Progress, silent
from ..registration.atlas import Atlas
from ..registration.choose_model import Choice
from ..registration.confidence import Overlays, compute_overlays
from ..registration.consensus import Consensus
from ..registration.installed_models import list_installed_models
from ..registration.model import Model
from ..registration.model_header import AUTO, ModelHeader
from ..registration.options import RegistrationOptions
from ..registration.register import register
from ..registration.result import Registration
from ..registration.verdict import Verdict, judge
from ..stages import CHOICE, DEVICE, JUDGEMENT, WRITING
from ..workers import run_together
from .evaluate import compare
from .kept import Kept
from .labels import (
    Labels,
    as_label_map,
    carry_labels,
    find_labels_of_patient,
    find_own_template,
    measure_organs,
)
from .options import RegisterRequest
from .overview import draw_overview
from .result_folder import OWN_TEMPLATE, REPORT_FILE, RESULT_FILES, all_or_nothing


@dataclass(frozen=True, eq=False)
class Registered:
    """A registration from files, before anything is written.

    labels: the template's, if it has some. atlas: the template where it is the model's average. report: the content of
    report.json that is known by now.
    """

    result: Registration
    verdict: Verdict
    overlays: Overlays | None
    labels: Labels | None
    target_labels: Volume | None
    atlas: Atlas | None
    device: torch.device
    report: dict[str, Any]


def register_files(request: RegisterRequest, progress: Progress = silent, kept: Kept | None = None) -> dict[str, Any]:
    """`slicreg register`: write `RESULT_FILES` into ``request.out``, all or none. Returns the content of report.json.

    Warped labels are written if the template has labels, confidence and supervoxels with ``request.overlays``. kept:
    what earlier calls in this process left, so that the model and the template are not read again.
    """
    done = read_and_register(request, progress, kept)
    with all_or_nothing(request.out) as folder:
        run_together(_list_outputs(folder, request, done), lambda share: progress(WRITING, share, ""))
        done.report["peak_memory_mb"] = peak_memory_mb(done.device)
        write_json(folder / REPORT_FILE, done.report)
    return done.report


def read_and_register(
    request: RegisterRequest,
    progress: Progress = silent,
    kept: Kept | None = None,
    written: Sequence[str] = RESULT_FILES,
    by_cohort: bool = False,
    check_model: Callable[[Model, Path], None] = lambda model, name: None,
) -> Registered:
    """Check ``request.out`` for the files that will be ``written`` there, read the inputs, register and judge.

    by_cohort: only with a model that holds labels of a cohort. check_model: raises UserError for one that lacks what is
    asked for. Raises UserError for another, before the work.
    """
    keeps, kept = kept is not None, kept or Kept()
    automatic = request.model == AUTO
    models = list_installed_models(request.models) if automatic else []
    given = [request.model, request.template, request.target, request.template_label, request.target_label]
    inputs = [path for path in given if path] + [header.path for header in models]
    check_output(request.out, folder=True, names=written, inputs=inputs)
    if request.template_label and not request.template:
        raise UserError("Labels of a template need the template; give --template too.")
    device, reason = choose_device(request.device)
    model = None if automatic else kept.load_model(request.model)
    if by_cohort:
        models = _with_organs(models, model, request.model)
    if model:
        check_model(model, request.model)
    template, labels = _load_template(request, model, kept)
    target = load_scan(request.target, request.series)
    target_labels = load_labels(request.target_label, target) if request.target_label else None
    check_space(request.out, target.data.size // 8)  # compressed results take more than a bit per voxel

    began = time.perf_counter()
    chosen = model or _choose(kept, models, template, target, request, device, progress)
    choice_seconds = time.perf_counter() - began
    choice = chosen if isinstance(chosen, Choice) else None
    if choice:
        check_model(choice.taken.model, choice.taken.header.path)
    if choice and template is None:
        template, labels = find_own_template(choice.taken.model, choice.taken.header.name)
    assert template is not None, "it was given, or the model holds one"
    result, verdict, overlays, device, reason = _register(
        kept, chosen, template, target, request, device, reason, progress
    )
    if choice:
        result.seconds[CHOICE] = choice_seconds
    if not keeps:
        kept.clear()
    return_free_memory()  # of the registration, before the results take some
    report = _report(request, choice, result, verdict, device, reason)
    taken = chosen.taken.model if isinstance(chosen, Choice) else chosen
    atlas = None if request.template else taken.atlas
    return Registered(result, verdict, overlays, labels, target_labels, atlas, device, report)


def _with_organs(models: list[ModelHeader], model: Model | None, name: Path) -> list[ModelHeader]:
    """Those of the models that hold labels of a cohort. Raises UserError if none does, or ``model``, which was given,
    does not."""
    cure = "or make one with `slicreg learn --labels`"
    if model and not (model.own_template and model.consensus):
        what = "labels of a cohort" if model.own_template else "template of its own"
        raise UserError(f"The model {name} holds no {what}; choose another one, {cure}.")
    models = [header for header in models if header.holds_template and header.about.get("organs")]
    if not model and not models:
        raise UserError(f"No installed model holds labels of a cohort; give a model file that does, {cure}.")
    return models


def _load_template(request: RegisterRequest, model: Model | None, kept: Kept) -> tuple[Volume | None, Labels | None]:
    """The template and its labels: those that were given, or the model's own, if the model is known by now."""
    if request.template:
        template = kept.load_template(request.template, request.template_series)
        path = request.template_label
        return template, kept.load_template_labels(path, template) if path else None
    return find_own_template(model, request.model) if model else (None, None)


def _list_outputs(folder: Path, request: RegisterRequest, done: Registered) -> list[Callable[[], object]]:
    """What makes and writes each file of the results, and what measures them for the report; slow ones first."""
    result, target_labels = done.result, done.target_labels
    field, inverse = result.field, result.inverse  # now, since the first to ask for them computes them
    labels = find_labels_of_patient(result, done.labels) if done.labels else None
    tasks: list[Callable[[], object]] = []
    if labels and target_labels:
        tasks.append(lambda: done.report.update(compare(result, labels, target_labels)))
    tasks += [
        lambda: save_transform(folder / f"transform.{request.transform_format}", field),
        lambda: save_volume(folder / "warped_target.nii.gz", result.warped_target()),
    ]
    if request.picture:
        picture = partial(draw_overview, folder / "overview.png", result, as_label_map(labels), target_labels)
        tasks.append(lambda: picture(verdict=done.verdict))
    if labels:
        tasks.append(lambda: _write_labels(folder / "warped_labels.nii.gz", done.report, result, labels))
    tasks.append(lambda: save_transform(folder / f"transform_inverse.{request.transform_format}", inverse))
    if done.overlays:
        for name, volume in (
            ("confidence", done.overlays.confidence),
            ("supervoxels_template", done.overlays.template_supervoxels),
            ("supervoxels_target", done.overlays.target_supervoxels),
        ):
            tasks.append(partial(save_volume, folder / f"{name}.nii.gz", volume))
    return tasks


def _write_labels(path: Path, report: dict[str, Any], result: Registration, labels: Labels) -> None:
    """The labels on the target, and what is measured of a cohort's organs there."""
    carried = carry_labels(result, labels)
    if isinstance(labels, Consensus):
        report["organs"] = measure_organs(carried, labels)
    save_volume(path, carried)


def _choose(
    kept: Kept,
    models: list[ModelHeader],
    template: Volume | None,
    target: Volume,
    request: RegisterRequest,
    device: torch.device,
    progress: Progress,
) -> Choice:
    """The model that knows both scans best; described by the CPU where the GPU cannot."""
    try:
        return kept.choose_model(models, template, target, request.registration, device, progress)
    except Exception as error:
        if not is_left_to_cpu(error, device):
            raise
    torch.cuda.empty_cache()
    return kept.choose_model(models, template, target, request.registration, torch.device("cpu"), progress)


def _register(
    kept: Kept,
    chosen: Model | Choice,
    template: Volume,
    target: Volume,
    request: RegisterRequest,
    device: torch.device,
    reason: str,
    progress: Progress,
) -> tuple[Registration, Verdict, Overlays | None, torch.device, str]:
    """The result, its verdict, its overlays if requested, the device that computed them, and why that device."""
    taken = chosen.taken if isinstance(chosen, Choice) else None
    model = chosen.taken.model if isinstance(chosen, Choice) else chosen
    for attempt, options, why in _attempts(device, request.registration, reason):
        progress(DEVICE, 1.0, why)
        try:
            fixed = kept.make_fixed_side(model, template, options, attempt)
            moving = taken.moving if taken and taken.fixed.device == attempt else None
            result = register(model, template, target, options, attempt, progress, fixed, moving)
            progress(JUDGEMENT, 0.0, "")
            verdict = judge(model, result, attempt)
            overlays = compute_overlays(model, result, attempt) if request.overlays else None
            progress(JUDGEMENT, 1.0, "")
            return result, verdict, overlays, attempt, why
        except Exception as error:
            if not is_left_to_cpu(error, attempt):
                raise
        torch.cuda.empty_cache()
    raise AssertionError("the last attempt, on the CPU, either returns or raises")


def _attempts(
    device: torch.device, options: RegistrationOptions, reason: str
) -> list[tuple[torch.device, RegistrationOptions, str]]:
    """What to try one after the other, each with its reason: the chosen device; if a GPU's memory runs out, smaller
    chunks there, then the CPU; if Apple's GPU fails, the CPU."""
    if device.type == "cpu":
        return [(device, options, reason)]
    if device.type == "mps":
        without = f"CPU, since the Apple GPU failed ({reason})"
        return [(device, options, reason), (torch.device("cpu"), options, without)]
    smaller = replace(options, prediction=replace(options.prediction, chunk=max(1, options.prediction.chunk // 8)))
    return [
        (device, options, reason),
        (device, smaller, f"{reason}, in smaller chunks since its memory ran out"),
        (torch.device("cpu"), options, f"CPU, since the memory of the GPU ran out ({reason})"),
    ]


def _report(
    request: RegisterRequest,
    choice: Choice | None,
    result: Registration,
    verdict: Verdict,
    device: torch.device,
    reason: str,
) -> dict[str, Any]:
    """The content of report.json that is known before anything is written."""
    seconds = {stage: round(value, 3) for stage, value in result.seconds.items()}
    return {
        "template": str(request.template) if request.template else OWN_TEMPLATE,
        **({"template_label": str(request.template_label)} if request.template_label else {}),
        "target": str(request.target),
        "model": str(choice.taken.header.path if choice else request.model),
        **(choice.report() if choice else {}),
        "device": str(device),
        "device_reason": reason,
        "own_template": result.own_template,
        "verdict": asdict(verdict),
        "seconds": {**seconds, "total": round(sum(result.seconds.values()), 3)},
        "folding_percent": result.folding_percent,
        "notes": [*result.template.notes, *result.target.notes],
    }
