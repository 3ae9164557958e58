"""A model whose template is the average of the tiny cohort, with the consensus of its labels, made in a second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from SlicRegLib.cohort.label_names import LabelName
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.registration.model import Model
from SlicRegLib.teaching.averaging import AveragedScan, average
from SlicRegLib.teaching.create import count_labels
from SlicRegLib.teaching.study import Study
from tiny import tiny_model

NAMES = {1: LabelName("Left lung", (1, 2, 3)), 6: LabelName("Ösophagus, 食道")}


def zero_field(grid) -> DisplacementField:
    return DisplacementField(torch.zeros(3, *grid.shape), grid)


def atlas_model(study: Study, **changes) -> Model:
    """An untrained model of ``study``; in its average the scans lie with their middles on the template's."""
    template = study.template()

    def go_through() -> Iterator[AveragedScan]:
        for name in study.scans:
            scan, _ = study.scan(name)
            shift = torch.tensor(scan.grid.centre - template.grid.centre, dtype=torch.float32)
            field = zero_field(template.grid.pooled(8))
            field.vectors.add_(shift.view(3, 1, 1, 1))
            yield AveragedScan(scan, field)

    atlas = average(go_through, template.grid)
    content = dict(atlas=atlas, template_sha256=atlas.image.fingerprint())
    return tiny_model(study, **{**content, **changes})


def count_tiny_labels(study: Study) -> Study:
    """The study with its labels counted."""
    return count_labels(replace(study), str(study.folder.parent / "label"), NAMES)
