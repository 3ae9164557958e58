"""`slicreg recipe`: a published experiment from its data to its table, in one command that can be interrupted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..geometry.field import affine_field
from ..geometry.grid import translation
from ..images.files import atomic, check_output, make_folder, write_json
from ..images.json_reading import read_json
from ..images.options import FrameOptions
from ..images.volumes import Volume, load_labels, load_scan
from ..network.devices import choose_device
from ..phantoms.phantom import ORGANS
from ..progress import Progress
from ..registration.model import load_model
from ..registration.options import MODES
from ..registration.result import Registration
from ..results.evaluate import evaluate, evaluate_files
from ..results.options import EvaluateRequest
from ..stages import WARNING
from ..teaching.create import prepare_study
from ..teaching.options import PrepareRequest, TeacherOptions
from ..teaching.study import Study, find_finished_study, open_study
from ..training.options import ScheduleOptions, TrainingOptions, TrainRequest
from ..training.train import train_model
from .abdomen import DATA_SET, LARGE, PUBLISHED, TEMPLATE, Abdomen, find_abdomen
from .recipe_checks import check_teaching
from .requests import RecipeRequest

CHAINS = {"published": MODES["published"], "default": MODES["default"]}
"""What is measured with the trained network."""
COLUMNS = {"initial": "initial, here", "published": "Slic-Reg, here", "default": "refined, here"}
FREE = {"device", "workers", "scheduler", "recipe", "data", "out", "check_only"}
"""Options that may change when a run goes on."""


@dataclass(frozen=True, kw_only=True)
class AllScansRequest(TrainRequest):
    """A training that holds out no scan for validation, as the published one."""

    def training(self) -> TrainingOptions:
        return replace(super().training(), validation_scans=0)


def run_recipe(request: RecipeRequest, progress: Progress) -> str:
    """Check the data, prepare, train, evaluate; returns the table. What is finished is not done again."""
    data, out = find_abdomen(request.data, progress), request.out
    study, prepare = out / "study", _make_prepare_request(request, data)
    request.training()  # its own checks, as of the next two
    request.preparation()
    choose_device(request.device)
    if find_finished_study(study) is None:
        check_teaching(prepare, data)
    if data.note:
        progress(WARNING, 1.0, data.note)
    if request.check_only:
        return f"{request.data} holds all that the experiment needs."
    inputs = [*data.training, *data.test, data.template, *data.labels.iterdir()]
    names = ["recipe.json", "training.csv", "test.csv", "table.md", f"{request.recipe}.slicreg", "study/study.json"]
    check_output(out, folder=True, names=[*names, *(f"{name}.json" for name in COLUMNS)], inputs=inputs)
    _begin(request, data)
    if find_finished_study(study) is None:
        prepare_study(prepare, progress)
    model = out / f"{request.recipe}.slicreg"
    if not model.is_file():
        for name in CHAINS:
            (out / f"{name}.json").unlink(missing_ok=True)  # of a model that was here before
        train = AllScansRequest(
            study=study,
            out=model,
            resume=model.with_suffix(".checkpoint").is_file(),
            cohort=f"{DATA_SET}, {len(data.training)} scans",
            device=request.device,
            **_fields_of(ScheduleOptions, request),
        )
        train_model(train, progress)
    results = {"initial": _measure_initial(data, out, progress)}
    for name, options in CHAINS.items():
        evaluation = EvaluateRequest(
            model=model,
            template=data.template,
            template_label=data.template_label,
            images=out / "test.csv",
            labels=data.labels,
            out=out / f"{name}.json",
            registration=options,
            device=request.device,
        )
        results[name] = _read_complete(evaluation.out) or evaluate_files(evaluation, progress)
    text = format_table(results, len(data.test)) + describe(request, data, open_study(study), model)
    with atomic(out / "table.md") as part:
        part.write_text(text, encoding="utf-8")
    failed = [f"{COLUMNS[name]}: {why}" for name, result in results.items() for why in result["failed"].values()]
    return "\n".join([text, *failed, f"Model: {model}. Table: {out / 'table.md'}."])


def _make_prepare_request(request: RecipeRequest, data: Abdomen) -> PrepareRequest:
    frame = _fields_of(FrameOptions, request)
    if request.supervoxels:  # which have a frame of their own: only one that was asked for is passed on, and refused
        frame = {name: value for name, value in frame.items() if value != getattr(RecipeRequest, name)}
    return PrepareRequest(
        template=data.template,
        images=request.out / "training.csv",
        out=request.out / "study",
        supervoxels=request.supervoxels,
        **frame,
        **_fields_of(TeacherOptions, request),
    )


def _begin(request: RecipeRequest, data: Abdomen) -> None:
    """Make the output folder, or go on in it. Raises UserError where it was begun with other options or data."""
    options = {name: value for name, value in vars(request).items() if name not in FREE}
    content = {"scans_or_labels": data.sha256, "place_of_the_data": str(data.labels.parent.resolve()), **options}
    path = request.out / "recipe.json"
    if path.is_file():
        try:
            there = read_json(path)
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}); choose another --out.") from error
        content = {name: list(value) if isinstance(value, tuple) else value for name, value in content.items()}
        if differing := [name for name in content if there.get(name) != content[name]]:
            words = ", ".join(name.replace("_", " ") for name in differing)
            raise UserError(f"{request.out} was begun with other {words}; give the same again or choose another --out.")
        return
    make_folder(request.out)
    for name, scans in (("training", data.training), ("test", data.test)):
        with atomic(request.out / f"{name}.csv") as part:
            part.write_text("\n".join(["path", *(f'"{scan.resolve()}"' for scan in scans)]) + "\n", encoding="utf-8")
    write_json(path, content)


def _fields_of(cls: type, request: RecipeRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in cls.__dataclass_fields__}  # type: ignore[attr-defined]


def _read_complete(path: Path) -> dict[str, Any] | None:
    """The results of an evaluation that has ended; None of one that was interrupted."""
    try:
        results = read_json(path)
    except (OSError, ValueError):
        return None
    return results if results.get("complete") else None


def _measure_initial(data: Abdomen, out: Path, progress: Progress) -> dict[str, Any]:
    """The evaluation of the scans as the paper begins: the files, which are cropped around the body, are laid on each
    other."""
    path = out / "initial.json"
    if results := _read_complete(path):
        return results
    template = load_scan(data.template)
    labels = load_labels(data.template_label, template)
    results = {
        **evaluate(partial(align_files, template), labels, out / "test.csv", data.labels, progress),
        "complete": True,
    }
    write_json(path, results)
    return results


def align_files(template: Volume, target: Volume) -> Registration:
    """The registration that moves the middle of one file's box to the middle of the other's: files of the same size and
    axes are compared voxel by voxel."""
    shift = translation(target.grid.centre - template.grid.centre)
    return Registration(template, target, affine_field(shift, template.grid.pooled(4)), {}, True)


def describe(request: RecipeRequest, data: Abdomen, study: Study, model: Path) -> str:
    """What stands below the table: how the network was made, what was left out, what cannot be compared."""
    schedule, provenance = request.training(), load_model(model).provenance
    used = f"{len(study.scans)} of {len(data.training)} training scans"
    lines = [
        f"Network {request.preset}, {schedule.iterations} steps of {schedule.batch}, trained on {used}, taught by "
        f"{study.teacher}, on {provenance['device']}, {provenance['seconds']:.0f} s.",
        *(f"Left out of the training: {reason}" for reason in study.failed.values()),
        *filter(None, [data.note]),
    ]
    return "".join(f"\n{line}\n" for line in lines)


def format_table(results: dict[str, dict[str, Any]], tests: int) -> str:
    """The published Dice and those of ``results``, in percent, organ by organ, as a Markdown table and a note."""
    columns: dict[str, dict[Any, float]] = {f"{name}, published": values for name, values in PUBLISHED.items()}
    for name, result in results.items():
        columns[COLUMNS[name]] = percent(result["mean"]["after_dice_per_label"])
    rows: list[tuple[Any, str]] = [(value, f"{organ} ({value})") for value, organ in ORGANS.items()]
    rows += [("avg 4", f"mean of {', '.join(map(str, LARGE))}"), ("avg 13", f"mean of {len(ORGANS)}")]
    lines = [["Dice, %", *columns], ["---"] * (len(columns) + 1)]
    for key, title in rows:
        lines.append([title, *(f"{values[key]:.1f}" if key in values else "-" for values in columns.values())])
    cases = ", ".join(f"{result['mean']['cases']} of {tests} ({COLUMNS[name]})" for name, result in results.items())
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{table}\nTest scans measured, against template {TEMPLATE}: {cases}.\n"


def percent(per_label: dict[str, float | None]) -> dict[Any, float]:
    """Dice in percent by organ, and the means of four and of all organs, where all of them were measured."""
    dice: dict[Any, float] = {int(key): 100 * value for key, value in per_label.items() if value is not None}
    means = {}
    for name, organs in (("avg 4", LARGE), ("avg 13", tuple(ORGANS))):
        if dice.keys() >= set(organs):
            means[name] = float(np.mean([dice[organ] for organ in organs]))
    return {**dice, **means}
