"""A result in the scene as the folder of files from which `slicreg film` makes its film."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

from .maps import view_field
from .review import Review
from .segments import Segment
from .writing import write_segmentation, write_volume

NAMES_FILE = "names.csv"


def write_film_folder(review: Review, folder: Path) -> list[str]:
    """Write the target, the carried segments as they are now, the transform and the verdict; returns the words of the
    command. Raises UserError, as for a registration of these nodes."""
    from SlicRegLib.images.displacements import write_displacements  # SimpleITK is not loaded when Slicer starts

    outputs = review.outputs
    target = folder / f"{_make_file_name(review.target.GetName())}.nrrd"
    write_volume(review.target, target)
    write_volume(outputs.warpedTarget, folder / "warped_target.nrrd")  # on the template's grid
    field = view_field(outputs.transform)
    write_displacements(folder / "transform.nrrd", field.vectors.transpose(2, 1, 0, 3), field.matrix)
    words = ["film", str(folder), "--target", str(target)]
    verdict = {name: outputs.verdict[name] for name in ("word", "sentence")}
    report = {"target": str(target), "verdict": verdict}
    if review.is_present(outputs.warpedSegmentation):
        segments = write_segmentation(outputs.warpedSegmentation, review.target, folder / "labels.nrrd")
        if review.is_present(own := review.template_segmentation):
            names = {segment.name: segment.value for segment in segments}
            own_labels = folder / "template_labels.nrrd"
            report["template_label"] = str(own_labels)
            others = write_segmentation(own, review.template, own_labels, names)
            segments += [segment for segment in others if segment.value not in names.values()]
        if named := [segment for segment in segments if segment.name.strip()]:
            _write_names(folder / NAMES_FILE, named)
            words += ["--label-names", str(folder / NAMES_FILE)]
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return words


def _write_names(path: Path, segments: Sequence[Segment]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("value", "name", "r", "g", "b"))
        for segment in segments:
            table.writerow((segment.value, segment.name[:60], *(round(255 * channel) for channel in segment.color)))


def _make_file_name(name: str) -> str:
    """Of a node's name, which is shown in the film's title."""
    return re.sub(r"[^\w. -]", "_", name).strip(". ")[:60] or "target"
