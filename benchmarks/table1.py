"""The paper's table on a data set: every method trained in the same way and measured on the same scans, by one command.

    python benchmarks/table1.py --data FOLDER --out FOLDER [--budget MINUTES | --iterations N] [--batch B]
        [--rows ROW ...] [--peers TOOL ...] [--study STUDY] [--schedule PRESET] [--features labels] [--names A,B]
        [--device cuda]

--data has train/img, template/img and template/label with one scan each, val/img and val/label. The training scans
become a study (OUT/study, or an existing one by --study), on which all networks are trained with the same batches,
augmentation and teacher. Each row registers the scans of val to the template, as the paper does and with this project's
refinement; other programs, where they are installed (see ``peers.py``), stand beside them. With --budget each network
is trained for as long: the steps that fit are found by timing a few; otherwise the published 3000 steps of batch 4.

OUT/table1.json and OUT/table1.md gather the rows. A row that was interrupted goes on from its checkpoint in OUT; rows
that are not chosen stay as they were. ``table1_rows.py`` has the rows.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import peers
from cohort import describe_circumstances
from peer_tools import find_version
from SlicRegLib.errors import UserError
from SlicRegLib.images.files import atomic, list_images, write_json
from SlicRegLib.images.volumes import Volume, load_labels, load_scan
from SlicRegLib.network.devices import choose_device
from SlicRegLib.network.options import PRESETS, PredictionOptions
from SlicRegLib.progress import Bars
from SlicRegLib.registration.model import Model
from SlicRegLib.registration.options import RegistrationOptions
from SlicRegLib.registration.result import Registration
from SlicRegLib.results.evaluate import evaluate
from SlicRegLib.teaching.create import prepare_study
from SlicRegLib.teaching.options import PrepareRequest
from SlicRegLib.teaching.study import Study, find_finished_study, open_study
from SlicRegLib.training.options import TrainingOptions, training_preset
from table1_rows import ROWS, Row, time_step, train_row

PEERS = {"affine": "SimpleITK", "ants-syn": "antspyx", "convexadam": "convexAdam"}
"""Rows of ``peers.py`` and the packages that they need; "deeds" needs --deeds-folder instead."""
KINDS = ("plain", "refined")


@dataclass(frozen=True)
class DataSet:
    """Where the scans are."""

    training: Path
    template: Path
    template_label: Path
    images: Path
    labels: Path


def find_data(folder: Path) -> DataSet:
    """Raises UserError for what is missing."""

    def the_only_one(part: Path) -> Path:
        found = list_images(part)
        if len(found) != 1:
            raise UserError(f"{part} must hold one file, the template's, but has {len(found)}.")
        return found[0]

    parts = [folder / part for part in ("train/img", "template/img", "template/label", "val/img", "val/label")]
    if missing := [str(part) for part in parts if not part.is_dir()]:
        raise UserError(f"{folder} lacks {', '.join(missing)}.")
    training, image, label, images, labels = parts
    return DataSet(training, the_only_one(image), the_only_one(label), images, labels)


def settle_schedule(
    name: str, row: Row, options: argparse.Namespace, study: Study, device: torch.device
) -> TrainingOptions:
    """The row's schedule. With a budget its steps are written into OUT/plan.json, so that it goes on with as many."""
    schedule = training_preset(options.schedule, iterations=options.iterations, batch=options.batch)
    if options.budget is None or row.train is None:
        return schedule
    path = options.out / "plan.json"
    plan = json.loads(path.read_text()) if path.is_file() else {}
    if name not in plan or plan[name]["budget_minutes"] != options.budget:
        seconds = time_step(row, study, schedule, device)
        steps = max(1, int(60 * options.budget / seconds))
        plan[name] = {"budget_minutes": options.budget, "seconds_per_step": round(seconds, 2), "iterations": steps}
        write_json(path, plan)
    return replace(schedule, iterations=plan[name]["iterations"])


def run_peers(data: DataSet, options: argparse.Namespace) -> dict[str, Any]:
    """The rows of the other programs: key -> row of ``peers.py``."""
    if not options.peers:
        return {}
    folder = options.out / "peers"
    more = ["--deeds-folder", str(options.deeds_folder)] if options.deeds_folder else []
    files = {"template": data.template, "template-label": data.template_label}
    files |= {"images": data.images, "labels": data.labels, "out": folder}
    words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    peers.main([*words, *more, "--tools", ",".join(options.peers), "--threads", str(torch.get_num_threads())])
    rows = json.loads((folder / "results.json").read_text())["rows"]
    return {key: row for key, row in rows.items() if row["cases"]}


def list_lines(results: dict[str, Any], others: dict[str, Any]) -> list[dict[str, Any]]:
    """What the table shows, a dictionary per line: rows in the order of `ROWS`, other programs after "initial"."""
    lines = []
    for name, row in ((name, results[name]) for name in ROWS if name in results):
        for kind in KINDS:
            mean, trained = row[kind]["mean"], row["training"] or {}
            line = {
                "title": ROWS[name].title + (", refined" if kind == "refined" else ""),
                "dice": mean["after_dice"],
                "labels": mean["after_dice_per_label"],
                "hd95": mean["after_hd95_mm"],
                "folding": mean["folding_percent"],
                "seconds": mean["seconds"],
                "scans": mean["cases"],
            }
            lines.append(line | {key: trained.get(key) for key in ("iterations", "samples", "parameters")})
            lines[-1]["training"] = trained.get("seconds")
        if name == "initial":
            lines += [_describe_other(row) for row in others.values()]
    return lines


def _describe_other(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ``peers.py``."""
    mean = row["mean"]
    return {
        "title": f"{row['title']} {row['version']}".strip(),
        "dice": mean["mean_dice"],
        "labels": mean["dice"],
        "hd95": mean["mean_hd95_mm"],
        "folding": mean["folding_percent"],
        "seconds": mean["seconds"],
        "scans": len(row["cases"]),
    }


def format_table(lines: list[dict[str, Any]], names: list[str]) -> str:
    """Markdown. names: of the labels, in the order of their values; columns show the values otherwise."""
    labels = sorted({label for line in lines for label in line["labels"]}, key=int)
    titles = names if len(names) == len(labels) else [f"label {label}" for label in labels]
    columns = {"HD95 mm": ("hd95", 1), "folding %": ("folding", 2), "s / scan": ("seconds", 1), "scans": ("scans", 0)}
    columns |= {"iterations": ("iterations", 0), "samples seen": ("samples", 0), "training s": ("training", 0)}
    columns |= {"parameters": ("parameters", 0)}
    text = [["row", "mean Dice", *titles, *columns]]
    text.append(["---"] * len(text[0]))
    for line in lines:
        dice = [line["dice"], *(line["labels"].get(label) for label in labels)]
        figures = [_format(line.get(key), digits) for key, digits in columns.values()]
        text.append([line["title"], *(_format(value, 3) for value in dice), *figures])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in text)


def _format(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="train, template and val, with img and label")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--study", type=Path, help="a finished study of the template; default: OUT/study, made first")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--iterations", type=int, default=3000, help="of every network (default: %(default)s)")
    length.add_argument("--budget", type=float, metavar="MINUTES", help="of training for every network instead")
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
        "--peers",
        nargs="*",
        help="other programs; default: those of affine, ants-syn and convexadam "
        "that are installed; none, to leave them out",
    )
    parser.add_argument("--deeds-folder", type=Path, help="holds deeds' programs, for --peers deeds")
    parser.add_argument(
        "--features",
        choices=("probabilities", "labels"),
        default="probabilities",
        help="what Slic aligns; labels: the published hard assignment (default: %(default)s)",
    )
    parser.add_argument("--names", type=lambda text: text.split(","), default=[], help="of the labels, for the table")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.peers is None:
        options.peers = [key for key, package in PEERS.items() if find_version(package)]

    device, _ = choose_device(options.device)
    data, progress = find_data(options.data), Bars()
    options.out.mkdir(parents=True, exist_ok=True)
    folder = options.study or options.out / "study"
    if not options.study and find_finished_study(folder) is None:
        prepare_study(PrepareRequest(template=data.template, images=data.training, out=folder), progress)
    study, template = open_study(folder), load_scan(data.template)
    if template.fingerprint() != study.template_sha256:
        raise UserError(f"{data.template} is not the template of the study {folder}.")
    template_labels = load_labels(data.template_label, template)
    plain = RegistrationOptions(refine=False, prediction=PredictionOptions(features=options.features))
    kinds = {"plain": plain, "refined": replace(plain, refine=True)}
    others = run_peers(data, options)
    path = options.out / "table1.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    for name in options.rows:
        row, schedule = ROWS[name], settle_schedule(name, ROWS[name], options, study, device)
        model, training = train_row(row, study, schedule, options.out / f"{name}.checkpoint", device, progress)
        circumstances = {**describe_circumstances(device), "features": options.features, "training": training}
        circumstances = json.loads(json.dumps(circumstances))  # as they come back from the file
        if name in results and circumstances.items() <= results[name].items():
            continue  # measured already
        measured = {}
        for kind, how in kinds.items():
            register_target = partial(_register, row, model, template, how, device)
            measured[kind] = evaluate(register_target, template_labels, data.images, data.labels, progress)
        results[name] = {"title": row.title, **circumstances, **measured}
        write_json(path, results)
    progress.close()
    text = format_table(list_lines(results, others), options.names)
    with atomic(options.out / "table1.md") as part:
        part.write_text(text)
    print(text)


def _register(
    row: Row, model: Model, template: Volume, options: RegistrationOptions, device: torch.device, target: Volume
) -> Registration:
    return row.register(model, template, target, options, device)


if __name__ == "__main__":
    main()
