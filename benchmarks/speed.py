"""Where the time of a registration goes: seconds and peak memory per stage beside one matrix product.

    python benchmarks/speed.py [--preset paper|unet|compact] [--features probabilities|labels] [--json FILE]
    python benchmarks/speed.py --cohorts 16 64 256 [--preset compact]

Registers two phantoms at three frame sizes (0.25, 1 and 4 million voxels) with an untrained network of the preset (time
does not depend on the weights) and prints each stage's seconds, its ratio to a 4096 x 4096 x 4096 fp32 matrix product timed
in the same run, and the process's peak memory during the stage; "the three between" leaves out preparation and refinement,
as the published figures do. The last lines give cost against voxels as exponents. With --cohorts instead: what training
costs with so many scans, copies of one phantom: seconds of an iteration, peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from cohort import circumstances

from SlicRegLib.cli.demo import write_phantom
from SlicRegLib.geometry.field import DisplacementField, identity_field
from SlicRegLib.geometry.grid import Grid, apply_affine, bounding_grid
from SlicRegLib.geometry.spline import thin_plate_spline
from SlicRegLib.images.preparation import PreparedScan, canonical_grid, prepare
from SlicRegLib.images.volumes import Volume
from SlicRegLib.network.networks import build
from SlicRegLib.network.options import PRESETS, PredictionOptions
from SlicRegLib.network.prediction import describe
from SlicRegLib.phantoms.phantom import make_phantom
from SlicRegLib.progress import silent
from SlicRegLib.registration.affine import fit_affine
from SlicRegLib.registration.alignment import align
from SlicRegLib.registration.key_points import describe_key_points
from SlicRegLib.registration.options import AlignmentOptions
from SlicRegLib.registration.register import Stopwatch, refine_and_unfold
from SlicRegLib.teaching.create import create_study
from SlicRegLib.training.loop import train
from SlicRegLib.training.options import training_preset

SHAPES = ((64, 48, 80), (96, 80, 128), (160, 144, 176))
STAGES = ("preparation", "prediction + features", "alignment", "spline", "refinement")


class Meter:
    """Seconds and peak resident memory (MB, sampled every 5 ms) of a block."""

    def __enter__(self):
        self.peak, self.running = 0.0, True
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.started
        self.running = False
        self.thread.join()

    def _watch(self):
        page = resource.getpagesize()
        while self.running:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * page
            self.peak = max(self.peak, resident / 2**20)
            time.sleep(0.005)


def matrix_product() -> float:
    """Seconds of one 4096^3 fp32 product, the best of three."""
    a, b = torch.randn(2, 4096, 4096)
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def measure(net, scans: list[Volume], shape, options: PredictionOptions) -> dict[str, Meter]:
    """The stages of `registration.register` at one frame size; the voxel edge makes the same body fill each frame.

    One scan is predicted, as in the published figures: a bundle's template is described once, at training.
    """
    spacing = 4.0 * (96 * 80 * 128 / np.prod(shape)) ** (1 / 3)
    alignment = AlignmentOptions()
    meters = {stage: Meter() for stage in STAGES}

    def prepared(scan):
        grid = canonical_grid(scan, shape, spacing)
        return PreparedScan("", prepare(scan, grid), grid)

    fixed = prepared(scans[0])
    wanted = describe_key_points(describe(net, fixed, options), fixed.body, fixed.grid, alignment)
    with meters["preparation"]:
        moving = prepared(scans[1])
    with meters["prediction + features"]:
        found = describe(net, moving, options)
    with meters["alignment"]:
        matrix = fit_affine(wanted.centroids, found.centroids)
        start = apply_affine(np.eye(4) if matrix is None else matrix, wanted.points) - wanted.points
        displacements = align(wanted.points, wanted.features, found, start, alignment)
    with meters["spline"]:
        dense = thin_plate_spline(
            wanted.points,
            displacements,
            bounding_grid([fixed.grid], alignment.field_spacing_mm),
            alignment.spline_lambda,
        )
    with meters["refinement"]:
        refine_and_unfold([dense], fixed, moving, Stopwatch(silent))
    return meters


def exponent(sizes, costs) -> float:
    """The slope of log cost over log size; of one size there is none."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0]) if len(sizes) > 1 else float("nan")


def training_cost(preset: str, sizes: list[int]) -> dict:
    """Prints what training costs against the number of scans."""
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            study = copied_study(Path(folder), size)
            run = training_preset(preset, iterations=4, batch=2, validation_every=4, validation_scans=1)
            with Meter() as training:
                _, history = train(study, PRESETS[preset], run, Path(folder) / "checkpoint", torch.device("cpu"))
            rows.append((size, history.rows[-1][1] / 4, training.peak, history.waiting_share))
            print(
                "{} scans: {:.2f} s an iteration (batch 2, with one validation in four), {:.0f} MB peak, {:.0%} of the time "
                "spent making samples".format(*rows[-1]),
                flush=True,
            )
    names = ("seconds of an iteration", "peak memory", "share of making samples")
    print(
        "grow as scans to the power: "
        + ", ".join(f"{name} {exponent(sizes, costs):.2f}" for name, costs in zip(names[:2], list(zip(*rows))[1:]))
    )
    return {"preset": preset, "rows": [dict(zip(("scans", *names), row)) for row in rows]}


class Still:
    """A teacher that finds nothing to move: what it says does not change what training costs."""

    name = "still"

    def register(self, scan: PreparedScan, template: PreparedScan) -> DisplacementField:
        return identity_field(scan.grid.pooled(2))


def copied_study(folder: Path, size: int):
    """A study of one phantom and ``size`` copies of another."""
    write_phantom(folder, 0)
    image, _ = write_phantom(folder / "cohort", 1)
    for index in range(size - 1):
        shutil.copy(image, image.with_name(f"copy_{index}.nii.gz"))
    return create_study(folder / "img" / "phantom_0.nii.gz", image.parent, folder / "study", Still())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=tuple(PRESETS), default="paper")
    parser.add_argument("--features", choices=("probabilities", "labels"), default="probabilities")
    parser.add_argument("--cohorts", type=int, nargs="+", metavar="N", help="numbers of scans to train with")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.cohorts:
        results = training_cost(options.preset, options.cohorts)
        if options.json:
            options.json.write_text(json.dumps(circumstances() | results, indent=1))
        return
    torch.manual_seed(0)
    net = build(PRESETS[options.preset]).to(memory_format=torch.channels_last_3d).eval().requires_grad_(False)
    scans = []
    for seed in (0, 1):
        phantom = make_phantom(seed)
        scans.append(Volume(phantom.image, Grid(phantom.image.shape, phantom.affine)))
    product = matrix_product()
    print(
        f"preset {options.preset}, {torch.get_num_threads()} threads; one 4096^3 fp32 matrix product: {product:.2f} s"
    )
    prediction = PredictionOptions(hard=options.features == "labels", precision=options.precision)
    results, totals = [], []
    for shape in SHAPES:
        meters = measure(net, scans, shape, prediction)
        total = sum(meters[stage].seconds for stage in STAGES[1:4])
        totals.append(total)
        print(f"\n{' x '.join(map(str, shape))}")
        for stage, meter in meters.items():
            print(
                f"  {stage:24s}{meter.seconds:7.2f} s{meter.seconds / product:7.2f} products{meter.peak:8.0f} MB peak"
            )
        print(f"  {'the three between':24s}{total:7.2f} s{total / product:7.2f} products")
        results.append(
            {"shape": shape, "stages": {s: {"seconds": m.seconds, "peak_mb": m.peak} for s, m in meters.items()}}
        )
    voxels = [np.prod(s) for s in SHAPES]
    exponents = {
        "the three between": exponent(voxels, totals),
        "all stages": exponent(voxels, [sum(s["seconds"] for s in r["stages"].values()) for r in results]),
        "peak memory": exponent(voxels, [max(s["peak_mb"] for s in r["stages"].values()) for r in results]),
    }
    print("\ngrow as voxels to the power: " + ", ".join(f"{name} {value:.2f}" for name, value in exponents.items()))
    if options.json:
        options.json.write_text(
            json.dumps(
                circumstances()
                | {"product_seconds": product, "preset": options.preset, "sizes": results, "exponents": exponents},
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
