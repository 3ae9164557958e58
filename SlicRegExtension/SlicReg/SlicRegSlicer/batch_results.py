"""A result of a batch from its folder into the scene: the nodes that a registration makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import slicer
import slicer.util

from SlicRegLib.errors import UserError
from SlicRegLib.images.files import split_series
from SlicRegLib.images.json_reading import read_json
from SlicRegLib.images.options import TransformFormat
from SlicRegLib.jobs.batch_rows import Row
from SlicRegLib.results.result_folder import OWN_TEMPLATE, REPORT_FILE

from .own_template import load_own_template
from .reading import Image, fill_segmentation, fill_transform, fill_volume, load_displacement_image, load_image
from .request import Outputs
from .result_nodes import SEGMENTATION, TRANSFORM, VOLUME, ResultNodes, mark_result
from .scene_batch import INPUTS, SEGMENTS
from .segments import Segment
from .translation import _

FILE = "SlicReg.file"
"""Attribute of nodes that were read from a batch's folder, by which they are found again: the file that they hold."""


def load_result(row: Row, out: Path, scan: Path, template=None, target=None) -> tuple[Any, Outputs]:
    """Load the result of a row of a batch's table into the scene; a second time, into the same nodes.

    out: the batch's folder. scan: the target's file. template, target: their nodes; None where they are not in the
    scene: then the target is loaded from its file, if it can be. Returns the target, or None, and the outputs without
    what a batch does not write. Raises UserError where the result is not complete; then the scene stays as it was.
    """
    folder, name = out / row["name"], row["name"]
    if not (folder / REPORT_FILE).is_file():
        raise UserError(_("{name} has no result yet; run the batch first.").format(name=name))
    # all files are loaded before the scene changes
    fields = [load_displacement_image(_find_transform(folder, what)) for what in ("transform", "transform_inverse")]
    warped = load_image(folder / "warped_target.nii.gz")
    labels = folder / "warped_labels.nii.gz"
    report = _read_report(folder / REPORT_FILE)
    is_own = report.get("template") == OWN_TEMPLATE
    segments = _read_segments(out) if labels.is_file() and not is_own else []
    carried = load_image(labels) if labels.is_file() else None
    scan_image = None if target else _load_scan(scan)

    nodes, loaded, organs = ResultNodes(target or template), ResultNodes(), None
    try:
        if is_own:
            own = load_own_template(report["model"], loaded)
            template, organs, segments = own.volume, own.segmentation, own.segments
        report = _name_segments(report, segments)
        if target is None and scan_image:
            target = _find_or_add(nodes, scan, VOLUME, name)
            fill_volume(target, scan_image, like=template)
        transform, inverse, warpedTarget = (
            _find_or_add(nodes, folder / what, kind, title.format(name=name))
            for what, kind, title in (
                ("transform", TRANSFORM, _("{name} to template")),
                ("transform_inverse", TRANSFORM, _("Template to {name}")),
                ("warped_target", VOLUME, _("{name} on template")),
            )
        )
        fill_transform(transform, fields[0], fixed=template, moving=target)
        fill_transform(inverse, fields[1], fixed=target, moving=template)
        fill_volume(warpedTarget, warped, like=target or template)
        outputs = Outputs(transform, inverse, warpedTarget, confidence=None, supervoxels=None, report=report)
        outputs = replace(outputs, template=template, templateSegmentation=organs)
        if carried and segments:
            title = (_("{name} segmentation") if is_own else _("Template segments on {name}")).format(name=name)
            outputs = replace(
                outputs, warpedSegmentation=_find_or_add(nodes, folder / "warped_labels", SEGMENTATION, title)
            )
            _fill_labels(outputs.warpedSegmentation, carried, segments, target)
        for node in outputs.nodes() if template and target else ():
            mark_result(node, template, target, row["verdict"] or "")
    except BaseException:
        nodes.discard()
        loaded.discard()
        raise
    return target, outputs


def _find_transform(folder: Path, name: str) -> Path:
    paths = [folder / f"{name}.{ending}" for ending in get_args(TransformFormat)]
    return next((path for path in paths if path.is_file()), paths[0])


def _find_or_add(nodes: ResultNodes, path: Path, class_name: str, name: str):
    """The node into which this file was loaded before; a new one where there is none."""
    known = (node for node in slicer.util.getNodesByClass(class_name) if node.GetAttribute(FILE) == str(path))
    node = next(known, None) or nodes.reuse_or_add(None, class_name, name)
    node.SetAttribute(FILE, str(path))
    return node


def _read_segments(out: Path) -> list[Segment]:
    """The template's segments, as the batch has written them. Raises UserError where the file is damaged."""
    path = out / INPUTS / SEGMENTS
    try:
        return [Segment(**{**segment, "color": tuple(segment["color"])}) for segment in read_json(path)["segments"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(_("{path} is missing or damaged; run the batch again.").format(path=path)) from error


def _read_report(path: Path) -> dict[str, Any]:
    """Raises UserError where the file is damaged."""
    try:
        report = read_json(path)
        _name_segments(report, [])
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(_("{path} is missing or damaged; run the batch again.").format(path=path)) from error
    return report


def _name_segments(report: dict[str, Any], segments: list[Segment]) -> dict[str, Any]:
    """The report as in `Outputs`."""
    names = {value: value for value in report.get("after", {}).get("dice", {})}
    return {**report, "segments": {**names, **{str(segment.value): segment.name for segment in segments}}}


def _fill_labels(node, labels: Image, segments: list[Segment], target) -> None:
    """Fill the segmentation; without a target in the scene its grid is that of the labels."""
    reference = target
    if reference is None:
        reference = slicer.mrmlScene.AddNewNodeByClass(VOLUME)
        fill_volume(reference, labels)
    fill_segmentation(node, labels, segments, reference)
    if target is None:
        slicer.mrmlScene.RemoveNode(reference)


def _load_scan(path: Path) -> Image | None:
    """The scan; None for what Slicer's DICOM module must load, such as a folder that holds several series."""
    folder, series = split_series(path)
    if not folder.is_dir():
        return load_image(path)
    import SimpleITK as sitk  # not loaded when Slicer starts

    from SlicRegLib.images.itk import read_affine

    names = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(names) != 1 and series not in names:
        return None
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series if series in names else names[0])
    try:
        image = sitk.ReadImage(files)
    except RuntimeError:
        return None
    return Image(sitk.GetArrayFromImage(image), read_affine(image))
