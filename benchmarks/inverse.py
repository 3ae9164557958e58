"""How well the files agree on real scans: field and inverse with each other, our resampling with ITK's.

    python benchmarks/inverse.py --model M --template T --images DIR

For each scan: the distance in mm from p to inverse(field(p)) for p in the template's body and from q to
field(inverse(q)) for q in the target's, wherever both lie in the scans; and the HU difference between
warped_target and what SimpleITK makes of the target and transform.h5.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.files import list_images, stem
from SlicRegLib.images.preparation import AIR_HU, prepare_scan
from SlicRegLib.images.transforms import load_transform, save_transform
from SlicRegLib.images.volumes import load_scan, to_itk
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.register import register


def inside(grid: Grid, points: torch.Tensor) -> torch.Tensor:
    voxel = grid.to_voxel(points)
    return ((voxel >= 0) & (voxel <= torch.tensor(grid.shape) - 1)).all(-1)


def round_trip(there, back, points: torch.Tensor, other: Grid) -> torch.Tensor:
    """Distances (n,) mm from points to back(there(points)), of those that land in ``other``."""
    image = there(points)
    return (back(image) - points).norm(dim=-1)[inside(other, image)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "template", "images"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    bundle, template = load_model(options.model), load_scan(options.template)
    for path in list_images(options.images):
        target = load_scan(path)
        result = register(bundle, template, target)
        with tempfile.TemporaryDirectory() as folder:
            for name, field in (("field", result.field), ("inverse", result.inverse)):
                save_transform(Path(folder) / f"{name}.h5", field)
            field, inverse = (load_transform(Path(folder) / f"{name}.h5") for name in ("field", "inverse"))
            transform = sitk.ReadTransform(str(Path(folder) / "field.h5"))
        image = sitk.Resample(to_itk(target), to_itk(template), transform, sitk.sitkLinear, AIR_HU)
        seen = inside(target.grid, field(template.grid.points())).numpy()
        difference = np.abs(sitk.GetArrayFromImage(image).transpose(2, 1, 0) - result.warped_target().data)[seen]
        bodies = []
        for scan in (template, target):
            prepared = prepare_scan(scan, bundle.preparation)
            points = prepared.grid.points()[prepared.body]
            bodies.append(points[inside(scan.grid, points)])
        for name, error in (
            ("inverse(field(p))", round_trip(field, inverse, bodies[0], target.grid)),
            ("field(inverse(q))", round_trip(inverse, field, bodies[1], template.grid)),
        ):
            print(
                f"{stem(path):12s} {name}: mean {error.mean():.3f} mm, max {error.max():.2f} mm of {len(error)} points"
            )
        print(
            f"{'':12s} ITK: mean {difference.mean():.4f} HU, {(difference < 0.01).mean() * 100:.2f} % within 0.01 HU; folding {result.folding_percent():.3f} %"
        )


if __name__ == "__main__":
    main()
