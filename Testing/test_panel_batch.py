"""The Batch tab, driven by mouse clicks, with a process that only pretends to register."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from host import available
from SlicRegLib.cli.parser import parse
from SlicRegLib.errors import UserError
from SlicRegLib.images.displacements import write_displacements
from SlicRegLib.jobs.batch_folder import hold_batch_folder
from SlicRegLib.jobs.batch_rows import COLUMNS
from SlicRegLib.jobs.command_process import CommandProcess

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import slicer

    from panel_samples import HOST, choose_inputs, fresh_panel, load_coarse_pair, switch_refinement_off, wait_for_end
    from SlicRegSlicer.node_arrays import compute_voxel_to_world
    from SlicRegSlicer.writing import write_segmentation, write_volume

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
    assert rows[0] == ["Phantom target", "done", "DOUBTFUL", "Look at the liver."]
    assert ui.batchTable.item(0, 2).background().color().name() == "#ffb000"
    assert rows[1][2] == "" and "No body was found" in rows[1][3]
    assert ui.batchTable.item(1, 3).toolTip() == rows[1][3] and not ui.batchTable.horizontalScrollBar().visible
    assert "Phantom target: Verdict: DOUBTFUL. Look at the liver." in ui.batchStatusLabel.text
    assert "noise: No body was found" in ui.batchStatusLabel.text
    assert "Phantom target,done,doubtful" in (out / "results.csv").read_text(encoding="utf-8-sig")
    assert ui.logText.plainText.count("fake_register.py") == 2

    requests = [parse(arguments)[1] for arguments in started]
    assert [request.out for request in requests] == [out / "Phantom target", out / "noise"]
    for request in requests:
        assert str(request.model) == panel.logic.model(panel.parameters.model)
        assert request.template.is_file() and request.target.is_file() and request.template_label.is_file()
        # the target's segmentation lies on the target, and the copy has none
        assert bool(request.target_label) == (request.out.name == "Phantom target")
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
    from SlicRegSlicer.batch_words import make_table

    row = {**dict.fromkeys(COLUMNS), "name": "a", "status": "done", "verdict_reason": "The sentence.", "error": ""}
    _header, cells = make_table([row | changes])
    assert cells[0][-1] == text


def test_dice_has_a_column_where_it_was_measured():
    from SlicRegSlicer.batch_words import make_table

    plain = {**dict.fromkeys(COLUMNS), "name": "a", "status": "done", "error": ""}
    header, cells = make_table([plain | {"dice_before": 0.215, "dice_after": 0.693}, plain])
    assert header[3].startswith("Dice") and [row[3] for row in cells] == ["0.21 → 0.69", ""]
    assert len(make_table([plain])[0]) == len(header) - 1


def test_a_folder_of_scans(panel, started, tmp_path):
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


def test_a_long_summary_leaves_room_for_the_table():
    from SlicRegSlicer.batch_words import MAX_LINES, shorten

    lines = [f"pt_{n}: The scan is empty." for n in range(100)]
    text = shorten(lines).splitlines()
    assert text[:-1] == lines[:MAX_LINES] and text[-1] == f"{100 - MAX_LINES} more in the table."
    assert shorten(lines[:MAX_LINES]).splitlines() == lines[:MAX_LINES]


# ---- before the start


def counted(panel, text: str) -> None:
    HOST.wait(lambda: panel.ui.batchCountLabel.text == text, 10)


def test_the_scans_of_a_folder_are_counted_before_the_start(panel, tmp_path):
    ui, scans, labels, out = panel.ui, tmp_path / "scans", tmp_path / "labels", tmp_path / "out"
    for path in (scans / "a.nrrd", scans / "b.nii.gz", scans / "c.mha", labels / "b.nrrd", out / "a" / "report.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    ui.batchInputPath.currentPath = str(scans)
    counted(panel, "3 scans.")
    ui.batchLabelsPath.currentPath = str(labels)
    counted(panel, "3 scans, 1 with labels for Dice.")
    ui.batchOutputPath.currentPath = str(out)
    counted(
        panel,
        "3 scans, 1 with labels for Dice. Results in the output folder: 1; those whose scan and options are unchanged "
        "are kept.",
    )
    panel.parameters.templateSegmentation = None
    HOST.wait(lambda: "Choose a template segmentation" in ui.batchCountLabel.text, 10)
    ui.batchInputPath.currentPath = str(labels / "none")
    HOST.wait(lambda: "does not exist" in ui.batchCountLabel.text, 10)


def test_the_scans_of_the_scene_are_counted_before_the_start(panel):
    HOST.click(panel.ui.batchSceneCheckBox)
    counted(panel, "2 scans, 1 with labels for Dice.")
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("noise"))
    panel.showParameters()
    counted(panel, "1 scan, 1 with labels for Dice.")


@pytest.mark.parametrize(
    "ended, waiting, elapsed, current, expected",
    [
        ([], 3, 1.0, None, None),
        ([], 3, 2.0, 8.0, 38.0),
        ([10.0, 14.0], 3, 4.0, None, 44.0),
        ([10.0, 14.0], 3, 4.0, 5.0, 41.0),
        ([10.0], 0, 12.0, None, 0.0),
    ],
)
def test_remaining_time(ended, waiting, elapsed, current, expected):
    from SlicRegSlicer.batch_words import estimate_remaining

    assert estimate_remaining(ended, waiting, elapsed, current) == expected


# ---- afterwards


def test_what_was_written_can_be_opened(panel, tmp_path):
    ui, out = panel.ui, tmp_path / "batch"
    HOST.click(ui.batchSceneCheckBox)
    ui.batchOutputPath.currentPath = str(out)
    assert not ui.batchSheetButton.enabled and not ui.batchFolderButton.enabled and not ui.batchLoadButton.enabled
    HOST.click(ui.batchApplyButton)
    wait_for_end(panel)
    HOST.click(ui.batchSheetButton)
    HOST.click(ui.batchFolderButton)
    assert "Choose a scan" in ui.batchLoadButton.toolTip
    ui.batchTable.selectRow(0)
    assert ui.batchLoadButton.enabled and "Load transform" in ui.batchLoadButton.toolTip
    HOST.click(ui.batchFolderButton)
    ui.batchTable.selectRow(1)
    assert not ui.batchLoadButton.enabled and "no result" in ui.batchLoadButton.toolTip
    HOST.click(ui.batchFolderButton)  # the failed one has no folder
    assert HOST.dialogs.opened == [str(out / "results.html"), str(out), str(out / "Phantom target"), str(out)]
    page = (out / "results.html").read_text(encoding="utf-8")
    assert page.index("NOT REGISTERED") < page.index("DOUBTFUL") and "No body was found" in page


def test_the_chosen_row_stays_chosen_while_the_batch_goes_on(panel, tmp_path):
    ui = panel.ui
    HOST.click(ui.batchSceneCheckBox)
    ui.batchOutputPath.currentPath = str(tmp_path / "batch")
    HOST.click(ui.batchApplyButton)
    HOST.wait(lambda: states(panel).get("Phantom target") == "running")
    ui.batchTable.selectRow(0)
    assert not ui.batchLoadButton.enabled
    assert "is being registered" in ui.batchStatusLabel.text
    wait_for_end(panel)
    assert ui.batchTable.currentRow() == 0 and ui.batchLoadButton.enabled


def test_a_damaged_result_is_one_sentence(panel, tmp_path):
    """The fake results are empty files."""
    ui = panel.ui
    HOST.click(ui.batchSceneCheckBox)
    ui.batchOutputPath.currentPath = str(tmp_path / "batch")
    HOST.click(ui.batchApplyButton)
    wait_for_end(panel)
    ui.batchTable.selectRow(0)
    before = slicer.mrmlScene.GetNumberOfNodes()
    HOST.click(ui.batchLoadButton)
    (error,) = HOST.dialogs.texts("error")
    assert "is not a displacement field" in error and slicer.mrmlScene.GetNumberOfNodes() == before


def write_real_result(panel, folder):
    """What a registration leaves where template and target lie the same way: results that can be loaded and shown."""
    template, organs = panel.parameters.template, panel.parameters.templateSegmentation
    affine = compute_voxel_to_world(template)
    shape = template.GetImageData().GetDimensions()
    for name in ("transform", "transform_inverse"):
        write_displacements(folder / f"{name}.h5", np.zeros((*shape, 3)), affine)
    write_volume(template, folder / "warped_target.nii.gz")
    segments = write_segmentation(organs, template, folder / "warped_labels.nii.gz")
    figures = {"mean_dice": 0.6, "dice": {str(segments[0].value): 0.6}, "hd95_mm": {str(segments[0].value): 4.0}}
    verdict = {"word": "doubtful", "sentence": "Look at the liver.", "least_sure": [[0.0, 0.0, 0.0, 0.2]]}
    report = {"verdict": verdict, "folding_percent": 0.25, "own_template": True, "notes": []}
    (folder / "report.json").write_text(json.dumps({**report, "before": figures, "after": figures}))
    return segments[0].name


def test_a_loaded_result_is_shown_like_one_of_apply(panel, tmp_path):
    ui, out = panel.ui, tmp_path / "batch"
    HOST.click(ui.batchSceneCheckBox)
    ui.batchOutputPath.currentPath = str(out)
    HOST.click(ui.batchApplyButton)
    wait_for_end(panel)
    organ = write_real_result(panel, out / "Phantom target")
    ui.batchTable.selectRow(0)
    chosen = panel.parameters.target
    HOST.click(ui.batchLoadButton)
    assert HOST.dialogs.texts("error") == []
    assert ui.tabs.currentWidget() == ui.registrationTab and panel.parameters.target is chosen
    assert ui.verdictLabel.text == "DOUBTFUL" and "Phantom target of the batch" in ui.summaryLabel.text
    assert ui.resultsTable.item(0, 0).text() == organ and ui.resultsTable.item(0, 2).text() == "0.600"
    review = panel.registration.views.review
    assert review.target is chosen and review.template_segmentation is panel.parameters.templateSegmentation
    assert ui.sideBySideButton.checked and review.target_segmentation is panel.parameters.targetSegmentation
    for name in ("onTarget", "onTemplate", "surfaces", "flicker", "checkerboard", "difference", "blend"):
        HOST.click(getattr(ui, f"{name}Button"))
        assert getattr(ui, f"{name}Button").checked
    HOST.click(ui.leastSureButton)
    HOST.click(ui.applyTransformCheckBox)
    assert chosen.GetParentTransformNode() is review.outputs.transform
    for name in ("confidence", "displacement", "volumeChange", "supervoxels", "grid"):
        assert not getattr(ui, f"{name}Button").enabled
        assert "A batch does not write this" in getattr(ui, f"{name}Button").toolTip
    HOST.clear_scene()
    assert "A batch" not in ui.gridButton.toolTip and panel.registration.views.review is None


def test_stopped_while_the_scans_are_written(panel, started, tmp_path):
    ui = panel.ui
    HOST.click(ui.batchSceneCheckBox)
    ui.batchOutputPath.currentPath = str(tmp_path / "batch")
    HOST.click(ui.batchApplyButton)
    assert panel.batch.preparation and panel.isBusy() and not started
    HOST.click(ui.batchCancelButton)
    assert not panel.isBusy() and ui.batchApplyButton.enabled and not started
    with hold_batch_folder(tmp_path / "batch"):
        pass
