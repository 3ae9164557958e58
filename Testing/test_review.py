"""What the views show of a result whose transform is known: a ball that lies 24, -16, 20 mm elsewhere in the target.

The views are drawn by Slicer's own displayable managers, and their pixels are looked at.
"""

import numpy as np
import pytest

from host import available

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import view_pictures  # isort: skip  (before any window is made)
    import slicer

    from panel_samples import HOST, node_ids
    from review_samples import (
        BODY_MM,
        CENTRE,
        GREEN,
        RED,
        SHIFT,
        add_pair,
        find_colour,
        find_drawn,
        find_segments,
        jump,
        make_review,
        slice_node,
    )
    from scene_samples import put_under, rigid
    from SlicRegLib.errors import UserError
    from SlicRegSlicer import maps, spaces
    from SlicRegSlicer.node_arrays import compute_voxel_to_world

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


@pytest.fixture(scope="module")
def views():
    return view_pictures.Views(size=200)


@pytest.fixture
def shown(views):
    """(review, the nodes by name). The own segments of the target are blue."""
    HOST.clear_scene(singletons=True)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    with HOST.watch():
        nodes = add_pair(SHIFT)
        review = make_review(nodes)
        yield review, nodes
        review.close()
    HOST.clear_scene(singletons=True)


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
            allowed = {"carried", "own"} if in_target else {"organs"}
            assert find_drawn(nodes, view.GetLayoutName()) == (set() if mode == "show_supervoxels" else allowed), (
                mode,
                view.GetName(),
            )
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


def measure_radii(volume):
    """The distance of each voxel (K, J, I) from the middle of the body, mm."""
    matrix, size = compute_voxel_to_world(volume), volume.GetImageData().GetDimensions()
    points = np.einsum("xa,aijk->xijk", matrix[:3, :3], np.mgrid[tuple(map(slice, size))])
    return np.linalg.norm(points + matrix[:3, 3, None, None, None], axis=0).T


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
        radii = measure_radii(volume)
        np.testing.assert_allclose(values[radii < BODY_MM - 8], inside, rtol=1e-4, atol=1e-4)
        assert volume.GetHideFromEditors()
        if mode != "show_difference":  # at the skin no values that are mixed with those outside
            shown_there = values != maps.OUTSIDE
            np.testing.assert_allclose(values[shown_there], inside, rtol=1e-4, atol=1e-4)
            assert not shown_there[radii > BODY_MM + 8].any()
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
