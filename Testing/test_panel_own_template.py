"""A registration without a template: the model holds an average and its organs, and the panel needs a target only."""

import csv

import numpy as np
import pytest

from average_samples import NAMES, copy_without_template, make_average_model
from host import available
from SlicRegLib import MODELS

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import slicer

    from panel_samples import (
        HOST,
        fresh_panel,
        load_coarse_pair,
        node_ids,
        switch_refinement_off,
        wait_for_end,
    )
    from SlicRegLib.errors import UserError
    from SlicRegLib.images.segment_defaults import invent_colour
    from SlicRegSlicer.request import find_user_models
    from SlicRegSlicer.result_nodes import OWN_TEMPLATE, SEGMENTATION, list_scans
    from SlicRegSlicer.segments import describe_segments, list_segment_names
    from SlicRegSlicer.writing import write_volume

WITHOUT = "without"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_average_model(tmp_path_factory.mktemp("models") / "average.slicreg")


@pytest.fixture(scope="module")
def clicked(path):
    """(panel, target, its organs) of a registration without a template, made by clicks."""
    with fresh_panel() as panel:
        add_model(panel, path)
        _, _, target, organs = load_coarse_pair()
        switch_refinement_off(panel)
        HOST.choose(panel.ui.modelComboBox, find_entry(panel, "average"))
        HOST.choose(panel.ui.targetSelector, target)
        HOST.click(panel.ui.applyButton)
        wait_for_end(panel)
        assert panel.registration.run.state == "finished", panel.registration.run.log
        yield panel, target, organs


@pytest.fixture
def panel(clicked):
    HOST.dialogs.clear()
    with HOST.watch():
        yield clicked[0]


def add_model(panel, path) -> None:
    """The model, and one that holds no template."""
    find_user_models().mkdir(parents=True, exist_ok=True)
    (find_user_models() / path.name).write_bytes(path.read_bytes())
    copy_without_template(MODELS / "trunk-phantom.slicreg", find_user_models() / f"{WITHOUT}.slicreg")
    panel.models.fill()


def find_entry(panel, name: str) -> str:
    """The text of a model's entry in the list."""
    return panel.ui.modelComboBox.itemText(panel.ui.modelComboBox.findData(name))


def find_hidden():
    """The nodes of the models' own templates."""
    scene = slicer.mrmlScene
    nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    return [node for node in nodes if node.GetAttribute(OWN_TEMPLATE)]


def test_what_is_chosen_says_whether_a_template_is_needed(path):
    with fresh_panel() as panel:
        add_model(panel, path)
        ui, (template, organs, target, _) = panel.ui, load_coarse_pair()
        HOST.choose(ui.modelComboBox, find_entry(panel, "average"))
        HOST.choose(ui.targetSelector, target)
        assert panel.parameters.template is None and ui.templateSelector.noneDisplay == "The model's own"
        assert ui.applyButton.enabled and "own template" in ui.applyButton.toolTip
        HOST.choose(ui.templateSegmentationSelector, organs)
        assert not ui.applyButton.enabled and "belongs to a template volume" in ui.applyButton.toolTip
        HOST.choose(ui.templateSegmentationSelector, None)
        HOST.choose(ui.modelComboBox, find_entry(panel, WITHOUT))
        HOST.choose(ui.templateSelector, None)
        has_none = "The model without holds no template of its own. Choose a template volume."
        assert not ui.applyButton.enabled and ui.applyButton.toolTip == has_none
        assert ui.templateSelector.noneDisplay == "None" and not ui.ownTemplateButton.enabled
        HOST.choose(ui.templateSelector, template)
        assert ui.applyButton.enabled and panel.parameters.templateSegmentation is organs
        HOST.choose(ui.templateSelector, None)
        assert panel.parameters.templateSegmentation is None


def test_the_target_gets_the_organs_with_their_names_and_colours(clicked, panel):
    outputs, target = panel.registration.run.outputs, clicked[1]
    carried = outputs.warpedSegmentation
    assert carried.GetName() == f"{target.GetName()} segmentation" and list_segment_names(carried) == list(
        NAMES.values()
    )
    first, second = describe_segments(carried.GetSegmentation())[:2]
    np.testing.assert_allclose(first.color, np.array([200, 1, 10]) / 255, atol=1e-6)
    np.testing.assert_allclose(second.color, np.array(invent_colour(2)) / 255, atol=1e-6)
    assert "Anatomical Structure" in first.tags["TerminologyEntry"]  # else Slicer would call it a tissue
    assert panel.registration.run.request.template is None


def test_the_table_has_volumes_and_percentiles(clicked, panel):
    run, table = panel.registration.run, panel.registration.table
    assert [title.replace("\n", " ") for title in table.header] == [
        "Organ",
        "Volume (ml)",
        "Percentile in the cohort",
        "Mean confidence",
    ]
    assert [row[0] for row in table.rows] == list(NAMES.values())
    labelmap = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    slicer.modules.segmentations.logic().ExportAllSegmentsToLabelmapNode(run.outputs.warpedSegmentation, labelmap)
    sizes = np.bincount(slicer.util.arrayFromVolume(labelmap).ravel(), minlength=14)
    voxel_ml = float(np.prod(clicked[1].GetSpacing())) / 1000
    slicer.mrmlScene.RemoveNode(labelmap)
    for value, row in enumerate(table.rows, 1):
        assert float(row[1]) == pytest.approx(sizes[value] * voxel_ml, abs=0.06)
        assert row[2] in ("", "cut off") or 0 <= float(row[2]) <= 100
    assert any(row[2] == "cut off" for row in table.rows)  # the coarse target shows a part of the trunk
    assert any(row[2] not in ("", "cut off") for row in table.rows)


def test_the_average_is_hidden_until_it_is_asked_for(clicked, panel):
    ui, outputs = panel.ui, panel.registration.run.outputs
    hidden = find_hidden()
    assert [node.GetHideFromEditors() for node in hidden] == [True, True] and outputs.template in hidden
    assert outputs.template not in list_scans() and outputs.transform.GetNodeReference("SlicReg.template") in hidden
    for name in ("onTarget", "onTemplate", "surfaces", "blend", "confidence", "sideBySide"):
        HOST.click(getattr(ui, f"{name}Button"))
        assert ui.viewLabel.text
    before = node_ids()
    HOST.click(ui.modelDetailsButton)
    HOST.click(ui.ownTemplateButton)
    assert node_ids() == before and not any(node.GetHideFromEditors() for node in hidden)
    assert outputs.template not in list_scans()  # not a scan that a batch would register
    assert outputs.template.GetName() == "average template"


def test_the_next_run_updates_the_same_nodes_and_scripts_make_them_too(clicked, panel, path):
    outputs, (_, target, organs) = panel.registration.run.outputs, clicked
    request = panel.registration.makeRequest()
    assert request.template is None and request.transform is outputs.transform
    done = panel.logic.register(None, target, path, targetSegmentation=organs, iterations=1, refine=False)
    after = done.report["after"]["dice"]
    assert set(after) == {str(value) for value in NAMES} and done.template is outputs.template
    panel.registration.table.show(done)
    assert panel.registration.table.header[3:] == ["Dice before", "Dice after"]
    assert panel.registration.table.rows[0][4] == f"{after['1']:.3f}"


def test_a_batch_segments_a_folder_and_tabulates_volumes(clicked, panel, tmp_path):
    ui, target = panel.ui, clicked[1]
    (tmp_path / "scans").mkdir()
    write_volume(target, tmp_path / "scans" / "pt_1.nrrd")
    ui.tabs.setCurrentWidget(ui.batchTab)
    ui.batchInputPath.currentPath = str(tmp_path / "scans")
    ui.batchOutputPath.currentPath = str(tmp_path / "out")
    assert ui.batchApplyButton.enabled and "Segment all scans" in ui.batchApplyButton.toolTip
    HOST.click(ui.batchApplyButton)
    wait_for_end(panel)
    assert (tmp_path / "out" / "volumes.csv").is_file() and "volumes.csv" in ui.batchStatusLabel.text
    before = panel.registration.run.outputs.report["organs"]
    with (tmp_path / "out" / "volumes.csv").open(encoding="utf-8-sig", newline="") as file:
        [row] = csv.DictReader(file)
    whole = {organ["name"]: organ for organ in before if organ["complete"]}
    for organ in before:
        expected = whole.get(organ["name"], {}).get("volume_ml")
        assert row[f"{organ['name']} (ml)"] == ("" if expected is None else str(expected))
    ui.batchTable.selectRow(0)
    HOST.click(ui.batchLoadButton)
    assert panel.registration.table.header[0] == "Organ" and len(panel.registration.table.rows) == len(NAMES)
    [carried] = [node for node in slicer.util.getNodesByClass(SEGMENTATION) if node.GetName() == "pt_1 segmentation"]
    assert list_segment_names(carried) == list(NAMES.values()) and len(find_hidden()) == 2


@pytest.mark.parametrize(
    ("model", "changes", "sentence"),
    [
        (WITHOUT, {}, "holds no template of its own; choose a template scan"),
        ("average", {"templateSegmentation": True}, "belongs to a template volume"),
        ("auto", {"targetSegmentation": True}, "Choose a model, or no target segmentation"),
        ("headneck-openkbp", {"targetSegmentation": True}, "no segment named like an organ of the model"),
    ],
)
def test_one_sentence_says_why_it_cannot_be_done(clicked, panel, model, changes, sentence):
    changes = dict.fromkeys(changes, clicked[2])
    with pytest.raises(UserError, match=sentence):
        panel.logic.register(target=clicked[1], model=model, **changes)
