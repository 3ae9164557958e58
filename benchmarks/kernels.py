"""Every speed-up that a comment in the code claims, as a ratio of two timings in one run.

    python benchmarks/kernels.py [--small] [--json FILE]

Each line: what the code does and what it replaces; seconds of both; their ratio (above 1: the code is faster); the
largest difference between the two results, which must be rounding. The two alternate, and the fastest of several runs
counts. The sizes are those of a registration with a frame of 96 x 80 x 128 voxels; --small takes tiny ones, whose times
mean nothing. Each optimiser runs in a process of its own, since an import is what costs time. The last line needs
Slicer's MRML scene (the package slicer-core) and is left out without it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from cohort import describe_circumstances
from SlicRegLib.geometry.filters import box_filter
from SlicRegLib.geometry.gather import rows_at
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.preparation import AIR_HU, body_region
from SlicRegLib.registration.comparison import FeatureComparison
from SlicRegLib.registration.image_features import ImageFeatures

Run = Callable[[], tuple[float, torch.Tensor]]
"""Computes once; returns the seconds that count and the result."""


@dataclass(frozen=True)
class Race:
    """Two ways to one result. tolerance: the largest difference between the results that is still rounding."""

    ours: str
    others: str
    run_ours: Run
    run_others: Run
    tolerance: float
    repeats: int = 7

    def measure(self) -> dict:
        """Seconds of both, their ratio and the largest difference. Raises SystemExit where the results differ."""
        seconds: tuple[list[float], list[float]] = ([], [])
        difference = 0.0
        for _ in range(self.repeats):
            (ours, result), (others, known) = self.run_ours(), self.run_others()
            seconds[0].append(ours)
            seconds[1].append(others)
            difference = max(difference, (result.double() - known.double()).abs().max().item())
        if not difference <= self.tolerance:
            raise SystemExit(f"{self.ours} and {self.others} differ by {difference:g}")
        best = [min(times) for times in seconds]
        return {
            "ours": self.ours,
            "instead of": self.others,
            "seconds": best,
            "ratio": best[1] / best[0],
            "difference": difference,
        }


def clock(function: Callable[[], torch.Tensor]) -> Run:
    def run() -> tuple[float, torch.Tensor]:
        started = time.perf_counter()
        result = function()
        return time.perf_counter() - started, result

    return run


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def frame(small: bool, stride: int = 1) -> tuple[int, int, int]:
    i, j, k = (n // stride for n in ((32, 16, 32) if small else (96, 80, 128)))
    return i, j, k


# --- the kernels ---


def filter_box(small: bool) -> Race:
    """geometry/filters.py: the box filter of the alignment's features."""
    features = random(*frame(small, 2), 256)

    def pool() -> torch.Tensor:
        padded = features.movedim(-1, 0)[None]
        return F.avg_pool3d(padded, 5, 1, 2, count_include_pad=False)[0].movedim(0, -1).contiguous()

    return Race(
        "box filter by matrices", "pooling", clock(lambda: box_filter(features.clone(), 5)), clock(pool), 1e-4, 3
    )


def gather(small: bool) -> Race:
    """geometry/gather.py: features at key points and their slopes, as in a step of the alignment."""
    grid = Grid.centred((0, 0, 0), frame(small, 2), 8.0)
    features = random(*grid.shape, 256)
    channels_first = features.movedim(-1, 0).contiguous()
    points = 60 * random(2048, 3, seed=1)

    def step(values: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        x = points.clone().requires_grad_()
        values(x).square().mean().backward()
        return x.grad

    return Race(
        "features gathered by row",
        "grid_sample",
        clock(lambda: step(lambda x: rows_at(features, grid, x))),
        clock(lambda: step(lambda x: sample(channels_first, grid, x))),
        1e-4,
    )


def compare_features(small: bool) -> Race:
    """registration/comparison.py: the feature difference and its gradient by the control points."""
    shape = frame(small, 2)
    smooth = [F.avg_pool3d(random(1, 15, *frame(small), seed=seed), 3, 1, 1)[0].movedim(0, -1) for seed in (0, 1)]
    fixed, moving = (ImageFeatures(values.contiguous(), torch.zeros(3, dtype=torch.long)) for values in smooth)
    region = torch.zeros(frame(small), dtype=torch.bool)
    region[4:-4, 4:-4, 4:-4] = True
    comparison = FeatureComparison(fixed.average, moving.average, region, shape)
    grid, channels_first = Grid(shape, np.eye(4)), moving.average.values.movedim(-1, 0).contiguous()
    # smooth, and nowhere at a border between cells, where the slope jumps with the last bit of a position
    spline = 0.4 + F.avg_pool3d(random(1, 3, *shape, seed=2), 5, 1, 2)[0].clamp(-0.3, 0.3)

    def autograd() -> torch.Tensor:
        x = spline.clone().requires_grad_()
        places = (comparison.voxels + x.flatten(1)[:, comparison.index]).T
        (sample(channels_first, grid, places).T - comparison.fixed).square().sum().backward()
        return x.grad

    return Race(
        "written-out gradient of the comparison",
        "autograd, grid_sample",
        clock(lambda: comparison.gradient(spline)[1]),
        clock(autograd),
        1e-2,
    )


def dilate(small: bool) -> Race:
    """geometry/masks.py: the region around the body."""
    grid = Grid.centred((0, 0, 0), frame(small), 4.0)
    body = (grid.points() / torch.tensor(grid.shape)).norm(dim=-1) < 1.5

    def pool() -> torch.Tensor:
        mask = body[None, None].float()
        for around in ([2, 0, 0], [0, 2, 0], [0, 0, 2]):
            mask = F.max_pool3d(mask, [2 * a + 1 for a in around], stride=1, padding=around)
        return mask[0, 0] > 0

    return Race("dilation by shifted slices", "pooling axis by axis", clock(lambda: body_region(body)), clock(pool), 0)


def resample_parallel(small: bool) -> Race:
    """geometry/resampling.py: a scan on a parallel grid, as in the preparation."""
    scan = Grid.centred((0, 0, 0), (48, 48, 20) if small else (256, 256, 100), (2.0, 2.0, 4.0))
    target = Grid.centred((3, -5, 2), frame(small), 4.0).halved()
    volume = 500 * random(1, *scan.shape)
    return Race(
        "parallel grids resampled axis by axis",
        "point by point",
        clock(lambda: resample(volume, scan, target, fill=AIR_HU)),
        clock(lambda: sample(volume, scan, target.points(), fill=AIR_HU)),
        1.0,  # HU, of noise whose neighbours differ by a thousand: rounding of coordinates
        3,
    )


ADAM = """
import time, torch
{imports}
parameter = torch.zeros(2048, 3, requires_grad=True)
started = time.perf_counter()
{make}
for step in range(10):
    parameter.square().add(parameter).sum().backward()
    adam.step()
    {clear}
print(time.perf_counter() - started, *parameter[0].tolist())
"""


def optimise(small: bool) -> Race:
    """registration/optimiser.py: ten steps of Adam in a fresh process that has imported torch."""

    def fresh(make: str, clear: str) -> Run:
        def run() -> tuple[float, torch.Tensor]:
            program = ADAM.format(imports="", make=make, clear=clear)
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
            seconds, *values = map(float, done.stdout.split())
            return seconds, torch.tensor(values)

        return run

    ours = fresh(
        "from SlicRegLib.registration.optimiser import Adam; adam = Adam(parameter, 0.1)", "parameter.grad = None"
    )
    torchs = fresh("adam = torch.optim.Adam([parameter], 0.1)", "adam.zero_grad()")
    return Race("our Adam in a fresh process", "torch.optim's", ours, torchs, 1e-5, 1 if small else 2)


def export_segments(small: bool) -> Race | None:
    """SlicRegSlicer/writing.py: 50 segments that share a label map, as one array. None without Slicer's libraries."""
    try:
        import slicer
        import vtk
        from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

        from SlicRegSlicer.writing import _rasterise
    except ImportError:
        return None
    shape = (32, 32, 30) if small else (256, 256, 100)
    labels = np.zeros(shape[::-1], np.uint8)  # (K, J, I)
    for value, block in enumerate(np.array_split(np.arange(shape[2]), min(50, shape[2])), 1):
        labels[block, 4:-4, 4:-4] = value
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(shape)
    image.GetPointData().SetScalars(numpy_to_vtk(labels.ravel(), deep=True))
    node = slicer.vtkMRMLSegmentationNode()
    node.SetSourceRepresentationToBinaryLabelmap()
    ids = vtk.vtkStringArray()
    for value in range(1, int(labels.max()) + 1):
        segment = slicer.vtkSegment()
        segment.SetLabelValue(value)
        segment.AddRepresentation(slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName(), image)
        node.GetSegmentation().AddSegment(segment, f"Segment_{value}")
        ids.InsertNextValue(f"Segment_{value}")

    def merge() -> torch.Tensor:
        merged = slicer.vtkOrientedImageData()
        node.GenerateMergedLabelmapForAllSegments(merged, slicer.vtkSegmentation.EXTENT_UNION_OF_SEGMENTS, image, ids)
        return torch.from_numpy(vtk_to_numpy(merged.GetPointData().GetScalars()).reshape(labels.shape).astype(np.int64))

    def rasterise() -> torch.Tensor:
        return torch.from_numpy(_rasterise(node.GetSegmentation(), image).astype(np.int64))

    return Race(f"{labels.max()} segments by layer", "Slicer's merge", clock(rasterise), clock(merge), 0, 2)


KERNELS = (filter_box, gather, compare_features, dilate, resample_parallel, optimise, export_segments)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(arguments)
    rows = {}
    for kernel in KERNELS:
        race = kernel(options.small)
        if race is None:
            continue
        rows[kernel.__name__] = row = race.measure()
        ours, others = row["seconds"]
        print(
            f"{row['ours']:42s}{ours:8.4f} s   {row['instead of']:22s}{others:8.4f} s   ratio {row['ratio']:5.1f}   "
            f"difference {row['difference']:.1e}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(describe_circumstances() | {"kernels": rows}, indent=1))


if __name__ == "__main__":
    main()
