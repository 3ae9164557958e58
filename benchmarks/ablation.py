"""The paper's own comparison: PDD-Net, and supervoxels against displacement regression on a UNet and on DeepLab.

    python benchmarks/ablation.py --study STUDY --template T --template-label TL --images DIR --labels DIR --out FOLDER
        [--iterations N] [--batch B] [--schedule PRESET] [--rows ROW ...] [--features labels] [--refine] [--device cuda]

Trains the networks on STUDY (all with the same schedule, scans, augmentations and teacher) and registers the labelled
scans to the study's template T without refinement, as the paper does; --refine measures every row with it as well.
FOLDER/ablation.json and FOLDER/ablation.md gather the rows. A row that was interrupted resumes from its checkpoint in
FOLDER; rows that are not chosen stay as they were. ``regression.py`` has the displacement regression,
``pddnet.py`` the probabilistic dense displacement network.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cohort import describe_circumstances
from pddnet import register_by_pddnet, train_pddnet
from regression import NEAR_MM, POINTS, register_by_regression, train_regression
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import identity_field
from SlicRegLib.geometry.grid import bounding_grid
from SlicRegLib.images.files import atomic, write_json
from SlicRegLib.images.preparation import prepare_scan
from SlicRegLib.images.volumes import Volume, load_labels, load_scan
from SlicRegLib.network.devices import choose_device
from SlicRegLib.network.options import PRESETS, PredictionOptions
from SlicRegLib.network.prediction import describe, encode
from SlicRegLib.progress import Bars, Progress, silent
from SlicRegLib.registration.key_points import describe_key_points
from SlicRegLib.registration.model import Model
from SlicRegLib.registration.options import RegistrationOptions
from SlicRegLib.registration.register import Stopwatch, refine_and_unfold, register
from SlicRegLib.registration.result import Registration
from SlicRegLib.results.evaluate import evaluate
from SlicRegLib.teaching.study import Study, open_study
from SlicRegLib.training.loop import TrainingPlan, train
from SlicRegLib.training.options import TrainingOptions, training_preset


@dataclass(frozen=True)
class Row:
    """A row of the table: how it registers, and how its network, a preset, is trained; without one, nothing is."""

    title: str
    register: Callable[..., Registration]
    train: Callable[..., tuple[Any, Any]] | None = None
    preset: str = ""


def stay(
    model: Model,
    template: Volume,
    target: Volume,
    options: RegistrationOptions = RegistrationOptions(),
    device: torch.device = torch.device("cpu"),
    progress: Progress = silent,
) -> Registration:
    """As `register`, without a network: the scans stay where they are in the world, or are refined from there."""
    clock = Stopwatch(progress)
    fixed, moving = (prepare_scan(scan, model.preparation) for scan in (template, target))
    dense = identity_field(bounding_grid([fixed.grid], options.alignment.field_spacing_mm))
    dense, backward = refine_and_unfold([dense], fixed, moving, clock, options, device)
    return Registration(template, target, dense, clock.seconds, True, backward=backward)


ROWS = {
    "initial": Row("initial", stay),
    "pddnet": Row("PDD-Net, two warps", register_by_pddnet, train_pddnet, "compact"),
    "unet-regression": Row("UNet + regression", register_by_regression, train_regression, "unet"),
    "unet-slic": Row("UNet + Slic + Adam", register, train, "unet"),
    "deeplab-regression": Row("DeepLab + regression", register_by_regression, train_regression, "paper"),
    "deeplab-slic": Row("DeepLab + Slic + Adam", register, train, "paper"),
}


def train_row(
    row: Row, study: Study, schedule: TrainingOptions, checkpoint: Path, device: torch.device, progress: Progress
) -> tuple[Model, dict[str, Any] | None]:
    """The row's model, its training resumed from ``checkpoint`` if that exists, and what the training took."""
    fixed = study.template()
    net: Any = None
    key_points = None
    if row.train is not None:
        resume = checkpoint.is_file()
        plan = TrainingPlan(study, PRESETS[row.preset], schedule)
        net, history = row.train(plan, checkpoint, device, resume, progress)
        net = net.cpu()
    names = ("distance_mm", f"within_{NEAR_MM:.0f}_mm")
    if row.train is train:
        key_points = describe_key_points(describe(net, encode(net, fixed)), fixed.body, fixed.grid)
        names = ("cross_entropy", "accuracy")
    elif row.train is train_pddnet:
        names = ("features_apart", "share_of_before")
    model = Model(net, study.preparation, study.layers(), fixed.grid, study.template_sha256, key_points=key_points)
    if row.train is None:
        return model, None
    if row.train is train_regression:
        schedule = replace(schedule, loss_voxels=POINTS)
    elif row.train is train_pddnet:
        schedule = replace(schedule, loss_voxels=1)
    iteration, seconds, _, *validation = history.rows[-1]
    return model, {
        "preset": row.preset,
        "schedule": asdict(schedule),
        "iterations": iteration,
        "seconds": seconds,
        "samples": iteration * schedule.batch,
        "parameters": sum(p.numel() for p in net.parameters()),
        "validation": dict(zip(names, validation, strict=True)),
    }


def register_to(
    row: Row, model: Model, template: Volume, options: RegistrationOptions, device: torch.device, target: Volume
) -> Registration:
    """Register one target as the row does."""
    return row.register(model, template, target, options, device)


def format_table(results: dict) -> str:
    """``results`` as Markdown: a line per row and kind of registration, in the order of `ROWS`."""
    shown = [
        (name, kind) for name in ROWS if name in results for kind in ("plain", "refined") if results[name].get(kind)
    ]
    labels = sorted(
        {label for name, kind in shown for label in results[name][kind]["mean"]["after_dice_per_label"]}, key=int
    )
    head = [
        "row",
        "mean Dice",
        *(f"label {label}" for label in labels),
        "HD95 mm",
        "folding %",
        "s / scan",
        "cases",
        "iterations",
        "samples seen",
        "training s",
        "parameters",
    ]
    lines = [head, ["---"] * len(head)]
    for name, kind in shown:
        row, mean = results[name], results[name][kind]["mean"]
        dice = [mean["after_dice"], *(mean["after_dice_per_label"].get(label) for label in labels)]
        budget = [(row["training"] or {}).get(key) for key in ("iterations", "samples", "seconds", "parameters")]
        lines.append(
            [
                ROWS[name].title + (", refined" if kind == "refined" else ""),
                *(_format(d, 3) for d in dice),
                _format(mean["after_hd95_mm"], 1),
                _format(mean["folding_percent"], 2),
                _format(mean["seconds"], 2),
                _format(mean["cases"]),
                *map(_format, budget),
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _format(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("study", "template", "template-label", "images", "labels", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=3000, help="of every network (default: %(default)s)")
    parser.add_argument(
        "--batch",
        type=int,
        default=4,
        help="scans per iteration; DeepLab's batch norm needs several (default: %(default)s)",
    )
    parser.add_argument(
        "--schedule",
        choices=tuple(PRESETS),
        default="unet",
        help="the preset whose learning rate and augmentation all networks share (default: %(default)s)",
    )
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    parser.add_argument(
        "--features",
        choices=("probabilities", "labels"),
        default="probabilities",
        help="what Slic aligns; labels: the published hard assignment (default: %(default)s)",
    )
    parser.add_argument("--refine", action="store_true", help="also measure with the refinement on image features")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    options = parser.parse_args(arguments)

    device, _ = choose_device(options.device)
    study, template = open_study(options.study), load_scan(options.template)
    if template.fingerprint() != study.template_sha256:
        raise UserError(f"{options.template} is not the template of the study {options.study}.")
    template_labels = load_labels(options.template_label, template)
    schedule = training_preset(options.schedule, iterations=options.iterations, batch=options.batch)
    plain = RegistrationOptions(refine=False, prediction=PredictionOptions(features=options.features))
    kinds = {"plain": plain} | ({"refined": replace(plain, refine=True)} if options.refine else {})
    options.out.mkdir(parents=True, exist_ok=True)
    path, progress = options.out / "ablation.json", Bars()
    results = json.loads(path.read_text()) if path.is_file() else {}
    for name in options.rows:
        row = ROWS[name]
        model, budget = train_row(row, study, schedule, options.out / f"{name}.checkpoint", device, progress)
        results[name] = {
            "title": row.title,
            **describe_circumstances(device),
            "features": options.features,
            "training": budget,
        }
        for kind, registration in kinds.items():
            register_target = partial(register_to, row, model, template, registration, device)
            results[name][kind] = evaluate(register_target, template_labels, options.images, options.labels, progress)
        write_json(path, results)
        with atomic(options.out / "ablation.md") as part:
            part.write_text(format_table(results))
    progress.close()
    print(format_table(results))


if __name__ == "__main__":
    main()
