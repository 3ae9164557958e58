"""How the cost of registrations grows: whole commands, by the number of voxels and by the number of scans.

    python benchmarks/scaling.py [--voxels 0.25 1 4 8] [--scans 1 4 16] [--rounds 1] [--json FILE]

Voxels: `slicreg register` with every output and the labels of both, two phantoms that are sampled the more finely the
more voxels (millions) they have; the model `trunk-phantom`, which sees both in its own frame whatever their voxels.
Scans: one `slicreg batch` of so many phantoms of 1.3 million voxels, with labels, in one process. Prints two Markdown
tables of medians: seconds by the clock, CPU seconds, seconds of the registration itself, the peak memory of the largest
process, and each one's exponent: the slope of log cost over log size. All on the CPU, with all cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median

import numpy as np

from cohort import describe_circumstances
from programs import Cost, find_slicreg, run_program
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegLib.phantoms.phantom import PhantomOptions, make_phantom
from speed import exponent

MODEL, TEMPLATE_SEED, FIRST_SEED = "trunk-phantom", 0, 1001
EXTENT_MM = np.multiply(PhantomOptions.shape, PhantomOptions.spacing_mm)
COLUMNS = ("seconds", "cpu_seconds", "registration_seconds", "peak_mb")


def write_sampled(folder: Path, seed: int, voxels: float) -> tuple[Path, Path]:
    """Write a phantom's scan and labels with about so many voxels to ``folder``/img and /label; returns their paths."""
    spacing = (EXTENT_MM.prod() / voxels) ** (1 / 3)
    shape = tuple(int(n) for n in np.round(EXTENT_MM / spacing))
    phantom = make_phantom(seed, PhantomOptions(shape=shape, spacing_mm=float(spacing)))
    paths = folder / "img" / f"phantom_{seed}.nii.gz", folder / "label" / f"phantom_{seed}.nii.gz"
    for path, data in zip(paths, (np.round(phantom.image).astype(np.int16), phantom.labels), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_volume(path, Volume(data, Grid(shape, phantom.affine)))
    return paths


def measure_voxels(voxels: float, folder: Path, rounds: int) -> dict:
    """A row of the first table."""
    template, template_label = write_sampled(folder / "template", TEMPLATE_SEED, voxels)
    target, target_label = write_sampled(folder, FIRST_SEED, voxels)
    command = [*find_slicreg(), "register", "--model", MODEL, "--template", template, "--target", target]
    command += ["--template-label", template_label, "--target-label", target_label, "--overlays", "--device", "cpu"]
    costs, seconds = [], []
    for number in range(rounds):
        out = folder / f"result_{number}"
        costs.append(run_program([*command, "--out", out], {}))
        seconds.append(json.loads((out / "report.json").read_text())["seconds"]["total"])
    return summarise_costs(costs, seconds)


def measure_scans(scans: int, folder: Path, rounds: int) -> dict:
    """A row of the second table."""
    voxels = float(np.prod(PhantomOptions.shape))
    template, template_label = write_sampled(folder / "template", TEMPLATE_SEED, voxels)
    for seed in range(FIRST_SEED, FIRST_SEED + scans):
        write_sampled(folder, seed, voxels)
    command = [*find_slicreg(), "batch", "--model", MODEL, "--template", template, "--images", folder / "img"]
    command += ["--template-label", template_label, "--labels", folder / "label", "--device", "cpu"]
    costs, seconds = [], []
    for number in range(rounds):
        out = folder / f"results_{number}"
        costs.append(run_program([*command, "--out", out], {}))
        reports = [json.loads(path.read_text()) for path in out.glob("*/report.json")]
        if len(reports) < scans:
            raise RuntimeError(f"{scans - len(reports)} of {scans} scans were not registered")
        seconds.append(sum(report["seconds"]["total"] for report in reports))
    return summarise_costs(costs, seconds)


def summarise_costs(costs: list[Cost], registration_seconds: list[float]) -> dict:
    """The medians of `COLUMNS`."""
    figures = {name: median(asdict(cost)[name] for cost in costs) for name in asdict(costs[0])}
    return {**figures, "registration_seconds": median(registration_seconds)}


def format_growth(name: str, sizes: list[float], rows: list[dict]) -> str:
    """A Markdown table of ``rows``, one for each of the ``sizes``, and the exponents in its last line."""
    lines = [(name, "wall s", "CPU s", "registration s", "peak MB"), ("---",) * 5]
    for size, row in zip(sizes, rows, strict=True):
        figures = (format(row[column], ".0f" if column == "peak_mb" else ".1f") for column in COLUMNS)
        lines.append((f"{size:g}", *figures))
    exponents = (exponent(sizes, [row[column] for row in rows]) for column in COLUMNS)
    lines.append(("grows to the power", *(f"{value:.2f}" for value in exponents)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voxels", type=float, nargs="*", default=[0.25, 1, 4, 8], help="millions of a scan")
    parser.add_argument("--scans", type=int, nargs="*", default=[1, 4, 16], help="of a batch")
    parser.add_argument("--rounds", type=int, default=1, help="of which the medians are shown")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(words)
    results = describe_circumstances()
    measures = {
        "million voxels": (options.voxels, lambda size, folder: measure_voxels(size * 1e6, folder, options.rounds)),
        "scans": (options.scans, lambda size, folder: measure_scans(size, folder, options.rounds)),
    }
    for name, (sizes, measure) in measures.items():
        rows = []
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(size, Path(folder)))
            print(f"{size:g} {name}: {rows[-1]['seconds']:.1f} s", flush=True)
        if sizes:
            print(f"\n{format_growth(name, sizes, rows)}\n", flush=True)
            results[name] = [{"size": size, **row} for size, row in zip(sizes, rows, strict=True)]
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
