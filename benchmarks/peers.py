"""This project beside other registration tools: the same scans, the same grid, the same measures.

    python -m venv peers && peers/bin/pip install -r benchmarks/requirements.txt -e .
    peers/bin/python benchmarks/peers.py --template T.nii.gz --template-label TL.nii.gz --images DIR --labels DIR \\
        --model M.slicreg --out FOLDER [--model M2.slicreg] [--tools initial,ants-syn,slicreg] [--deeds-folder DIR] \\
        [--threads 2] [--names brainstem,cord]

Peers register FOLDER/grids: template and targets in HU on the template's canonical grid (4 mm, its body and 20 mm),
on the CPU, with the defaults of each tool. Each tool and scan has a process of its own. What a tool returns becomes a
field template -> target in RAS mm, and all fields are measured alike: the target's labels go once from their own grid
to the template's own (one-hot, linear, arg max); Dice and HD95 of each label there, folding in per cent of the
template's volume.

Seconds: of peers the registration alone, without imports, files, resampling to the grid and conversion of the field;
of "refinement alone" likewise; of this project all of `register`, from the scans as loaded, as `slicreg evaluate`
counts it. Memory: the process's peak until the field is there, or that of a program it starts if larger; it includes
Python and the libraries, whose share the row "initial" shows.

FOLDER gets results.json (commit, versions, device, cases, means) after each registration, and at the end table.md and
dice_against_seconds.png. A second run resumes the first and retries what failed. What another version of a tool, a
model or SlicRegLib measured is measured again; another template, device or number of threads needs another folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from cohort import find_commit
from peer_results import average, draw, format_table
from peer_tools import ORDER, Tool, clock, list_tools, order_of
from SlicRegLib.images.files import atomic, list_images, stem, write_json
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.preparation import fit_shape, prepare, prepare_scan
from SlicRegLib.images.volumes import Volume, load_labels, load_scan, save_volume
from SlicRegLib.registration.result import Registration
from SlicRegLib.results.evaluate import compare
from SlicRegLib.teaching.deeds import PROGRAMS

# --- one pair ---


@dataclass(frozen=True)
class Pair:
    """Files of a template and a target: the scans, their labels and both scans on the template's canonical grid."""

    template: Path
    template_label: Path
    target: Path
    target_label: Path
    fixed: Path
    moving: Path


def measure(tool: Tool, pair: Pair, threads: int) -> dict:
    """Register and judge one pair; called in a fresh process, so that its clock and its peak memory are the tool's."""
    fixed, moving = (pair.template, pair.target) if tool.on_scans else (pair.fixed, pair.moving)
    field = tool.register(load_scan(fixed), load_scan(moving), threads)
    cost = {"seconds": round(sum(clock.seconds.values()), 3), "peak_memory_mb": round(peak_memory_mb())}
    template, target = load_scan(pair.template), load_scan(pair.target)
    labels = load_labels(pair.template_label, template), load_labels(pair.target_label, target)
    return compare(Registration(template, target, field, {}, False), *labels)["after"] | cost


def peak_memory_mb() -> float:
    """This process's peak so far, or its largest child's. (A process inherits ru_maxrss from its parent, not VmHWM.)"""
    own = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def run_in_own_process(function: Callable, *arguments: Any) -> Any:
    """function(*arguments) in a process started for it; a crash there is an exception here."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# --- all pairs ---


def write_grids(folder: Path, template: Path, template_label: Path, images: Path, labels: Path) -> dict[str, Pair]:
    """The pairs by name; writes what is not yet in ``folder``."""
    (folder / "targets").mkdir(parents=True, exist_ok=True)
    scan, options = load_scan(template), PreparationOptions()
    fixed = prepare_scan(scan, replace(options, shape=fit_shape(scan, options)))
    if not (folder / "template.nii.gz").exists():
        save_volume(folder / "template.nii.gz", Volume(fixed.hu.numpy(), fixed.grid))
    label_of, pairs = {stem(path): path for path in list_images(labels)}, {}
    for path in list_images(images):
        name = stem(path)
        if name not in label_of:
            continue
        moving = folder / "targets" / f"{name}.nii.gz"
        if not moving.exists():
            save_volume(moving, Volume(prepare(load_scan(path), fixed.grid).numpy(), fixed.grid))
        pairs[name] = Pair(template, template_label, path, label_of[name], folder / "template.nii.gz", moving)
    return pairs


def run(
    tools: dict[str, Tool], pairs: dict[str, Pair], threads: int, results: dict, save: Callable[[dict], None]
) -> None:
    """Fill ``results["rows"]`` with what is missing, and save after each case.

    Scan by scan, so that the rows of an interrupted run have the same scans.
    """
    rows = results.setdefault("rows", {})
    for key, tool in tools.items():
        if key not in rows or rows[key]["version"] != tool.version:
            rows[key] = {"title": tool.title, "version": tool.version, "cases": {}}
        cases = rows[key]["cases"]
        rows[key] |= {"failed": {}, "of": len(cases.keys() | pairs.keys()), "mean": average(cases)}
    for name, pair in pairs.items():
        for key, tool in tools.items():
            row = rows[key]
            if name not in row["cases"]:
                try:
                    if tool.version is None:
                        raise ModuleNotFoundError("not installed")
                    row["cases"][name] = case = run_in_own_process(measure, tool, pair, threads)
                    print(f"{name:12s} {tool.title}: Dice {case['mean_dice']:.3f}, {case['seconds']:.1f} s", flush=True)
                except Exception as error:  # a tool's failure, of whatever kind, is a result
                    row["failed"][name] = " ".join(str(error).split())[:200] or type(error).__name__
                    print(f"{name:12s} {tool.title}: {row['failed'][name]}", flush=True)
            row["mean"] = average(row["cases"])
            save(results)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("template", "template-label", "images", "labels", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument(
        "--model", type=Path, action="append", default=[], help="a model of this project; can be repeated"
    )
    parser.add_argument("--tools", type=lambda text: text.split(","), help=f"some of {', '.join(ORDER)}; default: all")
    parser.add_argument("--deeds-folder", type=Path, help=f"holds {' and '.join(PROGRAMS)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--names", type=lambda text: text.split(","), default=[], help="of the labels, for the table")
    options = parser.parse_args(words)
    if len({model.stem for model in options.model}) < len(options.model):
        parser.error("two models have the same file name; it names their rows")
    tools = list_tools(options.model, options.deeds_folder)
    if options.tools:
        tools = {key: tool for key, tool in tools.items() if key.partition(":")[0] in options.tools}
        if missing := set(options.tools) - {key.partition(":")[0] for key in tools}:
            parser.error(
                f"{', '.join(sorted(missing))}: unknown, or without the --model or --deeds-folder that it needs"
            )
    results_path = options.out / "results.json"
    results = json.loads(results_path.read_text()) if results_path.exists() else {}
    template = load_scan(options.template)
    setup = {
        "template": template.fingerprint(),
        "template_label": load_labels(options.template_label, template).fingerprint(),
        "threads": options.threads,
        "device": name_processor(),
    }
    if results and results["setup"] != setup:
        parser.error(f"{options.out} was made with another template, device or number of threads; choose another --out")
    results |= {
        "setup": setup,
        "commit": find_commit(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    torch.set_num_threads(options.threads)
    pairs = write_grids(options.out / "grids", options.template, options.template_label, options.images, options.labels)
    if not pairs:
        parser.error(f"no file of {options.labels} has the name of a scan in {options.images}")

    def save(results: dict) -> None:
        results["rows"] = dict(sorted(results["rows"].items(), key=lambda item: order_of(item[0])))
        write_json(results_path, results)

    run(tools, pairs, options.threads, results, save)
    with atomic(options.out / "table.md") as part:
        part.write_text(format_table(results, options.names))
    draw(options.out / "dice_against_seconds.png", results)
    print(f"\n{format_table(results, options.names)}")


def name_processor() -> str:
    """The processor's model and number of cores."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
