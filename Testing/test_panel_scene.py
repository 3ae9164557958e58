"""The panel while scenes are closed and loaded and while the user is elsewhere; path fields; repair. By clicks."""

import pytest

from host import available
from SlicRegLib.jobs.status import JobState

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import slicer
    from PySide6 import QtTest

    from host import packages
    from panel_samples import (
        HOST,
        MODEL,
        choose_inputs,
        fresh_panel,
        load_coarse_pair,
        switch_refinement_off,
        wait_for_end,
        write_job,
    )
    from SlicRegSlicer.findings import Finding


@pytest.fixture
def panel():
    with fresh_panel() as panel:
        yield panel


def add_volumes(*names):
    nodes = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in names]
    slicer.app.processEvents()
    return nodes


def chosen(panel):
    """Names of template and target as the parameters and as the selectors have them."""
    ui, parameters = panel.ui, panel.parameters
    pairs = ((ui.templateSelector, parameters.template), (ui.targetSelector, parameters.target))
    shown = [(selector.currentNode(), node) for selector, node in pairs]
    assert all(a is b for a, b in shown)
    return [node and node.GetName() for _, node in shown]


# ---- scenes


@pytest.mark.parametrize("ending", ["mrml", "mrb"])
@pytest.mark.parametrize("entered", [True, False])
def test_a_loaded_scene_keeps_template_and_target(panel, tmp_path, ending, entered):
    first, second, third = add_volumes("first", "second", "third")
    HOST.choose(panel.ui.templateSelector, third)
    HOST.choose(panel.ui.targetSelector, second)
    panel.ui.iterationsSpinBox.value = 7
    path = str(tmp_path / f"scene.{ending}")
    assert slicer.util.saveScene(path)
    HOST.choose(panel.ui.targetSelector, first)
    if not entered:
        HOST.leave(panel)
    slicer.util.loadScene(path)
    HOST.enter(panel)
    assert chosen(panel) == ["third", "second"] and panel.ui.iterationsSpinBox.value == 7
    HOST.choose(panel.ui.targetSelector, panel.parameters.template)  # the panel is connected again
    assert chosen(panel) == ["third", "third"]


def test_a_scene_that_is_added_without_parameters_changes_nothing(panel, tmp_path):
    first, second = add_volumes("first", "second")
    HOST.choose(panel.ui.templateSelector, second)
    HOST.choose(panel.ui.targetSelector, first)
    scene = slicer.vtkMRMLScene()
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "added")
    path = str(tmp_path / "scene.mrml")
    scene.SetURL(path)
    scene.Commit(path)
    slicer.mrmlScene.SetURL(path)
    assert slicer.mrmlScene.Import()
    assert chosen(panel) == ["second", "first"]


def test_the_selectors_wait_for_the_end_of_an_import(panel):
    """As Slicer's: nodes have no references before."""
    (volume,) = add_volumes("first")
    listed = []
    scene = slicer.mrmlScene
    scene.StartState(scene.ImportState)
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "second")
    listed.append(
        panel.ui.targetSelector.nodeCount() if not scene.IsImporting() else panel.ui.targetSelector._combo.count
    )
    scene.EndState(scene.ImportState)
    assert panel.ui.targetSelector._combo.count > listed[0] and volume


# ---- another module


def test_a_run_that_ends_elsewhere_leaves_the_views_alone(panel):
    pair = load_coarse_pair()
    choose_inputs(panel, pair)
    switch_refinement_off(panel)
    HOST.click(panel.ui.applyButton)
    HOST.leave(panel)
    slicer.util.setSliceViewerLayers(background=pair[2], foreground=None, fit=False)
    before = list_layers()
    wait_for_end(panel)
    assert panel.registration.run.state == "finished" and panel.ui.statusLabel.text.startswith("Done")
    assert list_layers() == before
    HOST.enter(panel)
    assert list_layers() != before


@pytest.mark.parametrize("nearest", ["", MODEL])
def test_a_failure_elsewhere_is_told_when_the_user_comes_back(panel, monkeypatch, nearest):
    choose_inputs(panel, load_coarse_pair())
    HOST.click(panel.ui.applyButton)
    run = panel.registration.run
    HOST.leave(panel)

    def fail():
        run.state, run.error, run.nearest = "failed", "It went wrong.", nearest
        return run.state

    monkeypatch.setattr(run, "poll", fail)
    wait_for_end(panel)
    assert not HOST.dialogs.shown and panel.ui.statusLabel.text == "Failed: It went wrong."
    HOST.dialogs.answer(False)
    for _ in range(2):  # and no second time
        HOST.enter(panel)
        (told,) = HOST.dialogs.texts("question" if nearest else "error")
        assert told.startswith("It went wrong.")
        HOST.leave(panel)


def list_layers():
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return [(node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()) for node in composites]


# ---- paths


@pytest.mark.parametrize("name", ["batchInput", "batchOutput", "trainingTemplate", "trainingImages", "trainingFolder"])
def test_a_path_can_be_cleared(panel, tmp_path, name):
    panel.ui.tabs.setCurrentWidget(panel.ui.batchTab if name.startswith("batch") else panel.ui.trainingTab)
    edit = getattr(panel.ui, f"{name}Path")
    assert edit.currentPath == ""
    line = edit.comboBox().lineEdit()
    QtTest.QTest.keyClicks(line, str(tmp_path))
    assert getattr(panel.parameters, name) == str(tmp_path)
    line.selectAll()
    QtTest.QTest.keyClick(line, "\b")
    panel.showParameters()
    assert edit.currentPath == "" == getattr(panel.parameters, name)


def test_old_scenes_have_no_path_called_dot(panel):
    panel.parameters.parameterNode.SetParameter("batchInput", ".")
    HOST.leave(panel)
    panel.setParameters(None)
    HOST.enter(panel)
    assert panel.parameters.batchInput == "" and panel.ui.batchInputPath.currentPath == ""


def test_typing_past_another_job_keeps_what_was_entered(panel, tmp_path):
    ui = panel.ui
    write_job(tmp_path / "job", JobState("finished", "training"), preset="unet")
    ui.tabs.setCurrentWidget(ui.trainingTab)
    ui.trainingTemplatePath.currentPath = str(tmp_path / "mine.nii.gz")
    ui.trainingImagesPath.currentPath = str(tmp_path / "scans")
    ui.trainingNameEdit.text = "own"
    line = ui.trainingFolderPath.comboBox().lineEdit()
    QtTest.QTest.keyClicks(line, str(tmp_path / "job2"))
    parameters = panel.parameters
    assert parameters.trainingFolder == str(tmp_path / "job2")
    assert parameters.trainingTemplate == str(tmp_path / "mine.nii.gz") == ui.trainingTemplatePath.currentPath
    assert parameters.trainingImages == str(tmp_path / "scans") and ui.trainingNameEdit.text == "own"
    assert parameters.trainingPreset != "unet" and ui.trainingNameEdit.enabled
    QtTest.QTest.keyClick(line, "\b")
    assert ui.trainingNameEdit.text == "mine"  # that job is looked at
    QtTest.QTest.keyClick(line, "\b")
    assert ui.trainingNameEdit.text == "own"


# ---- check and repair


def test_repair_mends_what_the_check_found(panel, monkeypatch):
    done = []
    broken = Finding(False, "1 Python package cannot be used", "skimage", "Install it.", True, ("skimage",))
    monkeypatch.setattr("SlicRegSlicer.logic.check_installation", lambda: [Finding(True, "PyTorch"), broken])
    monkeypatch.setattr("SlicRegSlicer.logic.install", lambda **given: done.append((given, panel.installing)))
    HOST.click(panel.ui.advancedButton)
    panel.ui.logText.plainText = "of the registration"
    HOST.dialogs.answer(True)
    HOST.click(panel.ui.checkInstallationButton)
    assert done == [({"broken": ["skimage"]}, True)] and not panel.installing
    assert panel.ui.logText.plainText.startswith("of the registration\n\nOK  PyTorch")


def test_a_problem_that_no_installation_mends_is_only_told(panel, monkeypatch):
    old = Finding(False, "The NVIDIA GPU is not used", "", "Update the NVIDIA driver.")
    monkeypatch.setattr("SlicRegSlicer.logic.check_installation", lambda: [old])
    before = list(packages.installed)  # by other tests
    HOST.click(panel.ui.advancedButton)
    HOST.click(panel.ui.checkInstallationButton)
    assert not HOST.dialogs.texts("question") and "Update the NVIDIA driver" in HOST.dialogs.texts("info")[0]
    assert packages.installed == before


def test_a_batch_keeps_the_outputs_of_the_first_tab(panel):
    """Although its request has new nodes in place of those of another pair."""
    template, target, other = add_volumes("template", "target", "other")
    HOST.choose(panel.ui.templateSelector, template)
    HOST.choose(panel.ui.targetSelector, target)
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "result")
    from SlicRegSlicer.result_nodes import mark_result

    mark_result(output, template, other)
    panel.parameters.transform = output
    panel.logic.model = lambda name=None: "model"
    request = panel.registration.makeRequest()
    assert request.transform is None and panel.parameters.transform is output
    assert panel.ui.transformSelector.currentNode() is output
