"""A result whose transform is known, as nodes, and what of it the pictures of the views show.

A ball lies in a body; in the target 24, -16, 20 mm from where it lies in the template.
"""

from types import SimpleNamespace

import numpy as np
import slicer

import panel_samples  # noqa: F401  (starts the host)
from scene_samples import add_volume
from SlicRegSlicer.reading import Image, fill_segmentation, fill_transform
from SlicRegSlicer.request import Outputs
from SlicRegSlicer.result_nodes import mark_result
from SlicRegSlicer.review import Review
from SlicRegSlicer.segments import Segment

SHIFT = np.array([24.0, -16.0, 20.0])  # mm, from the template to the target
CENTRE = np.array([10.0, -6.0, 14.0])  # of the ball in the template
AFFINE = np.array([[4.0, 0, 0, -96], [0, 4, 0, -96], [0, 0, 4, -96], [0, 0, 0, 1]])
POINTS = np.stack(np.mgrid[:48, :48, :48], -1) * 4.0 - 96.0
BODY_MM = 80.0  # radius
RED, GREEN, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def ball(centre, radius=20.0):
    return np.linalg.norm(POINTS - centre, axis=-1) < radius


def add_ball(name, centre, colour):
    """(volume, segmentation) nodes of a body at the middle with a bright ball in it."""
    scan = np.where(ball(centre), 400.0, np.where(ball(0, BODY_MM), 0.0, -1000.0))
    volume = add_volume(slicer.mrmlScene, scan.astype(np.int16), AFFINE, name)
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevel(2000, 0)
    return volume, add_segments(f"{name} ball", volume, ball(centre), colour)


def add_segments(name, volume, mask, colour):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    labels = Image(mask.transpose(2, 1, 0).astype(np.uint8), AFFINE)
    fill_segmentation(node, labels, [Segment(1, "ball", "ball", colour)], volume)
    return node


def add_result(template, target, shift):
    """Outputs as a registration makes them. Fields are zero at their borders."""

    def add(class_name, name):
        return slicer.mrmlScene.AddNewNodeByClass(class_name, name)

    transform, inverse = (add("vtkMRMLTransformNode", name) for name in ("to template", "to target"))
    padded = np.zeros((52, 52, 52, 3), np.float32)
    padded[1:-1, 1:-1, 1:-1] = shift
    around, there = AFFINE.copy(), AFFINE.copy()
    around[:3, 3] -= 8.0
    there[:3, 3] = around[:3, 3] + shift - SHIFT
    fill_transform(transform, Image(padded, around), template, target)
    fill_transform(inverse, Image(-padded, there), target, template)
    warped = add_volume(slicer.mrmlScene, slicer.util.arrayFromVolume(template).transpose(2, 1, 0), AFFINE, "warped")
    body = ball(0, BODY_MM)[::2, ::2, ::2]  # on the network's coarser voxels
    coarse = AFFINE @ np.diag([2.0, 2, 2, 1])
    sure = add_volume(slicer.mrmlScene, np.where(body, 0.8, 0).astype(np.float32), coarse, "confidence")
    supervoxels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "supervoxels")
    slicer.util.updateVolumeFromArray(supervoxels, np.ones((48, 48, 48), np.uint8))
    supervoxels.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(AFFINE))
    carried = add_segments("carried", target, ball(CENTRE + SHIFT), GREEN)
    report = {"verdict": {"word": "good", "sentence": "Good.", "least_sure": [[*CENTRE, 0.3]]}}
    outputs = Outputs(transform, inverse, warped, sure, supervoxels, carried, report)
    for node in outputs.nodes():
        mark_result(node, template, target, "good")
    return outputs


def add_pair(shift):
    """All nodes of a result by name. shift: the transform's. The target still has to be moved by ``shift - SHIFT``."""
    template, organs = add_ball("template", CENTRE, RED)
    target, own = add_ball("target", CENTRE + SHIFT, BLUE)
    outputs = add_result(template, target, shift)
    return SimpleNamespace(template=template, target=target, organs=organs, own=own, outputs=outputs)


def make_review(nodes):
    return Review(nodes.template, nodes.target, nodes.outputs, nodes.organs, nodes.own)


RED, GREEN, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def slice_node(name):
    return slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")


def jump(name, point):
    slice_node(name).JumpSliceByCentering(*point)


def find_colour(pixels, colour):
    """Where a segment's colour is stronger than the grey below it, as (x, y) of its middle; None where it is not."""
    channel = int(np.argmax(colour))
    others = np.delete(pixels.astype(int), channel, axis=2).max(2)
    y, x = np.nonzero(pixels[..., channel].astype(int) - others > 40)
    return None if len(x) < 20 else (x.mean(), y.mean())


def find_segments(pixels):
    return {
        name for name, colour in (("template", RED), ("carried", GREEN), ("own", BLUE)) if find_colour(pixels, colour)
    }


def find_drawn(nodes, view):
    """Names of the segmentations that are drawn in a view."""
    named = {"organs": nodes.organs, "carried": nodes.outputs.warpedSegmentation, "own": nodes.own}
    displays = {name: node.GetDisplayNode() for name, node in named.items()}
    id_ = slice_node(view).GetID()
    return {name for name, shown in displays.items() if shown.GetVisibility() and shown.IsDisplayableInView(id_)}
