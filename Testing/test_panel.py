"""The panel, driven by mouse clicks alone; the logic beside it gives the same."""

import io
import os
import sys
import time
import unittest
from pathlib import Path

import numpy as np
import pytest
from host import available, start

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    HOST = start()
    import slicer

MODEL = "trunk-phantom"


@pytest.fixture
def panel():
    """A fresh panel on an empty scene; hidden errors fail the test."""
    HOST.clear_scene(singletons=True)
    HOST.dialogs.clear()
    with HOST.watch():
        widget = HOST.load_module()
        HOST.enter(widget)
        yield widget
        HOST.unload_module()
        HOST.clear_scene(singletons=True)


@pytest.fixture
def pair():
    """Template, its organs, target, its organs."""
    from SlicRegSlicer import sample

    return sample.load()


def choose_inputs(panel, pair, model=MODEL):
    ui = panel.ui
    for selector, node in zip(("template", "templateSegmentation", "target", "targetSegmentation"), pair):
        HOST.choose(getattr(ui, f"{selector}Selector"), node)
    HOST.choose(ui.modelComboBox, model)


def make_quick(panel):
    HOST.click(panel.ui.advancedButton)
    HOST.click(panel.ui.refineCheckBox)


def ids():
    return {slicer.mrmlScene.GetNthNode(i).GetID() for i in range(slicer.mrmlScene.GetNumberOfNodes())}


def test_apply_says_what_is_missing(panel, pair):
    ui = panel.ui
    assert not ui.applyButton.enabled
    HOST.choose(ui.templateSelector, pair[0])
    HOST.choose(ui.targetSelector, pair[0])
    assert "same volume" in ui.applyButton.toolTip and not ui.applyButton.enabled
    choose_inputs(panel, pair)
    assert ui.applyButton.enabled
    HOST.choose(ui.templateSegmentationSelector, None)
    assert "template's segmentation" in ui.applyButton.toolTip and not ui.applyButton.enabled


def test_the_model_that_is_shown_is_the_chosen_one(panel, pair):
    ui = panel.ui
    assert panel._parameterNode.model == ui.modelComboBox.currentText != ""
    HOST.clear_scene()
    assert panel._parameterNode.model == ui.modelComboBox.currentText != ""
    panel._parameterNode.model = "of another computer"  # as a saved scene may say
    panel._parameterNode.template, panel._parameterNode.target = (
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode") for _ in range(2)
    )
    assert ui.modelComboBox.currentIndex == -1 and "not on this computer" in ui.applyButton.toolTip


def test_what_a_user_does_in_mid_run(panel, pair, registered):
    """Leaves the module, deletes a result of the last run, chooses another target: the result is that of the scans at Apply."""
    ui, first = panel.ui, panel.run.outputs
    HOST.click(ui.applyButton)
    HOST.leave(panel)
    slicer.mrmlScene.RemoveNode(first.confidence)
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
    panel._parameterNode.target = other
    HOST.wait(lambda: not panel.running(), 120)
    assert panel.run.state == "finished" and panel.review.target is pair[2]
    again = panel.run.outputs
    assert again.transform is first.transform and slicer.mrmlScene.IsNodePresent(again.confidence)
    HOST.enter(panel)
    assert ui.tabs.isVisible() and "Done" in ui.statusLabel.text
    request = panel.request()  # for another target: the results of this one are kept
    assert request.target is other and request.transform is None and request.confidence is None


def test_segmentations_without_a_common_name_are_refused(panel, pair):
    choose_inputs(panel, pair)
    for n in range(13):
        pair[3].GetSegmentation().GetNthSegment(n).SetName(f"part {n}")
    HOST.click(panel.ui.applyButton)
    assert "name in common" in HOST.dialogs.texts("error")[0] and not panel.running()


def test_background_calls_back(panel, pair):
    seen, ended = [], []
    run = panel.logic.registerInBackground(
        pair[0],
        pair[2],
        model=MODEL,
        iterations=5,
        refine=False,
        onProgress=lambda *step: seen.append(step),
        onFinished=ended.append,
    )
    assert run.state == "running"
    HOST.wait(lambda: ended, 120)
    assert ended == [run] and run.state == "finished" and seen and "CPU" in run.device


def displacements(transform) -> np.ndarray:
    return slicer.util.arrayFromGridTransform(transform).copy()


def moved(transform) -> np.ndarray:
    """Where the resampling transform leads 27 points in the body."""
    from_parent = transform.GetTransformFromParent()
    return np.array(
        [from_parent.TransformPoint(x, y, z) for x in (-60, 0, 60) for y in (-40, 0, 40) for z in (-100, 0, 100)]
    )


@pytest.fixture
def registered(panel, pair):
    """A registration that was made by clicks; [(progress, text), ...] seen meanwhile."""
    choose_inputs(panel, pair)
    make_quick(panel)
    seen = []
    HOST.click(panel.ui.applyButton)
    assert panel.ui.cancelButton.enabled and not panel.ui.applyButton.enabled
    HOST.wait(
        lambda: (seen.append((panel.ui.progressBar.value, panel.ui.statusLabel.text)), not panel.running())[1], 120
    )
    assert panel.run.state == "finished", panel.run.log
    return seen


def test_clicks_register_and_a_second_apply_updates_the_same_nodes(panel, pair, registered):
    values = [value for value, _ in registered]
    assert len(set(values)) > 5 and values == sorted(values) and any("left" in text for _, text in registered)
    assert "CPU" in panel.ui.statusLabel.text

    first = panel.run.outputs
    template, template_organs, target, _ = pair
    assert first.warpedTarget.GetImageData().GetDimensions() == template.GetImageData().GetDimensions()
    assert (
        np.corrcoef(*(slicer.util.arrayFromVolume(v).ravel()[::7] for v in (first.warpedTarget, template)))[0, 1] > 0.7
    )
    assert first.transform.GetNodeReference(first.transform.GetMovingNodeReferenceRole()) is target
    assert first.transform.GetNodeReference(first.transform.GetFixedNodeReferenceRole()) is template
    organs = [template_organs.GetSegmentation().GetNthSegment(n).GetName() for n in range(13)]
    carried = first.warpedSegmentation.GetSegmentation()
    assert [carried.GetNthSegment(n).GetName() for n in range(13)] == organs
    confidence = slicer.util.arrayFromVolume(first.confidence)
    assert confidence.min() >= 0 and 0.3 < confidence[confidence > 0].mean() < 1

    table = panel.ui.resultsTable
    assert table.rowCount == 13 and table.item(0, 0).text() == organs[0]
    dice = [float(table.item(row, column).text()) for column in (1, 2) for row in range(13)]
    assert np.mean(dice[13:]) > 2 * np.mean(dice[:13])
    assert "folds" in panel.ui.summaryLabel.text and panel.ui.logText.plainText

    before, there = ids(), moved(first.transform)
    HOST.click(panel.ui.refineCheckBox)
    HOST.click(panel.ui.applyButton)
    HOST.wait(lambda: not panel.running(), 120)
    again = panel.run.outputs
    assert again.transform is first.transform and again.warpedSegmentation is first.warpedSegmentation
    assert ids() == before and 2 < np.abs(moved(again.transform) - there).max() < 40  # mm: refined now


def test_clicks_logic_and_command_line_give_the_same_transform(panel, pair, registered, tmp_path):
    from SlicRegLib.__main__ import main
    from SlicRegLib.images.transforms import load_transform
    from SlicRegSlicer import nodes

    by_clicks = displacements(panel.run.outputs.transform)
    steps = []
    by_logic = panel.logic.register(
        pair[0], pair[2], model=MODEL, refine=False, progress=lambda *step: steps.append(step)
    )
    assert steps and by_logic.transform is not panel.run.outputs.transform
    for name, volume in (("template", pair[0]), ("target", pair[2])):
        nodes.write_volume(volume, tmp_path / f"{name}.nrrd")
    assert (
        main(
            [
                "register",
                "--model",
                panel.logic.model(MODEL),
                "--template",
                str(tmp_path / "template.nrrd"),
                "--target",
                str(tmp_path / "target.nrrd"),
                "--out",
                str(tmp_path / "out"),
                "--no-refine",
            ]
        )
        == 0
    )
    by_command = load_transform(tmp_path / "out" / "transform.h5").vectors.numpy().T
    for other in (displacements(by_logic.transform), by_command):
        np.testing.assert_allclose(other, by_clicks, atol=0.5)  # mm; threads add in any order
        assert np.abs(other - by_clicks).mean() < 0.02


def test_parent_transforms_of_the_inputs_are_respected(panel, pair):
    """The target under a rotation and shift, its voxels elsewhere: the same place in the world, the same result."""
    import vtk

    def organs_on_template():
        result = panel.logic.register(
            pair[0],
            pair[2],
            model=MODEL,
            iterations=5,
            refine=False,
            templateSegmentation=pair[1],
            targetSegmentation=pair[3],
        )
        return result, result.report["after"]["mean_dice"]

    plain, dice = organs_on_template()
    turn = vtk.vtkTransform()
    turn.RotateWXYZ(20, 1, 2, 0)
    turn.Translate(30, -20, 50)
    parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turned")
    parent.SetMatrixTransformToParent(turn.GetMatrix())
    inverse, both = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(turn.GetMatrix(), inverse)
    for node in (pair[2], pair[3]):
        node.SetAndObserveTransformNodeID(parent.GetID())
    pair[2].GetIJKToRASMatrix(both)
    vtk.vtkMatrix4x4.Multiply4x4(inverse, both, both)
    pair[2].SetIJKToRASMatrix(both)  # in the world it lies where it was
    pair[3].ApplyTransformMatrix(inverse)
    turned, again = organs_on_template()
    assert turned.warpedTarget.GetParentTransformNode() is None
    np.testing.assert_allclose(displacements(turned.transform), displacements(plain.transform), atol=1.0)
    assert dice > 3 * plain.report["before"]["mean_dice"] and abs(dice - again) < 0.01


def test_views_and_log_after_a_run(panel, pair, registered, tmp_path):
    save_log(panel, tmp_path)
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    outputs, ui = panel.run.outputs, panel.ui

    def shown():
        return composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()

    both = (pair[0].GetID(), outputs.warpedTarget.GetID())
    assert shown() == both and composite.GetForegroundOpacity() == 0.5 and ui.blendButton.checked
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
    assert shown() == (pair[0].GetID(), outputs.confidence.GetID())
    HOST.click(ui.supervoxelsButton)
    assert (
        composite.GetLabelVolumeID() == outputs.supervoxels.GetID()
        and composite.GetBackgroundVolumeID() == pair[2].GetID()
    )
    assert len(np.unique(slicer.util.arrayFromVolume(outputs.supervoxels))) > 30
    HOST.click(ui.gridButton)
    assert outputs.transform.GetDisplayNode().GetVisibility2D()
    HOST.click(ui.gridButton)
    assert not outputs.transform.GetDisplayNode().GetVisibility2D()
    slicer.mrmlScene.RemoveNode(outputs.confidence)  # the user deletes a result
    HOST.click(ui.blendButton)
    assert "removed" in ui.summaryLabel.text and not ui.blendButton.enabled


@pytest.mark.parametrize("end", ["cancel", "close the scene"])
def test_ending_in_mid_run_leaves_nothing(panel, pair, end):
    choose_inputs(panel, pair)
    before = ids()
    HOST.click(panel.ui.applyButton)
    run, process, folder = panel.run, panel.run._job._process, panel.run._folder
    HOST.wait(lambda: panel.ui.progressBar.value > 100, 60)
    assert folder.is_dir()
    began = time.monotonic()
    if end == "cancel":
        HOST.click(panel.ui.cancelButton)
        assert ids() == before and panel.ui.applyButton.enabled and "Cancelled" in panel.ui.statusLabel.text
    else:
        HOST.clear_scene()
        assert not panel.running() and not panel.ui.cancelButton.enabled and panel.ui.progressBar.value == 0
    assert time.monotonic() - began < 2
    assert run.state == "cancelled" and process.poll() is not None and not folder.exists()
    with pytest.raises(ProcessLookupError):  # nobody is left in its process group
        os.killpg(process.pid, 0)


def test_bad_input_says_why_and_leaves_the_scene(panel, pair):
    choose_inputs(panel, pair)
    slicer.util.updateVolumeFromArray(pair[2], np.zeros_like(slicer.util.arrayFromVolume(pair[2])))
    before = ids()
    HOST.click(panel.ui.applyButton)
    errors = HOST.dialogs.texts("error")
    assert len(errors) == 1 and "constant" in errors[0] and "Traceback" not in errors[0]
    assert ids() == before and not panel.running() and panel.ui.applyButton.enabled


def test_failure_of_the_process_is_shown(panel, pair, tmp_path):
    """The model is damaged after it was chosen."""
    broken = tmp_path / "broken.slicreg"
    broken.write_bytes(Path(panel.logic.model(MODEL)).read_bytes()[:-4000])
    choose_inputs(panel, pair)
    panel.logic.model = lambda name: str(broken)
    before = ids()
    HOST.click(panel.ui.applyButton)
    HOST.wait(lambda: not panel.running(), 60)
    assert "corrupt" in HOST.dialogs.texts("error")[0] and ids() == before and "Failed" in panel.ui.statusLabel.text


def test_own_models_are_added_and_removed(panel, pair, tmp_path):
    mine = tmp_path / "mine.slicreg"
    mine.write_bytes(Path(panel.logic.model(MODEL)).read_bytes())
    HOST.dialogs.choose_path(mine)
    HOST.click(panel.ui.addModelButton)
    assert panel.ui.modelComboBox.currentText == "mine" and (panel.logic.userModels() / "mine.slicreg").is_file()
    assert "Trained on" in panel.ui.modelLabel.text and panel.ui.removeModelButton.enabled
    HOST.dialogs.answer(True)
    HOST.click(panel.ui.removeModelButton)
    assert panel.ui.modelComboBox.findText("mine") < 0 and not (panel.logic.userModels() / "mine.slicreg").exists()
    HOST.choose(panel.ui.modelComboBox, MODEL)
    assert not panel.ui.removeModelButton.enabled  # a bundled one


def test_nothing_is_installed_without_asking(panel, pair, monkeypatch):
    from SlicRegSlicer import installation

    monkeypatch.setattr(installation, "missing", lambda training=False: ["torch"])
    monkeypatch.setattr(installation, "install", lambda *_, **__: pytest.fail("installed against the answer"))
    choose_inputs(panel, pair)
    HOST.dialogs.answer(False)
    HOST.click(panel.ui.applyButton)
    assert len(HOST.dialogs.texts("question")) == 1 and not panel.running()


def test_nothing_starts_while_packages_are_installed(panel, pair, monkeypatch):
    choose_inputs(panel, pair)
    seen = []

    def installed(ask, progress, training):
        progress("installing", 0.1, "torch")
        ui = panel.ui
        seen.append(
            (
                ui.applyButton.enabled or ui.batchApplyButton.enabled or ui.checkInstallationButton.enabled,
                ui.statusLabel.text,
            )
        )
        return False

    monkeypatch.setattr(panel.logic, "installed", installed)
    HOST.click(panel.ui.applyButton)
    ((enabled, status),) = seen
    assert not enabled and "torch" in status and panel.ui.applyButton.enabled and not panel.running()
    assert panel.ui.checkInstallationButton.enabled


def save_log(panel, tmp_path):
    HOST.click(panel.ui.logButton)
    HOST.dialogs.choose_path(tmp_path / "slicreg.log")
    HOST.click(panel.ui.saveLogButton)
    text = (tmp_path / "slicreg.log").read_text()
    assert "iterations" in text and "prediction" in text and "GB of memory" in text


def test_batch_of_the_scene(panel, pair, tmp_path):
    choose_inputs(panel, pair)
    make_quick(panel)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")  # no scan
    bad = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, pair[2], "noise")
    array = slicer.util.arrayFromVolume(bad)
    array[:] = np.where(np.indices(array.shape).sum(0) % 2, -1000, -999)  # no body in it
    slicer.util.arrayFromVolumeModified(bad)
    panel.ui.tabs.currentIndex = 1
    HOST.click(panel.ui.batchSceneCheckBox)
    panel.ui.batchOutputPath.currentPath = str(tmp_path / "batch")
    HOST.click(panel.ui.batchApplyButton)
    HOST.wait(lambda: not panel.running(), 180)
    table = panel.ui.batchTable
    states = {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}
    assert states == {"Phantom target": "done", "noise": "failed"}
    assert (tmp_path / "batch" / "Phantom target" / "warped_labels.nii.gz").is_file()
    assert "Phantom target,done" in (tmp_path / "batch" / "results.csv").read_text(encoding="utf-8-sig")


def test_self_test_passes(panel):
    """As Slicer's "Reload and Test" runs it: `runTest`, which calls each `test_`."""
    sys.modules["SlicReg"].SlicRegTest().runTest()


@pytest.mark.parametrize("name", ["test_same_volume_is_refused"])
def test_self_tests_run_one_by_one(panel, name):
    """As ctest runs them. The registration itself has just been run."""
    result = unittest.TextTestRunner(stream=io.StringIO()).run(sys.modules["SlicReg"].SlicRegTest(name))
    assert result.wasSuccessful() and result.testsRun == 1
