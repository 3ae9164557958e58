"""The template's segmentation is chosen with the template."""

import pytest

from host import available

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    from panel_samples import HOST, fresh_panel, load_coarse_pair


def test_the_segmentation_that_was_drawn_on_the_template_is_chosen_with_it():
    with fresh_panel() as panel:
        template, organs, target, target_organs = load_coarse_pair()
        ui, parameters = panel.ui, panel.parameters
        assert parameters.template is template and parameters.templateSegmentation is None
        HOST.leave(panel)  # the volume was there first; the segmentation was loaded in another module
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
