"""The paper's own comparison: supervoxels against displacement regression, each on a UNet and on DeepLab.

    python benchmarks/ablation.py --study STUDY --template T --template-label TL --images DIR --labels DIR --out FOLDER
        [--iterations N] [--batch B] [--schedule PRESET] [--rows ROW ...] [--features labels] [--refine] [--device cuda]

Trains the networks on STUDY (all with the same schedule, scans, augmentations and teacher) and registers the labelled
scans to the study's template T without refinement, as the paper does; --refine measures every row with it as well.
FOLDER/ablation.json and FOLDER/ablation.md gather the rows. A row that was interrupted goes on from its checkpoint in
FOLDER; rows that are not asked for stay as they were.

A regression network has the trunk of its supervoxel network and three channels for head: the displacement from a
voxel of the scan to its place in the template, learnt from the teacher at 1024 points of each scan's body. To register,
its displacements at key points of the target are regularised by a random walk on their neighbourhood graph, as in the
paper. Each key point and its place in the template make a pair; read from the template's side, the pairs are the
displacements template -> target, which the thin-plate spline makes dense as it does for the supervoxels. So the field
is inverted point by point, before it is dense.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn as nn
from cohort import circumstances

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField, identity_field
from SlicRegLib.geometry.grid import Grid, bounding_grid, unravel
from SlicRegLib.geometry.spline import thin_plate_spline
from SlicRegLib.images.files import atomic
from SlicRegLib.images.preparation import PreparedScan, network_input, prepare_scan
from SlicRegLib.images.volumes import Volume, load_labels, load_scan
from SlicRegLib.network.devices import autocast, choose_device
from SlicRegLib.network.networks import build
from SlicRegLib.network.options import PRESETS, STRIDE, NetworkOptions, PredictionOptions
from SlicRegLib.network.prediction import describe
from SlicRegLib.progress import Bars, Progress, silent
from SlicRegLib.registration.alignment import neighbour_graph
from SlicRegLib.registration.key_points import choose_key_points, describe_key_points
from SlicRegLib.registration.model import Model
from SlicRegLib.registration.options import RefinementOptions, RegistrationOptions
from SlicRegLib.registration.register import Stopwatch, refine_and_unfold, register
from SlicRegLib.registration.result import Registration
from SlicRegLib.results import evaluate
from SlicRegLib.teaching.study import Study, open_study
from SlicRegLib.teaching.teachers import field_from_voxels
from SlicRegLib.training import history, objective
from SlicRegLib.training.loop import train
from SlicRegLib.training.options import TrainingOptions, training_preset
from SlicRegLib.training.samples import TrainingSet

POINTS = 1024  # per scan, at which displacements are learnt
UNIT = 10.0  # voxels per unit of the regression head's output: about the spread of the displacements under augmentation
NEAR_MM = 10.0  # a validation point counts as right within this distance of where the teacher puts it
RANDOM_WALK = (
    0.1  # weight of the regularisation: the teacher's own displacements lose 0.01 Dice by it, with 5 mm of noise
)
#                    they gain 0.03


@dataclass(frozen=True)
class Row:
    """A row of the table: a network preset, how it is trained and how it registers; no preset: nothing to train."""

    title: str
    register: Callable
    train: Callable | None = None
    preset: str = ""


# ---- regression: the network, its targets, its loss --------------------------------------------------------------


class DisplacementNet(nn.Module):
    """The trunk of the supervoxel network for ``options`` and its classifier, with three channels for the 2048 classes."""

    def __init__(self, options: NetworkOptions):
        super().__init__()
        net = build(options)
        *hidden, last = net.classifier if isinstance(net.classifier, nn.Sequential) else [net.classifier]
        head = nn.Conv1d(last.in_channels, 3, 1)
        nn.init.zeros_(head.weight)  # starts from no displacement
        nn.init.zeros_(head.bias)
        self.trunk, self.head, self.options = net.trunk, nn.Sequential(*hidden, head), options

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, I, J, K) HU / 500 -> (B, C, i, j, k)."""
        return self.trunk(image)

    def displacements(self, features: torch.Tensor) -> torch.Tensor:
        """Features of voxels (N, C) -> voxels of the canonical frame (N, 3), in full precision."""
        return UNIT * self.head(features.float().T[None])[0].T


def template_places(layers: torch.Tensor, grid: Grid, points: torch.Tensor) -> torch.Tensor:
    """In place of `dataset.sample_layers`: not which supervoxels lie at world points (n, 3), but the points in voxels (n, 3)."""
    return grid.to_voxel(points).float()


def errors(
    net: DisplacementNet, image: torch.Tensor, voxels: torch.Tensor, targets: torch.Tensor, precision: str
) -> torch.Tensor:
    """Predicted minus wanted displacements (B * n, 3) in voxels, on the network's device; ``targets`` are `template_places`."""
    with autocast(image.device, precision):
        features = net.features(image)
    own_places = STRIDE * unravel(voxels, features.shape[2:])
    picked = torch.cat([f[:, v].T for f, v in zip(features.flatten(2), voxels)])
    return net.displacements(picked) - (targets - own_places).flatten(0, 1)


class DisplacementLoss(nn.Module):
    """Mean absolute error in the head's units."""

    def __init__(self, net: DisplacementNet, precision: str):
        super().__init__()
        self.net, self.precision = net, precision

    def forward(self, image: torch.Tensor, voxels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return errors(self.net, image, voxels, targets, self.precision).abs().mean() / UNIT


@torch.no_grad()
def validate_displacements(
    net: DisplacementNet, scans: TrainingSet, device: torch.device, options: TrainingOptions
) -> tuple[float, float]:
    """Mean distance to the teacher's places in mm and the share within `NEAR_MM`, on the same points each time."""
    net.eval()
    generator = torch.Generator().manual_seed(options.seed)
    distance = []
    for index in range(len(scans.names)):
        batch = scans.batch([index], generator, augment=False)
        error = errors(
            net, batch.image.to(device), batch.voxels.to(device), batch.targets.to(device), options.precision
        )
        distance.append(error.norm(dim=1) * float(scans.template_grid.spacing.mean()))
    distance = torch.cat(distance)
    return distance.mean().item(), (distance < NEAR_MM).float().mean().item()


DISPLACEMENTS = objective.Task(DisplacementNet, DisplacementLoss, validate_displacements, template_places)


def train_regression(*arguments) -> tuple[DisplacementNet, history.History]:
    """`training.train` itself, so that displacements differ from supervoxels in nothing else."""
    return train(*arguments, task=DISPLACEMENTS)


# ---- registration ------------------------------------------------------------------------------------------------


def register_by_regression(
    bundle: Model,
    template: Volume,
    target: Volume,
    options: RegistrationOptions = RegistrationOptions(),
    device: torch.device = torch.device("cpu"),
    progress: Progress = silent,
) -> Registration:
    """As `registration.register`, with a `DisplacementNet` in the bundle, which knows the bundle's template alone."""
    if template.fingerprint() != bundle.template_sha256:
        raise UserError("A regression network registers to the template that it was trained with, and to no other.")
    clock = Stopwatch(progress)
    with clock("preparation"):
        fixed, moving = (prepare_scan(scan, bundle.preparation) for scan in (template, target))
    with clock("prediction"):
        field = predicted_field(bundle.net.to(device), moving, bundle.template_grid, options.prediction.precision)
    with clock("spline"):
        points = choose_key_points(moving.body, moving.grid, options.alignment)
        to_template = random_walk(points, field.at(points), options.alignment.neighbours)
        grid = bounding_grid([fixed.grid], options.alignment.field_spacing_mm)
        dense = thin_plate_spline(points + to_template, -to_template, grid, options.alignment.spline_lambda)
    return Registration(
        template, target, refine_and_unfold([dense], fixed, moving, clock, options, device), clock.seconds, True
    )


@torch.no_grad()
def predicted_field(
    net: DisplacementNet, scan: PreparedScan, template: Grid, precision: str = "auto"
) -> DisplacementField:
    """What the network sees as the teacher's field, from the scan to the template; meaningless outside the body."""
    net.eval()
    device = next(net.parameters()).device
    with autocast(device, precision):
        features = net.features(network_input(scan.hu)[None, None].to(device, memory_format=torch.channels_last_3d))[0]
    displacements = net.displacements(features.flatten(1).T).reshape(*features.shape[1:], 3)
    return field_from_voxels(displacements.cpu().numpy(), scan.grid, template, control=scan.grid.strided(STRIDE))


def random_walk(
    points: torch.Tensor, displacements: torch.Tensor, neighbours: int, weight: float = RANDOM_WALK
) -> torch.Tensor:
    """Displacements (N, 3) u with the least |u - displacements|^2 + weight * sum over neighbours |u_i - u_j|^2."""
    source, target = neighbour_graph(points, neighbours)
    adjacency = torch.zeros(len(points), len(points), dtype=torch.float64)
    adjacency[source, target] = 0.5
    adjacency += adjacency.T.clone()
    laplacian = adjacency.sum(1).diag() - adjacency
    return torch.linalg.solve(torch.eye(len(points)) + weight * laplacian, displacements.double()).to(displacements)


def leave(
    bundle: Model,
    template: Volume,
    target: Volume,
    options: RegistrationOptions = RegistrationOptions(),
    device: torch.device = torch.device("cpu"),
    progress: Progress = silent,
) -> Registration:
    """As `registration.register`, without supervoxels: the scans stay as they lie in the world, or are refined from there."""
    clock = Stopwatch(progress)
    fixed, moving = (prepare_scan(scan, bundle.preparation) for scan in (template, target))
    dense = identity_field(bounding_grid([fixed.grid], options.alignment.field_spacing_mm))
    return Registration(
        template, target, refine_and_unfold([dense], fixed, moving, clock, options, device), clock.seconds, True
    )


# ---- the rows ----------------------------------------------------------------------------------------------------

ROWS = {
    "initial": Row("initial", leave),
    "unet-regression": Row("UNet + regression", register_by_regression, train_regression, "unet"),
    "unet-slic": Row("UNet + Slic + Adam", register, train, "unet"),
    "deeplab-regression": Row("DeepLab + regression", register_by_regression, train_regression, "paper"),
    "deeplab-slic": Row("DeepLab + Slic + Adam", register, train, "paper"),
}


def trained(
    row: Row, study: Study, schedule: TrainingOptions, checkpoint: Path, device: torch.device, progress: Progress
) -> tuple[Model, dict | None]:
    """The row's model, trained on from ``checkpoint`` if that is there, and what its training took."""
    fixed = study.template()
    bundle = Model(None, study.preparation, study.layers(), fixed.grid, study.template_sha256)
    if row.train is None:
        return bundle, None
    if row.train is train_regression:
        schedule = replace(schedule, loss_voxels=POINTS)
    net, history = row.train(study, PRESETS[row.preset], schedule, checkpoint, device, checkpoint.is_file(), progress)
    iteration, seconds, _, *validation = history.rows[-1]
    if row.train is train_regression:
        bundle, names = replace(bundle, net=net), ("distance_mm", f"within_{NEAR_MM:.0f}_mm")
    else:
        key_points = describe_key_points(describe(net.cpu(), fixed), fixed.body, fixed.grid)
        bundle, names = replace(bundle, net=net, key_points=key_points), ("cross_entropy", "accuracy")
    return bundle, {
        "preset": row.preset,
        "schedule": asdict(schedule),
        "iterations": iteration,
        "seconds": seconds,
        "samples": iteration * schedule.batch,
        "parameters": sum(p.numel() for p in net.parameters()),
        "validation": dict(zip(names, validation)),
    }


def table(results: dict) -> str:
    """Markdown of ``results``: a line per row and kind of registration, in the order of `ROWS`."""
    measured = [
        (name, kind) for name in ROWS if name in results for kind in ("plain", "refined") if results[name].get(kind)
    ]
    labels = sorted(
        {label for name, kind in measured for label in results[name][kind]["mean"]["after_dice_per_label"]}, key=int
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
    for name, kind in measured:
        row, mean = results[name], results[name][kind]["mean"]
        dice = [mean["after_dice"], *(mean["after_dice_per_label"].get(label) for label in labels)]
        budget = [(row["training"] or {}).get(key) for key in ("iterations", "samples", "seconds", "parameters")]
        lines.append(
            [
                ROWS[name].title + (", refined" if kind == "refined" else ""),
                *(_figure(d, 3) for d in dice),
                _figure(mean["after_hd95_mm"], 1),
                _figure(mean["folding_percent"], 2),
                _figure(mean["seconds"], 2),
                _figure(mean["cases"]),
                *map(_figure, budget),
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _figure(value: float | None, digits: int = 0) -> str:
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
    plain = RegistrationOptions(
        PredictionOptions(hard=options.features == "labels"), refinement=RefinementOptions(iterations=0)
    )
    kinds = {"plain": plain} | ({"refined": replace(plain, refinement=RefinementOptions())} if options.refine else {})
    options.out.mkdir(parents=True, exist_ok=True)
    path, progress = options.out / "ablation.json", Bars()
    results = json.loads(path.read_text()) if path.is_file() else {}
    for name in options.rows:
        row = ROWS[name]
        bundle, budget = trained(row, study, schedule, options.out / f"{name}.checkpoint", device, progress)
        results[name] = {"title": row.title, **circumstances(device), "features": options.features, "training": budget}
        with patch.object(evaluation, "register", row.register):
            measure = partial(evaluate.evaluate, bundle, template, template_labels, options.images, options.labels)
            results[name] |= {kind: measure(registration, device, progress) for kind, registration in kinds.items()}
        for file, text in ((path, json.dumps(results, indent=1)), (options.out / "ablation.md", table(results))):
            with atomic(file) as part:
                part.write_text(text)
    progress.close()
    print(table(results))


if __name__ == "__main__":
    main()
