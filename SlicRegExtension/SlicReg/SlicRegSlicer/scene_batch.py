"""Many registrations to one template, that of the model too: from the scene or from a folder to a `Batch` of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import slicer

from SlicRegLib.cohort.label_files import find_labels_among, list_label_files
from SlicRegLib.errors import UserError
from SlicRegLib.images.dicom_series import is_same_scan
from SlicRegLib.images.files import list_images, make_folder, stem, write_json
from SlicRegLib.jobs.batch import Batch, name_scans
from SlicRegLib.jobs.batch_folder import open_batch_folder

from .checks import check_segmentation, check_volume
from .request import Request
from .result_nodes import SEGMENTATION, TARGET_ROLE
from .segments import list_segment_names, number_segments
from .translation import _
from .writing import write_segmentation, write_volume

INPUTS, SEGMENTS = "inputs", "segments.json"
"""Folder of what is written from the scene, and the template's segments in it."""


class BatchPreparation:
    """Writes what a batch reads from the scene, one node per `step`: the application stands still for no longer."""

    def __init__(
        self,
        request: Request,
        out: Path,
        volumes: Sequence | None = None,
        folder: str | Path | None = None,
        labels: str | Path | None = None,
    ):
        """As `make_scene_batch`. Raises UserError for inputs that cannot be used and for a folder in which another
        batch runs."""
        if request.template:
            check_volume(request.template, _("The template volume"))
        else:
            request.check_own_template()
        if request.templateSegmentation:
            check_segmentation(request.templateSegmentation, _("The template segmentation"))
        self.request, self.out, self.volumes = request, Path(out), volumes
        self.nodes: dict[str, object] = {}
        """Name of each scan of the scene -> its node."""
        self._targets: list[tuple[str, Path]] = []
        self._labels: dict[str, Path] = {}
        self._left_out: list[str] = []
        self._nothing = _("The scene contains no other volume to register; load scans or choose a folder.")
        if volumes is None:
            self._targets = list_targets(folder, request.template)
            self._labels = match_labels(self._targets, labels)
        elif not volumes:
            raise UserError(self._nothing)
        open_batch_folder(self.out)
        inputs = self.out / INPUTS
        make_folder(inputs)
        self._tasks: list[Callable[[], None]] = [partial(self._write_template, inputs)] if request.template else []
        if volumes is not None:
            names = [name for name, _path in name_scans(f"{volume.GetName()}.nrrd" for volume in volumes)]
            self.nodes = dict(zip(names, volumes, strict=True))
            self._tasks += [partial(self._write_scan, name, inputs) for name in names]
        self.total = len(self._tasks)

    @property
    def written(self) -> int:
        return self.total - len(self._tasks)

    def list_names(self) -> list[str]:
        """Of all scans, also those that may turn out to be none."""
        return list(self.nodes) or [name for name, _path in self._targets]

    def step(self) -> bool:
        """Write the next node; returns whether there was one."""
        if self._tasks:
            self._tasks.pop(0)()
            return True
        return False

    def make(self) -> Batch:
        """The batch, when all is written."""
        if not self._targets:
            raise UserError(self._left_out[0] if self._left_out else self._nothing)
        inputs = self.out / INPUTS
        return Batch(
            self._targets,
            inputs / "template.nrrd" if self.request.template else None,
            self.request.model,
            self.out,
            self.request.words(),
            inputs / "template_label.nrrd" if self.request.templateSegmentation else None,
            self._labels,
            left_out=self._left_out,
            models=self.request.models,
        )

    def _write_template(self, inputs: Path) -> None:
        write_volume(self.request.template, inputs / "template.nrrd")
        if node := self.request.templateSegmentation:
            # label files of scans have numbers of their own, which the segments keep; segments are told by their names
            numbers = "own" if self._labels else "order"
            segments = write_segmentation(node, self.request.template, inputs / "template_label.nrrd", numbers=numbers)
            write_json(inputs / SEGMENTS, {"segments": [asdict(segment) for segment in segments]})

    def _write_scan(self, name: str, inputs: Path) -> None:
        """Write a volume and its segmentation. What cannot be registered is left out, with the reason."""
        volume, path = self.nodes[name], inputs / "scans" / f"{name}.nrrd"
        try:
            if not slicer.mrmlScene.IsNodePresent(volume):
                raise UserError(_("{name} was removed from the scene, so it is left out.").format(name=name))
            check_volume(volume, _("The volume"))
            make_folder(path.parent)
            write_volume(volume, path)
        except UserError as error:
            self._left_out.append(str(error))
            return
        self._targets.append((name, path))
        template = self.request.templateSegmentation
        if template:
            values = number_segments(list_segment_names(template))
        else:
            values = {} if self.request.template else self.request.find_organ_values()
        if values and (labels := find_segmentation(volume, list(values))):
            path = inputs / "labels" / f"{name}.nrrd"
            make_folder(path.parent)
            write_segmentation(labels, volume, path, values)
            self._labels[name] = path


def make_scene_batch(
    request: Request,
    out: Path,
    volumes: Sequence | None = None,
    folder: str | Path | None = None,
    labels: str | Path | None = None,
) -> Batch:
    """Registrations of many targets to the request's template, with its model and options, into ``out``.

    volumes: the target nodes; None takes the scans of ``folder``. Template and volumes are written to ``out / inputs``.
    A volume that cannot be registered is left out, with the reason in the batch's ``left_out``. labels: a folder of
    label files with the names of the folder's scans, measured against the template segmentation; the segmentations of
    ``volumes`` are found by their reference volume.
    """
    preparation = BatchPreparation(request, out, volumes, folder, labels)
    while preparation.step():
        pass
    return preparation.make()


def list_targets(folder: str | Path | None, template=None) -> list[tuple[str, Path]]:
    """(name, path) of the scans in a folder, without the file from which the ``template`` node was loaded.

    Raises UserError where there are none.
    """
    storage = template.GetStorageNode() if template else None
    own = storage.GetFileName() if storage else None
    scans = name_scans(list_images(folder))
    return [(name, path) for name, path in scans if not (own and is_same_scan(path, own))]


def match_labels(targets: Sequence[tuple[str, Path]], labels: str | Path | None) -> dict[str, Path]:
    """Name of each scan that has a label file in the folder ``labels`` -> that file.

    Raises UserError where there is a folder and no scan has any.
    """
    if not labels:
        return {}
    files = list_label_files(Path(labels))
    found = {name: path for name, scan in targets if (path := find_labels_among(files, stem(scan)))}
    if not found:
        raise UserError(
            _("No file of {folder} has the name of a scan; labels are matched to scans by name.").format(folder=labels)
        )
    return found


def find_segmentation(volume, names: Sequence[str] | None = None):
    """The segmentation that was drawn on a volume and is no result; None if there is none.

    names: those of segments, of which it must have one.
    """
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    for node in slicer.util.getNodesByClass(SEGMENTATION):
        own = node.GetNodeReferenceID(role) == volume.GetID() and node.GetNodeReferenceID(TARGET_ROLE) is None
        if own and (names is None or not set(names).isdisjoint(list_segment_names(node))):
            return node
    return None
