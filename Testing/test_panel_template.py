"""The segmentations of template and target follow them."""

import pytest

from host import available

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import slicer

    from panel_samples import HOST, choose_inputs, fresh_panel, load_coarse_pair


def test_the_segmentation_that_was_drawn_on_the_template_is_chosen_with_it():
    with fresh_panel() as panel:
        template, organs, target, target_organs = load_coarse_pair()
        ui, parameters = panel.ui, panel.parameters
        role = organs.GetReferenceImageGeometryReferenceRole()
        organs.SetNodeReferenceID(role, None)
        HOST.choose(ui.templateSelector, template)
        assert parameters.template is template and parameters.templateSegmentation is None
        HOST.leave(panel)  # the volume was there first; the segmentation was drawn in another module
        organs.SetNodeReferenceID(role, template.GetID())
        HOST.enter(panel)
        assert parameters.templateSegmentation is organs
        HOST.choose(ui.templateSelector, target)
        assert parameters.templateSegmentation is target_organs
        HOST.choose(ui.templateSegmentationSelector, organs)  # the user knows better
        HOST.choose(ui.templateSelector, template)
        assert parameters.templateSegmentation is organs
        HOST.choose(ui.templateSegmentationSelector, None)
        HOST.choose(ui.targetSelector, target)
        assert parameters.templateSegmentation is None and parameters.targetSegmentation is None


def test_the_segmentation_of_the_former_target_is_not_measured_on_the_next_one():
    with fresh_panel() as panel:
        template, organs, target, target_organs = load_coarse_pair()
        own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "own")
        _, _, third, third_organs = load_coarse_pair()
        ui, parameters = panel.ui, panel.parameters
        choose_inputs(panel, (template, organs, target, target_organs))
        HOST.choose(ui.targetSelector, own)
        assert parameters.targetSegmentation is None and parameters.templateSegmentation is organs
        HOST.choose(ui.targetSelector, target)
        assert parameters.targetSegmentation is None  # it was none before
        HOST.choose(ui.targetSegmentationSelector, target_organs)
        HOST.choose(ui.targetSelector, third)
        assert parameters.targetSegmentation is third_organs
        HOST.choose(ui.targetSegmentationSelector, target_organs)  # the user knows better
        HOST.choose(ui.targetSelector, own)
        assert parameters.targetSegmentation is target_organs
