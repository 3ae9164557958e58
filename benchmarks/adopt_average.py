"""Give a trained model its cohort's average as template, without training it again.

    slicreg prepare --images scans --labels labels --label-names names.csv --out study
    python benchmarks/adopt_average.py --model old.slicreg --template T.nii.gz --study study --out new.slicreg

The model registers its own template to the average, and its supervoxels are carried along: they name the same places of
the body there, so that the network finds them in scans as before. What it holds of a patient's template, image and
labels, is left out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.volumes import Volume, load_scan
from SlicRegLib.network.prediction import describe, encode
from SlicRegLib.registration.key_points import describe_key_points
from SlicRegLib.registration.model import Model, load_model, save_model
from SlicRegLib.registration.register import register
from SlicRegLib.registration.verdict import judge
from SlicRegLib.teaching.study import Study, open_study
from SlicRegLib.training.train import forget_patient


def adopt_average(model: Model, template: Volume, study: Study) -> Model:
    """The model on the average of a ``study``. Raises UserError where it does not know the average."""
    atlas = study.atlas()
    if atlas is None:
        raise UserError(f"{study.folder} has no average; make one with `slicreg prepare` without --template.")
    if study.preparation.spacing_mm != model.preparation.spacing_mm:
        raise UserError("The study and the model have voxels of other sizes; prepare the study with the model's.")
    result = register(model, atlas.image, template)
    verdict = judge(model, result)
    if verdict.word != "good":
        raise UserError(f"The model does not fit the average: {verdict.sentence}")
    points = result.dense(atlas.grid.points())
    layers = [
        sample(torch.from_numpy(layer[None].astype(np.float32)), model.template_grid, points, "nearest", fill=0.0)[0]
        for layer in model.layers
    ]
    scan = atlas.scan
    return replace(
        model,
        preparation=replace(model.preparation, shape=scan.grid.shape),
        layers=torch.stack(layers).round().numpy().astype(np.uint8),
        template_grid=scan.grid,
        template_sha256=atlas.image.fingerprint(),
        key_points=describe_key_points(describe(model.net, encode(model.net, scan)), scan.body, scan.grid),
        template=None,
        template_labels=None,
        atlas=atlas,
        consensus=study.consensus(),
        provenance={**forget_patient(model.provenance), "template": f"average of {atlas.scans} scans"},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "template", "study", "out"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    model = adopt_average(load_model(options.model), load_scan(options.template), open_study(Path(options.study)))
    save_model(options.out, model)
    print(f"{options.out} written, {Path(options.out).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
