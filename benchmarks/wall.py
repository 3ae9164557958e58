"""Whole programs side by side: what a person waits for, from files to files.

    python -m venv peers && peers/bin/pip install -r benchmarks/requirements.txt -e .
    peers/bin/python benchmarks/wall.py --template T.nii.gz --template-label TL.nii.gz --target S.nii.gz \\
        --target-label SL.nii.gz --model M.slicreg [--rounds 3] [--tools cold,warm,greedy] [--deeds-folder DIR] \\
        [--slicreg .venv/bin/slicreg] [--threads 2] [--out FOLDER]

Every program is started as a user starts it, on the CPU, with its defaults, and ends with its results on the disk:

    cold         slicreg register, with both labels and every output: overlays, transforms, picture, report
    warm         the same by `slicreg serve`, asked as the panel asks (no picture, .nrrd), after one registration
    deeds        linearBCV, then deedsBCV
    greedy       affine, deformable with NCC, the warped scan (picsl-greedy, one process)
    convexadam, ants-syn, elastix      a Python that loads, registers, writes field and warped scan; these and
    start        one that registers nothing also import this project for that, so "start" is to be taken off for those
                 who only want the tool

This project gets the scans. The others get them on the template's canonical grid (4 mm, its body and 20 mm), written
before and not timed; deeds and greedy as HU + 1024. They neither carry nor compare labels, this project does both.

One round is each program once, one after the other, and before each the unit: one product of two 4096 x 4096 fp32
matrices. Wall seconds by the clock, CPU seconds and peak memory by the system (wait4; of "warm" from /proc): CPU of all
processes of a program, memory of the largest. All in medians over the rounds; units are the medians' ratio. Dice is
measured once, untimed, as ``peers.py`` does. The last column is the ratio to the fastest other program with a Dice
above .60. FOLDER gets wall.json, table.md and wall.png.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from cohort import find_commit
from peers import name_processor
from programs import find_slicreg
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.images.files import atomic, write_json
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.preparation import canonical_grid, fit_shape, prepare
from SlicRegLib.images.volumes import Volume, load_labels, load_scan, save_volume
from SlicRegLib.registration.installed_models import find_model
from SlicRegLib.registration.result import Registration
from SlicRegLib.results.evaluate import compare
from SlicRegLib.teaching.deeds import HU_OFFSET, PROGRAMS
from wall_results import draw_bars, format_rows, summarise
from wall_tools import ORDER, Inputs, Program, Served, list_programs


def write_inputs(folder: Path, template: Path, target: Path, template_label: Path, target_label: Path) -> Inputs:
    """Put both scans on the template's canonical grid."""
    scan, options = load_scan(template), PreparationOptions()
    grid = canonical_grid(scan, fit_shape(scan, options), options.spacing_mm)
    paths = {}
    for role, volume in (("fixed", scan), ("moving", load_scan(target))):
        hu = prepare(volume, grid).numpy()
        for name, values in ((role, hu), (f"{role}_positive", np.clip(hu + HU_OFFSET, 0, None))):
            paths[name] = folder / f"{name}.nii.gz"
            save_volume(paths[name], Volume(values, grid))
    return Inputs(template, target, template_label, target_label, **paths)


class Judge:
    """Mean Dice of a field, on the template's own grid."""

    def __init__(self, inputs: Inputs):
        self.template, self.target = load_scan(inputs.template), load_scan(inputs.target)
        self.labels = load_labels(inputs.template_label, self.template), load_labels(inputs.target_label, self.target)

    def __call__(self, field: DisplacementField) -> float:
        return compare(Registration(self.template, self.target, field, {}, False), *self.labels)["after"]["mean_dice"]


class Product:
    """Called: seconds of one product of two n x n fp32 matrices."""

    def __init__(self, n: int = 4096):
        self.factors = torch.randn(2, n, n)
        self()  # the first one also starts the threads

    def __call__(self) -> float:
        started = time.perf_counter()
        torch.mm(*self.factors)
        return time.perf_counter() - started


def measure_rounds(
    programs: dict[str, Program],
    rounds: int,
    folder: Path,
    time_unit: Callable[[], float],
    judge: Callable[[DisplacementField], float],
) -> dict:
    """{"unit_seconds": [...], "rows": {key: title, version, kind, runs, dice, and why it failed}}.

    A program that failed is not tried again.
    """
    rows = {
        key: {"title": p.title, "version": p.version, "kind": p.kind, "runs": [], "dice": None, "failed": ""}
        for key, p in programs.items()
    }
    units: list[float] = []
    for number in range(1, rounds + 1):
        for key, program in programs.items():
            row, out = rows[key], folder / key
            if row["failed"]:
                continue
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            units.append(time_unit())
            try:
                cost = program.run(out)
                row["runs"].append(asdict(cost))
                if row["dice"] is None:
                    row["dice"] = judge(program.read(out))
            except (RuntimeError, OSError, UserError) as error:
                row["failed"] = " ".join(str(error).split())[:200]
                print(f"round {number}  {program.title}: {row['failed']}", flush=True)
            else:
                print(
                    f"round {number}  {program.title}: {cost.seconds:.2f} s, CPU {cost.cpu_seconds:.2f} s, "
                    f"{cost.peak_mb:.0f} MB, Dice {row['dice']:.3f}; unit {units[-1]:.2f} s",
                    flush=True,
                )
    return {"unit_seconds": units, "rows": rows}


def choose(programs: dict[str, Program], wanted: list[str]) -> dict[str, Program]:
    """Those that are wanted and installed; says which are not."""
    chosen = {}
    for key in wanted:
        if key in programs and programs[key].version is not None:
            chosen[key] = programs[key]
        else:
            print(f"{key} is left out: {'not installed' if key in programs else 'it needs --deeds-folder'}")
    return chosen


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("template", "template-label", "target", "target-label"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--model", required=True, help="a file, or the name of a bundled model")
    parser.add_argument("--tools", type=lambda text: text.split(","), default=list(ORDER), help=", ".join(ORDER))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--deeds-folder", type=Path, help=f"holds {' and '.join(PROGRAMS)}")
    parser.add_argument("--slicreg", help="the program slicreg to measure; default: the one beside this Python")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every program")
    parser.add_argument("--out", type=Path, help="folder for wall.json, table.md and wall.png")
    options = parser.parse_args(words)
    if unknown := set(options.tools) - set(ORDER):
        parser.error(f"{', '.join(sorted(unknown))}: unknown; choose some of {', '.join(ORDER)}")
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    torch.set_num_threads(options.threads)
    slicreg = [options.slicreg] if options.slicreg else find_slicreg()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        inputs = write_inputs(work, options.template, options.target, options.template_label, options.target_label)
        served = Served([*slicreg, "serve", "--idle-minutes", "120"], options.threads)
        programs = list_programs(
            inputs, find_model(options.model), slicreg, served, options.deeds_folder, options.threads
        )
        programs = choose(programs, [key for key in ORDER if key in options.tools])
        try:
            measured = measure_rounds(programs, options.rounds, work, Product(), Judge(inputs))
        finally:
            served.close()
    setup = {"threads": options.threads, "device": name_processor(), "commit": find_commit(), "rounds": options.rounds}
    results = {"setup": setup, **summarise(measured)}
    table = format_rows(results)
    print(f"\n{table}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(options.out / "wall.json", results)
        with atomic(options.out / "table.md") as part:
            part.write_text(table)
        draw_bars(options.out / "wall.png", results)


if __name__ == "__main__":
    main()
