"""What the views show first, and what remains there when the user goes to another module. By clicks and pixels."""

from types import SimpleNamespace

import numpy as np
import pytest

from host import available

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import view_pictures  # isort: skip  (before any window is made)
    import slicer
    import vtk

    from panel_samples import HOST, fresh_panel
    from review_samples import CENTRE, SHIFT, add_pair, find_drawn, find_segments, jump, slice_node
    from SlicRegSlicer import spaces


@pytest.fixture(scope="module")
def views():
    return view_pictures.Views(size=200)


def show(panel, nodes):
    """As a registration that has ended does."""
    request = SimpleNamespace(
        template=nodes.template,
        target=nodes.target,
        templateSegmentation=nodes.organs,
        targetSegmentation=nodes.own,
    )
    panel.registration.views.show(panel.registration.views.makeReview(request, nodes.outputs))


def test_a_new_result_is_seen_wherever_its_scans_lie(views):
    """The target, 600 mm away from the template, was shown before: the views of the template do not stay with it."""
    far = SHIFT + [0, 0, 600]
    with fresh_panel() as panel:
        nodes = add_pair(far)
        move = vtk.vtkTransform()
        move.Translate(0, 0, 600)
        for node in (nodes.target, nodes.own, nodes.outputs.warpedSegmentation):
            node.ApplyTransform(move)
        slicer.util.setSliceViewerLayers(background=nodes.target, fit=True)
        show(panel, nodes)
        for name, segment in (("Green", "template"), ("Green+", "carried")):
            pixels = views.draw_slice(slice_node(name))
            assert segment in find_segments(pixels) and pixels.max(2).mean() > 40, name
        np.testing.assert_allclose(spaces.get_centre(slice_node("Red")), -2, atol=2.1)  # the middle of its voxels
        np.testing.assert_allclose(spaces.get_centre(slice_node("Red+")), far - 2, atol=2.1)
        jump("Red+", CENTRE + far)
        np.testing.assert_allclose(spaces.get_centre(slice_node("Red")), CENTRE, atol=0.01)
        jump("Red+", far + [0, 0, 300])  # beyond the scan
        np.testing.assert_allclose(spaces.get_centre(slice_node("Red")), [0, 0, 300], atol=0.01)
        jump("Red+", CENTRE + far)
        for button, segment, place in (("onTarget", "carried", CENTRE + far), ("onTemplate", "template", CENTRE)):
            HOST.click(getattr(panel.ui, f"{button}Button"))
            np.testing.assert_allclose(spaces.get_centre(slice_node("Red")), place, atol=0.01)
            assert segment in find_segments(views.draw_slice(slice_node("Red")))


def test_in_another_module_and_layout_the_segments_are_drawn_as_before(views):
    """The carried ones are those that a user goes on with; here they were in the lower views alone."""
    with fresh_panel() as panel:
        nodes, manager, layouts = add_pair(SHIFT), slicer.app.layoutManager(), slicer.vtkMRMLLayoutNode
        show(panel, nodes)
        HOST.leave(panel)
        slicer.util.setSliceViewerLayers(background=nodes.target)
        assert find_drawn(nodes, "Red") == {"organs"}  # the layout is still that of the result
        manager.setLayout(layouts.SlicerLayoutConventionalView)
        assert find_drawn(nodes, "Red") == {"organs", "carried", "own"}
        jump("Red", CENTRE + SHIFT)
        assert "carried" in find_segments(views.draw_slice(slice_node("Red")))
        HOST.enter(panel)
        assert manager.layout == layouts.SlicerLayoutThreeOverThreeView
        assert find_drawn(nodes, "Red") == {"organs"} and find_drawn(nodes, "Red+") == {"carried", "own"}
        HOST.click(panel.ui.flickerButton)
        HOST.leave(panel)
        HOST.enter(panel)
        assert panel.ui.blendButton.checked and not panel.ui.flickerButton.checked
        manager.setLayout(layouts.SlicerLayoutOneUpRedSliceView)  # in this module it is the user's choice
        assert find_drawn(nodes, "Red") == {"organs"}
