"""What the views show of a result whose transform is known: a ball that lies 24, -16, 20 mm elsewhere in the target.

The views are drawn by Slicer's own displayable managers, and their pixels are looked at.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from host import available

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import view_pictures  # isort: skip  (before any window is made)
    import slicer
    import vtk

    from panel_samples import HOST, fresh_panel, node_ids
    from scene_samples import add_volume, put_under, rigid
    from SlicRegLib.errors import UserError
    from SlicRegSlicer import maps, spaces
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
MODES = (
    "show_side_by_side",
    "show_on_target",
    "show_on_template",
    "show_surfaces",
    "blend",
    "show_checkerboard",
    "show_confidence",
    "show_displacement",
    "show_volume_change",
    "show_difference",
    "show_supervoxels",
)


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


def add_result(template, target, vectors):
    """Outputs as a registration makes them."""

    def add(class_name, name):
        return slicer.mrmlScene.AddNewNodeByClass(class_name, name)

    transform, inverse = (add("vtkMRMLTransformNode", name) for name in ("to template", "to target"))
    fill_transform(transform, Image(vectors, AFFINE), template, target)
    fill_transform(inverse, Image(-vectors, AFFINE), target, template)
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


RED, GREEN, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def views():
    return view_pictures.Views(size=200)


@pytest.fixture
def shown(views):
    """(review, the nodes by name). The own segments of the target are blue."""
    HOST.clear_scene(singletons=True)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    with HOST.watch():
        template, organs = add_ball("template", CENTRE, RED)
        target, own = add_ball("target", CENTRE + SHIFT, BLUE)
        vectors = np.broadcast_to(SHIFT, (48, 48, 48, 3)).astype(np.float32)
        outputs = add_result(template, target, vectors)
        review = Review(template, target, outputs, organs, own)
        yield review, SimpleNamespace(template=template, target=target, organs=organs, own=own, outputs=outputs)
        review.close()
    HOST.clear_scene(singletons=True)


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


def test_the_rows_show_the_ball_where_it_lies_in_each_space(shown, views):
    """The views are centred on the ball; so the middle of the segment's pixels is the middle of the picture."""
    review, nodes = shown
    review.show_side_by_side()
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView
    slicer.util.resetSliceViews()
    for name in ("Red", "Green", "Yellow"):
        views.draw_slice(slice_node(name)), views.draw_slice(slice_node(name + "+"))
        jump(name, CENTRE)
        np.testing.assert_allclose(spaces.get_centre(slice_node(name + "+")), CENTRE + SHIFT, atol=0.01)
        for view, volume, colour, segments in (
            (name, nodes.template, RED, {"template"}),
            (name + "+", nodes.target, GREEN, {"carried", "own"}),
        ):
            assert spaces.get_composite(slice_node(view)).GetBackgroundVolumeID() == volume.GetID()
            pixels = views.draw_slice(slice_node(view))
            assert segments - {"own"} <= find_segments(pixels) <= segments, view
            np.testing.assert_allclose(find_colour(pixels, colour), (100, 100), atol=3.5)  # a voxel, in pixels


def test_a_new_result_is_seen_wherever_its_scans_lie(views):
    """The target, 600 mm away from the template, was shown before: the views of the template do not stay with it."""
    far = SHIFT + [0, 0, 600]
    with fresh_panel() as panel:
        template, organs = add_ball("template", CENTRE, RED)
        target, own = add_ball("target", CENTRE + SHIFT, BLUE)
        outputs = add_result(template, target, np.broadcast_to(far, (48, 48, 48, 3)).astype(np.float32))
        move = vtk.vtkTransform()
        move.Translate(0, 0, 600)
        for node in (target, own, outputs.warpedSegmentation):
            node.ApplyTransform(move)
        slicer.util.setSliceViewerLayers(background=target, fit=True)
        panel.registration.views.show(Review(template, target, outputs, organs, own))
        for name, segment in (("Green", "template"), ("Green+", "carried")):
            pixels = views.draw_slice(slice_node(name))
            assert segment in find_segments(pixels) and pixels.max(2).mean() > 40, name
        np.testing.assert_allclose(spaces.get_centre(slice_node("Red")), -2, atol=2.1)  # the middle of its voxels
        np.testing.assert_allclose(spaces.get_centre(slice_node("Red+")), far - 2, atol=2.1)


def test_the_rows_move_together(shown):
    review, _ = shown
    review.show_side_by_side()
    jump("Green", (0, 0, 0))
    np.testing.assert_allclose(spaces.get_centre(slice_node("Green+")), SHIFT, atol=0.01)
    jump("Red+", (50, 0, 10))
    np.testing.assert_allclose(spaces.get_centre(slice_node("Red")), (50, 0, 10) - SHIFT, atol=0.01)
    slice_node("Red").SetFieldOfView(50, 50, 1)
    ratios = [slice_node(n).GetFieldOfView()[0] / slice_node(n).GetDimensions()[0] for n in ("Red", "Red+")]
    assert ratios[0] == pytest.approx(ratios[1])
    assert spaces.get_composite(slice_node("Red")).GetLinkedControl()
    review.pause()
    jump("Green", CENTRE)
    np.testing.assert_allclose(spaces.get_centre(slice_node("Green+")), SHIFT, atol=0.01)
    review.resume()
    np.testing.assert_allclose(spaces.get_centre(slice_node("Green+")), CENTRE + SHIFT, atol=0.01)


def test_no_segments_over_an_image_of_the_other_space(shown, views):
    review, nodes = shown
    for mode in (*MODES, *MODES[::-1]):
        getattr(review, mode)()
        for view in spaces.list_slice_nodes():
            in_target = spaces.get_composite(view).GetBackgroundVolumeID() == nodes.target.GetID()
            allowed = {nodes.outputs.warpedSegmentation, nodes.own} if in_target else {nodes.organs}
            drawn = {
                node
                for node in (nodes.organs, nodes.own, nodes.outputs.warpedSegmentation)
                if node.GetDisplayNode().GetVisibility() and node.GetDisplayNode().IsDisplayableInView(view.GetID())
            }
            assert drawn == (set() if mode == "show_supervoxels" else allowed), (mode, view.GetName())
    jump("Red", CENTRE)
    for mode, place, expected in (
        ("show_on_template", CENTRE, {"template"}),
        ("show_on_target", CENTRE + SHIFT, {"carried", "own"}),
        ("blend", CENTRE, {"template"}),
    ):
        getattr(review, mode)()
        np.testing.assert_allclose(spaces.get_centre(slice_node("Red")), place, atol=0.01)  # the same anatomy
        assert find_segments(views.draw_slice(slice_node("Red"))) <= expected
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_surfaces_stand_beside_each_other(shown, views):
    review, nodes = shown
    review.show_surfaces()
    first, second = (slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLViewNode") for name in ("1", "2"))
    own = {"own"}  # as blue as the background
    assert find_segments(views.draw_3d(first)) - own == {"template"}
    assert find_segments(views.draw_3d(second)) - own == {"carried"}
    assert not nodes.own.GetDisplayNode().IsDisplayableInView(second.GetID())


def test_a_layout_of_the_user_stays(shown):
    review, _ = shown
    manager, red_only = slicer.app.layoutManager(), slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    manager.setLayout(red_only)
    review.blend()
    assert manager.layout == red_only


def test_maps_have_a_legend_while_they_are_shown(shown, views):
    review, _ = shown
    colors = slicer.modules.colors.logic()
    for mode, title, inside in (
        ("show_confidence", "Confidence", 0.8),
        ("show_displacement", "Displacement (mm)", np.linalg.norm(SHIFT)),
        ("show_volume_change", "Jacobian determinant", 1.0),
        ("show_difference", "Template - target (HU)", 0.0),
    ):
        getattr(review, mode)()
        composite = spaces.get_composite(slice_node("Red"))
        volume = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID())
        legend = colors.GetColorLegendDisplayNode(volume)
        assert legend.GetVisibility() and legend.GetTitleText() == title
        values = slicer.util.arrayFromVolume(volume)
        lattice = tuple(map(slice, values.shape))
        np.testing.assert_allclose(values[ball(0, BODY_MM - 8).T[lattice]], inside, rtol=1e-4, atol=1e-4)
        assert volume.GetHideFromEditors()
        if mode != "show_difference":  # at the skin no values that are mixed with those outside
            shown_there = values != maps.OUTSIDE
            np.testing.assert_allclose(values[shown_there], inside, rtol=1e-4, atol=1e-4)
            assert not shown_there[~ball(0, BODY_MM + 8).T[lattice]].any()
        with_legend = views.draw_slice(slice_node("Red"))
        legend.SetVisibility(False)
        assert (with_legend != views.draw_slice(slice_node("Red"))).any()  # it is drawn
        legend.SetVisibility(True)
    review.blend()
    assert not legend.GetVisibility()


def test_the_grid_is_drawn_inside_the_body_alone(shown, views):
    review, _ = shown
    review.show_on_template()
    slicer.util.resetSliceViews()
    jump("Red", (0, 0, 1))
    views.draw_slice(slice_node("Red"))
    mm = slice_node("Red").GetFieldOfView()[0] / slice_node("Red").GetDimensions()[0]
    before = views.draw_slice(slice_node("Red")).astype(int)
    review.show_grid(True)
    y, x = np.nonzero(np.abs(views.draw_slice(slice_node("Red")) - before).max(2) > 40)
    radii = np.hypot(x - 99.5, y - 99.5) * mm
    assert len(x) > 500 and 0.8 * BODY_MM < radii.max() < BODY_MM + 6
    review.show_on_target()
    jump("Red", (0, 0, 1))
    on_target = views.draw_slice(slice_node("Red"))
    review.show_grid(False)
    assert (on_target == views.draw_slice(slice_node("Red"))).all()  # there it was not drawn


def test_the_target_is_put_under_the_transform_and_taken_off(shown, views):
    review, nodes = shown
    review.show_side_by_side()
    jump("Red", CENTRE)
    assert review.can_apply() and not review.is_applied()
    review.apply_transform(True)
    parents = {n.GetParentTransformNode() for n in (nodes.target, nodes.own, nodes.outputs.warpedSegmentation)}
    assert parents == {nodes.outputs.transform} and review.is_applied()
    np.testing.assert_allclose(spaces.get_centre(slice_node("Red+")), CENTRE, atol=0.5)
    assert "carried" in find_segments(views.draw_slice(slice_node("Red+")))
    jump("Red", (0, 0, 0))
    np.testing.assert_allclose(spaces.get_centre(slice_node("Red+")), (0, 0, 0), atol=0.01)
    review.apply_transform(False)
    assert not review.is_applied() and nodes.own.GetParentTransformNode() is None
    np.testing.assert_allclose(spaces.get_centre(slice_node("Red+")), SHIFT, atol=0.01)


def test_parent_transforms_of_the_target_are_kept(shown):
    review, nodes = shown
    parent = put_under(slicer.mrmlScene, nodes.target, rigid())
    review.apply_transform(True)
    assert nodes.target.GetParentTransformNode() is parent
    assert parent.GetParentTransformNode() is nodes.outputs.transform and review.is_applied()
    review.apply_transform(False)
    assert nodes.target.GetParentTransformNode() is parent and parent.GetParentTransformNode() is None
    nodes.template.SetAndObserveTransformNodeID(parent.GetID())
    assert not review.can_apply()  # the template would go along


def test_after_the_end_the_scene_is_as_before(shown):
    review, nodes = shown
    for mode in MODES:  # what Slicer keeps: views of layouts, colours
        getattr(review, mode)()
    review.close()
    display = nodes.organs.GetDisplayNode()
    display.SetViewNodeIDs(["vtkMRMLSliceNodeGreen"])
    before = node_ids()
    for mode in MODES:
        getattr(review, mode)()
    review.show_grid(True)
    assert node_ids() > before
    review.close()
    assert node_ids() == before
    assert display.GetViewNodeIDs() == ("vtkMRMLSliceNodeGreen",)
    for node in (nodes.own, nodes.outputs.warpedSegmentation):
        assert not node.GetDisplayNode().GetViewNodeIDs() and node.GetDisplayNode().GetVisibility()
        assert node.GetDisplayNode().GetVisibility2DFill()


def test_a_transform_that_was_edited_is_one_sentence(shown):
    review, nodes = shown
    nodes.outputs.transform.Inverse()
    with pytest.raises(UserError, match="Press Apply"):
        review.show_displacement()
