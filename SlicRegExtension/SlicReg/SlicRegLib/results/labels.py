"""Labels of a template: a label map, or what a cohort's labels agree on; both are carried and compared alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from ..errors import UserError
from ..geometry.label_maps import measure_volumes
from ..images.volumes import Volume
from ..registration.consensus import Consensus
from ..registration.correction import correct
from ..registration.model import Model
from ..registration.result import Registration

Labels: TypeAlias = Volume | Consensus


def as_label_map(labels: Labels | None) -> Volume | None:
    """On their own grid, in the template's space."""
    return labels.labels if isinstance(labels, Consensus) else labels


def find_labels_of_patient(result: Registration, labels: Labels) -> Labels:
    """What holds for the target, in the template's space: a consensus with the borders that its labels taught."""
    return correct(labels, result.target, result.field) if isinstance(labels, Consensus) else labels


def carry_labels(result: Registration, labels: Labels) -> Volume:
    """Those of the patient onto the target's own grid through the inverse field."""
    if isinstance(labels, Consensus):
        return correct(labels, result.target, result.field).on(result.target.grid, result.inverse)
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
    measured, volumes = [], measure_volumes(labels.data, labels.grid)
    for organ in consensus.organs:
        volume, complete = volumes.get(organ.value, (0.0, False))
        percentile = organ.percentile(volume) if complete else None
        measured.append(
            {
                "value": organ.value,
                "name": organ.name,
                "volume_ml": round(volume, 3),
                "percentile": None if percentile is None else round(percentile, 1),
                "complete": complete,
            }
        )
    return measured
