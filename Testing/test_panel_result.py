"""What the panel makes of a registration.

One registration, made by clicks, serves most tests: those that only look come first, those that change something last.
"""

import csv
import re
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from host import available
from SlicRegLib.images.transforms import load_transform
from SlicRegLib.jobs.command import ProgressEvent
from SlicRegLib.jobs.command_process import CommandProcess
from SlicRegLib.stages import WARNING

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import slicer
    import vtk

    from panel_samples import (
        FEW_POINTS,
        HOST,
        MODEL,
        choose_inputs,
        fresh_panel,
        load_coarse_pair,
        node_ids,
        switch_refinement_off,
        wait_for_end,
    )
    from scene_samples import get_from_world
    from SlicRegLib.jobs.worker_pool import POOL
    from SlicRegSlicer.result_nodes import list_scans
    from SlicRegSlicer.writing import write_volume


@pytest.fixture(scope="module")
def clicked():
    """(panel, pair, [(progress, text), ...] seen meanwhile) of a registration without refinement."""
    with fresh_panel() as panel:
        pair, seen = load_coarse_pair(), []
        choose_inputs(panel, pair)
        switch_refinement_off(panel)
        HOST.click(panel.ui.applyButton)
        assert panel.ui.cancelButton.enabled and not panel.ui.applyButton.enabled

        def ended():
            seen.append((panel.ui.progressBar.value, panel.ui.statusLabel.text))
            return not panel.isBusy()

        HOST.wait(ended, 180)
        assert panel.registration.run.state == "finished", panel.registration.run.log
        yield panel, pair, seen


@pytest.fixture
def panel(clicked):
    """The panel as the registration left it; errors that nobody raises fail the test that causes them."""
    HOST.dialogs.clear()
    with HOST.watch():
        yield clicked[0]


@pytest.fixture
def pair(clicked):
    return clicked[1]


@pytest.fixture
def outputs(panel):
    return panel.registration.run.outputs


def displacements(transform) -> np.ndarray:
    return slicer.util.arrayFromGridTransform(transform).copy()


def segment_names(segmentation) -> list[str]:
    content = segmentation.GetSegmentation()
    return [content.GetNthSegment(n).GetName() for n in range(content.GetNumberOfSegments())]


def test_progress_rises_and_tells_the_remaining_time(clicked):
    panel, _, seen = clicked
    values = [value for value, _ in seen]
    assert len(set(values)) > 5 and values == sorted(values) and any("left" in text for _, text in seen)
    left = [int(found[1]) for _, text in seen if (found := re.search(r"about (\d+) s left", text))]
    assert sum(b > a for a, b in pairwise(left)) <= 1  # where other tests have made the computer slower meanwhile
    assert any("Loading the results" in text for _, text in seen)
    run, status = panel.registration.run, panel.ui.statusLabel.text
    assert status.startswith(f"Done in {run.seconds:.1f} s") and "CPU" in status
    assert run.seconds > run.outputs.report["seconds"]["total"]  # from the click to the nodes


def test_the_nodes_are_filled_and_selected(panel, pair, outputs):
    template, template_organs, target, _ = pair
    assert outputs.warpedTarget.GetImageData().GetDimensions() == template.GetImageData().GetDimensions()
    warped, fixed = (slicer.util.arrayFromVolume(v).ravel()[::7] for v in (outputs.warpedTarget, template))
    assert np.corrcoef(warped, fixed)[0, 1] > 0.7
    transform = outputs.transform
    assert transform.GetNodeReference(transform.GetMovingNodeReferenceRole()) is target
    assert transform.GetNodeReference(transform.GetFixedNodeReferenceRole()) is template
    assert segment_names(outputs.warpedSegmentation) == segment_names(template_organs)
    confidence = slicer.util.arrayFromVolume(outputs.confidence)
    assert confidence.min() >= 0 and 0.3 < confidence[confidence > 0].mean() < 1
    for name in ("transform", "inverse", "warpedTarget", "warpedSegmentation", "confidence"):
        assert getattr(panel.ui, f"{name}Selector").currentNode() is getattr(outputs, name)


def test_the_verdict_stands_at_the_top(panel, outputs):
    verdict, ui = outputs.verdict, panel.ui
    texts = {"good": "Good", "doubtful": "DOUBTFUL", "failed": "FAILED"}
    assert ui.verdictLabel.text == texts[verdict["word"]] and "background-color" in ui.verdictLabel.styleSheet
    assert ui.verdictReasonLabel.text == verdict["sentence"] != ""
    assert max(ui.verdictLabel.pos.y(), ui.verdictReasonLabel.pos.y()) < ui.summaryLabel.pos.y()
    assert {node.GetAttribute("SlicReg.verdict") for node in outputs.nodes()} == {verdict["word"]}


def test_the_views_go_to_the_least_sure_places(panel, outputs):
    """From the worst one on, and round again. Views of the target go where the place lies there."""
    places, ui = outputs.verdict["least_sure"], panel.ui
    assert places and [place[3] for place in places] == sorted(place[3] for place in places)
    from_template = get_from_world(outputs.transform)
    for n in [*range(len(places)), 0]:
        HOST.click(ui.leastSureButton)
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            centre = [node.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)]
            in_target = node.GetLayoutName().endswith("+")
            expected = from_template.TransformPoint(places[n][:3]) if in_target else places[n][:3]
            np.testing.assert_allclose(centre, expected, atol=0.1)
        assert (
            f"{n + 1} of {len(places)}" in ui.leastSureButton.text and f"{places[n][3]:.2f}" in ui.leastSureButton.text
        )


def test_notes_and_warnings_name_the_nodes(panel, pair):
    """Not the temporary files that the command line knows."""
    run = panel.registration.run
    file = run._folder / "target.nrrd"
    run._take_progress(ProgressEvent(WARNING, 0.5, f"{file} shows other anatomy.", 1.0, None))
    panel.registration._showProgress()
    assert "Warning: Phantom target shows other anatomy." in panel.ui.statusLabel.text
    report = run.outputs.report | {"notes": ["Phantom target was stored with an offset."]}
    panel.registration._showOutputs(replace(run.outputs, report=report))
    lines = panel.ui.summaryLabel.text.splitlines()
    assert lines[0] == "Warning: Phantom target shows other anatomy."
    assert lines[-1] == "Note: Phantom target was stored with an offset."
    run.warning = ""
    panel.registration._showOutputs(run.outputs)


def test_the_table_shows_the_measurements(panel, pair):
    table, organs = panel.ui.resultsTable, segment_names(pair[1])
    assert len(organs) == 13 and [table.item(row, 0).text() for row in range(table.rowCount)] == organs
    headers = [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]
    assert headers[1:3] == ["Dice before", "Dice after"] and len(set(headers)) == 5
    assert max(table.rowHeight(row) for row in range(13)) < 30
    before, after = ([float(table.item(row, column).text()) for row in range(13)] for column in (1, 2))
    assert np.mean(after) > 2 * np.mean(before)
    lines = panel.ui.summaryLabel.text.splitlines()
    assert any("folds in" in line for line in lines)
    (dice,) = (line for line in lines if line.startswith("Mean Dice"))
    stated = [float(number) for number in re.findall(r"\d\.\d{3}", dice)]
    np.testing.assert_allclose(stated, [np.mean(before), np.mean(after)], atol=0.0011)


def test_the_log_is_saved_with_the_options(panel, tmp_path):
    HOST.click(panel.ui.logButton)
    HOST.dialogs.choose_path(tmp_path / "slicreg.log")
    HOST.click(panel.ui.saveLogButton)
    text = (tmp_path / "slicreg.log").read_text()
    assert "'iterations': 50" in text and "prediction" in text and "GB of memory" in text


def test_views(panel, pair, outputs):
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    ui = panel.ui

    def shown():
        return composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()

    both = (pair[0].GetID(), outputs.warpedTarget.GetID())
    assert shown() == (pair[0].GetID(), None) and ui.sideBySideButton.checked
    lower = slicer.mrmlScene.GetSingletonNode("Red+", "vtkMRMLSliceCompositeNode")
    assert lower.GetBackgroundVolumeID() == pair[2].GetID() and "Below: the target" in ui.viewLabel.text
    HOST.click(ui.blendButton)
    assert shown() == both and composite.GetForegroundOpacity() == 0.5 and not ui.sideBySideButton.checked
    HOST.click(ui.flickerButton)
    assert shown() == both and not ui.blendButton.checked
    opacities = set()
    HOST.wait(lambda: (opacities.add(composite.GetForegroundOpacity()), opacities >= {0.0, 1.0})[1], 5)
    HOST.click(ui.checkerboardButton)
    board = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID())
    mixed, template, warped = (slicer.util.arrayFromVolume(v) for v in (board, pair[0], outputs.warpedTarget))
    assert ((mixed == template) | (mixed == warped)).all()
    assert 0.4 < (mixed == template)[template != warped].mean() < 0.6
    HOST.click(ui.confidenceButton)
    confidence = slicer.util.arrayFromVolume(slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID()))
    given = slicer.util.arrayFromVolume(outputs.confidence)
    assert shown()[0] == pair[0].GetID() and confidence[confidence > 0].min() >= given[given > 0].min()
    HOST.click(ui.supervoxelsButton)
    assert composite.GetLabelVolumeID() == outputs.supervoxels.GetID()
    assert composite.GetBackgroundVolumeID() == pair[2].GetID()
    assert len(np.unique(slicer.util.arrayFromVolume(outputs.supervoxels))) > 30 and "target" in ui.viewLabel.text
    for button in (ui.onTemplateButton, ui.onTargetButton, ui.surfacesButton):
        HOST.click(button)
        assert button.checked and ui.viewLabel.text
        on_template = button is ui.onTemplateButton
        assert shown() == ((outputs.warpedTarget if on_template else pair[2]).GetID(), None)
    for button in (ui.displacementButton, ui.volumeChangeButton, ui.differenceButton):
        HOST.click(button)
        volume = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID())
        assert np.ptp(slicer.util.arrayFromVolume(volume)) > 0.5 and volume not in list_scans()
    HOST.click(ui.gridButton)
    sheets = [n for n in slicer.util.getNodesByClass("vtkMRMLModelNode") if n.GetAttribute("SlicReg.grid")]
    assert len(sheets) == 3 and all(n.GetDisplayNode().GetVisibility() for n in sheets)
    HOST.click(ui.gridButton)
    assert not any(n.GetDisplayNode().GetVisibility() for n in sheets)
    HOST.click(ui.differenceButton)  # off: the first view again
    assert shown() == (pair[0].GetID(), None) and ui.sideBySideButton.checked


def test_the_table_is_copied_and_exported(panel, pair, outputs, tmp_path):
    HOST.click(panel.ui.copyTableButton)
    copied = [line.split("\t") for line in slicer.app.clipboard().text().splitlines()]
    assert copied[0] == ["Segment", "Dice before", "Dice after", "HD95 before (mm)", "HD95 after (mm)"]
    assert [row[0] for row in copied[1:]] == segment_names(pair[1]) and {len(row) for row in copied} == {5}
    HOST.dialogs.choose_path(tmp_path / "table.csv")
    HOST.click(panel.ui.exportTableButton)
    with open(tmp_path / "table.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == copied
    HOST.dialogs.choose_path("")
    HOST.click(panel.ui.exportTableButton)  # the user gives up: nothing is written
    HOST.dialogs.choose_path(tmp_path / "no" / "table.csv")
    HOST.click(panel.ui.exportTableButton)
    (error,) = HOST.dialogs.texts()
    assert "table.csv" in error


def test_without_labels_of_the_target_the_confidence_stands_in_the_table(panel, outputs):
    labels = slicer.util.arrayFromSegmentBinaryLabelmap
    for label, (mean, low) in outputs.report["segment_confidence"].items():
        segmentation = panel.parameters.templateSegmentation
        segment = segmentation.GetSegmentation().GetNthSegmentID(int(label) - 1)
        inside = labels(segmentation, segment, outputs.confidence) > 0
        sure = slicer.util.arrayFromVolume(outputs.confidence)[inside]
        if (sure > 0).sum() > 30:
            assert mean == pytest.approx(sure[sure > 0].mean(), abs=0.06) and low < mean
    report = {key: value for key, value in outputs.report.items() if key not in ("before", "after")}
    panel.registration._showOutputs(replace(outputs, report=report))
    table = panel.ui.resultsTable
    assert [table.horizontalHeaderItem(n).text() for n in range(3)] == ["Segment", "Mean confidence", "10th percentile"]
    means = {table.item(row, 0).text(): float(table.item(row, 1).text()) for row in range(13)}
    worst = min(means, key=means.get)
    assert f"Least sure segments, mean confidence: {worst} ({means[worst]:.2f})" in panel.ui.summaryLabel.text
    panel.registration._showOutputs(outputs)


def test_the_target_is_put_under_the_transform_by_a_check_box(panel, pair, outputs):
    HOST.click(panel.ui.applyTransformCheckBox)
    assert pair[2].GetParentTransformNode() is outputs.transform
    HOST.click(panel.ui.applyTransformCheckBox)
    assert pair[2].GetParentTransformNode() is None


def test_clicks_script_and_command_line_give_the_same_transform(panel, pair, outputs, tmp_path):
    for name, volume in (("template", pair[0]), ("target", pair[2])):
        write_volume(volume, tmp_path / f"{name}.nrrd")
    files = ["--template", tmp_path / "template.nrrd", "--target", tmp_path / "target.nrrd", "--out", tmp_path / "out"]
    words = ["--no-refine", "--key-points", str(FEW_POINTS.keywords["key_points"])]
    command = CommandProcess(["register", "--model", panel.logic.model(MODEL), *files, *words])
    seen, ended = [], []
    run = panel.logic.registerInBackground(
        pair[0],
        pair[2],
        model=MODEL,
        refine=False,
        onProgress=lambda *step: seen.append(step),
        onFinished=ended.append,
    )
    assert run.state == "running"
    HOST.wait(lambda: ended and command.poll() is not None and command.state != "running", 240)
    assert ended == [run] and run.state == "finished" and seen and "CPU" in run.device
    assert command.state == "finished", command.log

    by_clicks = displacements(outputs.transform)
    assert run.outputs.transform is not outputs.transform
    np.testing.assert_array_equal(displacements(run.outputs.transform), by_clicks)
    by_command = load_transform(tmp_path / "out" / "transform.h5").vectors.numpy().T
    np.testing.assert_array_equal(by_command.astype(by_clicks.dtype), by_clicks)


def turn_in_place(volume, segmentation):
    """Put both under a rotation and shift and move their voxels, so that in the world they stay where they are."""
    turn, inverse, both = vtk.vtkTransform(), vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    turn.RotateWXYZ(20, 1, 2, 0)
    turn.Translate(30, -20, 50)
    parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turned")
    parent.SetMatrixTransformToParent(turn.GetMatrix())
    vtk.vtkMatrix4x4.Invert(turn.GetMatrix(), inverse)
    volume.GetIJKToRASMatrix(both)
    vtk.vtkMatrix4x4.Multiply4x4(inverse, both, both)
    volume.SetIJKToRASMatrix(both)
    segmentation.ApplyTransformMatrix(inverse)
    for node in (volume, segmentation):
        node.SetAndObserveTransformNodeID(parent.GetID())


def test_a_second_apply_while_the_user_does_other_things(panel, pair, outputs):
    """The target has a parent transform now but lies at the same place, so the same nodes get the same result.

    The result is that of the scans at Apply, whatever the user does meanwhile.
    """
    ui, field, report = panel.ui, displacements(outputs.transform), outputs.report
    turn_in_place(pair[2], pair[3])
    HOST.click(ui.keepInverseCheckBox)
    HOST.click(ui.keepConfidenceCheckBox)
    assert not ui.confidenceSelector.enabled and ui.transformSelector.enabled
    before, worker = node_ids(), POOL.pids()
    assert len(worker) == 1
    HOST.click(ui.applyButton)
    assert POOL.pids() == set()  # it is at work
    HOST.leave(panel)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    old_confidence = outputs.confidence.GetID()
    slicer.mrmlScene.RemoveNode(outputs.confidence)
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
    panel.parameters.target = other
    wait_for_end(panel)
    run = panel.registration.run
    assert run.state == "finished" and panel.registration.views.review.target is pair[2] and POOL.pids() == worker
    layout, side_by_side = slicer.app.layoutManager().layout, slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView
    assert layout != side_by_side and not ui.sideBySideButton.checked  # the views belong to the other module
    again = run.outputs
    assert again.transform is outputs.transform and again.warpedSegmentation is outputs.warpedSegmentation
    made = (again.confidence, again.confidence.GetDisplayNode(), again.inverse, again.inverse.GetStorageNode(), other)
    new = {node.GetID() for node in made}
    assert not again.inverse.GetStorageNode().GetSaveWithScene()
    assert node_ids() - before <= new and old_confidence not in node_ids()

    assert panel.parameters.inverse is outputs.inverse is not again.inverse  # the former one is left alone
    assert again.inverse.GetHideFromEditors() and not again.inverse.GetSaveWithScene()
    assert again.confidence.GetHideFromEditors() and not again.confidence.GetSaveWithScene()
    assert panel.parameters.confidence is None  # it serves the views alone
    assert again.warpedTarget.GetParentTransformNode() is None
    np.testing.assert_allclose(displacements(again.transform), field, atol=1.0)  # mm
    dice = again.report["after"]["mean_dice"]
    assert dice > 2 * report["before"]["mean_dice"] and abs(dice - report["after"]["mean_dice"]) < 0.01

    HOST.enter(panel)
    assert ui.tabs.isVisible() and "Done" in ui.statusLabel.text
    assert slicer.app.layoutManager().layout == side_by_side and ui.sideBySideButton.checked
    request = panel.registration.makeRequest()  # for another target: the results of this one are kept
    assert request.target is other and request.transform is None and request.confidence is None


def test_a_deleted_result_cannot_be_shown(panel):
    slicer.mrmlScene.RemoveNode(panel.registration.run.outputs.confidence)
    HOST.click(panel.ui.checkerboardButton)
    assert "deleted" in panel.ui.summaryLabel.text and not panel.ui.blendButton.enabled
    red, below = (slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode") for name in ("Red", "Red+"))
    before = below.GetSliceOffset()
    red.SetSliceOffset(red.GetSliceOffset() + 30)
    assert below.GetSliceOffset() == before  # it does not follow any more


def test_closing_the_scene_clears_the_result(panel):
    began = time.monotonic()
    HOST.clear_scene()
    ui = panel.ui
    assert ui.resultsTable.rowCount == 0 and ui.summaryLabel.text == ui.statusLabel.text == ui.logText.plainText == ""
    assert ui.progressBar.value == 0 and panel.registration.run is None and time.monotonic() - began < 2
