"""The tab "Training", driven by clicks, with the real job in its own process on phantoms; and its texts."""

import csv
import json

import psutil
import pytest
from host import available, start
from tiny import write_cohort

from SlicRegLib.jobs import control, ownership, status
from SlicRegLib.jobs.options import JobOptions
from SlicRegLib.jobs.status import JobState

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    HOST = start()
    import slicer

FURTHER = {"spacing_mm": 12.0, "shape": (48, 32, 48)}  # a frame in which everything takes seconds
PARTS = ("vtkMRMLTableNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), 5)


@pytest.fixture
def panel():
    """A fresh panel that shows the tab and remembers no folder; hidden errors fail the test."""
    HOST.clear_scene(singletons=True)
    HOST.dialogs.clear()
    slicer.app.userSettings().remove("SlicReg/TrainingFolder")
    with HOST.watch():
        yield new_panel()
        HOST.unload_module()
        HOST.clear_scene(singletons=True)
    slicer.app.userSettings().remove("SlicReg/TrainingFolder")


@pytest.fixture
def folder(tmp_path):
    """A job folder in which nothing runs after the test."""
    yield tmp_path / "job"
    if ownership.find_owner(tmp_path / "job"):
        control.stop(tmp_path / "job")


def new_panel():
    panel = HOST.load_module()
    HOST.enter(panel)
    panel.ui.tabs.setCurrentWidget(panel.ui.trainingTab)
    panel.training.further = FURTHER
    return panel


def fill_in(panel, cohort, folder, **changes):
    ui = panel.ui
    for name, value in {
        "Template": cohort / "template.nii.gz",
        "Images": cohort / "img",
        "Folder": folder,
        **changes,
    }.items():
        getattr(ui, f"training{name}Path").currentPath = str(value)
    ui.trainingNameEdit.text = "mine"
    ui.trainingIterationsSpinBox.value = 6
    ui.trainingWorkersSpinBox.value = 2
    HOST.choose(ui.trainingDeviceComboBox, "CPU")


def lives(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def inputs_are_enabled(ui):
    fields = (ui.trainingTemplatePath, ui.trainingNameEdit, ui.trainingPresetComboBox, ui.trainingStartPath)
    enabled = {widget.enabled for widget in fields}
    assert len(enabled) == 1
    return enabled.pop()


def write_job(folder, state, rows=(), **options):
    """A job folder as a run would leave it."""
    folder.mkdir(exist_ok=True)
    (folder / "scan.nii.gz").touch()
    given = {
        "name": "mine",
        "template": str(folder / "scan.nii.gz"),
        "images": str(folder),
        "iterations": 300,
        **options,
    }
    options.write_config(folder, JobOptions(**given))
    status.write_state(folder, state)
    write_curve(folder, rows)


def write_curve(folder, rows):
    with open(folder / "mine_curve.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [["iteration", "seconds", "training_loss", "validation_loss", "validation_accuracy"], *rows]
        )


def plotted():
    """The columns of the one table in the scene."""
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    return [list(slicer.util.arrayFromTableColumn(table, table.GetColumnName(n))) for n in range(3)]


def parts():
    return {node.GetID() for kind in PARTS for node in slicer.util.getNodesByClass(kind)}


# ---- with the job


def test_check_start_pause_resume_to_the_model(panel, cohort, folder):
    ui, tab = panel.ui, panel.training
    fill_in(panel, cohort, folder)
    HOST.click(ui.trainingCheckButton)
    assert ui.trainingStopButton.enabled and not ui.trainingStartButton.enabled and not inputs_are_enabled(ui)
    HOST.wait(lambda: not tab.check, 120)
    assert "5 scans, 5 usable" in ui.trainingStatusLabel.text and "GB of memory" in ui.trainingStatusLabel.text
    assert ui.trainingProgressBar.value == 1000 and inputs_are_enabled(ui)

    HOST.click(ui.trainingStartButton)
    assert tab.state.state == "running" and not inputs_are_enabled(ui) and not ui.trainingStartButton.enabled
    owner = ownership.find_owner(folder)
    HOST.click(ui.trainingPauseButton)
    HOST.wait(lambda: tab.state.state == "paused")  # a process that is writing is held a moment later
    assert "Paused" in ui.trainingStatusLabel.text and not ui.trainingPauseButton.enabled
    assert psutil.Process(owner.pid).status() == psutil.STATUS_STOPPED
    HOST.click(ui.trainingResumeButton)
    HOST.wait(lambda: tab.state.state == "running")
    assert not ui.trainingResumeButton.enabled
    values, texts = [], []

    def ended():
        values.append(ui.trainingProgressBar.value)
        texts.append(ui.trainingStatusLabel.text)
        return tab.state.state != "running"

    HOST.wait(ended, 300)
    assert tab.state.state == "finished", tab.state
    assert values == sorted(values) and len(set(values)) > 3
    assert any("registering scan" in text and "of 5" in text for text in texts)

    assert (panel.logic.userModels() / "mine.slicreg").is_file() and ui.modelComboBox.findText("mine") >= 0
    assert ui.trainingPictureLabel.visible and ui.trainingProgressBar.value == 1000
    assert (
        not ui.trainingStartButton.enabled
        and "finished" in ui.trainingStartButton.toolTip
        and not tab._watchTimer.active
    )
    HOST.click(ui.trainingCurvesButton)
    iteration, training, validation = plotted()
    rows = status.read_curve(folder)
    assert [row[0] for row in rows] == iteration and iteration[-1] == 6
    assert [(row[2], row[3]) for row in rows] == list(zip(training, validation))
    HOST.click(ui.trainingReportButton)
    assert HOST.dialogs.opened == [str(folder / "report.html")] and not HOST.dialogs.texts()


def test_it_outlives_scene_and_panel_and_goes_on_after_a_stop(panel, cohort, folder):
    fill_in(panel, cohort, folder)
    HOST.click(panel.ui.trainingStartButton)
    pid = ownership.find_owner(folder).pid
    HOST.clear_scene(singletons=True)
    assert panel.training.state.state == "running" and panel.training._watchTimer.active  # the folder is remembered
    HOST.unload_module()
    assert not panel.training._watchTimer.active

    again = new_panel()
    ui, tab = again.ui, again.training
    assert ownership.find_owner(folder).pid == pid and tab.state.state == "running" and tab._watchTimer.active
    assert ui.trainingFolderPath.currentPath == str(folder) and ui.trainingNameEdit.text == "mine"
    assert (
        ui.trainingTemplatePath.currentPath == str(cohort / "template.nii.gz")
        and ui.trainingIterationsSpinBox.value == 6
    )
    HOST.click(ui.trainingStopButton)
    assert tab.state.state == "stopped" and "Stopped" in ui.trainingStatusLabel.text and not lives(pid)
    assert not tab._watchTimer.active and not ui.trainingStopButton.enabled
    HOST.click(ui.trainingStartButton)
    assert tab.state.state == "running" and ownership.find_owner(folder).pid != pid
    HOST.click(ui.trainingStopButton)
    assert tab.state.state == "stopped" and not HOST.dialogs.texts()


def test_a_second_start_names_who_works_there(panel, cohort, folder):
    fill_in(panel, cohort, folder)
    panel.logic.startTraining(folder, panel.training.asked())  # behind the tab's back
    HOST.click(panel.ui.trainingStartButton)
    (error,) = HOST.dialogs.texts("error")
    assert ownership.find_owner(folder).sentence() in error and str(folder) in error
    assert panel.training.state.state == "running" and not panel.ui.trainingStartButton.enabled


@pytest.mark.parametrize(
    "change, said",
    [
        ({"Template": "no/template.nii.gz"}, "template.nii.gz does not exist"),
        ({"Images": "no/scans"}, "no/scans does not exist"),
        ({"Images": "EMPTY"}, "holds no scan"),
        ({"Labels": "EMPTY"}, "give both"),
        ({"Start": "no.slicreg"}, "no.slicreg does not exist"),
    ],
)
def test_a_mistake_is_one_sentence_and_starts_nothing(panel, cohort, folder, tmp_path, change, said):
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
        assert said in error and "Traceback" not in error
    assert panel.training.state.state == "absent" and not panel.training.check and not folder.exists()


def test_what_the_process_refuses_is_said(panel, cohort, folder, tmp_path):
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


# ---- with folders that were written by hand


def test_buttons_say_what_is_missing(panel, cohort, folder):
    ui = panel.ui
    for widget, said in (("Template", "template"), ("Images", "folder of scans"), ("Folder", "folder for the job")):
        assert said in ui.trainingStartButton.toolTip and not ui.trainingStartButton.enabled
        getattr(ui, f"training{widget}Path").currentPath = str(cohort / widget)
    assert "name" in ui.trainingStartButton.toolTip and not ui.trainingStartButton.enabled
    ui.trainingNameEdit.text = "mine"
    assert (
        ui.trainingStartButton.enabled
        and ui.trainingCheckButton.enabled
        and "background" in ui.trainingStartButton.toolTip
    )
    assert not any(
        getattr(ui, f"training{name}Button").enabled for name in ("Pause", "Resume", "Stop", "Curves", "Report")
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
    assert ui.trainingDeviceComboBox.currentText == "cuda:1" and panel._parameterNode.device == "auto"
    assert ui.trainingStartButton.enabled and not ui.trainingCheckButton.enabled and not inputs_are_enabled(ui)
    assert ui.trainingStatusLabel.text == "Stopped at 20 %; Start goes on." and ui.trainingProgressBar.value == 200
    ui.trainingFolderPath.currentPath = str(folder.parent)
    assert inputs_are_enabled(ui) and ui.trainingStatusLabel.text == "" and ui.trainingNameEdit.text == "mine"


def test_a_damaged_configuration_is_said(panel, folder):
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
    chart = panel.training.curves.chart()
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
    HOST.unload_module()
    new = new_panel()
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
    (folder / "cohort.json").write_text(json.dumps({"summary": "5 scans, 4 usable"}))
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


# ---- texts


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0, "0 s"),
        (40.2, "40 s"),
        (59.7, "1 min"),
        (90, "2 min"),
        (3540, "59 min"),
        (3599, "1 h"),
        (4800, "1 h 20 min"),
        (7200, "2 h"),
        (86399, "1 day"),
        (100000, "1 day 4 h"),
        (172800, "2 days"),
        (200000, "2 days 8 h"),
    ],
)
def test_time_in_words(seconds, words):
    from SlicRegSlicer.training import time_in_words

    assert time_in_words(seconds) == words


@pytest.mark.parametrize(
    "stage, message, words",
    [
        ("starting", "", "starting"),
        ("check", "3 of 80: pt_3", "checking scan 3 of 80"),
        ("supervoxels", "", "cutting the template into supervoxels"),
        ("teacher", "12 of 80: pt_12", "registering scan 12 of 80"),
        ("teacher", "", "registering the scans"),
        ("training", "iteration 120, loss 1.234, validation 2.000", "training, iteration 120 of 300, loss 1.234"),
        ("training", "", "training"),
        ("report", "held-out scan 1 of 4", "writing the report"),
    ],
)
def test_stage_in_words(stage, message, words):
    from SlicRegSlicer.training import stage_in_words

    assert stage_in_words(JobState("running", stage, message=message), {"iterations": 300}) == words


def test_state_in_words():
    from SlicRegSlicer.training import state_in_words

    teacher = JobState("running", "teacher", 0.15, 0.034, 4800, "12 of 80: pt_12")
    assert state_in_words(teacher, {}, []) == "Running, 3 %: registering scan 12 of 80. About 1 h 20 min left."
    assert (
        state_in_words(JobState("paused", "training", 0.5, 0.5, None, "iteration 7, loss 2.5"), {}, [])
        == "Paused at 50 %: training, iteration 7, loss 2.5."
    )
    assert state_in_words(JobState("interrupted", "training", fraction=0.5), {}, []).startswith("Interrupted at 50 %")
    assert state_in_words(JobState("failed", error="The disk is full."), {}, []) == "Failed: The disk is full."
    assert "job.log" in state_in_words(JobState("failed"), {}, [])
    assert "add it" in state_in_words(JobState("finished"), {"name": "mine", "models": ""}, [])
    rows = [(50, 9.0, 4.5, 4.7, 0.1), (100, 9.0, 3.5, 4.25, 0.21)]
    finished = state_in_words(JobState("finished"), {"name": "mine", "models": "models"}, rows)
    for part in ("mine is in the list", "iteration 100", "3.500 in training", "4.250 in validation", "21.0%"):
        assert part in finished


def test_words_give_the_options_back(tmp_path):
    """What the command line makes of the words is what was asked for."""
    from SlicRegLib.__main__ import _job_options, parser
    from SlicRegSlicer.training import asked, words_to_check, words_to_learn

    for name in ("template.nii.gz", "labels.nii.gz", "first.slicreg"):
        (tmp_path / name).touch()
    options = asked(
        template=tmp_path / "template.nii.gz",
        images=tmp_path,
        name="mine",
        preset="unet",
        device="cpu",
        iterations=7,
        workers=1,
        labels=tmp_path,
        template_label=tmp_path / "labels.nii.gz",
        start=tmp_path / "first.slicreg",
        **FURTHER,
    )
    given = parser().parse_args(["learn", "--out", str(tmp_path), *words_to_learn(options)])
    assert _job_options(given, tmp_path) == options
    given = parser().parse_args(words_to_check(options, tmp_path))
    assert (given.template, given.images, given.out) == (tmp_path / "template.nii.gz", tmp_path, tmp_path)
    assert (given.preset, given.device, given.iterations, given.jobs) == ("unet", "cpu", 7, 1)
    assert (given.spacing, given.shape) == (12.0, [48, 32, 48])
