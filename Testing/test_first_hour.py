"""The first hour of a new user, from an empty scene to an own model, by mouse clicks alone, in one go.

What each part does in detail is tested elsewhere; here they follow one another in one application.
"""

import os

import numpy as np
import psutil
import pytest

from host import available
from SlicRegLib.jobs import lock, status
from tiny import write_cohort

pytestmark = pytest.mark.skipif(not available(), reason="needs slicer-core and PySide6")
if available():
    import view_pictures  # isort: skip  (before any window is made)
    import slicer
    import vtk
    from scipy.ndimage import distance_transform_edt
    from vtk.util.numpy_support import vtk_to_numpy

    from panel_samples import HOST, MODEL, fresh_panel, load_coarse_pair, switch_refinement_off, wait_for_end
    from SlicRegSlicer import logic, sample
    from SlicRegSlicer.segments import list_segment_names
    from SlicRegSlicer.writing import write_volume

FRAME = {"spacing_mm": 12.0, "shape": (32, 32, 32)}  # in which a training takes seconds
VIEWS = ["sideBySide", "onTarget", "onTemplate", "surfaces", "flicker", "checkerboard", "blend"]
MAPS = ["confidence", "supervoxels", "difference", "volumeChange", "displacement"]


def installed_later(monkeypatch):
    """torch is missing until it is installed, by something that stands in for pip; returns what was installed."""
    done = []
    monkeypatch.setattr(logic, "find_missing", lambda: [] if done else ["torch"])
    monkeypatch.setattr(logic, "describe_missing", lambda: "" if done else "SlicReg needs torch.")
    monkeypatch.setattr(logic, "install", lambda progress, **options: done.append("torch"))
    return done


def mask_of(segmentation, index):
    """A segment as an image with its geometry, and its voxels (I, J, K)."""
    content, image = segmentation.GetSegmentation(), slicer.vtkOrientedImageData()
    assert segmentation.GetBinaryLabelmapRepresentation(content.GetNthSegmentID(index), image)
    shape = image.GetDimensions()
    scalars = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape[::-1]).T
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix), np.array(image.GetExtent()[::2]), scalars > 0


def share_led_back(transform, carried, organs, index):
    """The share of a carried segment's voxels that the transform leads into the template's segment."""
    matrix, first, mask = mask_of(carried, index)
    there, low, organ = mask_of(organs, index)
    points = (np.argwhere(mask) + first) @ matrix[:3, :3].T + matrix[:3, 3]
    led = np.array([transform.GetTransformToParent().TransformPoint(point) for point in points[::61]])
    voxels = np.round((led - there[:3, 3]) @ np.linalg.inv(there[:3, :3]).T).astype(int) - low
    inside = ((voxels >= 0) & (voxels < organ.shape)).all(1)
    return organ[tuple(voxels[inside].T)].sum() / len(voxels)


def named(nodes):
    return sorted(node.GetName() for node in nodes)


def test_the_first_hour(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "load", lambda: load_coarse_pair())  # as it is, but a third of the time
    done = installed_later(monkeypatch)
    with fresh_panel() as panel:
        install_and_register_the_sample(panel, done)
        look_at_the_result(panel)
        register_again(panel)
        register_own_files(panel, tmp_path)
        segment_own_files(panel)
        register_a_batch(panel, tmp_path)
        model = train(panel, tmp_path)
        use_the_model(panel, model)
        save_close_and_open(panel, tmp_path)
    assert HOST.dialogs.texts("error") == []


def install_and_register_the_sample(panel, done):
    ui = panel.ui
    assert not ui.applyButton.enabled and "target" in ui.applyButton.toolTip
    HOST.click(ui.sampleButton)
    parameters = panel.parameters
    assert parameters.template.GetName() == "Phantom template" and parameters.target.GetName() == "Phantom target"
    assert parameters.templateSegmentation and parameters.targetSegmentation
    assert ui.modelComboBox.currentText.startswith("Automatic")  # the first choice
    switch_refinement_off(panel)
    HOST.dialogs.answer(False)  # not now
    HOST.click(ui.applyButton)
    assert not panel.isBusy() and done == []
    HOST.dialogs.answer(True)
    HOST.click(ui.applyButton)
    assert done == ["torch"]
    wait_for_end(panel)
    assert panel.registration.run.state == "finished", panel.registration.run.log
    assert "trunk-phantom" in ui.summaryLabel.text + ui.statusLabel.text  # which model was taken
    assert ui.verdictLabel.text and ui.resultsTable.rowCount >= 13


def look_at_the_result(panel):
    """Every button shows a picture of its own, and the carried organs lie where the transform says."""
    ui, outputs, pictures = panel.ui, panel.registration.run.outputs, view_pictures.Views(size=160)
    organs, carried = panel.parameters.templateSegmentation, outputs.warpedSegmentation
    liver = list_segment_names(organs).index("liver")
    place = find_deepest(organs, liver)
    there = outputs.transform.GetTransformFromParent().TransformPoint(place)
    filled = {"sideBySide": [("Red", place, organs), ("Red+", there, carried)]}
    filled |= {"onTarget": [("Red", there, carried)], "onTemplate": [("Red", place, organs)]}
    seen = {}
    for name in (*VIEWS, *MAPS):
        HOST.click(getattr(ui, f"{name}Button"))
        threed = slicer.mrmlScene.GetSingletonNode("1", "vtkMRMLViewNode")
        seen[name] = pictures.draw_3d(threed) if name == "surfaces" else pictures.draw_slice(get_slice_node("Red"))
        for view, point, node in filled.get(name, ()):
            assert is_filled(pictures, get_slice_node(view), point, node), (name, view)
        if name == "flicker":
            HOST.click(ui.blendButton)
    assert all(np.ptp(pixels) > 100 for pixels in seen.values())
    assert len({pixels.tobytes() for pixels in seen.values()}) == len(seen)
    HOST.click(ui.gridButton)
    HOST.click(ui.sideBySideButton)
    HOST.click(ui.copyTableButton)
    shares = [share_led_back(outputs.transform, carried, organs, index) for index in range(13)]
    assert np.median(shares) > 0.8


def get_slice_node(name):
    return slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")


def find_deepest(segmentation, index):
    """The place of a segment that is farthest from its surface, RAS mm."""
    matrix, first, mask = mask_of(segmentation, index)
    deepest = np.unravel_index(distance_transform_edt(mask).argmax(), mask.shape)
    return matrix[:3, :3] @ (deepest + first) + matrix[:3, 3]


def is_filled(pictures, slice_node, point, segmentation):
    """Whether a view draws a segmentation at a point: in the middle, the picture is another one without it."""
    slice_node.JumpSliceByCentering(*point)
    middle, display = pictures.size // 2, segmentation.GetDisplayNode()
    drawn = []
    for visible in (True, False):
        display.SetVisibility(visible)
        drawn.append(pictures.draw_slice(slice_node)[middle - 1 : middle + 1, middle - 1 : middle + 1].astype(int))
    display.SetVisibility(True)
    return bool((np.abs(drawn[0] - drawn[1]).max(2) > 10).all())


def register_again(panel):
    """The second Apply fills the same nodes."""
    first = panel.registration.run.outputs
    HOST.choose(panel.ui.modelComboBox, MODEL)  # from now on, which saves the choice
    HOST.click(panel.ui.applyButton)
    wait_for_end(panel)
    second = panel.registration.run.outputs
    assert panel.registration.run.state == "finished" and second is not first
    assert (second.transform, second.warpedSegmentation) == (first.transform, first.warpedSegmentation)


def register_own_files(panel, folder):
    """A scan from a file, as another target."""
    path = str(folder / "own.nrrd")
    write_volume(panel.parameters.target, path)
    own = slicer.util.loadVolume(path)
    HOST.choose(panel.ui.targetSelector, own)
    HOST.choose(panel.ui.targetSegmentationSelector, None)
    first = panel.registration.run.outputs.transform
    HOST.click(panel.ui.applyButton)
    wait_for_end(panel)
    assert panel.registration.run.state == "finished"
    assert panel.registration.run.outputs.transform is not first  # which belongs to the other target
    assert panel.ui.resultsTable.rowCount > 0  # the confidence of each segment


def segment_own_files(panel):
    """The same scan by the model's own template: nothing else is chosen."""
    ui, template = panel.ui, panel.parameters.template
    HOST.choose(ui.templateSelector, None)
    assert panel.parameters.templateSegmentation is None and ui.applyButton.enabled
    HOST.click(ui.applyButton)
    wait_for_end(panel)
    outputs = panel.registration.run.outputs
    assert panel.registration.run.state == "finished" and ui.resultsTable.rowCount == 13
    assert outputs.warpedSegmentation.GetName() == "own segmentation" and outputs.template.GetHideFromEditors()
    HOST.click(ui.surfacesButton)
    HOST.choose(ui.templateSelector, template)
    assert panel.parameters.templateSegmentation


def register_a_batch(panel, folder):
    """Three scans, stopped after the first, and resumed."""
    ui, scans, out = panel.ui, folder / "scans", folder / "batch"
    scans.mkdir()
    for name in ("a", "b", "c"):
        write_volume(panel.parameters.target, str(scans / f"{name}.nrrd"))
    ui.tabs.setCurrentWidget(ui.batchTab)
    ui.batchInputPath.currentPath, ui.batchOutputPath.currentPath = str(scans), str(out)
    HOST.wait(lambda: "3" in ui.batchCountLabel.text)
    HOST.click(ui.batchApplyButton)
    HOST.wait(lambda: list_states(ui).get("a") == "done", 120)
    HOST.click(ui.batchCancelButton)
    assert not panel.isBusy() and list_states(ui)["a"] == "done" and list_states(ui)["c"] != "done"
    HOST.click(ui.batchApplyButton)
    wait_for_end(panel)
    assert set(list_states(ui).values()) == {"done"}
    HOST.click(ui.batchSheetButton)
    assert HOST.dialogs.opened[-1].endswith("results.html")
    ui.batchTable.selectRow(1)
    before = len(slicer.util.getNodesByClass("vtkMRMLTransformNode"))
    HOST.click(ui.batchLoadButton)
    assert len(slicer.util.getNodesByClass("vtkMRMLTransformNode")) > before
    assert ui.tabs.currentWidget() == ui.registrationTab and ui.verdictLabel.text
    assert ui.sideBySideButton.checked and panel.registration.views.review.target.GetName() == "b"


def list_states(ui):
    return {ui.batchTable.item(n, 0).text(): ui.batchTable.item(n, 1).text() for n in range(ui.batchTable.rowCount)}


def train(panel, folder):
    """Check, start, pause, resume: the one test in which the tab runs a real training to its end."""
    ui, tab, cohort, job = panel.ui, panel.training, write_cohort(folder / "cohort", 3), folder / "job"
    ui.tabs.setCurrentWidget(ui.trainingTab)
    tab.extraOptions = FRAME
    ui.trainingTemplatePath.currentPath = str(cohort / "template.nii.gz")
    ui.trainingImagesPath.currentPath, ui.trainingFolderPath.currentPath = str(cohort / "img"), str(job)
    ui.trainingNameEdit.text, ui.trainingIterationsSpinBox.value = "mine", 4
    HOST.choose(ui.trainingDeviceComboBox, "CPU")
    HOST.click(ui.trainingCheckButton)
    assert ui.trainingStopButton.enabled and not ui.trainingStartButton.enabled
    assert not ui.trainingNameEdit.enabled
    HOST.wait(lambda: not tab.check, 120)
    text = ui.trainingStatusLabel.text
    assert "3 scans, 3 usable" in text and "GB of memory" in text and text.startswith(tab.job.findings)
    assert tab.job.findings and ui.trainingProgressBar.value == 1000 and ui.trainingNameEdit.enabled

    HOST.click(ui.trainingStartButton)
    assert tab.job.state.state == "running"
    assert not ui.trainingNameEdit.enabled and not ui.trainingStartButton.enabled
    pause_and_resume(ui, tab, job)
    values, texts = [], []

    def has_ended():
        values.append(ui.trainingProgressBar.value)
        texts.append(ui.trainingStatusLabel.text)
        return tab.job.state.state != "running"

    HOST.wait(has_ended, 300)
    assert tab.job.state.state == "finished", tab.job.state
    assert values == sorted(values) and len(set(values)) > 3
    assert any("registering scan" in text and "of 3" in text for text in texts)
    look_at_the_training(panel, job)
    return cohort


def pause_and_resume(ui, tab, job):
    owner = lock.find_owner(job)
    HOST.click(ui.trainingPauseButton)
    HOST.wait(lambda: tab.job.state.state == "paused")  # a process that is writing is held a moment later
    assert "Paused" in ui.trainingStatusLabel.text and ui.trainingPauseButton.text == "Resume"
    assert psutil.Process(owner.pid).status() == psutil.STATUS_STOPPED
    HOST.click(ui.trainingPauseButton)
    HOST.wait(lambda: tab.job.state.state == "running")
    assert ui.trainingPauseButton.text == "Pause"


def look_at_the_training(panel, job):
    """The finished training: model, picture, curves, report, and a form that can be changed for the next one."""
    ui, tab = panel.ui, panel.training
    assert (panel.logic.userModels() / "mine.slicreg").is_file() and ui.modelComboBox.findData("mine") >= 0
    assert ui.trainingPictureLabel.visible and ui.trainingProgressBar.value == 1000
    assert not ui.trainingStartButton.enabled and "finished" in ui.trainingStartButton.toolTip
    assert not tab._watchTimer.active and ui.trainingNameEdit.enabled
    HOST.click(ui.trainingCurvesButton)
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    columns = [slicer.util.arrayFromTableColumn(table, table.GetColumnName(n)) for n in range(3)]
    rows = status.read_curve(job)
    assert list(columns[0]) == [row[0] for row in rows] and columns[0][-1] == 4
    assert list(zip(columns[1], columns[2], strict=True)) == [(row[2], row[3]) for row in rows]
    HOST.click(ui.trainingReportButton)
    assert HOST.dialogs.opened[-1] == str(job / "report.html")


def use_the_model(panel, cohort):
    """It belongs to other anatomy than the sample, so that its own template is registered to one of its scans."""
    ui = panel.ui
    HOST.click(ui.trainingUseButton)
    assert ui.tabs.currentWidget() == ui.registrationTab and panel.parameters.model == "mine"
    assert ui.modelComboBox.itemData(ui.modelComboBox.currentIndex) == "mine"
    template = slicer.util.loadVolume(str(cohort / "template.nii.gz"))
    scan = slicer.util.loadVolume(str(sorted((cohort / "img").iterdir())[0]))
    HOST.choose(ui.templateSelector, template)
    HOST.choose(ui.targetSelector, scan)
    HOST.choose(ui.templateSegmentationSelector, None)
    HOST.click(ui.applyButton)
    wait_for_end(panel)
    assert panel.registration.run.state == "finished", panel.registration.run.log
    assert ui.verdictLabel.text  # of a network of four iterations, whatever it says


def save_close_and_open(panel, folder):
    """Template and target stay chosen; the size of the saved scene is within reason; Reload works."""
    chosen = named([panel.parameters.template, panel.parameters.target])
    path = str(folder / "scene.mrb")
    assert slicer.util.saveScene(path) and os.path.getsize(path) < 4 * 20e6  # four results
    HOST.clear_scene()
    slicer.util.loadScene(path)
    HOST.enter(panel)
    assert named([panel.parameters.template, panel.parameters.target]) == chosen
    HOST.unload_module()
    again = HOST.load_module()
    HOST.enter(again)
    assert named([again.parameters.template, again.parameters.target]) == chosen
