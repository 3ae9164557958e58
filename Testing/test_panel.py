"""The panel, driven by mouse clicks: what is chosen, what is missing, what goes wrong. No registration ends here."""

import io
import os
import signal
import sys
import time
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from host import available

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import slicer

    from panel_samples import HOST, MODEL, WARM_UP, choose_inputs, fresh_panel, load_coarse_pair, node_ids, wait_for_end
    from SlicRegLib.jobs.worker_pool import POOL
    from SlicRegLib.registration.options import MODES


@pytest.fixture
def panel():
    with fresh_panel() as panel:
        yield panel


@pytest.fixture
def pair():
    return load_coarse_pair()


# ---- inputs


def test_the_tool_tip_of_apply_names_what_is_missing(panel, pair):
    ui = panel.ui
    assert ui.applyButton.enabled and "model's own template" in ui.applyButton.toolTip
    HOST.choose(ui.templateSelector, pair[0])
    HOST.choose(ui.targetSelector, pair[0])
    assert "same volume" in ui.applyButton.toolTip and not ui.applyButton.enabled
    choose_inputs(panel, pair)
    assert ui.applyButton.enabled and ui.applyButton.toolTip == "Register the target to the template."
    HOST.choose(ui.templateSegmentationSelector, None)
    assert "template segmentation" in ui.applyButton.toolTip and not ui.applyButton.enabled


def test_the_tool_tip_of_run_batch_names_what_is_missing(panel, pair, tmp_path, monkeypatch):
    ui = panel.ui
    HOST.choose(ui.templateSelector, pair[0])
    ui.tabs.currentIndex = 1
    assert "output folder" in ui.batchApplyButton.toolTip and not ui.batchApplyButton.enabled
    ui.batchOutputPath.currentPath = str(tmp_path / "out")
    assert not ui.batchApplyButton.enabled
    ui.batchInputPath.currentPath = str(tmp_path)
    assert ui.batchApplyButton.enabled
    panel.parameters.template = None
    assert ui.batchApplyButton.enabled and "model's own template" in ui.batchApplyButton.toolTip
    monkeypatch.setattr(panel.models, "holdsTemplate", lambda: False)
    panel.showParameters()
    assert "Registration tab" in ui.batchApplyButton.toolTip and not ui.batchApplyButton.enabled


def test_the_model_that_is_shown_is_the_chosen_one(panel, pair):
    ui = panel.ui
    assert panel.parameters.model == "auto" and ui.modelComboBox.currentText == "Automatic"
    HOST.choose(ui.modelComboBox, MODEL)
    assert panel.parameters.model == MODEL
    HOST.clear_scene()
    assert panel.parameters.model == ui.modelComboBox.currentText == MODEL  # what is shown
    panel.parameters.model = "of another computer"  # as in a scene that was saved there
    panel.parameters.template, panel.parameters.target = (
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode") for _ in range(2)
    )
    assert ui.modelComboBox.currentIndex == -1 and "not on this computer" in ui.applyButton.toolTip


def test_own_models_are_added_and_removed(panel, tmp_path):
    mine = tmp_path / "mine.slicreg"
    mine.write_bytes(Path(panel.logic.model(MODEL)).read_bytes())
    HOST.dialogs.choose_path(mine)
    HOST.click(panel.ui.modelDetailsButton)
    HOST.click(panel.ui.addModelButton)
    assert panel.ui.modelComboBox.currentText == "mine" and (panel.logic.userModels() / "mine.slicreg").is_file()
    assert "Trained on" in panel.ui.modelLabel.text and panel.ui.removeModelButton.enabled
    HOST.dialogs.answer(True)
    HOST.click(panel.ui.removeModelButton)
    assert panel.ui.modelComboBox.findText("mine") < 0 and not (panel.logic.userModels() / "mine.slicreg").exists()
    HOST.choose(panel.ui.modelComboBox, MODEL)
    assert not panel.ui.removeModelButton.enabled  # a bundled one


def test_devices_are_listed_once_and_chosen_separately(panel, monkeypatch):
    asked = []
    monkeypatch.setattr(panel.logic, "gpus", lambda: asked.append(1) or [("cuda:0", "A GPU")])
    ui = panel.ui
    assert not asked and ui.deviceComboBox.count == 1
    HOST.click(ui.advancedButton)
    HOST.choose(ui.deviceComboBox, "A GPU")
    ui.tabs.setCurrentWidget(ui.trainingTab)
    HOST.choose(ui.trainingDeviceComboBox, "CPU")
    assert (panel.parameters.device, panel.parameters.trainingDevice) == ("cuda:0", "cpu")
    assert len(asked) == 1 and ui.trainingDeviceComboBox.count == 3


def test_a_worker_is_warm_before_apply_and_ends_with_the_panel(panel, monkeypatch):
    monkeypatch.setattr(POOL, "warm_up", WARM_UP)
    loaded = []
    monkeypatch.setattr("SlicRegLib.jobs.worker.Worker.ask", lambda self, *words: loaded.append(words))
    HOST.leave(panel)
    HOST.enter(panel)
    [pid] = POOL.pids()
    assert loaded == []  # which model it will be is not known yet
    HOST.choose(panel.ui.modelComboBox, MODEL)
    HOST.leave(panel)
    HOST.enter(panel)
    assert loaded == [("load", [panel.logic.model(panel.parameters.model)])]
    HOST.leave(panel)
    HOST.enter(panel)
    assert POOL.pids() == {pid}
    HOST.unload_module()
    HOST.wait(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 60)


def test_a_training_ends_the_idle_worker(panel, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr("SlicRegSlicer.logic.control.start", lambda *words: done.append("started"))
    monkeypatch.setattr(POOL, "close", lambda: done.append("closed"))
    panel.logic.startTraining(tmp_path)
    assert done == ["closed", "started"]


def test_the_file_of_a_model_is_named_by_its_full_path(panel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.slicreg").touch()
    assert panel.logic.model("mine.slicreg") == str(tmp_path / "mine.slicreg")


def test_one_line_tells_what_a_model_is_for(panel, tmp_path):
    ui = panel.ui
    lines = {}
    for name in ("Automatic", "headneck-openkbp", MODEL):
        HOST.choose(ui.modelComboBox, name)
        lines[name] = ui.modelLineLabel.text
    assert lines["headneck-openkbp"].startswith("Head and neck CT, 80 patients. It holds the average")
    assert "knows the scans" in lines["Automatic"]
    assert lines[MODEL].startswith("Trunk CT, 30 synthetic scans; ") and "real chests" in lines[MODEL]
    assert lines[MODEL].endswith(". It holds the average of 30 scans with 13 organs.")
    assert not ui.modelLabel.visible  # the details are folded
    HOST.click(ui.modelDetailsButton)
    assert ui.modelLabel.visible and "Validation" in ui.modelLabel.text


def test_a_model_of_few_right_classes_is_marked(panel, monkeypatch):
    header = next(model for model in panel.logic.models() if model.name == MODEL)
    validation = {"validation_loss": 4.0, "validation_accuracy": 0.085}
    about = {**header.about, "provenance": {**header.about["provenance"], "validation": validation}}
    poor = replace(header, name="poor", about=about)
    monkeypatch.setattr(panel.logic, "models", lambda: [header, poor])
    panel.models.fill()
    HOST.choose(panel.ui.modelComboBox, "poor - only 8 % right")
    assert panel.parameters.model == "poor" and "only 8 % right" in panel.ui.modelLineLabel.text
    assert panel.ui.modelComboBox.findText(MODEL) == 1  # which is not marked


def test_the_numbers_show_for_the_preset_custom_alone(panel):
    ui = panel.ui
    HOST.click(ui.advancedButton)
    assert ui.modeComboBox.visible and not ui.alphaSpinBox.visible
    for text, mode in (("Fast", "fast"), ("As published", "published"), ("Default", "default")):
        HOST.choose(ui.modeComboBox, text)
        assert panel.parameters.mode == mode and not ui.seedSpinBox.visible and ui.modeLabel.text
    panel.parameters.iterations = 7
    assert panel.registration.makeRequest().options() == MODES["default"]
    HOST.choose(ui.modeComboBox, "Custom")
    assert ui.alphaSpinBox.visible and ui.seedSpinBox.visible
    assert panel.registration.makeRequest().options().alignment.iterations == 7


# ---- mistakes and failures


def test_segmentations_without_a_common_name_are_refused(panel, pair):
    choose_inputs(panel, pair)
    for n in range(13):
        pair[3].GetSegmentation().GetNthSegment(n).SetName(f"part {n}")
    HOST.click(panel.ui.applyButton)
    assert "name in common" in HOST.dialogs.texts("error")[0] and not panel.isBusy()


def test_bad_input_is_explained_and_leaves_the_scene(panel, pair):
    choose_inputs(panel, pair)
    slicer.util.updateVolumeFromArray(pair[2], np.zeros_like(slicer.util.arrayFromVolume(pair[2])))
    before = node_ids()
    HOST.click(panel.ui.applyButton)
    errors = HOST.dialogs.texts("error")
    assert len(errors) == 1 and "constant" in errors[0] and "Traceback" not in errors[0]
    assert node_ids() == before and not panel.isBusy() and panel.ui.applyButton.enabled


def test_failure_of_the_process_is_shown(panel, pair, tmp_path):
    """The model is damaged after it was chosen."""
    broken = tmp_path / "broken.slicreg"
    broken.write_bytes(Path(panel.logic.model(MODEL)).read_bytes()[:-4000])
    choose_inputs(panel, pair)
    panel.logic.model = lambda name: str(broken)
    before = node_ids()
    HOST.click(panel.ui.applyButton)
    wait_for_end(panel)
    assert "corrupt" in HOST.dialogs.texts("error")[0] and node_ids() == before
    assert "Failed" in panel.ui.statusLabel.text


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_worker_is_told_in_one_sentence(panel, pair):
    choose_inputs(panel, pair)
    before = node_ids()
    HOST.click(panel.ui.applyButton)
    run = panel.registration.run
    os.kill(run._process._worker.pid, signal.SIGKILL)
    wait_for_end(panel)
    [error] = HOST.dialogs.texts("error")
    assert "The system ended the process" in error and "\n" not in error
    assert node_ids() == before and not run._folder.exists() and panel.ui.applyButton.enabled


@pytest.mark.parametrize("end", ["cancel", "close the scene"])
def test_ending_in_mid_run_leaves_nothing(panel, pair, end):
    choose_inputs(panel, pair)
    before = node_ids()
    HOST.click(panel.ui.applyButton)
    run = panel.registration.run
    process, folder = run._process._worker._process, run._folder
    HOST.wait(lambda: panel.ui.progressBar.value > 100, 60)
    assert folder.is_dir()
    began = time.monotonic()
    if end == "cancel":
        HOST.click(panel.ui.cancelButton)
        assert node_ids() == before and panel.ui.applyButton.enabled and "Cancelled" in panel.ui.statusLabel.text
    else:
        HOST.clear_scene()
        assert not panel.isBusy() and not panel.ui.cancelButton.enabled and panel.ui.progressBar.value == 0
    assert time.monotonic() - began < 2
    assert run.state == "cancelled" and process.poll() is not None and not folder.exists()
    with pytest.raises(ProcessLookupError):  # nobody is left in its process group
        os.killpg(process.pid, 0)


# ---- packages


def test_nothing_is_installed_without_asking(panel, pair, monkeypatch):
    from SlicRegSlicer import logic

    monkeypatch.setattr(logic, "find_missing", lambda: ["torch"])
    monkeypatch.setattr(logic, "install", lambda *_, **__: pytest.fail("installed against the answer"))
    choose_inputs(panel, pair)
    HOST.dialogs.answer(False)
    HOST.click(panel.ui.applyButton)
    assert len(HOST.dialogs.texts("question")) == 1 and not panel.isBusy()


def test_nothing_starts_while_packages_are_installed(panel, pair, monkeypatch):
    choose_inputs(panel, pair)
    seen = []

    def installed(ask, progress):
        progress("installing", 0.1, "torch")
        ui = panel.ui
        buttons = (ui.applyButton, ui.batchApplyButton, ui.checkInstallationButton, ui.trainingStartButton)
        seen.append((any(button.enabled for button in buttons), ui.statusLabel.text))
        return False

    monkeypatch.setattr(panel.logic, "installed", installed)
    HOST.click(panel.ui.applyButton)
    ((enabled, status),) = seen
    assert not enabled and "torch" in status and panel.ui.applyButton.enabled and not panel.isBusy()
    assert panel.ui.checkInstallationButton.enabled


@pytest.mark.parametrize("broken", [False, True])
def test_check_installation_shows_the_findings_and_offers_a_repair(panel, monkeypatch, broken):
    repaired = []
    monkeypatch.setattr(panel.logic, "checkInstallation", lambda: ("CPU works", broken))
    monkeypatch.setattr(panel.logic, "repair", lambda: repaired.append(panel.installing))
    HOST.click(panel.ui.advancedButton)
    if broken:
        HOST.dialogs.answer(True)
    HOST.click(panel.ui.checkInstallationButton)
    assert panel.ui.logText.plainText == "CPU works" and not panel.ui.logButton.collapsed
    assert HOST.dialogs.texts("question" if broken else "info")[0].startswith("CPU works")
    assert repaired == ([True] if broken else []) and not panel.installing


# ---- the module's own tests


def test_self_test_passes(panel):
    """As Slicer's "Reload and Test" runs it: `runTest`, which calls each ``test_``."""
    sys.modules["SlicReg"].SlicRegTest().runTest()


def test_self_tests_run_one_by_one(panel):
    """As ctest runs them; of the two only the one that registers nothing."""
    test = sys.modules["SlicReg"].SlicRegTest("test_same_volume_is_refused")
    result = unittest.TextTestRunner(stream=io.StringIO()).run(test)
    assert result.wasSuccessful() and result.testsRun == 1
