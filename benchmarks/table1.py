"""The paper's table on a data set: every method trained in the same way and measured on the same scans, by one command.

    python benchmarks/table1.py --data FOLDER --out FOLDER [--budget MINUTES | --iterations N] [--batch B]
        [--rows ROW ...] [--peers TOOL ...] [--deeds-folder DIR] [--study STUDY] [--schedule PRESET] [--names A,B]
        [--device cuda]

--data has train/img, template/img and template/label with one scan each, val/img and val/label. The training scans
become a study (OUT/study, or an existing one by --study), on which all networks are trained with the same scans,
augmentation and teacher, for the published 3000 steps of batch 4 or, with --budget, each for as long: the steps that
fit are found by timing a few. (A step of PDD-Net, which has no teacher, compares the scans of its batch two by two.)

Each row registers the scans of val to the template as published, from the centres of mass and without refinement, and
with this project's refinement; rows with supervoxels also from their affine map. Other programs, where they are
installed, stand beside them: ``peers.py``, from where the scans lie in the world.

Each row has OUT/ROW.plan.json, .checkpoint and .json, and goes on where it was interrupted, or where a smaller budget
ended: the learning rate then rises to its value in the longer schedule. Several may be run at once. OUT/table1.md
gathers those that are there. ``table1_rows.py`` has the rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import peers
import SlicRegLib
from cohort import describe_circumstances, find_commit
from peer_tools import ORDER, find_version, hash_files
from SlicRegLib.errors import UserError
from SlicRegLib.images.files import atomic, list_images, stem, write_json
from SlicRegLib.images.volumes import Volume, load_labels, load_scan
from SlicRegLib.network.devices import choose_device
from SlicRegLib.network.options import PRESETS
from SlicRegLib.progress import Bars, Progress
from SlicRegLib.registration.model import Model
from SlicRegLib.registration.options import RegistrationOptions
from SlicRegLib.registration.result import Registration
from SlicRegLib.results.evaluate import evaluate
from SlicRegLib.teaching.create import prepare_study
from SlicRegLib.teaching.options import PrepareRequest
from SlicRegLib.teaching.study import Study, find_finished_study, open_study
from SlicRegLib.training.options import training_preset
from table1_rows import ROWS, Row, time_step, train_row
from table1_text import describe_setup, format_table, list_lines

PEERS = {"affine": "SimpleITK", "ants-syn": "antspyx", "convexadam": "convexAdam"}
"""Rows of ``peers.py`` and the packages that they need; "deeds" needs --deeds-folder instead."""


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


def begin(data: DataSet, study: Study, options: argparse.Namespace) -> None:
    """Write OUT/setup.json, or see that a run goes on as it began. Raises UserError where it does not."""
    scans = [*list_images(data.images), *list_images(data.labels), data.template, data.template_label]
    setup = {
        "data": hash_files(*scans),
        "study": hash_files(*(study.folder / name for name in ("study.json", "supervoxels.npz", "template.npz"))),
        "batch": options.batch,
        "schedule": options.schedule,
        "device": options.device,
        "threads": torch.get_num_threads(),
    }
    path = options.out / "setup.json"
    there = json.loads(path.read_text()) if path.is_file() else setup
    if differing := [name for name in {**setup, **there} if there.get(name) != setup.get(name)]:
        raise UserError(f"{options.out} was begun with other {', '.join(differing)}; choose another --out.")
    write_json(path, setup)


def settle_plan(name: str, row: Row, options: argparse.Namespace, study: Study, device: torch.device) -> dict[str, Any]:
    """The steps of a row's training and how they were found; kept in OUT/ROW.plan.json, so that it goes on with them.

    Raises UserError if more were planned before.
    """
    path = options.out / f"{name}.plan.json"
    there = json.loads(path.read_text()) if path.is_file() else {"iterations": 0, "commits": []}
    plan = {**there, "budget": options.budget, "iterations": options.iterations}
    if options.budget is not None:
        if "seconds_per_step" not in there:
            schedule = training_preset(options.schedule, batch=options.batch)
            plan["seconds_per_step"] = round(time_step(row, study, schedule, device), 2)
        plan["iterations"] = max(1, int(60 * options.budget / plan["seconds_per_step"]))
    if plan["iterations"] < there["iterations"]:
        raise UserError(f"{there['iterations']} steps were planned for it before; choose another --out.")
    if plan["iterations"] == there["iterations"]:
        return there
    plan["commits"] = sorted({*there["commits"], find_commit()})
    write_json(path, plan)
    return plan


def run_row(name: str, data: DataSet, study: Study, options: argparse.Namespace, progress: Progress) -> None:
    """Train and measure a row, into OUT/ROW.json, unless the same code has done so with as many steps."""
    row, path, code = ROWS[name], options.out / f"{name}.json", hash_code()
    device, _ = choose_device(options.device)
    plan = settle_plan(name, row, options, study, device) if row.train else None
    there = json.loads(path.read_text()) if path.is_file() else {}
    if there.get("code") == code and there.get("plan") == plan:
        return
    steps = plan["iterations"] if plan else 1
    schedule = training_preset(options.schedule, iterations=steps, batch=options.batch)
    model, training = train_row(row, study, schedule, options.out / f"{name}.checkpoint", device, progress)
    template = load_scan(data.template)
    labels = load_labels(data.template_label, template)
    result = {"code": code, **describe_circumstances(device), "training": training, "plan": plan}
    for kind, (_, how) in row.kinds.items():
        register_target = partial(_register, row, model, template, how, device)
        result[kind] = evaluate(register_target, labels, data.images, data.labels, progress)
    write_json(path, result)


def hash_code() -> str | None:
    """Of what trains and measures the rows."""
    ours, here = Path(SlicRegLib.__file__).parent, Path(__file__).parent
    names = ("table1_rows", "from_start", "pddnet", "regression", "cohort")
    return hash_files(*sorted(ours.rglob("*.py")), *(here / f"{name}.py" for name in names))


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


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="train, template and val, with img and label")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--study", type=Path, help="a finished study of the template; default: OUT/study, made first")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--iterations", type=int, default=3000, help="of every network (default: %(default)s)")
    length.add_argument("--budget", type=float, metavar="MINUTES", help="of training for every network instead")
    parser.add_argument("--batch", type=int, default=4, help="scans per iteration, at least 2 (default: %(default)s)")
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
        choices=ORDER,
        default=[key for key, package in PEERS.items() if find_version(package)],
        help="other programs; none, to leave them out (default: %(default)s)",
    )
    parser.add_argument("--deeds-folder", type=Path, help="holds deeds' programs, for --peers deeds")
    parser.add_argument("--names", type=lambda text: text.split(","), default=[], help="of the labels, for the table")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.batch < 2:
        parser.error("--batch must be 2 or more: a PDD-Net learns from pairs, and batch norms need several scans")
    if "deeds" in options.peers and not options.deeds_folder:
        parser.error("--peers deeds needs --deeds-folder")
    return options


def open_or_make_study(data: DataSet, options: argparse.Namespace, progress: Progress) -> Study:
    """Raises UserError for a study of another template, or one that knows the scans of val."""
    folder = options.study or options.out / "study"
    if not options.study and find_finished_study(folder) is None:
        prepare_study(PrepareRequest(template=data.template, images=data.training, out=folder), progress)
    study = open_study(folder)
    if load_scan(data.template).fingerprint() != study.template_sha256:
        raise UserError(f"{data.template} is not the template of the study {folder}.")
    if known := {stem(path) for path in list_images(data.images)} & set(study.scans):
        raise UserError(f"The study {folder} was made with scans of {data.images}: {', '.join(sorted(known))}.")
    return study


def main(arguments: list[str] | None = None) -> None:
    options, progress = parse(arguments), Bars()
    data = find_data(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    study = open_or_make_study(data, options, progress)
    begin(data, study, options)
    others, problems = run_peers(data, options), []
    for name in options.rows:
        try:
            run_row(name, data, study, options, progress)
        except UserError as error:  # the other rows are worth having
            problems.append(f"{ROWS[name].title}: {error}")
    progress.close()
    found = {name: options.out / f"{name}.json" for name in ROWS}
    results = {name: json.loads(path.read_text()) for name, path in found.items() if path.is_file()}
    text = format_table(list_lines(results, others), options.names)
    text += describe_setup(results, json.loads((options.out / "setup.json").read_text()))
    with atomic(options.out / "table1.md") as part:
        part.write_text(text)
    print(text, *problems, sep="\n")


def _register(
    row: Row, model: Model, template: Volume, options: RegistrationOptions, device: torch.device, target: Volume
) -> Registration:
    return row.register(model, template, target, options, device)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
