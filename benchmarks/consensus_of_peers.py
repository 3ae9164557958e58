"""Other programs with a consensus of labels that was made by their own fields: what is the program's, what the labels'?

    peers/bin/python benchmarks/consensus_of_peers.py --template T.nii.gz --template-label TL.nii.gz \\
        --train-images DIR --train-labels DIR --images DIR --labels DIR --model M --tools warm,greedy,convexadam \\
        --out FOLDER [--every 2] [--threads 1] [--names brainstem,cord] [--deeds-folder DIR]

Each program registers the template to every training scan and to every patient, as ``wall.py`` starts it: from the
scans on the template's canonical grid (4 mm), this project from the scans themselves. All fields are then used alike. A
training scan's labels are carried into the template's space (canonical grid, halved: 2 mm) by the program's own field.
An organ's share of votes at a voxel is counted over the scans that have the organ and show the voxel. A voxel is the
organ's above 0.4, or above the threshold at which, in that space, the votes of the others agree best with the labels of
each training scan.

The template's own contours and the consensus are carried to each patient's own grid by the inverse of the field, and
compared with the patient's contours there; and the patient's contours with both in the template's space, as
`slicreg evaluate` does. Means of the patients' means.

FOLDER/TOOL keeps the fields: a second run resumes the first and tries again what failed. Another template, version or
model, and for this project other code, needs another folder. At the end FOLDER gets results.json and table.md, which
hold all tools measured so far.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import SlicRegLib
from cohort import find_commit
from peer_tools import hash_files
from programs import find_slicreg
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.files import atomic, list_images, stem, write_json
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.preparation import canonical_grid, fit_shape
from SlicRegLib.images.transforms import load_transform, save_transform
from SlicRegLib.images.volumes import Volume, load_labels, load_scan
from SlicRegLib.registration.consensus import Consensus
from SlicRegLib.registration.installed_models import find_model
from SlicRegLib.registration.result import Registration
from SlicRegLib.results.evaluate import compare
from SlicRegLib.results.labels import Labels, carry_labels
from SlicRegLib.results.metrics import compare_labels
from SlicRegLib.teaching.deeds import PROGRAMS
from votes import THRESHOLD, carry, count_votes, with_threshold
from wall import write_inputs
from wall_tools import ORDER, Program, Served, list_programs

# --- fields ---


@dataclass(frozen=True)
class Case:
    """Files of a scan and its labels."""

    name: str
    scan: Path
    labels: Path


def list_cases(images: Path, labels: Path) -> list[Case]:
    """The scans that have labels of their name."""
    files = {stem(path): path for path in list_images(labels)}
    return [Case(stem(path), path, files[stem(path)]) for path in list_images(images) if stem(path) in files]


def find_fields(folder: Path, cases: list[Case], register: Callable[[Case], DisplacementField]) -> dict[str, str]:
    """Keep the field template -> scan of each case in ``folder``, unless it is there. Returns why others failed."""
    failed = {}
    for case in cases:
        path = field_path(folder, case)
        if path.exists():
            continue
        try:
            save_transform(path, register(case))
            print(f"{folder.name} {case.name}", flush=True)
        except (RuntimeError, OSError, UserError) as error:
            failed[case.name] = " ".join(str(error).split())[:200]
            print(f"{folder.name} {case.name}: {failed[case.name]}", flush=True)
    return failed


def field_path(folder: Path, case: Case) -> Path:
    """Where its field is kept."""
    return folder / f"{case.name}.h5"


# --- labels ---


def make_consensus(cases: list[Case], folder: Path, grid: Grid) -> Consensus:
    """Of the training scans that have a field in ``folder``."""
    scans = []
    for case in cases:
        if (path := field_path(folder, case)).exists():
            labels = load_labels(case.labels, load_scan(case.scan))
            scans.append(carry(labels, load_transform(path), grid))
    values = sorted({value for scan in scans for value in scan.places})
    organs = (count_votes(scans, value, grid) for value in values)
    return Consensus(grid, tuple(organ for organ in organs if organ))


def measure(result: Registration, labels: Labels, target_labels: Volume) -> dict[str, dict[str, float]]:
    """Dice of each of the target's labels "on_target", its own grid, and "on_template", the grid of ``labels``; 0 where
    it is not carried."""
    values = [int(value) for value in np.unique(target_labels.data) if value]
    carried = carry_labels(result, labels)
    on_target = compare_labels(target_labels.data, carried.data, target_labels.grid, values)["dice"]
    on_template = compare(result, labels, target_labels)["after"]["dice"]
    return {"on_target": on_target, "on_template": {str(value): on_template.get(str(value), 0.0) for value in values}}


def measure_patients(
    cases: list[Case], folder: Path, template: Volume, kinds: dict[str, Labels]
) -> dict[str, dict[str, dict]]:
    """`measure` of each patient that has a field in ``folder``, for each kind of labels."""
    measured: dict[str, dict[str, dict]] = {kind: {} for kind in kinds}
    for case in cases:
        if not (path := field_path(folder, case)).exists():
            continue
        target = load_scan(case.scan)
        target_labels = load_labels(case.labels, target)
        result = Registration(template, target, load_transform(path), {}, False)
        for kind, labels in kinds.items():
            measured[kind][case.name] = measure(result, labels, target_labels)
    return measured


def average(patients: dict[str, dict], side: str) -> dict[str, float]:
    """Mean Dice over the patients of each organ, and "mean": of the patients' means."""
    values = sorted({value for patient in patients.values() for value in patient[side]}, key=int)
    organs = {
        value: float(np.mean([patient[side][value] for patient in patients.values() if value in patient[side]]))
        for value in values
    }
    return {"mean": float(np.mean([np.mean(list(patient[side].values())) for patient in patients.values()])), **organs}


def format_table(results: dict, names: list[str]) -> str:
    """Markdown: a row for each tool and kind of labels."""
    lines = []
    for tool in results["tools"].values():
        for kind, patients in tool["patients"].items():
            if patients:
                own, there = average(patients, "on_target"), average(patients, "on_template")
                figures = [*own.values(), there["mean"]]
                title = tool["title"]
                if tool["failed"]:
                    scans = f"{tool['training_scans']} of {tool['of_training_scans']} scans"
                    title += f" ({len(patients)} of {tool['of_patients']} patients, {scans})"
                lines.append([title, kind, *(f"{figure:.3f}" for figure in figures)])
                values = list(own)[1:]
    if not lines:
        return ""
    organs = names if len(names) == len(values) else [f"label {value}" for value in values]
    header = ["program", "labels carried", "mean", *organs, "in the template's space"]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *lines]) + "\n"


# --- all ---


def run_tool(key: str, options: argparse.Namespace, train: list[Case], patients: list[Case]) -> dict:
    """Register, vote and measure with one tool."""
    folder = options.out / key
    folder.mkdir(parents=True, exist_ok=True)
    template = load_scan(options.template)
    served = Served([*find_slicreg(), "serve", "--idle-minutes", "120"], options.threads)

    def prepare(case: Case, work: Path) -> Program:
        inputs = write_inputs(work, options.template, case.scan, options.template_label, case.labels)
        model = find_model(options.model)
        return list_programs(inputs, model, find_slicreg(), served, options.deeds_folder, options.threads)[key]

    def register(case: Case) -> DisplacementField:
        with tempfile.TemporaryDirectory() as name:
            work, out = Path(name), Path(name) / "out"
            program = prepare(case, work)
            out.mkdir()
            cost = program.run(out)
            print(f"{cost.seconds:.1f} s, CPU {cost.cpu_seconds:.1f} s  ", end="")
            return program.read(out)

    with tempfile.TemporaryDirectory() as name:
        program = prepare(patients[0], Path(name))
    if program.version is None:
        raise SystemExit(f"{program.title} is not installed")
    setup = {"version": program.version, "template": template.fingerprint()}
    if program.kind == "ours":
        code = sorted(Path(SlicRegLib.__file__).parent.rglob("*.py"))
        setup |= {"code": hash_files(*code), "model": hash_files(find_model(options.model))}
    check_setup(folder / "setup.json", setup)
    try:
        failed = find_fields(folder, [*patients, *train], register)
    finally:
        served.close()
    preparation = PreparationOptions()
    grid = canonical_grid(template, fit_shape(template, preparation), preparation.spacing_mm).halved()
    consensus = make_consensus(train, folder, grid)
    kinds: dict[str, Labels] = {
        "the template's own": load_labels(options.template_label, template),
        f"consensus, votes > {THRESHOLD}": with_threshold(consensus, THRESHOLD),
        "consensus, thresholds chosen": consensus,
    }
    return {
        "title": program.title,
        **setup,
        "failed": failed,
        "training_scans": sum(field_path(folder, case).exists() for case in train),
        "of_training_scans": len(train),
        "of_patients": len(patients),
        "organs": {organ.value: {"raters": organ.raters, "threshold": organ.threshold} for organ in consensus.organs},
        "patients": measure_patients(patients, folder, template, kinds),
    }


def check_setup(path: Path, setup: dict) -> None:
    """End where the fields beside ``path`` were made in another way."""
    if path.exists() and json.loads(path.read_text()) != setup:
        raise SystemExit(f"{path.parent} was made with another template, version or model; choose another --out")
    write_json(path, setup)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("template", "template-label", "train-images", "train-labels", "images", "labels", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--model", required=True, help="a file, or the name of a bundled model")
    parser.add_argument("--tools", type=lambda text: text.split(","), required=True, help=f"some of {', '.join(ORDER)}")
    parser.add_argument("--every", type=int, default=1, help="2: every second training scan")
    parser.add_argument("--deeds-folder", type=Path, help=f"holds {' and '.join(PROGRAMS)}")
    parser.add_argument("--threads", type=int, default=1, help="of every program")
    parser.add_argument("--names", type=lambda text: text.split(","), default=[], help="of the labels, for the table")
    options = parser.parse_args(words)
    if unknown := set(options.tools) - set(ORDER):
        parser.error(f"{', '.join(sorted(unknown))}: unknown; choose some of {', '.join(ORDER)}")
    torch.set_num_threads(options.threads)
    train = list_cases(options.train_images, options.train_labels)[:: options.every]
    patients = list_cases(options.images, options.labels)
    if not train or not patients:
        parser.error("no label file has the name of a scan")
    path = options.out / "results.json"
    for key in options.tools:
        measured = run_tool(key, options, train, patients)
        results = json.loads(path.read_text()) if path.exists() else {"tools": {}}
        results |= {"commit": find_commit()}
        results["tools"][key] = measured
        write_json(path, results)
        table = format_table(results, options.names)
        with atomic(options.out / "table.md") as part:
            part.write_text(table)
        print(f"\n{table}", flush=True)


if __name__ == "__main__":
    main()
