"""Where the time of a registration goes: seconds and peak memory per stage beside one matrix product.

    python benchmarks/speed.py [--preset paper|unet|compact] [--features probabilities|labels] [--json FILE]
    python benchmarks/speed.py --cohorts 16 64 256 [--preset compact]

Registers two phantoms at three frame sizes (0.25, 1 and 4 million voxels) with an untrained network of the preset (time
does not depend on the weights). Prints each stage's seconds, its ratio to a 4096 x 4096 x 4096 fp32 matrix product in
the same run, and the process's peak memory during the stage; "the three between" leaves out preparation and refinement,
as the published figures do. The last lines give cost against voxels as exponents. With --cohorts instead: seconds of a
training iteration and peak memory for cohorts of these sizes, copies of one phantom.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cohort import describe_circumstances
from SlicRegLib.cli.demo import write_phantom
from SlicRegLib.geometry.field import DisplacementField, identity_field
from SlicRegLib.geometry.grid import Grid, apply_affine, bounding_grid
from SlicRegLib.geometry.spline import thin_plate_spline
from SlicRegLib.images.preparation import PreparedScan, canonical_grid, prepare
from SlicRegLib.images.volumes import Volume
from SlicRegLib.network.networks import SupervoxelNet, build
from SlicRegLib.network.options import PRESETS, PredictionOptions
from SlicRegLib.network.prediction import describe, encode
from SlicRegLib.phantoms.phantom import make_phantom
from SlicRegLib.progress import silent
from SlicRegLib.registration.affine import fit_affine
from SlicRegLib.registration.alignment import align
from SlicRegLib.registration.key_points import describe_key_points
from SlicRegLib.registration.options import AlignmentOptions
from SlicRegLib.registration.register import Stopwatch, refine_and_unfold
from SlicRegLib.teaching.create import StudyPlan, create_study
from SlicRegLib.teaching.study import Study
from SlicRegLib.training.loop import TrainingPlan, train
from SlicRegLib.training.options import training_preset

SHAPES = ((64, 48, 80), (96, 80, 128), (160, 144, 176))
STAGES = ("preparation", "prediction + features", "alignment", "spline", "refinement")


class Meter:
    """Seconds and peak resident memory (MB, sampled every 5 ms) of a block."""

    def __enter__(self) -> Meter:
        self.peak, self.running = 0.0, True
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.started
        self.running = False
        self.thread.join()

    def _watch(self) -> None:
        page = resource.getpagesize()
        while self.running:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * page
            self.peak = max(self.peak, resident / 2**20)
            time.sleep(0.005)


def time_matrix_product(n: int = 4096) -> float:
    """Seconds of one n^3 fp32 product, the best of three."""
    a, b = torch.randn(2, n, n)
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def measure(
    net: SupervoxelNet, scans: list[Volume], shape: tuple[int, int, int], options: PredictionOptions
) -> dict[str, Meter]:
    """The stages of `register` at one frame size; the voxel edge is such that the body fills each frame alike.

    One scan is predicted, as in the published figures: a model's template is described once, after training.
    """
    spacing = 4.0 * (96 * 80 * 128 / np.prod(shape)) ** (1 / 3)
    alignment = AlignmentOptions()
    meters = {stage: Meter() for stage in STAGES}

    def bring_into_frame(scan: Volume) -> PreparedScan:
        grid = canonical_grid(scan, shape, spacing)
        return PreparedScan("", prepare(scan, grid), grid)

    fixed = bring_into_frame(scans[0])
    key_points = describe_key_points(
        describe(net, encode(net, fixed, options), options), fixed.body, fixed.grid, alignment
    )
    with meters["preparation"]:
        moving = bring_into_frame(scans[1])
    with meters["prediction + features"]:
        description = describe(net, encode(net, moving, options), options)
    with meters["alignment"]:
        matrix = fit_affine(key_points.centroids, description.centroids)
        start = apply_affine(np.eye(4) if matrix is None else matrix, key_points.points) - key_points.points
        displacements = align(key_points.points, key_points.features, description, start, alignment)
    with meters["spline"]:
        grid = bounding_grid([fixed.grid], alignment.field_spacing_mm)
        dense = thin_plate_spline(key_points.points, displacements, grid, alignment.spline_lambda)
    with meters["refinement"]:
        refine_and_unfold([dense], fixed, moving, Stopwatch(silent))
    return meters


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log cost over log size; nan for a single size."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0]) if len(sizes) > 1 else float("nan")


def measure_training(preset: str, sizes: list[int]) -> dict:
    """Print and return the cost of a training iteration for cohorts of these ``sizes``."""
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            study = make_study_of_copies(Path(folder), size)
            run = training_preset(preset, iterations=4, batch=2, validation_every=4, validation_scans=1)
            plan = TrainingPlan(study, PRESETS[preset], run)
            with Meter() as training:
                _, history = train(plan, Path(folder) / "checkpoint", torch.device("cpu"))
            rows.append((size, history.rows[-1][1] / 4, training.peak, history.waiting_share))
            print(
                "{} scans: {:.2f} s an iteration (batch 2, with one validation in four), {:.0f} MB peak, {:.0%} of the "
                "time spent making samples".format(*rows[-1]),
                flush=True,
            )
    names = ("scans", "seconds of an iteration", "peak memory", "share of making samples")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    exponents = [f"{name} {exponent(sizes, columns[name]):.2f}" for name in names[1:3]]
    print(f"grow as scans to the power: {', '.join(exponents)}")
    return {"preset": preset, "rows": [dict(zip(names, row, strict=True)) for row in rows]}


class IdentityTeacher:
    """Leaves every scan where it is: the cost of a training does not depend on the teacher's fields."""

    name = "identity"

    def register(self, scan: PreparedScan, template: PreparedScan) -> DisplacementField:
        return identity_field(scan.grid.pooled(2))


def make_study_of_copies(folder: Path, size: int) -> Study:
    """A study whose template is one phantom and whose ``size`` scans are copies of another."""
    write_phantom(folder, 0)
    image, _ = write_phantom(folder / "cohort", 1)
    for index in range(size - 1):
        shutil.copy(image, image.with_name(f"copy_{index}.nii.gz"))
    template = folder / "img" / "phantom_0.nii.gz"
    plan = StudyPlan(template_path=template, images=image.parent, folder=folder / "study", teacher=IdentityTeacher())
    return create_study(plan)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=tuple(PRESETS), default="paper")
    parser.add_argument("--features", choices=("probabilities", "labels"), default="probabilities")
    parser.add_argument("--cohorts", type=int, nargs="+", metavar="N", help="numbers of scans to train with")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(arguments)
    if options.cohorts:
        results = measure_training(options.preset, options.cohorts)
        if options.json:
            options.json.write_text(json.dumps(describe_circumstances() | results, indent=1))
        return
    torch.manual_seed(0)
    net = build(PRESETS[options.preset]).to(memory_format=torch.channels_last_3d).eval().requires_grad_(False)
    scans = []
    for seed in (0, 1):
        phantom = make_phantom(seed)
        scans.append(Volume(phantom.image, Grid(phantom.image.shape, phantom.affine)))
    product = time_matrix_product()
    print(
        f"preset {options.preset}, {torch.get_num_threads()} threads; one 4096^3 fp32 matrix product: {product:.2f} s"
    )
    prediction = PredictionOptions(features=options.features, precision=options.precision)
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
                describe_circumstances()
                | {"product_seconds": product, "preset": options.preset, "sizes": results, "exponents": exponents},
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
