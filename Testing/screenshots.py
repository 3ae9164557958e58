"""The extension's screenshots: the real panel and the real nodes, on phantoms.

    python Testing/screenshots.py            panel.png, first.png, views.png and surfaces.png; about a minute
    python Testing/screenshots.py average    average.png and segmented.png, without a template; about a minute
    python Testing/screenshots.py batch      batch.png; some minutes
    python Testing/screenshots.py training   training.png; some minutes, until the first validation of a training
    python Testing/screenshots.py --out /tmp/look

Slicer's own displayable managers draw the views, Qt draws the panel.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from panel_samples import HOST, MODEL, choose_inputs, wait_for_end  # isort: skip

import numpy as np
import qt
import slicer

from SlicRegLib.cli.demo import write_phantom
from SlicRegLib.images.volumes import Volume, load_scan, save_volume
from SlicRegLib.jobs import control, lock
from SlicRegSlicer import sample
from tiny import write_cohort
from view_pictures import Views

OUT = Path(__file__).resolve().parents[1] / "SlicRegExtension" / "Resources" / "Screenshots"
SIZE = 420
FOCUS = (0.0, 0.0, -20.0)  # RAS mm: through liver and kidneys


def draw_registration(out: Path):
    """The Registration tab after a registration, the views that it shows first, the other ones, and the surfaces."""
    panel = HOST.load_module()
    HOST.enter(panel)
    pair = sample.load()
    choose_inputs(panel, pair)
    HOST.click(panel.ui.applyButton)
    wait_for_end(panel, 300)
    run = panel.registration.run
    assert run.state == "finished", run.log
    save_panel(panel, out / "panel.png")
    views = Views(SIZE)
    views.draw()  # gives the views their size
    slicer.util.resetSliceViews()
    panel.registration.views.review.centre(*FOCUS)
    save_montage([(views.draw(), "template, and below the target with the carried segments")], out / "first.png", 1, 11)
    save_montage(draw_views(panel.ui, views), out / "views.png")
    save_montage(draw_surfaces(panel, views, pair[3]), out / "surfaces.png")
    HOST.unload_module()


def draw_average(out: Path):
    """The Registration tab after a registration to the model's own template, and the first views and surfaces."""
    panel = HOST.load_module()
    HOST.enter(panel)
    ui = panel.ui
    template, organs, target, _ = sample.load()
    for node in (template, organs):
        slicer.mrmlScene.RemoveNode(node)
    HOST.choose(ui.modelComboBox, ui.modelComboBox.itemText(ui.modelComboBox.findData(MODEL)))
    HOST.choose(ui.templateSelector, None)
    HOST.choose(ui.targetSelector, target)
    HOST.choose(ui.targetSegmentationSelector, None)
    HOST.click(ui.applyButton)
    wait_for_end(panel, 300)
    run = panel.registration.run
    assert run.state == "finished", run.log
    ui.resultsTable.minimumHeight = 330
    save_panel(panel, out / "average.png", ui.exportTableButton)
    views = Views(SIZE)
    views.draw()
    slicer.util.resetSliceViews()
    panel.registration.views.review.centre(*FOCUS)
    pictures = [(views.draw(), "the average, and below the target with its organs")]
    HOST.click(ui.surfacesButton)
    pictures.append((views.draw_3d(slicer.mrmlScene.GetSingletonNode("2", "vtkMRMLViewNode")), "organs of the target"))
    save_montage(pictures, out / "segmented.png", 2, 6)
    HOST.unload_module()


def draw_views(ui, views) -> list:
    """[(pixels, title), ...] of a coronal slice, as the buttons show it."""
    coronal = slicer.mrmlScene.GetSingletonNode("Green", "vtkMRMLSliceNode")

    def draw(button, title):
        if not button.checked:
            HOST.click(button)
        return views.draw_slice(coronal), title

    pictures = [
        draw(ui.onTargetButton, "on target"),
        draw(ui.onTemplateButton, "on template"),
        draw(ui.checkerboardButton, "checkerboard"),
        draw(ui.differenceButton, "difference"),
        draw(ui.confidenceButton, "confidence"),
        draw(ui.displacementButton, "displacement"),
        draw(ui.volumeChangeButton, "Jacobian"),
        draw(ui.supervoxelsButton, "supervoxels in the target"),
    ]
    HOST.click(ui.onTemplateButton)
    pictures.append(draw(ui.gridButton, "deformed grid"))
    HOST.click(ui.gridButton)
    return pictures


def draw_surfaces(panel, views, target_organs) -> list:
    """[(pixels, title), ...] of the organs in 3-D."""
    HOST.click(panel.ui.surfacesButton)
    first, second = (slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLViewNode") for name in ("1", "2"))
    pictures = [
        (views.draw_3d(first), "organs of the template"),
        (views.draw_3d(second), "transferred to the target"),
    ]
    panel.registration.views.close()
    target_organs.CreateClosedSurfaceRepresentation()
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        node.GetDisplayNode().SetVisibility(node is target_organs)
    return [*pictures, (views.draw_3d(second), "the target's own organs")]


def draw_batch(out: Path):
    """The Batch tab after a batch of phantoms with labels, one of which was cut in half, and noise."""
    with tempfile.TemporaryDirectory(prefix="SlicReg-") as scratch:
        cohort, results = Path(scratch) / "cohort", Path(scratch) / "results"
        for seed in range(3, 7):
            write_phantom(cohort, seed)
        spoil_scans(cohort / "img")
        panel = HOST.load_module()
        HOST.enter(panel)
        ui = panel.ui
        choose_inputs(panel, sample.load())
        ui.tabs.setCurrentWidget(ui.batchTab)
        paths = {
            ui.batchInputPath: cohort / "img",
            ui.batchLabelsPath: cohort / "label",
            ui.batchOutputPath: results,
        }
        fill_in(paths)
        HOST.wait(lambda: "labels for Dice" in ui.batchCountLabel.text, 20)
        HOST.click(ui.batchApplyButton)
        wait_for_end(panel, 1800)
        ui.batchTable.selectRow(0)
        ui.batchStatusLabel.text = ui.batchStatusLabel.text.replace(f"{scratch}/", "")
        hide_places(paths, scratch)
        save_panel(panel, out / "batch.png", ui.batchLoadButton)
        HOST.unload_module()


def spoil_scans(folder: Path):
    """The last scan loses what lies below its middle, and a scan of noise comes along."""
    path = sorted(folder.iterdir())[-1]
    scan = load_scan(path)
    half = scan.data.copy()
    half[:, :, : half.shape[2] // 2] = -1000
    save_volume(path, Volume(half, scan.grid))
    noise = np.random.default_rng(0).normal(-1000, 20, half.shape).astype(np.int16)
    save_volume(folder / "phantom_9.nii.gz", Volume(noise, scan.grid))


def fill_in(paths: dict):
    for widget, path in paths.items():
        widget.currentPath = str(path)


def hide_places(paths: dict, scratch):
    """Names instead of this computer's paths."""
    for widget, path in paths.items():
        widget.blockSignals(True)
        widget.currentPath = str(path.relative_to(scratch))


def draw_training(out: Path):
    """The Training tab after the first validation of a training on coarse phantoms."""
    with tempfile.TemporaryDirectory(prefix="SlicReg-") as scratch:
        cohort, folder = write_cohort(Path(scratch) / "phantoms"), Path(scratch) / "job"
        panel = HOST.load_module()
        HOST.enter(panel)
        ui, tab = panel.ui, panel.training
        ui.tabs.setCurrentWidget(ui.trainingTab)
        tab.extraOptions = {"spacing_mm": 8.0, "shape": (48, 32, 48)}
        paths = {
            ui.trainingTemplatePath: cohort / "template.nii.gz",
            ui.trainingImagesPath: cohort / "img",
            ui.trainingFolderPath: folder,
        }
        fill_in(paths)
        ui.trainingNameEdit.text = "trunk"
        ui.trainingIterationsSpinBox.value = 400
        HOST.click(ui.trainingStartButton)
        try:
            HOST.wait(lambda: ui.trainingPictureLabel.visible or not tab.job.is_active, 1800)
            assert tab.job.is_active, tab.job.state
            tab.close()  # what is shown now stays
            hide_places(paths, scratch)
            save_panel(panel, out / "training.png", ui.trainingReportButton)
        finally:
            if lock.find_owner(folder):
                control.stop(folder)
            HOST.unload_module()


def save_panel(panel, path, last=None):
    """The panel at its full height, or down to the widget ``last``."""
    widget = panel.parent
    widget.resize(560, 10)
    slicer.app.processEvents()
    height = widget.sizeHint.height() if not callable(widget.sizeHint) else widget.sizeHint().height()
    widget.resize(560, height)
    slicer.app.processEvents()
    if last:
        height = last.mapTo(widget, qt.QPoint(0, 0)).y() + last.height + 14
    widget.grab(qt.QRect(0, 0, 560, height)).save(str(path))


def save_montage(pictures, path, columns=3, width=4):
    """width: of a picture, inches."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = -(-len(pictures) // columns)
    aspect = pictures[0][0].shape[0] / pictures[0][0].shape[1]
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width * columns, (width * aspect + 0.4) * rows),
        layout="constrained",
        facecolor="black",
        squeeze=False,
    )
    for axis, (pixels, title) in zip(axes.flat, pictures, strict=True):
        axis.imshow(pixels)
        axis.set_title(title, color="white", fontsize=12)
        axis.set_axis_off()
    figure.savefig(path, dpi=90, facecolor="black")
    plt.close(figure)


PARTS = {
    "registration": draw_registration,
    "average": draw_average,
    "batch": draw_batch,
    "training": draw_training,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=list(PARTS), default="registration")
    parser.add_argument("--out", type=Path, default=OUT, help="folder; by default that of the repository's screenshots")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    PARTS[given.part](given.out)


if __name__ == "__main__":
    main()
