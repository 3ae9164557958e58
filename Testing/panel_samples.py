"""What the tests of the panel share: a coarse phantom pair as nodes, inputs chosen by clicks, job folders."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from functools import partial
from pathlib import Path
from unittest import mock

from host import start

HOST = start()

import numpy as np  # noqa: E402
import slicer  # noqa: E402

from SlicRegLib.jobs import status  # noqa: E402
from SlicRegLib.jobs.options import JobOptions, write_config  # noqa: E402
from SlicRegLib.jobs.status import JobState  # noqa: E402
from SlicRegLib.jobs.worker_pool import POOL  # noqa: E402
from SlicRegLib.phantoms.phantom import ORGANS, PhantomOptions, make_phantom  # noqa: E402
from SlicRegLib.registration.options import AlignmentOptions  # noqa: E402
from SlicRegSlicer import request, sample  # noqa: E402
from SlicRegSlicer.request import find_user_models  # noqa: E402

MODEL = "trunk-phantom"
WARM_UP = POOL.warm_up
POOL.warm_up = lambda model="": None  # a process for each panel, while most of them register nothing
FEW_POINTS = partial(AlignmentOptions, key_points=200)
"""Takes the place of the options under Custom: a registration takes half of the time."""
ABDOMEN = PhantomOptions(shape=(50, 40, 34), spacing_mm=7.0)
SETTING = "SlicReg/TrainingFolder"
"""Where Slicer remembers the last job folder."""


def load_coarse_pair() -> list:
    """[template, its organs, target, its organs] as new nodes.

    They are what `sample.load` makes, but coarse and only the abdomen: a registration takes a third of the time.
    """
    return [
        *_add_phantom("Phantom template", sample.TEMPLATE_SEED),
        *_add_phantom("Phantom target", sample.TARGET_SEED),
    ]


def _add_phantom(name: str, seed: int):
    phantom = make_phantom(seed, ABDOMEN)
    nodes = []
    for kind, voxels in (("Scalar", phantom.image.round().astype(np.int16)), ("LabelMap", phantom.labels)):
        node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", name)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(phantom.affine))
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(voxels.T))
        nodes.append(node)
    volume_node, label_node = nodes
    volume_node.CreateDefaultDisplayNodes()
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} organs")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label_node, segmentation)
    slicer.mrmlScene.RemoveNode(label_node)
    for n, organ in enumerate(ORGANS.values()):
        segmentation.GetSegmentation().GetNthSegment(n).SetName(organ)
    return volume_node, segmentation


@contextlib.contextmanager
def fresh_panel():
    """A panel on an empty scene that remembers no job folder and no own model. Hidden errors fail the test."""
    HOST.clear_scene(singletons=True)
    shutil.rmtree(find_user_models(), ignore_errors=True)
    HOST.dialogs.clear()
    slicer.app.userSettings().remove(SETTING)
    with HOST.watch(), mock.patch.object(request, "AlignmentOptions", FEW_POINTS):
        panel = HOST.load_module()
        HOST.enter(panel)
        yield panel
        HOST.unload_module()
        HOST.clear_scene(singletons=True)
    slicer.app.userSettings().remove(SETTING)


def node_ids() -> set[str]:
    return {slicer.mrmlScene.GetNthNode(i).GetID() for i in range(slicer.mrmlScene.GetNumberOfNodes())}


# ---- registration


def choose_inputs(panel, pair, model: str = MODEL) -> None:
    names = ("template", "templateSegmentation", "target", "targetSegmentation")
    for name, node in zip(names, pair, strict=True):
        HOST.choose(getattr(panel.ui, f"{name}Selector"), node)
    HOST.choose(panel.ui.modelComboBox, model)


def switch_refinement_off(panel) -> None:
    HOST.click(panel.ui.advancedButton)
    HOST.choose(panel.ui.modeComboBox, "Custom")
    HOST.click(panel.ui.refineCheckBox)


def wait_for_end(panel, seconds: float = 180) -> None:
    HOST.wait(lambda: not panel.isBusy(), seconds)


# ---- training


def write_job(folder: Path, state: JobState, rows=(), **options) -> None:
    """A job folder as a run would leave it; ``rows`` as for `write_curve`."""
    folder.mkdir(exist_ok=True)
    (folder / "scan.nii.gz").touch()
    paths = {"template": str(folder / "scan.nii.gz"), "images": str(folder)}
    write_config(folder, JobOptions(**{"name": "mine", "iterations": 300, **paths, **options}))
    status.write_state(folder, state)
    write_curve(folder, rows)


def write_curve(folder: Path, rows) -> None:
    """rows: (iteration, seconds, training loss, validation loss, validation accuracy)."""
    header = ["iteration", "seconds", "training_loss", "validation_loss", "validation_accuracy"]
    with open(folder / "mine_curve.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_findings(folder: Path, summary: str) -> None:
    """What a check of the scans leaves."""
    folder.mkdir(exist_ok=True)
    (folder / "cohort.json").write_text(json.dumps({"summary": summary}))
