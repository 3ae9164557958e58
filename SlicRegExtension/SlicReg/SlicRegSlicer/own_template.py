"""The template that a model holds, as nodes: hidden ones for the views, until the user asks to see them.

A result refers to them, so they are saved with the scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util

from SlicRegLib.images.segment_defaults import TERMINOLOGY
from SlicRegLib.registration.model_header import compute_sha256
from SlicRegLib.registration.own_template import OwnTemplate, read_own_template

from .reading import Image, fill_segmentation, fill_volume
from .result_nodes import OWN_TEMPLATE, SEGMENTATION, VOLUME, ResultNodes
from .segments import Segment
from .translation import _

WINDOW, LEVEL = 500, 50
"""Of soft tissue, HU."""


@dataclass(frozen=True, eq=False)
class OwnTemplateNodes:
    """volume: a scalar volume node. segmentation: its segmentation node; None where the model holds no labels."""

    volume: Any
    segmentation: Any
    segments: list[Segment]
    labels: Image | None
    """What the segmentation holds."""


def load_own_template(model: str | Path, nodes: ResultNodes | None = None) -> OwnTemplateNodes:
    """The nodes of a model's template: those that are in the scene already, else new, hidden ones. Raises UserError
    where the model holds none.

    nodes: notes what is made here, so that it can be removed again.
    """
    content, key = read_own_template(model), compute_sha256(Path(model))
    nodes, name = nodes or ResultNodes(), _make_name(Path(model))
    volume = _find(VOLUME, key)
    if volume is None:
        volume = _add(nodes, VOLUME, name, key)
        fill_volume(volume, Image(_to_kji(content.hu), content.affine))
        display = volume.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(WINDOW, LEVEL)
    if content.labels is None:
        return OwnTemplateNodes(volume, None, [], None)
    segments, labels = list_segments(content), Image(_to_kji(content.labels), content.labels_affine)
    segmentation = _find(SEGMENTATION, key)
    if segmentation is None:
        segmentation = _add(nodes, SEGMENTATION, _("{name} segmentation").format(name=name), key)
        fill_segmentation(segmentation, labels, segments, volume)
    return OwnTemplateNodes(volume, segmentation, segments, labels)


def list_segments(content: OwnTemplate) -> list[Segment]:
    """The organs of a template as segments."""
    return [
        Segment(
            organ.value,
            f"Segment_{organ.value}",
            organ.name,
            tuple(channel / 255 for channel in organ.colour),
            {slicer.vtkSegment.GetTerminologyEntryTagName(): TERMINOLOGY},
        )
        for organ in content.organs
    ]


def show_in_lists(loaded: OwnTemplateNodes) -> None:
    """Make the nodes visible in the user's lists, as any other volume and segmentation."""
    for node in filter(None, (loaded.volume, loaded.segmentation)):
        node.SetHideFromEditors(False)


def _add(nodes: ResultNodes, class_name: str, name: str, key: str):
    node = nodes.reuse_or_add(None, class_name, name)
    node.SetAttribute(OWN_TEMPLATE, key)
    node.SetHideFromEditors(True)
    return node


def _find(class_name: str, key: str):
    """The node of this model file's template; None where there is none."""
    return next((n for n in slicer.util.getNodesByClass(class_name) if n.GetAttribute(OWN_TEMPLATE) == key), None)


def _make_name(model: Path) -> str:
    return _("{model} template").format(model=model.stem)


def _to_kji(voxels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(voxels.T)
