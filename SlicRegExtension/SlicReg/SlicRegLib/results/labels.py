"""Labels of a template: a label map, or what a cohort's labels agree on; both are carried and compared alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..errors import UserError
from ..images.volumes import Volume
from ..registration.consensus import Consensus
from ..registration.model import Model
from ..registration.result import Registration

Labels: TypeAlias = Volume | Consensus


def as_label_map(labels: Labels | None) -> Volume | None:
    """On their own grid, in the template's space."""
    return labels.labels if isinstance(labels, Consensus) else labels


def carry_labels(result: Registration, labels: Labels) -> Volume:
    """Onto the target's own grid through the inverse field."""
    if isinstance(labels, Consensus):
        return labels.on(result.target.grid, result.inverse)
    return result.labels_on_target(labels)


def find_own_template(model: Model, name: str | Path) -> tuple[Volume, Labels | None]:
    """The template that a model holds, and its labels if it has some. Raises UserError where it holds none."""
    if model.own_template is None:
        raise UserError(
            f"The model {name} holds no template of its own; give a template scan, or choose a model that was made "
            "from a cohort's average."
        )
    return model.own_template, model.consensus or model.template_labels


def measure_organs(labels: Volume, consensus: Consensus) -> list[dict[str, Any]]:
    """Of each organ of the consensus: value, name, volume in ``labels`` in ml, and its percentile in the cohort, None
    where the cohort shows no complete one or the organ reaches the border of the scan."""
    voxel_ml = float(np.prod(labels.grid.spacing)) / 1000
    sizes = np.bincount(labels.data.ravel())
    cut: set[int] = set()
    for axis in range(3):
        for end in (0, -1):
            cut |= set(np.unique(labels.data.take(end, axis)).tolist())
    measured = []
    for organ in consensus.organs:
        volume = float(sizes[organ.value]) * voxel_ml if organ.value < len(sizes) else 0.0
        percentile = organ.percentile(volume) if volume and organ.value not in cut else None
        measured.append(
            {
                "value": organ.value,
                "name": organ.name,
                "volume_ml": round(volume, 3),
                "percentile": None if percentile is None else round(percentile, 1),
                "complete": organ.value not in cut and volume > 0,
            }
        )
    return measured
