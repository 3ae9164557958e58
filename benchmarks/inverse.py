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

from cohort import is_inside
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.files import list_images, stem
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.preparation import AIR_HU, prepare_scan
from SlicRegLib.images.transforms import load_transform, save_transform
from SlicRegLib.images.volumes import Volume, load_scan, to_itk
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.register import register


def round_trip(there: DisplacementField, back: DisplacementField, points: torch.Tensor, other: Grid) -> torch.Tensor:
    """Distances (n,) mm from points to back(there(points)), of those that ``there`` takes into ``other``."""
    image = there(points)
    return (back(image) - points).norm(dim=-1)[is_inside(other, image)]


def body_points(scan: Volume, preparation: PreparationOptions) -> torch.Tensor:
    """World points (n, 3) mm of the scan's body, one anywhere in each voxel of the canonical frame: its middle would be
    a point of the field's own lattice."""
    prepared = prepare_scan(scan, preparation)
    voxels = prepared.grid.voxels()[prepared.body]
    points = prepared.grid.to_world(voxels + torch.rand(voxels.shape, generator=torch.Generator().manual_seed(0)) - 0.5)
    return points[is_inside(scan.grid, points)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "template", "images"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args(arguments)
    model, template = load_model(options.model), load_scan(options.template)
    for path in list_images(options.images):
        target = load_scan(path)
        result = register(model, template, target)
        with tempfile.TemporaryDirectory() as folder:
            for name, field in (("field", result.field), ("inverse", result.inverse)):
                save_transform(Path(folder) / f"{name}.h5", field)
            field, inverse = (load_transform(Path(folder) / f"{name}.h5") for name in ("field", "inverse"))
            transform = sitk.ReadTransform(str(Path(folder) / "field.h5"))
        image = sitk.Resample(to_itk(target), to_itk(template), transform, sitk.sitkLinear, AIR_HU)
        shown = is_inside(target.grid, field(template.grid.points())).numpy()
        difference = np.abs(sitk.GetArrayFromImage(image).transpose(2, 1, 0) - result.warped_target().data)[shown]
        fixed, moving = (body_points(scan, model.preparation) for scan in (template, target))
        for name, error in (
            ("inverse(field(p))", round_trip(field, inverse, fixed, target.grid)),
            ("field(inverse(q))", round_trip(inverse, field, moving, template.grid)),
        ):
            print(
                f"{stem(path):12s} {name}: mean {error.mean():.3f} mm, 99 % below {error.quantile(0.99):.2f}, max "
                f"{error.max():.2f} mm of {len(error)} points"
            )
        print(
            f"{'':12s} ITK: mean {difference.mean():.4f} HU, {(difference < 0.01).mean() * 100:.2f} % within 0.01 HU; "
            f"folding {result.folding_percent:.3f} %",
            flush=True,
        )


if __name__ == "__main__":
    main()
