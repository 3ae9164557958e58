"""Nodes to files for the command line. Linear parent transforms are applied; neither nodes nor scene change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import slicer

from SlicRegLib.errors import UserError

from .checks import check_matrix, check_parent
from .node_arrays import (
    compute_parent_to_world,
    compute_voxel_to_world,
    make_oriented_image,
    view_scalars,
    view_voxels,
)
from .segments import Segment, describe_segments
from .translation import _


def write_volume(node, path: str | Path) -> None:
    """Write the voxels, unchanged, with the volume's geometry in the world. Raises UserError if that is sheared."""
    check_parent(node, node.GetName())
    _write(view_voxels(node), compute_voxel_to_world(node), path)


def write_segmentation(
    node,
    volume,
    path: str | Path,
    names: Mapping[str, int] | None = None,
    numbers: Literal["order", "own"] = "order",
) -> list[Segment]:
    """Write the segments as a label map on the grid of ``volume`` in the world; returns them with their values.

    Values are 1..n in the segments' order. names: the segments of another segmentation with which this one is compared,
    and their values, which segments of the same names get; all others get larger values. numbers: "own" takes the
    segments' own label values, as they were in the file; raises UserError where two have the same. Where segments
    overlap, the later one wins.
    """
    for used in (node, volume):
        check_parent(used, used.GetName())
    grid = compute_voxel_to_world(volume)
    # segments lie in the segmentation's own frame
    geometry = make_oriented_image(np.linalg.inv(compute_parent_to_world(node)) @ grid)
    geometry.SetDimensions(volume.GetImageData().GetDimensions())
    own = node.GetSegmentation()
    node = _with_labelmaps(node, geometry)
    segmentation = node.GetSegmentation()
    segments = describe_segments(segmentation)
    if numbers == "own":
        segments = _number_as_stored(segments, own, node.GetName())
    if names is not None:
        segments = _number_by_names(segments, names)
    values = np.array([0, *(segment.value for segment in segments)])
    values = values.astype(np.uint8 if values.max() < 256 else np.uint16)
    _write(values[_rasterise(segmentation, geometry)], grid, path)
    return segments


def _number_by_names(segments: list[Segment], names: Mapping[str, int]) -> list[Segment]:
    free = count(max(names.values(), default=0) + 1)
    return [replace(segment, value=names.get(segment.name) or next(free)) for segment in segments]


def _number_as_stored(segments: list[Segment], segmentation, name: str) -> list[Segment]:
    values = [segmentation.GetSegment(segment.id).GetLabelValue() for segment in segments]
    if len({*values, 0}) <= len(values):
        raise UserError(
            _(
                "Two segments of {name} have the same label value, so they cannot be compared with label files; load "
                "the template's labels from a label map file, or choose no folder of labels."
            ).format(name=name)
        )
    return [replace(segment, value=value) for segment, value in zip(segments, values, strict=True)]


def _rasterise(segmentation, geometry) -> np.ndarray:
    """(K, J, I) uint16 on the geometry: 0 outside all segments, n in the n-th; the highest n where segments overlap.

    Takes one step per layer, which is a label map that segments share. Slicer's own export takes one per segment and is
    slower (``benchmarks/kernels.py``).
    """
    binary = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage  # nearest neighbour
    numbers = np.zeros(geometry.GetDimensions()[::-1], np.uint16)
    for layer in range(segmentation.GetNumberOfLayers(binary)):
        labelmap, on_grid = segmentation.GetLayerDataObject(layer, binary), slicer.vtkOrientedImageData()
        if labelmap.IsEmpty():
            continue
        if not resample(labelmap, geometry, on_grid):
            raise RuntimeError("Slicer could not resample the label map of a segment")
        labels = view_scalars(on_grid).astype(np.uint16, copy=False)
        number_of = np.zeros(65536, np.uint16)
        for id_ in segmentation.GetSegmentIDsForLayer(layer, binary):
            number_of[segmentation.GetSegment(id_).GetLabelValue()] = segmentation.GetSegmentIndex(id_) + 1
        np.maximum(numbers, number_of[labels], out=numbers)
    return numbers


def _with_labelmaps(node, geometry):
    """The node itself where it holds label maps, otherwise a copy outside the scene with label maps on the geometry."""
    names = slicer.vtkSegmentationConverter
    if node.GetSegmentation().ContainsRepresentation(names.GetBinaryLabelmapRepresentationName()):
        return node
    copy, segmentation = slicer.vtkMRMLSegmentationNode(), slicer.vtkSegmentation()
    segmentation.DeepCopy(node.GetSegmentation())
    segmentation.SetConversionParameter(
        names.GetReferenceImageGeometryParameterName(), names.SerializeImageGeometry(geometry)
    )
    copy.SetName(node.GetName())
    copy.SetAndObserveSegmentation(segmentation)
    if not copy.CreateBinaryLabelmapRepresentation():
        raise UserError(
            _("{name} cannot be converted to label maps; repair or remove its empty segments.").format(
                name=node.GetName()
            )
        )
    return copy


def _write(voxels: np.ndarray, matrix: np.ndarray, path: str | Path) -> None:
    """voxels: (K, J, I). Uncompressed, since the file is read once."""
    from SlicRegLib.images.itk import make_image  # SimpleITK is not loaded when Slicer starts
    from SlicRegLib.images.itk_writing import write_image

    check_matrix(matrix, Path(path).name)
    write_image(path, make_image(voxels.T, matrix), compress=False)
