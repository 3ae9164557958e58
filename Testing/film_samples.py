"""A result folder whose transform is known, for the tests of films."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from PIL import Image

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.transforms import save_transform
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegLib.results import film_writing
from tiny import field_of, phantom

SHIFT = torch.tensor([14.0, -7.0, 21.0])  # whole voxels, from the template to the target
NAMES = "value,name,r,g,b\n1,Milz,200,40,10\n6,Leber,10,120,240\n"
ALL = {"width": 320, "seconds": 0.5}
GREYS = film_writing.make_palette([], [Image.new("RGB", (64, 48))])


def write_result(folder: Path) -> Path:
    """Make the folder of a result whose transform is a known shift; the template shows only the lower half of the
    target, and the scan and a table of names lie beside the folder."""
    folder.mkdir()
    scan, labels = phantom(1)
    save_volume(folder.parent / "patient.nii.gz", scan)
    save_volume(folder / "warped_labels.nii.gz", labels)
    half = Grid((*scan.grid.shape[:2], scan.grid.shape[2] // 2), scan.grid.affine)
    field = field_of(scan.grid.pooled(2).padded([2] * 3, [2] * 3), shift)
    warped = resample(scan.tensor, scan.grid, half, field, fill=-1000.0)[0].numpy()
    save_volume(folder / "warped_target.nii.gz", Volume(warped, half))
    save_transform(folder / "transform.h5", field)
    report = {
        "target": str(folder.parent / "patient.nii.gz"),
        "verdict": {"word": "good", "sentence": "All is well."},
        "organs": [{"value": 6, "name": "liver"}],
    }
    (folder / "report.json").write_text(json.dumps(report))
    (folder.parent / "names.csv").write_text(NAMES)
    return folder


def shift(points: torch.Tensor) -> torch.Tensor:
    return SHIFT.expand(points.shape)
