"""The parts of long_use.py: each returns its lines of Markdown and whether it passed."""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
from growth import Growth

from host import start

HOST = start()

import slicer  # noqa: E402
import vtk  # noqa: E402

from SlicRegLib.geometry.grid import Grid  # noqa: E402
from SlicRegLib.images.volumes import Volume, save_volume  # noqa: E402
from SlicRegLib.jobs.processes import is_process_alive  # noqa: E402
from SlicRegLib.jobs.worker_pool import POOL  # noqa: E402
from SlicRegLib.phantoms.phantom import ORGANS, PhantomOptions, make_phantom  # noqa: E402
from SlicRegLib.registration import result as registration_result  # noqa: E402
from SlicRegLib.registration.model import save_model  # noqa: E402
from SlicRegLib.registration.options import AlignmentOptions, RefinementOptions, RegistrationOptions  # noqa: E402
from SlicRegLib.registration.register import register  # noqa: E402
from SlicRegLib.results.options import RegisterRequest  # noqa: E402
from SlicRegLib.results.register_files import register_files  # noqa: E402
from SlicRegSlicer.logic import SlicRegLogic  # noqa: E402
from SlicRegSlicer.request import Request  # noqa: E402
from study_samples import coarse_cohort, make_study  # noqa: E402
from tiny import tiny_model  # noqa: E402

SMALL = PhantomOptions(shape=(28, 24, 30), spacing_mm=14.0)
QUICK = RegistrationOptions(
    alignment=AlignmentOptions(iterations=10), refinement=RefinementOptions(coarse_iterations=4, fine_iterations=8)
)
OUTPUTS = ("transform", "inverse", "warpedTarget", "warpedSegmentation", "confidence")


class Parts:
    """helpers: processes that belong to this script and are no child of a registration."""

    def __init__(self, folder: Path, temporary: Path, warm_up: int, chance: random.Random):
        self.folder, self.temporary, self.warm_up, self.chance = folder, temporary, warm_up, chance
        self.helpers: set[int] = set()
        study = make_study(coarse_cohort(folder), folder / "study")
        self.model = tiny_model(study)
        self.path = folder / "tiny.slicreg"
        save_model(self.path, self.model)
        self.seconds: list[float] = []

    # ---- the scene

    def fill_scene(self) -> tuple:
        """(template, its organs, target, its organs) as new nodes of an empty scene."""
        HOST.clear_scene()
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(slicer.mrmlScene)
        return (*_add_phantom("template", 0), *_add_phantom("target", 1))

    def request(self, nodes: tuple, **more) -> Request:
        template, template_organs, target, target_organs = nodes
        given = {"templateSegmentation": template_organs, "targetSegmentation": target_organs}
        return Request(template, target, self.path, **given, iterations=10, refine=False, **more)

    def register(self, logic: SlicRegLogic, nodes: tuple, **outputs):
        started = time.monotonic()
        request = self.request(nodes, **outputs)
        given = {name: getattr(request, name) for name in (*OUTPUTS, "templateSegmentation", "targetSegmentation")}
        result = logic.register(nodes[0], nodes[2], str(self.path), iterations=10, refine=False, **given)
        self.seconds.append(time.monotonic() - started)
        return result

    def left_over(self) -> list[str]:
        """What a registration that has ended must not leave behind; a worker that is not needed has a second to end."""
        end = time.monotonic() + 1
        while self.children() and time.monotonic() < end:
            time.sleep(0.02)
        found = [f"process {child.pid}" for child in self.children()]
        return found + [str(path) for path in self.temporary.rglob("SlicReg-*")]

    def children(self) -> list[psutil.Process]:
        mine, known = psutil.Process().children(), self.helpers | POOL.pids()  # one worker stays
        return [child for child in mine if child.pid not in known and is_process_alive(child)]

    # ---- parts

    def session(self, runs: int) -> tuple[list[str], bool]:
        panel, logic = HOST.load_module(), SlicRegLogic()
        HOST.enter(panel)
        nodes = self.fill_scene()
        counts = {
            "MRML nodes": slicer.mrmlScene.GetNumberOfNodes,
            "subject hierarchy items": count_items,
            "MRML observations": lambda: len(panel.Observations),
        }
        growth, outputs = Growth(self.temporary, self.helpers, counts), {}
        for number in range(runs):
            result = self.register(logic, nodes, **outputs)
            if number % 10 == 9:
                remove_nodes(result.nodes())
                outputs = {}
            else:
                outputs = {name: getattr(result, name) for name in OUTPUTS}
            if number % 10 != 9:
                growth.measure()
            del result
        lines, good = growth.table(self.warm_up)
        HOST.unload_module()
        title = f"{runs} registrations in one session of the module, {np.mean(self.seconds):.1f} s each:\n"
        return [title, *lines], good

    def cancel(self, runs: int) -> tuple[list[str], bool]:
        logic, nodes = SlicRegLogic(), self.fill_scene()
        typical, faults, ended, waits = self.typical(logic, nodes), [], 0, []
        for _ in range(runs):
            before, run = record_scene(), logic.start(self.request(nodes))
            self.run_for(run, self.chance.uniform(0, typical))
            ended += run.state != "running"
            started = time.monotonic()
            run.cancel()
            waits.append(time.monotonic() - started)
            if run.state == "cancelled" and record_scene() != before:
                faults.append("the scene changed")
            faults += self.left_over()
            if run.outputs:
                remove_nodes(run.outputs.nodes())
        text = (
            f"{runs} registrations cancelled at random moments of {typical:.1f} s ({ended} had ended before): scene "
            f"unchanged, no process, no file left in {runs - len(faults)}; longest cancel {max(waits):.1f} s."
        )
        return [text, *sorted(set(faults))], not faults and max(waits) < 2.5

    def close(self, runs: int) -> tuple[list[str], bool]:
        logic, nodes = SlicRegLogic(), self.fill_scene()
        typical, faults, words = self.typical(logic, nodes), [], []
        for number in range(runs):
            nodes = self.fill_scene()
            panel = HOST.load_module() if number % 2 else None  # with the panel, which ends its own registration
            run = logic.start(self.request(nodes))
            if panel:
                panel.registration.run = run
            self.run_for(run, self.chance.uniform(0, typical))
            HOST.clear_scene()
            before = record_scene()
            del nodes
            while run.poll() == "running":
                time.sleep(0.02)
            words.append(run.state)
            if run.state == "failed" and "removed from the scene" not in run.error:
                faults.append(run.error)
            if record_scene() != before:
                faults.append("nodes appeared in the closed scene")
            faults += self.left_over()
            if panel:
                HOST.unload_module()
        states = ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words)))
        text = f"The scene closed at {runs} random moments ({states}): nothing left behind in {runs - len(faults)}."
        return [text, *sorted(set(faults))], not faults

    def together(self, runs: int) -> tuple[list[str], bool]:
        nodes = self.fill_scene()
        other = (*nodes[:2], *_add_phantom("other", 2))
        alone = [read_field(self.register(SlicRegLogic(), pair).transform) for pair in (nodes, other)]
        faults: list[str] = []
        for _ in range(runs):
            running = [SlicRegLogic().start(self.request(pair)) for pair in (nodes, other)]
            while "running" in [run.poll() for run in running]:
                time.sleep(0.02)
            for run, expected in zip(running, alone, strict=True):
                if run.state != "finished":
                    faults.append(run.error)
                elif not np.array_equal(read_field(run.outputs.transform), expected):
                    faults.append("another result than alone")
                else:
                    remove_nodes(run.outputs.nodes())
            faults += self.left_over()
        refused = self.apply_is_refused(nodes)
        text = (
            f"{runs} times two registrations at once: the results of one after the other, bit by bit, in "
            f"{runs - len(faults)}. Apply while one runs is {'refused' if refused else 'NOT refused'}."
        )
        return [text, *sorted(set(faults))], not faults and refused

    def apply_is_refused(self, nodes: tuple) -> bool:
        panel = HOST.load_module()
        HOST.enter(panel)
        panel.parameters.template, panel.parameters.target = nodes[0], nodes[2]
        panel.registration.run = panel.logic.start(self.request(nodes))
        panel.showParameters()
        refused = not panel.ui.applyButton.enabled
        HOST.unload_module()
        return refused

    def library(self, runs: int) -> tuple[list[str], bool]:
        scans = [_phantom(seed) for seed in (0, 1)]
        paths = [self.folder / f"{name}.nii.gz" for name in ("fixed", "fixed_labels", "moving", "moving_labels")]
        for path, volume in zip(paths, (volume for pair in scans for volume in pair), strict=True):
            save_volume(path, volume)
        request = RegisterRequest(
            model=self.path, template=paths[0], target=paths[2], template_label=paths[1], target_label=paths[3],
            out=self.folder / "result", overlays=True, device="cpu", registration=QUICK,
        )  # fmt: skip
        registration_result.INVERSE_SPACING_MM = 12.0  # coarse inverse fields, which take most of the time
        growth, started = Growth(self.temporary, self.helpers), time.monotonic()
        for number in range(runs):
            if number % 10 == 0:
                register_files(replace(request))
            else:
                result = register(self.model, scans[0][0], scans[1][0], QUICK)
                result.labels_on_target(scans[0][1])
                del result
            growth.measure()
        lines, good = growth.table(self.warm_up)
        each = (time.monotonic() - started) / runs
        return [f"{runs} registrations by the library in one process, {each:.1f} s each:\n", *lines], good

    # ---- helpers

    def typical(self, logic: SlicRegLogic, nodes: tuple) -> float:
        """Seconds of a registration, measured on one whose results are removed again."""
        remove_nodes(self.register(logic, nodes).nodes())
        return self.seconds[-1]

    @staticmethod
    def run_for(run, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and run.poll() == "running":
            slicer.app.processEvents()
            time.sleep(0.01)


def _phantom(seed: int) -> tuple[Volume, Volume]:
    phantom = make_phantom(seed, SMALL)
    grid = Grid(phantom.image.shape, phantom.affine)
    return Volume(phantom.image, grid), Volume(phantom.labels, grid)


def _add_phantom(name: str, seed: int) -> tuple:
    """A volume node and its organs as segments."""
    nodes = []
    for kind, volume in zip(("Scalar", "LabelMap"), _phantom(seed), strict=True):
        node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", name)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.grid.affine))
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.data.T))
        nodes.append(node)
    nodes[0].CreateDefaultDisplayNodes()
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} organs")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(nodes[0])
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(nodes[1], segmentation)
    slicer.mrmlScene.RemoveNode(nodes[1])
    hierarchy = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    if not hierarchy.GetItemByDataNode(nodes[0]):  # the application does it by itself
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), nodes[0])
    for n in range(segmentation.GetSegmentation().GetNumberOfSegments()):
        segmentation.GetSegmentation().GetNthSegment(n).SetName(list(ORGANS.values())[n])
    return nodes[0], segmentation


def remove_nodes(nodes: list) -> None:
    """As the user does it: with display and storage nodes, and the items of the subject hierarchy."""
    hierarchy = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    for node in nodes:
        parts = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())] + [node.GetStorageNode()]
        item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
        for part in (node, *parts):
            if part and slicer.mrmlScene.IsNodePresent(part):
                slicer.mrmlScene.RemoveNode(part)
        if item and hierarchy.GetItemByDataNode(node):
            hierarchy.RemoveItem(item, False, False)


def count_items() -> int:
    hierarchy = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    if hierarchy is None:
        return 0
    found = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), found, True)
    return found.GetNumberOfIds()


def record_scene() -> tuple:
    """IDs and modification times of all nodes, and the subject hierarchy's items."""
    nodes = [slicer.mrmlScene.GetNthNode(n) for n in range(slicer.mrmlScene.GetNumberOfNodes())]
    return [(node.GetID(), node.GetMTime()) for node in nodes], count_items()


def read_field(transform) -> np.ndarray:
    return slicer.util.arrayFromGridTransform(transform).copy()


assert os.environ.get("TMPDIR"), "run long_use.py"
