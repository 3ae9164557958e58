"""The Batch tab, driven by mouse clicks, with a process that only pretends to register."""

import sys
from pathlib import Path

import pytest

from host import available
from SlicRegLib.cli.parser import parse
from SlicRegLib.errors import UserError
from SlicRegLib.jobs.batch import COLUMNS
from SlicRegLib.jobs.batch_folder import hold_batch_folder
from SlicRegLib.jobs.command_process import CommandProcess

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import slicer

    from panel_samples import HOST, choose_inputs, fresh_panel, load_coarse_pair, switch_refinement_off, wait_for_end

FAKE = [sys.executable, str(Path(__file__).with_name("fake_register.py"))]


@pytest.fixture
def started():
    """The arguments of each process that the tab started."""
    return []


@pytest.fixture
def panel(started):
    """A panel with inputs chosen, the Batch tab open, and a second target that cannot be registered."""

    def start_fake(arguments):
        started.append(arguments)
        return CommandProcess(arguments, command=[*FAKE, *arguments])

    with fresh_panel() as panel:
        panel.batch.startProcess = start_fake
        pair = load_coarse_pair()
        choose_inputs(panel, pair)
        switch_refinement_off(panel)
        panel.ui.iterationsSpinBox.value = 5
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")  # no scan
        slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, pair[2], "noise")
        panel.ui.tabs.setCurrentWidget(panel.ui.batchTab)
        yield panel


def states(panel) -> dict[str, str]:
    table = panel.ui.batchTable
    return {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}


def test_all_other_scans_of_the_scene(panel, started, tmp_path):
    ui, out = panel.ui, tmp_path / "batch"
    HOST.click(ui.batchSceneCheckBox)
    ui.batchOutputPath.currentPath = str(out)
    HOST.click(ui.batchApplyButton)
    assert ui.batchCancelButton.enabled and not ui.applyButton.enabled and not ui.batchApplyButton.enabled
    wait_for_end(panel)
    assert states(panel) == {"Phantom target": "done", "noise": "failed"} and not ui.batchCancelButton.enabled
    assert ui.batchProgressBar.value == ui.batchProgressBar.maximum
    rows = [[ui.batchTable.item(n, column).text() for column in range(ui.batchTable.columnCount)] for n in (0, 1)]
    assert rows[0] == ["Phantom target", "done", "DOUBTFUL", "1.500", "0.250", "Look at the liver."]
    assert rows[1][2] == "" and "No body was found" in rows[1][5]
    assert "Phantom target: Verdict: DOUBTFUL. Look at the liver." in ui.batchStatusLabel.text
    assert "noise: No body was found" in ui.batchStatusLabel.text
    assert "Phantom target,done,doubtful" in (out / "results.csv").read_text(encoding="utf-8-sig")
    assert ui.logText.plainText.count("fake_register.py") == 2

    requests = [parse(arguments)[1] for arguments in started]
    assert [request.out for request in requests] == [out / "Phantom target", out / "noise"]
    for request in requests:
        assert str(request.model) == panel.logic.model(panel.parameters.model)
        assert request.template.is_file() and request.target.is_file() and request.template_label.is_file()
        assert not request.registration.refine and request.registration.alignment.iterations == 5


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"verdict": "good"}, ""),
        ({"verdict": "good", "notes": "It was stored with an offset."}, "It was stored with an offset."),
        ({"verdict": "failed", "notes": "Noted."}, "The sentence. Noted."),
        ({"verdict_reason": None, "error": "The scan is empty."}, "The scan is empty."),
        ({"verdict_reason": None}, ""),
    ],
)
def test_what_to_look_at(changes, text):
    from SlicRegSlicer.batch_tab import _format_row

    row = {**dict.fromkeys(COLUMNS), "name": "a", "status": "done", "verdict_reason": "The sentence.", "error": ""}
    assert _format_row(row | changes)[-1] == text


def test_a_folder_of_scans(panel, started, tmp_path):
    from SlicRegSlicer.writing import write_volume

    (tmp_path / "scans").mkdir()
    for name in ("a", "noise"):
        write_volume(panel.parameters.target, tmp_path / "scans" / f"{name}.nrrd")
    panel.ui.batchInputPath.currentPath = str(tmp_path / "scans")
    panel.ui.batchOutputPath.currentPath = str(tmp_path / "out")
    HOST.click(panel.ui.batchApplyButton)
    wait_for_end(panel)
    assert states(panel) == {"a": "done", "noise": "failed"}
    assert parse(started[0])[1].target == tmp_path / "scans" / "a.nrrd"


def test_a_stopped_batch_is_resumed(panel, started, tmp_path):
    ui = panel.ui
    HOST.click(ui.batchSceneCheckBox)
    ui.batchOutputPath.currentPath = str(tmp_path / "batch")
    HOST.click(ui.batchApplyButton)
    HOST.wait(lambda: states(panel)["Phantom target"] == "done")
    assert states(panel)["noise"] == "running"
    HOST.click(ui.batchCancelButton)
    assert states(panel) == {"Phantom target": "done", "noise": "cancelled"} and not panel.isBusy()
    assert ui.batchStatusLabel.text == "Stopped. Run the batch again to resume."
    assert ui.batchApplyButton.enabled and not ui.batchCancelButton.enabled
    HOST.click(ui.batchApplyButton)
    wait_for_end(panel)
    assert states(panel) == {"Phantom target": "done", "noise": "failed"} and len(started) == 3


def test_a_registration_that_cannot_be_started_ends_the_batch(panel, started, tmp_path):
    ui, start = panel.ui, panel.batch.startProcess

    def fail_later(arguments):
        if started:
            raise UserError("PythonSlicer was not found.")
        return start(arguments)

    panel.batch.startProcess = fail_later
    HOST.click(ui.batchSceneCheckBox)
    ui.batchOutputPath.currentPath = str(tmp_path / "batch")
    HOST.click(ui.batchApplyButton)
    wait_for_end(panel)
    assert HOST.dialogs.texts("error") == ["PythonSlicer was not found."] and not panel.isBusy()
    assert states(panel) == {"Phantom target": "done", "noise": "cancelled"} and not ui.batchCancelButton.enabled
    with hold_batch_folder(tmp_path / "batch"):
        pass
