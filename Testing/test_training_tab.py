"""The Training tab, driven by clicks, with a process that only owns the job folder.

The real training is in test_first_hour.
"""

import json
import shutil
from dataclasses import replace

import numpy as np
import psutil
import pytest
import SimpleITK as sitk

from host import available
from SlicRegLib.images.itk import read_affine
from SlicRegLib.jobs import control, lock, status
from SlicRegLib.jobs.options import read_options
from SlicRegLib.jobs.status import JobState
from tiny import write_cohort

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import slicer
    import vtk

    from fake_job import start_fake_job
    from panel_samples import (
        HOST,
        SETTING,
        fresh_panel,
        load_coarse_pair,
        write_curve,
        write_findings,
        write_job,
    )

SMALL = {"spacing_mm": 12.0, "shape": (48, 32, 48)}  # a frame in which everything takes seconds
PARTS = ("vtkMRMLTableNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), 5)


@pytest.fixture
def panel():
    with fresh_panel() as panel:
        open_tab(panel)
        yield panel


@pytest.fixture
def folder(tmp_path):
    """A job folder in which nothing runs after the test."""
    yield tmp_path / "job"
    if lock.find_owner(tmp_path / "job"):
        control.stop(tmp_path / "job")


def open_tab(panel):
    panel.ui.tabs.setCurrentWidget(panel.ui.trainingTab)
    panel.training.extraOptions = SMALL


def load_again():
    """The user closes Slicer's panel and opens it again."""
    HOST.unload_module()
    panel = HOST.load_module()
    HOST.enter(panel)
    open_tab(panel)
    return panel


def fill_in(panel, cohort, folder, **changes):
    ui = panel.ui
    paths = {"Template": cohort / "template.nii.gz", "Images": cohort / "img", "Folder": folder, **changes}
    for name, value in paths.items():
        getattr(ui, f"training{name}Path").currentPath = str(value)
    ui.trainingNameEdit.text = "mine"
    ui.trainingIterationsSpinBox.value = 6
    ui.trainingWorkersSpinBox.value = 2
    HOST.choose(ui.trainingDeviceComboBox, "CPU")


def is_alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def inputs_are_enabled(ui):
    fields = (ui.trainingTemplatePath, ui.trainingNameEdit, ui.trainingPresetComboBox, ui.trainingStartPath)
    enabled = {widget.enabled for widget in fields}
    assert len(enabled) == 1
    return enabled.pop()


def plotted():
    """The columns of the one table in the scene."""
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    return [list(slicer.util.arrayFromTableColumn(table, table.GetColumnName(n))) for n in range(3)]


def parts():
    return {node.GetID() for kind in PARTS for node in slicer.util.getNodesByClass(kind)}


# ---- process control


def test_a_training_outlives_scene_and_panel_and_can_be_resumed(panel, cohort, folder):
    fill_in(panel, cohort, folder)
    panel.logic.startTraining = start_fake_job
    HOST.click(panel.ui.trainingStartButton)
    pid = lock.find_owner(folder).pid
    assert panel.training.job.state.state == "running" and panel.training._watchTimer.active
    HOST.clear_scene(singletons=True)
    assert panel.training.job.state.state == "running" and panel.training._watchTimer.active  # the folder is remembered
    before, panel = panel, load_again()
    assert not before.training._watchTimer.active

    ui, tab = panel.ui, panel.training
    panel.logic.startTraining = start_fake_job
    assert lock.find_owner(folder).pid == pid and tab.job.state.state == "running" and tab._watchTimer.active
    assert ui.trainingFolderPath.currentPath == str(folder) and ui.trainingNameEdit.text == "mine"
    assert ui.trainingTemplatePath.currentPath == str(cohort / "template.nii.gz")
    assert ui.trainingIterationsSpinBox.value == 6
    assert ui.trainingStatusLabel.text == "Running, 20 %: registering scan 2 of 4. About 1 min left."
    HOST.click(ui.trainingStopButton)
    assert tab.job.state.state == "stopped" and "Stopped" in ui.trainingStatusLabel.text and not is_alive(pid)
    assert not tab._watchTimer.active and not ui.trainingStopButton.enabled
    HOST.click(ui.trainingStartButton)
    assert tab.job.state.state == "running" and lock.find_owner(folder).pid != pid
    HOST.click(ui.trainingStopButton)
    assert tab.job.state.state == "stopped" and not HOST.dialogs.texts()


def test_a_second_start_names_the_process_that_works_there(panel, cohort, folder):
    fill_in(panel, cohort, folder)
    start_fake_job(folder, panel.training.makeOptions())  # the tab does not know
    HOST.click(panel.ui.trainingStartButton)
    (error,) = HOST.dialogs.texts("error")
    assert lock.find_owner(folder).sentence() in error and str(folder) in error
    assert panel.training.job.state.state == "running" and not panel.ui.trainingStartButton.enabled


def test_a_failure_is_shown_once_to_those_who_watch(panel, cohort, folder):
    fill_in(panel, cohort, folder)
    panel.logic.startTraining = start_fake_job
    HOST.click(panel.ui.trainingStartButton)
    control.stop(folder)
    status.write_state(folder, JobState("failed", error="The disk is full."))
    panel.training.watch()
    panel.training.watch()
    assert HOST.dialogs.texts("error") == ["The disk is full."]
    assert panel.ui.trainingStatusLabel.text == "Failed: The disk is full." and panel.ui.trainingStartButton.enabled


def test_a_failed_training_is_resumed_on_another_device(panel, folder):
    """What an error asks for, "choose the CPU as device", can be done; what decides the model stays as it was."""
    ui, started = panel.ui, []
    panel.logic.startTraining = lambda *given: started.append(given)
    write_job(folder, JobState("failed", error="The GPU ran out of memory."), device="cuda:0", workers=3)
    ui.trainingFolderPath.currentPath = str(folder)
    assert panel.parameters.trainingDevice == "cuda:0" and ui.trainingWorkersSpinBox.value == 3
    assert ui.trainingDeviceComboBox.enabled and ui.trainingWorkersSpinBox.enabled and not inputs_are_enabled(ui)
    HOST.click(ui.trainingStartButton)
    assert started == [(str(folder), None)]  # nothing was changed
    HOST.choose(ui.trainingDeviceComboBox, "CPU")
    panel.training.watch()
    panel.showParameters()
    HOST.click(ui.trainingStartButton)
    assert started[1:] == [(str(folder), replace(read_options(folder), device="cpu"))]
    write_job(folder, JobState("finished"), device="cuda:0", workers=3)
    panel.training.watch()
    assert inputs_are_enabled(ui)


def test_a_running_training_shows_its_own_device(panel, cohort, folder):
    fill_in(panel, cohort, folder)
    panel.logic.startTraining = start_fake_job
    HOST.click(panel.ui.trainingStartButton)
    assert not panel.ui.trainingDeviceComboBox.enabled
    panel.parameters.trainingDevice = "cuda:0"  # by a script
    assert panel.parameters.trainingDevice == "cpu"


# ---- mistakes


@pytest.mark.parametrize(
    "change, words",
    [
        ({"Template": "no/template.nii.gz"}, "template.nii.gz does not exist"),
        ({"Images": "no/scans"}, "no/scans does not exist"),
        ({"Images": "EMPTY"}, "holds no scan"),
        ({"Labels": "EMPTY"}, "give both"),
        ({"Start": "no.slicreg"}, "no.slicreg does not exist"),
    ],
)
def test_a_mistake_is_one_sentence_and_starts_nothing(panel, cohort, folder, tmp_path, change, words):
    (tmp_path / "empty").mkdir()
    fill_in(
        panel,
        cohort,
        folder,
        **{name: str(path).replace("EMPTY", str(tmp_path / "empty")) for name, path in change.items()},
    )
    for button in (panel.ui.trainingCheckButton, panel.ui.trainingStartButton):
        HOST.dialogs.clear()
        HOST.click(button)
        (error,) = HOST.dialogs.texts("error")
        assert words in error and "Traceback" not in error
    assert panel.training.job.state.state == "absent" and not panel.training.check and not folder.exists()


def test_what_the_check_refuses_is_shown(panel, cohort, folder, tmp_path):
    (tmp_path / "text.nii.gz").write_text("no scan")
    fill_in(panel, cohort, folder, Template=tmp_path / "text.nii.gz")
    HOST.click(panel.ui.trainingCheckButton)
    HOST.wait(lambda: not panel.training.check, 60)
    (error,) = HOST.dialogs.texts("error")
    assert "text.nii.gz" in error and inputs_are_enabled(panel.ui)


def test_closing_the_scene_ends_the_check(panel, cohort, folder):
    fill_in(panel, cohort, folder)
    HOST.click(panel.ui.trainingCheckButton)
    job = panel.training.check
    HOST.clear_scene()
    assert (
        job.state == "cancelled" and not panel.training.check and panel.ui.trainingFolderPath.currentPath == str(folder)
    )


# ---- job folders written by hand


def test_tool_tips_name_what_is_missing(panel, cohort, folder):
    ui = panel.ui
    for widget, words in (("Images", "folder of scans"), ("Folder", "job folder")):
        assert words in ui.trainingStartButton.toolTip and not ui.trainingStartButton.enabled
        getattr(ui, f"training{widget}Path").currentPath = str(cohort / widget)
    assert "name" in ui.trainingStartButton.toolTip and not ui.trainingStartButton.enabled
    ui.trainingNameEdit.text = "mine"
    assert (
        ui.trainingStartButton.enabled
        and ui.trainingCheckButton.enabled
        and "background" in ui.trainingStartButton.toolTip
    )
    assert not any(
        getattr(ui, f"training{name}Button").enabled for name in ("Pause", "Stop", "Curves", "Report", "Use")
    )


def test_the_job_of_a_folder_fills_the_fields(panel, folder):
    ui = panel.ui
    write_job(
        folder,
        JobState("stopped", "teacher", 0.5, 0.2, None, "2 of 4: pt_2"),
        preset="unet",
        device="cuda:1",
        workers=3,
    )
    ui.trainingNameEdit.text = "of the user"
    ui.trainingFolderPath.currentPath = str(folder)
    assert ui.trainingNameEdit.text == "mine" and ui.trainingPresetComboBox.currentText == "unet"
    assert ui.trainingIterationsSpinBox.value == 300 and ui.trainingWorkersSpinBox.value == 3
    assert ui.trainingDeviceComboBox.currentText == "cuda:1" and panel.parameters.device == "auto"
    assert ui.trainingStartButton.enabled and not ui.trainingCheckButton.enabled and not inputs_are_enabled(ui)
    assert (
        ui.trainingStatusLabel.text == "Stopped at 20 %. Press Start to resume." and ui.trainingProgressBar.value == 200
    )
    ui.trainingFolderPath.currentPath = str(folder.parent)
    assert inputs_are_enabled(ui) and ui.trainingStatusLabel.text == "" and ui.trainingNameEdit.text == "mine"


def test_a_damaged_configuration_is_shown(panel, folder):
    write_job(folder, JobState("stopped"))
    (folder / "job.json").write_text("{")
    panel.ui.trainingFolderPath.currentPath = str(folder)
    assert "damaged" in panel.ui.trainingStatusLabel.text


def test_curves_are_made_once_and_updated_in_place(panel, folder):
    rows = [(50, 10.0, 4.5, 4.7, 0.1), (100, 20.0, 3.5, 4.0, 0.2)]
    write_job(folder, JobState("stopped", "training"), rows)
    ui, before = panel.ui, parts()
    ui.trainingFolderPath.currentPath = str(folder)
    assert parts() == before  # nothing comes into the scene unasked
    HOST.click(ui.trainingCurvesButton)
    made = parts() - before
    assert len(made) == 4 and plotted() == [[50, 100], [4.5, 3.5], [4.7, 4.0]]
    chart = panel.training.chart.find()
    assert (
        slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() == chart.GetID()
        and chart.GetTitle() == "mine"
    )
    for n, name in ((0, "Training loss"), (1, "Validation loss")):
        series = chart.GetNthPlotSeriesNode(n)
        assert series.GetYColumnName() == name and series.GetXColumnName() == "Iteration"

    write_curve(folder, [*rows, (150, 30.0, 3.0, 3.6, 0.3)])
    panel.training.watch()
    HOST.click(ui.trainingCurvesButton)
    assert parts() - before == made and plotted() == [[50, 100, 150], [4.5, 3.5, 3.0], [4.7, 4.0, 3.6]]
    new = load_again()
    HOST.click(new.ui.trainingCurvesButton)
    assert parts() - before == made
    slicer.mrmlScene.RemoveNode(slicer.util.getNodesByClass("vtkMRMLTableNode")[0])  # the user deletes a part
    HOST.click(new.ui.trainingCurvesButton)
    assert len(parts() - before) == 4 and plotted()[0] == [50, 100, 150]


def test_pictures(panel, folder):
    import qt

    label, tab = panel.ui.trainingPictureLabel, panel.training
    folder.mkdir()
    picture = qt.QPixmap(3000, 1500)
    picture.fill(qt.QColor("white"))
    picture.save(str(folder / "cohort_unusual.png"))
    write_findings(folder, "5 scans, 4 usable")
    assert not label.visible
    panel.ui.trainingFolderPath.currentPath = str(folder)
    width, height = label.pixmap.width(), label.pixmap.height()
    assert label.visible and abs(2 * height - width) <= 1 and width < panel.ui.tabs.width
    assert panel.ui.trainingStatusLabel.text == "5 scans, 4 usable"
    write_job(folder, JobState("stopped", "training"))
    tab.watch()
    assert not label.visible  # no validation yet
    picture.scaled(100, 80).save(str(folder / "validation.png"))
    tab.watch()
    assert label.visible and label.pixmap.width() == 100


def test_the_picture_of_the_check_stays_after_the_start(panel, cohort, folder):
    import qt

    label = panel.ui.trainingCheckPictureLabel
    fill_in(panel, cohort, folder)
    write_findings(folder, "5 scans, 4 usable")
    picture = qt.QPixmap(100, 80)
    picture.fill(qt.QColor("white"))
    picture.save(str(folder / "cohort_unusual.png"))
    panel.training.watch()
    assert panel.ui.trainingPictureLabel.visible and not label.visible
    scans = sorted((cohort / "img").iterdir())
    facts = {"template": {"path": str(cohort / "template.nii.gz")}, "scans": [{"path": str(path)} for path in scans]}
    (folder / "cohort.json").write_text(json.dumps({"summary": "", **facts}))
    panel.logic.startTraining = start_fake_job
    HOST.click(panel.ui.trainingStartButton)
    assert panel.training.job.state.state == "running" and label.visible and label.pixmap.width() == 100


def test_a_picture_of_other_scans_does_not_stay(panel, cohort, folder):
    fill_in(panel, cohort, folder)
    write_findings(folder, "of other scans")
    (folder / "cohort_unusual.png").touch()
    panel.logic.startTraining = start_fake_job
    HOST.click(panel.ui.trainingStartButton)
    assert panel.training.job.state.state == "running" and not (folder / "cohort_unusual.png").exists()


# ---- a template of the scene, and the next training


def test_a_volume_of_the_scene_is_the_template(panel, cohort, folder):
    template = load_coarse_pair()[0]
    fill_in(panel, cohort, folder, Template="")
    ui = panel.ui
    HOST.choose(ui.trainingTemplateVolumeSelector, template)
    assert not ui.trainingTemplatePath.enabled and ui.trainingStartButton.enabled
    panel.logic.startTraining = start_fake_job
    HOST.click(ui.trainingStartButton)
    config = panel.training.job.config
    assert config["template"] == str(folder / "template.nrrd") and not HOST.dialogs.texts()
    written = sitk.ReadImage(config["template"])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), slicer.util.arrayFromVolume(template))
    matrix = vtk.vtkMatrix4x4()
    template.GetIJKToRASMatrix(matrix)
    np.testing.assert_allclose(read_affine(written), slicer.util.arrayFromVTKMatrix(matrix))
    assert ui.trainingTemplatePath.currentPath == config["template"]
    HOST.click(ui.trainingStopButton)


def test_without_a_template_the_average_becomes_it(panel, cohort, folder):
    fill_in(panel, cohort, folder, Template="", Labels=cohort / "label")
    panel.logic.startTraining = start_fake_job
    HOST.click(panel.ui.trainingStartButton)
    config = panel.training.job.config
    assert (config["template"], config["labels"]) == ("", str(cohort / "label")) and not HOST.dialogs.texts()
    HOST.click(panel.ui.trainingStopButton)


def test_a_mistake_leaves_no_template_behind(panel, cohort, folder):
    template = load_coarse_pair()[0]
    fill_in(panel, cohort, folder, Template="", Start="no.slicreg")
    HOST.choose(panel.ui.trainingTemplateVolumeSelector, template)
    for button in (panel.ui.trainingCheckButton, panel.ui.trainingStartButton):
        HOST.click(button)
    assert len(HOST.dialogs.texts("error")) == 2 and not folder.exists()


def test_after_a_finished_job_a_new_name_starts_another_one(panel, cohort, folder):
    write_finished_job(cohort, folder)
    ui = panel.ui
    ui.trainingFolderPath.currentPath = str(folder)
    assert inputs_are_enabled(ui) and ui.trainingNameEdit.text == "mine"
    assert not ui.trainingStartButton.enabled and "Enter another model name" in ui.trainingStartButton.toolTip
    (folder.parent / "taken").mkdir()
    ui.trainingNameEdit.text = "taken"
    assert not ui.trainingStartButton.enabled and "exists already" in ui.trainingStartButton.toolTip
    ui.trainingNameEdit.text = "mine2"
    ui.trainingIterationsSpinBox.value = 7
    panel.training.watch()
    assert ui.trainingNameEdit.text == "mine2" and ui.trainingStartButton.enabled
    panel.logic.startTraining = start_fake_job
    HOST.click(ui.trainingStartButton)
    try:
        assert panel.training.folder == str(folder.parent / "mine2") == ui.trainingFolderPath.currentPath
        assert slicer.app.userSettings().value(SETTING) == str(folder.parent / "mine2")
        config = panel.training.job.config
        assert (config["name"], config["iterations"], config["images"]) == ("mine2", 7, str(cohort / "img"))
        assert status.read_state(folder).state == "finished" and not HOST.dialogs.texts()
    finally:
        control.stop(folder.parent / "mine2")


@pytest.mark.parametrize("new", ["job2", "other"])
def test_after_a_finished_job_a_new_folder_starts_another_one(panel, cohort, folder, new):
    write_finished_job(cohort, folder)
    ui = panel.ui
    ui.trainingFolderPath.currentPath = str(folder)
    ui.trainingIterationsSpinBox.value = 7
    ui.trainingFolderPath.currentPath = str(folder.parent / new)
    assert ui.trainingIterationsSpinBox.value == 7 and ui.trainingNameEdit.text == "mine"
    assert ui.trainingStartButton.enabled and ui.trainingTemplatePath.currentPath == str(cohort / "template.nii.gz")


def write_finished_job(cohort, folder):
    paths = {"template": str(cohort / "template.nii.gz"), "images": str(cohort / "img")}
    write_job(folder, JobState("finished", fraction=1.0), **paths)


def test_a_model_that_a_command_trained_can_be_used(panel, folder, tmp_path):
    """It is not among the user's models yet."""
    write_job(folder, JobState("finished", fraction=1.0), name="fresh")
    panel.ui.trainingFolderPath.currentPath = str(folder)
    HOST.click(panel.ui.trainingUseButton)
    assert "fresh.slicreg" in HOST.dialogs.texts("error")[0]
    shutil.copyfile(panel.logic.model("trunk-phantom"), folder / "fresh.slicreg")
    HOST.click(panel.ui.trainingUseButton)
    assert (panel.logic.userModels() / "fresh.slicreg").is_file()
    assert panel.ui.tabs.currentWidget() == panel.ui.registrationTab
    (panel.logic.userModels() / "fresh.slicreg").unlink()
