"""A model that holds an average and labels, made in a second: the bundled phantom model, whose labels become what one
rater says."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.label_maps import cut_labels
from SlicRegLib.images.volumes import Volume
from SlicRegLib.phantoms.phantom import ORGANS
from SlicRegLib.registration.consensus import Consensus
from SlicRegLib.registration.model import load_model, save_model
from SlicRegLib.registration.organs import PERCENTILES, Organ

NAMES = dict(list(enumerate(ORGANS.values(), 1))[:5])
"""Label -> its name, of as many organs as tests need."""
SCANS = 30


def make_average_model(path: Path, organs: int = len(NAMES)) -> Path:
    """Write the model to ``path``, with so many of its organs. The cohort's volumes of each organ go from half of the
    average's to twice. It says that it is the average of `SCANS` scans, and knows no growth."""
    model = load_model("trunk-phantom")
    atlas = replace(model.atlas, scans=SCANS, growth=None)
    consensus = make_consensus(model.consensus.labels, model.template_grid, organs)
    save_model(path, replace(model, atlas=atlas, consensus=consensus))
    return path


def make_consensus(labels: Volume, grid: Grid, number: int) -> Consensus:
    carried = cut_labels(labels.data, labels.grid).on(grid)
    voxel_ml = float(np.prod(labels.grid.spacing)) / 1000
    organs = []
    for value, name in list(enumerate(ORGANS.values(), 1))[:number]:
        ml = float((labels.data == value).sum()) * voxel_ml
        organs.append(
            Organ(
                value=value,
                name=name,
                shares=np.where(carried == value, 255, 0).astype(np.uint8),
                first=(0, 0, 0),
                threshold=0.4,
                raters=1,
                agreement=1.0,
                volumes_ml=tuple(np.linspace(ml / 2, 2 * ml, len(PERCENTILES)).tolist()),
                colour=(200, value, 10) if value == 1 else None,
            )
        )
    return Consensus(grid, tuple(organs))


def copy_without_template(source: Path, target: Path) -> Path:
    """A model as older versions wrote it, which has no sums, without its template and labels."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "bundle.json":
                about = json.loads(content)
                about.pop("sha256", None)
                content = json.dumps({**about, "template_included": False, "atlas": None, "organs": []}).encode()
            if name not in ("template.npz", "atlas.npz", "consensus.npz"):
                new.writestr(name, content)
    return target
