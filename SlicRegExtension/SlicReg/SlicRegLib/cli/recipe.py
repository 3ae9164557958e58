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
from ..images.options import FrameOptions, PreparationOptions
from ..images.preparation import prepare_scan
from ..images.volumes import Volume, load_labels, load_scan
from ..phantoms.phantom import ORGANS
from ..progress import Progress
from ..registration.options import MODES
from ..registration.result import Registration
from ..results.evaluate import evaluate, evaluate_files
from ..results.options import EvaluateRequest
from ..teaching.create import prepare_study
from ..teaching.options import PrepareRequest, TeacherOptions
from ..teaching.study import find_finished_study, open_study
from ..training.options import ScheduleOptions, TrainingOptions, TrainRequest
from ..training.train import train_model
from .abdomen import DATA_SET, LARGE, PUBLISHED, TEMPLATE, Abdomen, find_abdomen
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
    data, out = find_abdomen(request.data), request.out
    if request.check_only:
        return f"{request.data} holds all that the experiment needs."
    request.training(), request.preparation()  # their own checks
    inputs = [*data.training, *data.test, data.template, *data.labels.iterdir()]
    names = ["recipe.json", "training.csv", "test.csv", "table.md", f"{request.recipe}.slicreg", "study/study.json"]
    check_output(out, folder=True, names=[*names, *(f"{name}.json" for name in COLUMNS)], inputs=inputs)
    _begin(request, data)
    study = out / "study"
    if find_finished_study(study) is None:
        prepare = PrepareRequest(
            template=data.template,
            images=out / "training.csv",
            out=study,
            supervoxels=request.supervoxels,
            **({} if request.supervoxels else _fields_of(FrameOptions, request)),
            **_fields_of(TeacherOptions, request),
        )
        prepare_study(prepare, progress)
    model = out / f"{request.recipe}.slicreg"
    if not model.is_file():
        train = AllScansRequest(
            study=study,
            out=model,
            resume=model.with_suffix(".checkpoint").is_file(),
            cohort=f"{DATA_SET}, {len(data.training)} scans",
            device=request.device,
            **_fields_of(ScheduleOptions, request),
        )
        train_model(train, progress)
    results = {"initial": _measure_initial(data, out, open_study(study).preparation, progress)}
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
    text = format_table(results, len(data.test))
    with atomic(out / "table.md") as part:
        part.write_text(text, encoding="utf-8")
    left_out = [f"left out of the training: {reason}" for reason in open_study(study).failed.values()]
    failed = [f"{COLUMNS[name]}: {why}" for name, result in results.items() for why in result["failed"].values()]
    return "\n".join([text, *left_out, *failed, f"Model: {model}. Table: {out / 'table.md'}."])


def _begin(request: RecipeRequest, data: Abdomen) -> None:
    """Make the output folder, or go on in it. Raises UserError where it was begun with other options or data."""
    options = {name: value for name, value in vars(request).items() if name not in FREE}
    content = {"data": str(data.labels.parent.resolve()), **options}
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


def _measure_initial(data: Abdomen, out: Path, frame: PreparationOptions, progress: Progress) -> dict[str, Any]:
    """The evaluation of the scans in their canonical frames, as the paper begins: only their centres are aligned."""
    path = out / "initial.json"
    if results := _read_complete(path):
        return results
    template = load_scan(data.template)
    align = partial(align_centres, template, frame)
    labels = load_labels(data.template_label, template)
    results = {**evaluate(align, labels, out / "test.csv", data.labels, progress), "complete": True}
    write_json(path, results)
    return results


def align_centres(template: Volume, frame: PreparationOptions, target: Volume) -> Registration:
    """The registration that moves the middle of one canonical frame to the middle of the other."""
    fixed, moving = (prepare_scan(scan, frame) for scan in (template, target))
    shift = translation(moving.grid.centre - fixed.grid.centre)
    return Registration(template, target, affine_field(shift, fixed.grid.pooled(4)), {}, True)


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
