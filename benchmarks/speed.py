"""Where the time of a registration goes: seconds and peak memory per stage beside one matrix product.

    python benchmarks/speed.py [--preset paper|unet|compact] [--features probabilities|labels] [--json FILE]

Registers two phantoms at three frame sizes with an untrained network of the preset (time does not depend on the
weights) and prints each stage's seconds, its ratio to a 4096 x 4096 x 4096 fp32 matrix product timed in the same
run, and the process's peak memory during the stage; "the three between" leaves out preparation and refinement, as the
published figures do. The last line gives cost against voxels as an exponent.
"""

from __future__ import annotations

import argparse
import json
import resource
import threading
import time
from pathlib import Path

import numpy as np
import torch

from SlicRegLib.alignment import AlignmentOptions, affine_between, align, describe_key_points, thin_plate_spline
from SlicRegLib.geometry import Grid, apply_affine, bounding_grid
from SlicRegLib.networks import PRESETS, build
from SlicRegLib.phantoms import make_phantom
from SlicRegLib.prediction import PredictionOptions, describe
from SlicRegLib.preparation import Prepared, canonical_grid, prepare
from SlicRegLib.progress import silent
from SlicRegLib.registration import Stopwatch, finish
from SlicRegLib.volumes import Volume

SHAPES = ((64, 48, 80), (96, 80, 128), (128, 112, 160))
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
        return Prepared("", prepare(scan, grid), grid)

    fixed = prepared(scans[0])
    wanted = describe_key_points(describe(net, fixed, options), fixed.body, fixed.grid, alignment)
    with meters["preparation"]:
        moving = prepared(scans[1])
    with meters["prediction + features"]:
        found = describe(net, moving, options)
    with meters["alignment"]:
        matrix = affine_between(wanted.centroids, found.centroids)
        start = apply_affine(np.eye(4) if matrix is None else matrix, wanted.points) - wanted.points
        displacements = align(wanted.points, wanted.features, found, start, alignment)
    with meters["spline"]:
        dense = thin_plate_spline(wanted.points, displacements, bounding_grid([fixed.grid], alignment.field_spacing_mm), alignment.spline_lambda)
    with meters["refinement"]:
        finish(dense, fixed, moving, Stopwatch(silent))
    return meters


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=tuple(PRESETS), default="paper")
    parser.add_argument("--features", choices=("probabilities", "labels"), default="probabilities")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.manual_seed(0)
    net = build(PRESETS[options.preset]).to(memory_format=torch.channels_last_3d).eval().requires_grad_(False)
    scans = []
    for seed in (0, 1):
        phantom = make_phantom(seed)
        scans.append(Volume(phantom.image, Grid(phantom.image.shape, phantom.affine)))
    product = matrix_product()
    print(f"preset {options.preset}, {torch.get_num_threads()} threads; one 4096^3 fp32 matrix product: {product:.2f} s")
    prediction = PredictionOptions(hard=options.features == "labels", precision=options.precision)
    results, totals = [], []
    for shape in SHAPES:
        meters = measure(net, scans, shape, prediction)
        total = sum(meters[stage].seconds for stage in STAGES[1:4])
        totals.append(total)
        print(f"\n{' x '.join(map(str, shape))}")
        for stage, meter in meters.items():
            print(f"  {stage:24s}{meter.seconds:7.2f} s{meter.seconds / product:7.2f} products{meter.peak:8.0f} MB peak")
        print(f"  {'the three between':24s}{total:7.2f} s{total / product:7.2f} products")
        results.append({"shape": shape, "stages": {s: {"seconds": m.seconds, "peak_mb": m.peak} for s, m in meters.items()}})
    exponent = np.polyfit(np.log([np.prod(s) for s in SHAPES]), np.log(totals), 1)[0]
    print(f"\nseconds grow as voxels ^ {exponent:.2f}")
    if options.json:
        options.json.write_text(json.dumps({"product_seconds": product, "preset": options.preset, "sizes": results,
                                            "exponent": exponent}, indent=1))


if __name__ == "__main__":
    main()
