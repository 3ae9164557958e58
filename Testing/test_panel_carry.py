"""The section "Points and models", by clicks."""

import numpy as np
import pytest

from host import available

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import slicer
    import vtk

    from panel_samples import HOST, fresh_panel, load_coarse_pair
    from SlicRegSlicer.reading import Image, fill_transform
    from SlicRegSlicer.result_nodes import mark_result

SHIFT = np.array([5.0, -8.0, 3.0])


@pytest.fixture
def panel():
    with fresh_panel() as panel:
        yield panel


def test_points_there_and_back(panel):
    ui = panel.ui
    HOST.click(ui.carryButton)
    assert not ui.carryApplyButton.enabled and "Choose markups" in ui.carryApplyButton.toolTip
    for name in ("Fiducial", "Curve"):
        slicer.mrmlScene.RegisterNodeClass(getattr(slicer, f"vtkMRMLMarkups{name}Node")())
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "P")
    points.AddControlPoint(vtk.vtkVector3d(1, 2, 3), "here")
    HOST.choose(ui.carryNodeSelector, points)
    assert not ui.carryApplyButton.enabled and "Choose the transform" in ui.carryApplyButton.toolTip

    template, _, target, _ = load_coarse_pair()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "T")
    affine = np.diag([50.0, 50.0, 50.0, 1.0])
    affine[:3, 3] = -100.0
    fill_transform(transform, Image(np.broadcast_to(SHIFT, (5, 5, 5, 3)).copy(), affine), template, target)
    mark_result(transform, template, target)
    panel.parameters.transform = transform  # as a registration does
    assert ui.carryTransformSelector.currentNode() is transform and ui.carryApplyButton.enabled
    HOST.click(ui.carryApplyButton)
    (made,) = [n for n in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") if n is not points]
    np.testing.assert_allclose(slicer.util.arrayFromMarkupsControlPoints(made), [SHIFT + [1, 2, 3]], atol=1e-4)
    assert ui.carryLabel.text == "Made: P on Phantom target." and made.GetName() == "P on Phantom target"

    HOST.choose(ui.carryNodeSelector, made)
    assert ui.carryLabel.text == ""
    HOST.choose(ui.carryDirectionComboBox, "From the target to the template")
    HOST.click(ui.carryApplyButton)
    back = slicer.util.getNode("P on Phantom target on Phantom template")
    np.testing.assert_allclose(slicer.util.arrayFromMarkupsControlPoints(back), [[1, 2, 3]], atol=1e-3)


def test_a_mistake_is_one_sentence(panel):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "empty")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "T")
    HOST.click(panel.ui.carryButton)
    HOST.choose(panel.ui.carryNodeSelector, empty)
    HOST.choose(panel.ui.carryTransformSelector, slicer.util.getNode("T"))
    HOST.click(panel.ui.carryApplyButton)
    assert HOST.dialogs.texts("error") == ["empty is empty; choose another node."]
